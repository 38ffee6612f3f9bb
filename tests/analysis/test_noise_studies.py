"""The studies of noise, networks and papers about them, whole, with the figures they feed."""

import pickle

import pytest

from analysis.claims import Evidence, Verdict
from analysis.size import Size
from reporting.registry import FIGURES, STUDIES, sized, studies_of

NAMES = (
    "escape",
    "noise-moments",
    "toy-network",
    "weak-order",
    "interpolation",
    "digits-noise",
    "noisy-switch",
    "late-attack",
    "watched-switch",
    "batch-momentum",
    "symmetry-saddles",
    "checkpoints",
    "multistep",
    "dpsat",
    "robust-measures",
    "warm-start",
)
BESIDE = {Verdict.holds, Verdict.disagrees, Verdict.undecided}
"""What a paper's statement may come to; what is derived here has to hold."""


@pytest.mark.parametrize("name", NAMES)
def test_a_study_and_its_figure_share_a_name_and_no_code(name):
    study = STUDIES[name]
    assert not hasattr(study, "run")
    assert study.TITLE
    if name in FIGURES:
        assert studies_of(FIGURES[name]) == (name,)
        assert not [each for each in vars(FIGURES[name]) if each == "CAPTION"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_small_study_judges_what_it_measured_and_its_figure_is_drawn(name):
    study = STUDIES[name]
    record = pickle.loads(
        pickle.dumps(study.measure(lambda stage: None, *sized(study, Size.small)))
    )
    claims = study.judge(record)
    assert claims
    assert len({claim.name for claim in claims}) == len(claims)
    for claim in claims:
        # of a sample, that of a setting which the papers' authors did not use may come to anything
        allowed = BESIDE if claim.predicted and not claim.tolerance else {Verdict.holds}
        assert claim.verdict in allowed, claim
        assert (claim.evidence is Evidence.statistical) == (claim.error_probability > 0)
    if name in FIGURES:
        assert FIGURES[name].draw(record).axes
        assert FIGURES[name].caption(record).endswith(".")
