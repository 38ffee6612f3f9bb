"""Edges of stability reached in training, each rule's its own, on digits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from analysis.statistics import Mean, mean_of_series
from samflow.losses import NetworkLoss
from samflow.networks import Monitor, TrainingRecord

NAME = "edges"
TITLE = "Each rule trains at its own edge of stability: GD, heavy ball, USAM, SAM, Adam, and SGD"
SMALL_SIZE = "without the convolutional network; 800 steps of 2,000, 160 epochs of SGD of 300."
_study = Study(NAME, "Cohen et al. 2021, arXiv 2103.00065")
_SOURCES = {
    "USAM": "derived in docs/theory; Long, Bartlett 2024, arXiv 2309.12488",
    "SAM": "Long, Bartlett 2024, arXiv 2309.12488",
    "Adam": "Cohen et al. 2022, arXiv 2207.14484",
}
_SGD = "Andreyev, Beneventano 2024, arXiv 2412.20553"

IMAGES, HIDDEN = 300, 32
STEPS = {Size.small: 800, Size.full: 2000}
"""Of the full batch."""
EPOCHS = {Size.small: 160, Size.full: 300}
"""Of SGD, 15 steps each."""
EVERY, NOISY_EVERY = 10, 40
"""Steps between two rows, of the full batch and of SGD."""
SLOWER = 4.0
"""By so much the step of the negative case is smaller."""
BATCH_SIZE, DRAWN = 20, 32
"""Of SGD, and how many batches are drawn for the batch sharpness of a row."""
_LEADING, _STRETCHES, _MOST = 5, 8, 0.05
_THIRD = 1 / 3
"""Of SGD, whose batch sharpness takes long to come to the edge."""


class Case(NamedTuple):
    """A rule with its numbers on a network.

    Attributes:
        rule: its name.
        lr: such that the edge lies above the first sharpness, or little below, and is reached.
        rho: of USAM and SAM.
        momentum: of heavy ball.
        adam: whether Adam is the base, with beta2 = 0.99.

    """

    rule: str
    lr: float
    rho: float = 0.0
    momentum: float | None = None
    adam: bool = False

    def on(self, loss: NetworkLoss) -> Any:
        """Return the map on a loss."""
        rule = sf.rule(self.rule, rho=self.rho)
        if self.adam:
            return sf.AdaptiveMap(loss, rule, lr=self.lr, base=sf.Adam(beta2=0.99))
        return sf.Map(loss, rule, lr=self.lr, momentum=self.momentum)


EDGES = {
    "GD": "2/lr",
    "heavy ball": "2(1 + beta)/lr",
    "USAM": "(√(1 + 8 rho/lr) − 1)/(2 rho)",
    "SAM": "that of USAM with rho/‖g‖ of the same row; ‖g‖ adjusts to λ, by Proposition C6",
    "Adam": "38/lr, for the sharpness of P^(−1/2) H P^(−1/2)",
}


def _cases(lrs: tuple[float, ...]) -> dict[str, Case]:
    gd, heavy, usam, sam, adam = lrs
    return {
        "GD": Case("gd", gd),
        "heavy ball": Case("gd", heavy, momentum=0.5),
        "USAM": Case("usam", usam, rho=0.2),
        "SAM": Case("sam", sam, rho=0.1),
        "Adam": Case("gd", adam, adam=True),
    }


PERCEPTRON, CONVOLUTIONAL = "perceptron", "convolutional network"
CASES = {
    PERCEPTRON: _cases((0.8, 1.2, 0.6, 0.6, 0.01)),
    CONVOLUTIONAL: _cases((0.4, 0.4, 0.3, 0.3, 0.01)),
}
SGD_LR = {PERCEPTRON: 1.2, CONVOLUTIONAL: 0.8}


class Runs(NamedTuple):
    """Trainings of one network from the same weights.

    Attributes:
        weights: how many it has.
        full: of the full batch, by the names of `EDGES`.
        slow: GD with a smaller step, of as many steps.
        noisy: SGD in mini-batches.
        images: how many there are.
        batch_size: of SGD.

    """

    weights: int
    full: dict[str, TrainingRecord]
    slow: TrainingRecord
    noisy: TrainingRecord
    images: int = IMAGES
    batch_size: int = BATCH_SIZE

    @property
    def ratios(self) -> dict[str, float]:
        """The mean of sharpness over edge in the last half of each training in full batch."""
        return {rule: held(run).ratio.mean for rule, run in self.full.items()}


Record = dict[str, Runs]
"""By the names of `CASES`."""


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train each network by each rule, watched."""
    names = CASES if size is Size.full else [PERCEPTRON]
    return {
        name: _runs(name, size, lambda at, name=name: progress(f"{name}: {at}")) for name in names
    }


def _loss(name: str) -> tuple[NetworkLoss, Any]:
    """Return the squared loss on digits whose mean image is taken off, and random weights."""
    x, y = sf.networks.load_digits(IMAGES)
    x = x - jnp.mean(x, axis=0)
    if name == PERCEPTRON:
        model = sf.networks.perceptron(jr.key(0), hidden=HIDDEN)
    else:
        x = x.reshape(-1, 1, 8, 8)
        sizes = {"channels": (4, 8), "hidden": 16}
        model = sf.networks.convolutional(jr.key(0), side=8, **sizes)
    loss = sf.losses.network(model, x, y, name=name)
    return loss, loss.flatten(model)


def _runs(name: str, size: Size, progress: Callable[[str], None]) -> Runs:
    loss, w = _loss(name)
    cases, full = CASES[name], {}
    for rule, case in cases.items():
        progress(rule)
        full[rule] = watched(case.on(loss), w, STEPS[size], EVERY)
    progress("GD with a smaller step")
    gd = cases["GD"]
    slow = watched(gd._replace(lr=gd.lr / SLOWER).on(loss), w, STEPS[size], EVERY)
    progress("SGD")
    sgd = Case("gd", SGD_LR[name]).on(loss)
    noisy = watched(sgd, w, EPOCHS[size], NOISY_EVERY, batch_size=BATCH_SIZE)
    return Runs(loss.dim, full, slow, noisy)


def watched(
    system: Any, w: Any, until: int, every: int, *, batch_size: int | None = None
) -> TrainingRecord:
    """Train from the weights `w` for so many epochs, and return the rows of a monitor."""
    drawn: dict[str, Any] = (
        {} if batch_size is None else {"batch_size": batch_size, "num_batches": DRAWN}
    )
    monitor = Monitor(every=every, num_eigenvalues=_LEADING, max_products=14, **drawn)
    start = sf.networks.first_state(system, w)
    sf.networks.train(system, start, until=until, batch_size=batch_size, monitor=monitor)
    return monitor.record


def leading(record: TrainingRecord) -> np.ndarray:
    """Return the largest eigenvalues of what is held against the edge, shape (rows, 5)."""
    scaled = np.isfinite(record.preconditioned).any()
    return record.preconditioned if scaled else record.eigenvalues


class Held(NamedTuple):
    """The last half of a training beside its edge.

    Attributes:
        ratio: the mean of sharpness over edge.
        bias: how far above the edge the largest of several eigenvalues may be in the mean.

    """

    ratio: Mean
    bias: float

    @property
    def allowed(self) -> float:
        """How far from 1 the ratio may be: four standard errors and the bias."""
        return 4 * self.ratio.error + self.bias


def held(record: TrainingRecord, share: float = 0.5) -> Held:
    """Return how the sharpness lay beside the edge in the last part of the rows."""
    last = _last(record, share)
    ratios = leading(record)[last] / record.edge[last, None]
    spread = float((ratios[:, 0] - ratios[:, -1]).mean())
    return Held(mean_of_series(ratios[:, 0], _STRETCHES), min(spread, _MOST))


def batch_ratio(record: TrainingRecord) -> Mean:
    """Return the mean of lr · batch sharpness/2 in the last third of the rows."""
    ratios = record.batch_sharpness * record.lr / 2
    return mean_of_series(ratios[_last(record, _THIRD)], _STRETCHES)


def _last(record: TrainingRecord, share: float) -> slice:
    return slice(len(record) - int(share * len(record)), None)


def judge(record: Record) -> list[Claim]:
    """Hold the sharpness of each training against its edge."""
    return [claim for name, runs in record.items() for claim in _network_claims(name, runs)]


def _network_claims(network: str, runs: Runs) -> list[Claim]:
    sampling = (
        f"four standard errors, from the means of {_STRETCHES} stretches of the rows, each longer "
        "than the fluctuations are correlated"
    )
    claims = []
    for rule, run in runs.full.items():
        found = held(run)
        claims.append(
            _study.sampled(
                f"{network}: {rule}",
                f"{rule} on the {network}, full batch, lr = {run.lr[0]:g}: over the last half of "
                f"{run.steps[-1]} steps the mean of sharpness over edge is 1; edge: {EDGES[rule]}",
                predicted=1.0,
                measured=found.ratio.mean,
                error=found.ratio.error,
                freedom=_STRETCHES - 1,
                bias=found.bias,
                reason=f"{sampling}; and the spread of the five largest eigenvalues, at most "
                f"{100 * _MOST:g} %: where several are held at the edge it lies among them, and "
                "the sharpness is the largest",
                source=_SOURCES.get(rule),
            )
        )
    others = [rule for rule in ("heavy ball", "USAM", "SAM") if _not_at_2_lr(runs.full[rule])]
    slow, gd = runs.slow, held(runs.full["GD"])
    batch, noisy = batch_ratio(runs.noisy), held(runs.noisy, _THIRD).ratio
    setting = f"SGD on the {network}, batches of {BATCH_SIZE}, lr = {runs.noisy.lr[0]:g}"
    return [
        *claims,
        _study.every(
            f"{network}: not 2/lr",
            "2/lr, the edge of GD, lies outside the tolerance of each of the other rules that are "
            "compared with the same Hessian",
            holding=len(others),
            of=3,
            what="rules",
            reason="else the claims of these rules could not tell their edges from GD's",
            evidence=Evidence.numerical,
        ),
        _study.below(
            f"{network}: before the edge",
            f"at lr = {slow.lr[0]:g}, {SLOWER:g} times smaller, GD ends as many steps before it "
            "reaches its edge: the largest sharpness over 2/lr",
            bound=1 - gd.allowed,
            measured=float((slow.sharpness / slow.edge).max()),
            reason="the bound is the lower end of what the claim of GD's edge allows, which fails",
        ),
        _study.sampled(
            f"{network}: SGD",
            f"{setting}: over the last third of {runs.noisy.steps[-1]} steps the mean of batch "
            "sharpness E[gᵀHg]/E‖g‖² over 2/lr is 1",
            predicted=1.0,
            measured=batch.mean,
            error=batch.error,
            freedom=_STRETCHES - 1,
            reason=f"{sampling}, batches included",
            source=_SGD,
        ),
        _study.below(
            f"{network}: SGD's sharpness",
            f"{setting}: meanwhile the mean of the sharpness over 2/lr, with four of its standard "
            "errors, is below 1",
            bound=1.0,
            measured=noisy.mean + 4 * noisy.error,
            reason=sampling,
            source=_SGD,
        ),
    ]


def _not_at_2_lr(run: TrainingRecord) -> bool:
    """Say whether 2/lr differs from a rule's sharpness by more than its claim allows."""
    found, last = held(run), _last(run, 0.5)
    ratio = float((run.sharpness * run.lr / 2)[last].mean())
    return bool(abs(ratio - 1) > found.allowed)
