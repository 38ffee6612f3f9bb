"""Which measures of a trained network tell how well its robustness generalises.

The gap is the error under PGD on test images less that on training images. Measures are those of
the training set. Networks differ in lr, in the radius of SAM, in weight decay, in whether they are
trained under attack, and in the seed. Kendall's τ over all networks mixes these causes; τ along one
axis compares only networks that differ in that setting alone, in the manner of Jiang et al. 2019.

Networks and attack were not changed after the first table. It had the index with both Hessians, of
the loss on attacked images and on the images as they are. That of the attacked images is compared
with the paper, whose bound is on the robust loss; the other is told beside it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.claims import Claim, Evidence, Study
from analysis.papers.robust_networks import (
    AXES,
    EPSILON,
    HIDDEN,
    MEASURES,
    NUM_STEPS,
    NUM_TRAIN,
    Networks,
    Settings,
    trained_networks,
)
from analysis.size import Size

NAME = "robust-measures"
TITLE = "Measures of sharpness, margin and norm beside the robust generalisation gap, on digits"
SMALL_SIZE = "18 networks instead of 108, all trained under attack; of the measures two only."
INDEX_PAPER = "Xu, Zhang 2024, arXiv 2410.07719"
MEASURES_PAPER = "Kim, Park, Choi, Lee 2023, Fantastic Robustness Measures (NeurIPS 36)"
_study = Study(NAME, f"{INDEX_PAPER}; {MEASURES_PAPER}")

FULL = Settings()
SMALL = Settings(epsilons=(EPSILON,), num_seeds=1, measures=("index", "‖w‖"))
NUM_RESAMPLES = 2000
GROUPS = {"trained under attack": EPSILON, "trained without attack": 0.0}


class Tau(NamedTuple):
    """Kendall's τ with a bootstrap interval of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return τ and the interval."""
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def sign(self) -> str:
        """positive, negative, undecided, or not finite."""
        if not np.isfinite([self.low, self.high]).all():
            return "not finite"
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "undecided"


class Record(NamedTuple):
    """All networks, and τ of the measures with the gap.

    Attributes:
        found: the networks.
        whole: over all networks, by measure.
        taus: by group and measure.
        along: by group, measure and axis, over pairs that differ in that axis alone.
        control: τ of random numbers in the place of a measure.

    """

    found: Networks
    whole: dict[str, Tau]
    taus: dict[tuple[str, str], Tau]
    along: dict[tuple[str, str, str], Tau]
    control: Tau


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train the networks, measure them, and compare ranks."""
    return ranked(trained_networks(FULL if size is Size.full else SMALL, progress))


def ranked(found: Networks) -> Record:
    """Return τ of every measure with the gap."""
    taus, along = {}, {}
    for group, epsilon in GROUPS.items():
        chosen = found.rows[:, AXES.index("attack")] == epsilon
        rows, gap = found.rows[chosen], found.gap[chosen]
        if not chosen.any():
            continue
        for name, every in found.measures.items():
            values = every[chosen]
            taus[group, name] = kendall(values, gap, configurations(rows))
            for axis in ("rho", "weight decay"):
                along[group, name, axis] = kendall_along(values, gap, rows, AXES.index(axis))
    alike = configurations(found.rows)
    whole = {name: kendall(every, found.gap, alike) for name, every in found.measures.items()}
    drawn = np.random.default_rng(1).standard_normal(len(found.gap))
    return Record(found, whole, taus, along, kendall(drawn, found.gap, alike))


def configurations(rows: np.ndarray) -> np.ndarray:
    """Return a number for the settings of each network, its seed aside."""
    return np.unique(rows[:, :-1], axis=0, return_inverse=True)[1].reshape(-1)


def kendall(x: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> Tau:
    """Return τ_b; the bootstrap draws clusters, whose members are not independent."""
    a, b = (np.sign(v[:, None] - v) for v in (x, y))
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    drawn = np.empty(NUM_RESAMPLES)
    for i in range(NUM_RESAMPLES):
        picked = generator.integers(len(members), size=len(members))
        rows = np.concatenate([members[c] for c in picked])
        at = np.ix_(rows, rows)
        drawn[i] = _tau_b(a[at], b[at])
    return Tau(_tau_b(a, b), *_ends(drawn))


def kendall_along(x: np.ndarray, y: np.ndarray, rows: np.ndarray, axis: int) -> Tau:
    """Return the mean of sign Δx · sign Δy over pairs that differ in one setting alone.

    The bootstrap draws the cells of networks that share all other settings, the seed among them.
    """
    cells = np.unique(np.delete(rows, axis, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    each = []
    for c in np.unique(cells):
        at = np.flatnonzero(cells == c)
        i, j = np.triu_indices(len(at), 1)
        pairs = np.sign(x[at][i] - x[at][j]) * np.sign(y[at][i] - y[at][j])
        each.append(pairs.mean())
    means = np.array(each)
    picked = np.random.default_rng(0).integers(len(means), size=(NUM_RESAMPLES, len(means)))
    return Tau(float(means.mean()), *_ends(means[picked].mean(axis=1)))


def _tau_b(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.sqrt(np.abs(a).sum() * np.abs(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else np.nan


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def judge(record: Record) -> list[Claim]:
    """Set τ beside the two papers, and random numbers beside both."""
    claims = [_control(record), _index(record)]
    return [*claims, _settings(record)] if ("λ_max" in record.found.measures) else claims


def _about(record: Record) -> str:
    low, high = (100 * float(f(record.found.gap)) for f in (np.min, np.max))
    attacked = int(np.sum(record.found.rows[:, AXES.index("attack")] > 0))
    return (
        f"{len(record.found.gap)} perceptrons (64–{HIDDEN}–10, tanh) on {NUM_TRAIN} digits, "
        f"{NUM_STEPS} steps; {attacked} of them trained under attack (FGSM, {EPSILON:g}); "
        f"gaps under PGD from {low:.0f} to {high:.0f} points"
    )


_REASON = f"{NUM_RESAMPLES} bootstrap resamples of the settings, seeds together; 95 % interval"


def _control(record: Record) -> Claim:
    return _study.fact(
        "random numbers",
        f"τ of random numbers with the robust gap over {_about(record)}: {record.control}",
        predicted="undecided",
        measured=record.control.sign,
        reason=f"{_REASON}. A measure that says nothing must not be found to say something",
        evidence=Evidence.statistical,
        error_probability=0.05,
        source="a negative control",
    )


def _index(record: Record) -> Claim:
    group = "trained under attack"
    tau = record.taus[group, "index"]
    others = {"‖w‖": "‖w‖ alone", "clean index": "the index of the images as they are"}
    beside = "".join(
        f"; of {said} {record.taus[group, name]}"
        for name, said in others.items()
        if (group, name) in record.taus
    )
    if len({of for of, _ in record.taus}) > 1:
        beside += (
            f"; of the index over all {len(record.found.gap)} networks {record.whole['index']}"
        )
    return _study.beside(
        "index",
        f"τ of the weight-curvature index with the robust gap, of networks {group}, with the "
        f"Hessian of the loss on attacked training images{beside}",
        paper="the index captures the robust generalisation gap of adversarially trained models",
        found=f"τ = {tau}, {tau.sign}",
        agrees={"positive": True, "negative": False}.get(tau.sign),
        reason=f"{_REASON}. The bound is on the robust loss, so that its Hessian is the one meant. "
        f"{_about(record)}",
        error_probability=0.025,
        source=INDEX_PAPER,
    )


def _settings(record: Record) -> Claim:
    signs = {name: [record.taus[group, name].sign for group in GROUPS] for name in MEASURES}
    decided = {"positive", "negative"}
    same = [name for name, (a, b) in signs.items() if a == b and a in decided]
    turned = [name for name, (a, b) in signs.items() if {a, b} == decided]
    some = [name for name, (a, b) in signs.items() if len({a, b} & decided) == 1 and a != b]
    listed = "; ".join(
        f"{name} " + " and ".join(str(record.taus[group, name]) for group in GROUPS)
        for name in MEASURES
    )
    axes = "; ".join(
        f"{group}, by radius alone {record.along[group, 'λ_max', 'rho']}, by weight decay alone "
        f"{record.along[group, 'λ_max', 'weight decay']}"
        for group in GROUPS
    )
    depends = bool(turned or some)
    return _study.beside(
        "measures by setting",
        f"τ with the robust gap, {' and '.join(GROUPS)}: {listed}. Of λ_max over pairs of "
        f"networks that differ in one setting: {axes}",
        paper="whether a measure captures the robust gap depends on the setting",
        found=f"the same sign in both: {_names(same)}; opposite signs: {_names(turned)}; a sign in "
        f"one alone: {_names(some)}",
        agrees=True if depends else (False if len(same) == len(MEASURES) else None),
        reason=f"{_REASON}. It depends if a measure has a sign in one group that it does not have "
        "in the other; it does not if all have the same sign in both",
        error_probability=0.05,
        source=MEASURES_PAPER,
    )


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"
