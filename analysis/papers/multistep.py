"""More ascent steps of SAM: what they do to sharpness and test error of a trained network.

Two things change when SAM takes k steps: how long the ascent is, and how often it turns. The arms
keep them apart. With k steps of rho/k the whole length rho stays; with k steps of rho each it grows
to k·rho, and one step of k·rho is the control. To first order in the length all ascents of one
length are the same, so that the length is predicted to matter and the number of steps is not.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.papers.digits import Ends, problem, trained
from analysis.size import Size
from analysis.statistics import Interval, interval, missed
from samflow.noise import MiniBatch
from samflow.rules import MultiStepSAM

NAME = "multistep"
TITLE = "More ascent steps of SAM, on a perceptron that reads digits"
SMALL_SIZE = "one and three ascent steps instead of one, three and five; 5 seeds instead of 20."
PAPER = "Kim, Park, Choi, Lee, Lee 2023, arXiv 2302.10181"
_study = Study(NAME, PAPER)

RHO, LR, MOMENTUM, BATCH_SIZE, NUM_STEPS = 0.1, 0.1, 0.9, 50, 600
NUM_ASCENTS = {Size.full: (3, 5), Size.small: (3,)}
NUM_SEEDS = {Size.full: 20, Size.small: 5}
POINT = 0.01
"""A change of the error by less than one point is none."""
ALIKE = 0.1
"""Sharpnesses are alike if their ratio is within a tenth of 1."""


class Arm(NamedTuple):
    """Ascent steps, and the length of all together."""

    num_steps: int
    length: float


class Record(NamedTuple):
    """How every arm ended, and with which numbers of steps beside 1."""

    ascents: tuple[int, ...]
    ends: dict[Arm, Ends]

    @property
    def num_seeds(self) -> int:
        """Seeds of each arm."""
        return len(self.ends[Arm(1, 0.0)].error)

    def errors(self, arm: Arm, other: Arm) -> Interval:
        """Return the error of the first arm less the other's, seed by seed."""
        return interval(self.ends[arm].error - self.ends[other].error)

    def ratio(self, arm: Arm, other: Arm) -> Interval:
        """Return the logarithm of the first arm's sharpness over the other's, seed by seed."""
        return interval(np.log(self.ends[arm].sharpness / self.ends[other].sharpness))


def arms(ascents: tuple[int, ...]) -> list[Arm]:
    """Return GD, SAM, and for each k: k steps of rho/k, k of rho, and one of k·rho."""
    found = [Arm(1, 0.0), Arm(1, RHO)]
    for k in ascents:
        found += [Arm(1, k * RHO), Arm(k, RHO), Arm(k, k * RHO)]
    return found


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train all arms from the same weights on the same batches."""
    made, ends = problem(NUM_SEEDS[size]), {}
    for arm in arms(NUM_ASCENTS[size]):
        progress(f"{arm.num_steps} ascent steps, length {arm.length:g}")
        rule = MultiStepSAM(rho=arm.length, num_steps=arm.num_steps)  # pyright: ignore
        step = sf.Map(made.loss, rule, lr=LR, momentum=MOMENTUM)  # pyright: ignore
        ends[arm] = trained(made, sf.StochasticMap(step, MiniBatch(BATCH_SIZE)), NUM_STEPS)
    return Record(NUM_ASCENTS[size], ends)


def judge(record: Record) -> list[Claim]:
    """Compare arms seed by seed: error and sharpness, at equal length and at equal steps."""
    claims = [_sam_is_flatter(record)]
    for k in record.ascents:
        claims += [
            _rarely_helps(record, k, RHO, "the whole length fixed"),
            _rarely_helps(record, k, k * RHO, "the length of a step fixed"),
            _landscape(record, k, RHO, "the whole length fixed"),
            _landscape(record, k, k * RHO, "the length of a step fixed"),
            _only_the_length(record, k),
        ]
    return claims


def _sam_is_flatter(record: Record) -> Claim:
    sgd, sam = Arm(1, 0.0), Arm(1, RHO)
    found = record.ratio(sam, sgd)
    return _study.fact(
        "one step is flatter than none",
        f"SAM with one step of {RHO:g} ends at a smaller λ_max of the training loss than SGD: "
        f"{_sharp(record, sam)} against {_sharp(record, sgd)}. The test errors are "
        f"{_error(record, sam)} and {_error(record, sgd)}",
        predicted="smaller",
        measured={"lower": "smaller", "higher": "larger"}.get(found.sign, found.sign),
        reason=f"95 % interval over {record.num_seeds} paired seeds of log λ_max; without it there "
        "would be nothing for further steps to add to",
        evidence=Evidence.statistical,
        error_probability=missed(found, record.num_seeds),
        source="Foret et al. 2021",
    )


def _rarely_helps(record: Record, k: int, length: float, fixed: str) -> Claim:
    one, more = Arm(1, RHO), Arm(k, length)
    gap = record.errors(more, one)
    agrees = None
    if gap.low > -POINT:
        agrees = True
    elif gap.high < -POINT:
        agrees = False
    control = "" if length == RHO else f"; one step of {length:g}: {_error(record, Arm(1, length))}"
    return _study.beside(
        f"{k} steps, {fixed}: test error",
        f"{_steps(more)} against one of {RHO:g}: test errors {_error(record, more)} and "
        f"{_error(record, one)}{control}",
        paper="more ascent steps rarely improve generalisation",
        found=f"difference {gap.points} points{gap.decided}",
        agrees=agrees,
        reason=f"95 % interval over {record.num_seeds} paired seeds: no gain if it lies above "
        f"−{100 * POINT:g} point, a gain if below",
        error_probability=0.025,
        source=PAPER,
    )


def _landscape(record: Record, k: int, length: float, fixed: str) -> Claim:
    one, more = Arm(1, RHO), Arm(k, length)
    ratio = record.ratio(more, one)
    said = _alike_or_apart(ratio)
    return _study.beside(
        f"{k} steps, {fixed}: landscape",
        f"{_steps(more)} against one of {RHO:g}: λ_max is {_sharp(record, more)} and "
        f"{_sharp(record, one)}",
        paper="one step and several end at distinct loss landscapes",
        found=f"log of the ratio {ratio}: {said}",
        agrees={"apart": True, "alike": False}.get(said),
        reason=_by_the_tenth(record),
        error_probability=0.05,
        source=PAPER,
    )


def _only_the_length(record: Record, k: int) -> Claim:
    one, more = Arm(1, k * RHO), Arm(k, k * RHO)
    ratio, reached = record.ratio(more, one), record.ratio(one, Arm(1, RHO))
    apart = abs(ratio.mean) + ratio.half
    return _study.below(
        f"{k} steps: only the length counts",
        f"{_steps(more)} act as one step of {k * RHO:g}: λ_max is {_sharp(record, more)} and "
        f"{_sharp(record, one)}; one step of {RHO:g} gives {_sharp(record, Arm(1, RHO))}. Measured "
        "is the far end of the interval of |log ratio|, over the |log ratio| that the length makes",
        bound=0.5,
        measured=apart / abs(reached.mean),
        reason="derived: with ĝ the unit gradient w + Σ(rho/k) ĝ(wᵢ) = w + rho ĝ(w) + O(rho²), so "
        "that the number of steps enters one order later than the length. Below one half the "
        f"length decides; 95 % interval over {record.num_seeds} paired seeds",
        source="derived",
    )


def _alike_or_apart(ratio: Interval) -> str:
    if ratio.low > -ALIKE and ratio.high < ALIKE:
        return "alike"
    return "apart" if ratio.low > ALIKE or ratio.high < -ALIKE else "undecided"


def _by_the_tenth(record: Record) -> str:
    return (
        f"95 % interval over {record.num_seeds} paired seeds: alike if it lies within ±{ALIKE:g}, "
        "apart if outside; λ_max alone stands for the landscape"
    )


def _steps(arm: Arm) -> str:
    return f"{arm.num_steps} steps of {arm.length / arm.num_steps:.3g}"


def _error(record: Record, arm: Arm) -> str:
    return f"{100 * record.ends[arm].error.mean():.2f} %"


def _sharp(record: Record, arm: Arm) -> str:
    return f"{record.ends[arm].sharpness.mean():.3f}"
