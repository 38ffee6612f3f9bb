"""The study of late adversarial training compares the arms that it names, and can fail."""

import numpy as np
import pytest

from analysis import late_attack
from analysis.late_attack import Settings, alike_or_sign
from analysis.size import Size
from analysis.statistics import Interval


@pytest.fixture
def tiny(monkeypatch):
    """Make the study one of three seeds on 120 images, for four epochs, the last of them late."""
    for name, value in {
        "NUM_SEEDS": 3,
        "NUM_TRAIN": 120,
        "NUM_TEST": 80,
        "BATCH_SIZE": 40,
        "LATE_PART": 4,
        "SMALL": Settings(4, (1,)),
    }.items():
        monkeypatch.setattr(late_attack, name, value)
    _forget()
    yield monkeypatch
    _forget()


def _forget():
    late_attack.problem.cache_clear()
    late_attack.sweep.cache_clear()


def test_arms_are_found_by_their_epochs_under_attack(tiny):
    found = late_attack.sweep(Size.small)
    assert found.switch_epochs.tolist() == [0, 3, 4]
    for tail, row in ((4, 0), (1, 1), (0, 2)):
        column = late_attack.column(Size.small, "test_error", tail)
        assert np.array_equal(column, found.test_error[row])
    again = late_attack.errors_of_the_late_arm(Size.small, 10)
    # the same weights; of the attack only the first point is another
    assert again == pytest.approx(late_attack.column(Size.small, "adversarial_error", 1), abs=0.03)


def test_an_attack_that_does_nothing_teaches_nothing(tiny):
    tiny.setattr(late_attack, "EPSILON", 0.0)
    learned, as_robust, natural, sharpness = late_attack.run(size=Size.small)
    # all arms take the same steps, so that every difference is 0
    assert (learned.measured, learned.holds) == ("undecided", False)
    assert (as_robust.measured, as_robust.holds) == ("alike", False)
    assert (natural.measured, natural.holds) == ("undecided", False)
    assert sharpness.measured == "undecided"


def test_a_seed_that_is_lost_fails_every_claim(tiny):
    tiny.setattr(late_attack, "LR", 1e9)
    claims = late_attack.run(size=Size.small)
    assert [claim.holds for claim in claims] == [False] * 4
    assert {claim.measured for claim in claims} == {"not finite"}


@pytest.mark.parametrize(
    ("mean", "half", "verdict"),
    [
        (0.004, 0.005, "alike"),
        (-0.004, 0.0035, "alike"),
        (0.004, 0.0061, "undecided"),
        (0.02, 0.005, "higher"),
        (-0.02, 0.005, "lower"),
        (float("nan"), float("nan"), "not finite"),
    ],
)
def test_errors_are_alike_if_their_difference_lies_within_the_margin(mean, half, verdict):
    assert alike_or_sign(Interval(mean, half)) == verdict


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("alike", "[Z] finds them alike: the same here"),
        ("higher", "[Z] finds them alike: a disagreement"),
        ("undecided", "[Z] finds them alike: undecided here"),
        ("not finite", "[Z] finds them alike: not finite here"),
    ],
)
def test_a_disagreement_with_the_paper_is_called_one(found, said):
    assert late_attack._beside_zhou(found) == said
