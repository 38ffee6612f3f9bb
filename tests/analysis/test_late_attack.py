"""The study of late adversarial training compares the arms that it names, and can disagree."""

import numpy as np
import pytest

from analysis import late_attack
from analysis.claims import Verdict
from analysis.late_attack import Settings, Training, alike_or_sign
from analysis.size import Size
from analysis.statistics import Interval, interval
from figures import late_attack as figure


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
    return monkeypatch


def judged(errors_under_attack, errors, sharpness=(1.0, 1.0, 1.0), *, epochs=16):
    """Judge a training whose three arms have these means, known to 0.001."""
    spread, settings = 0.001 * np.array([-1.0, 0.0, 1.0]), Settings(epochs, (epochs // 16,))
    columns = zip(late_attack.QUANTITIES, (errors_under_attack, errors, sharpness), strict=True)
    arms = (0, settings.late, epochs)
    values = {
        (of, arm): mean + (i + 1) * spread
        for of, means in columns
        for i, (arm, mean) in enumerate(zip(arms, means, strict=True))
    }
    means = {key: interval(each) for key, each in values.items()}
    training = Training(settings, arms, values, means)
    record = late_attack.Record((training,), 16, 3, "A network", None)
    return late_attack.judge(record), record


def verdicts(claims):
    return [claim.verdict for claim in claims]


def test_what_the_paper_says_is_set_beside_what_was_found():
    holds, disagrees = Verdict.holds, Verdict.disagrees
    claims, _ = judged((0.5, 0.2, 0.2), (0.1, 0.1, 0.1))
    assert verdicts(claims) == [holds] * 4
    claims, _ = judged((0.5, 0.6, 0.2), (0.1, 0.05, 0.1), (1.0, 1.0, 2.0))
    assert verdicts(claims) == [disagrees] * 4
    # against a paper, which is not a fault of the library
    assert not any(claim.fails or claim.holds for claim in claims)


def test_the_caption_says_what_the_panels_show():
    _, record = judged((0.5, 0.4, 0.1), (0.1, 0.1, 0.1))
    said = figure.caption(record)
    assert "16 epochs (squares)" in said
    assert "circles" not in said
    assert "The last epoch of 16 gives 25% of the robustness" in said
    _, long = judged((0.5, 0.2, 0.1), (0.1, 0.1, 0.1), epochs=80)
    said = figure.caption(record._replace(trainings=(*record.trainings, *long.trainings)))
    assert "16 epochs (squares) or 80 epochs (circles)" in said
    assert "The last 5 epochs of 80 give 75% of the robustness" in said


@pytest.mark.slow
def test_arms_are_found_by_their_epochs_under_attack(tiny):
    record = late_attack.measure(size=Size.small)
    training = record.trainings[0]
    assert training.arms == (0, 1, 4)
    again = late_attack.errors_of_the_late_arm(late_attack.problem(), training.settings, 10)
    # the same weights; of the attack only the first point is another
    assert again == pytest.approx(training.values["adversarial_error", 1], abs=0.03)


@pytest.mark.slow
def test_an_attack_that_does_nothing_teaches_nothing(tiny):
    tiny.setattr(late_attack, "EPSILON", 0.0)
    learned, as_robust, natural, sharpness = late_attack.judge(late_attack.measure(size=Size.small))
    # all arms take the same steps, so that every difference is 0
    assert learned.verdict is Verdict.undecided
    assert [c.verdict for c in (as_robust, natural, sharpness)] == [Verdict.holds] * 3


def test_a_seed_that_is_lost_decides_nothing():
    nan = float("nan")
    claims, _ = judged((nan, nan, 0.2), (0.1, nan, 0.1), (1.0, nan, 2.0))
    assert verdicts(claims) == [Verdict.undecided] * 4


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
