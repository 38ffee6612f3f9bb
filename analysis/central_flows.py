"""Central flows at the edge of stability: toys with closed forms, and a network on real digits."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from analysis.statistics import mean_of_series
from samflow import theory
from samflow.networks import digits_loss
from samflow.orbits import two_step_mean
from samflow.orbits.central.critical import leading_modes

NAME = "central-flows"
TITLE = "At the edge of stability, runs of GD, heavy ball, USAM and SAM follow their central flows"
SMALL_SIZE = "without the network on digits"
_study = Study(NAME, "derived in docs/theory, Propositions C1 to C7")
_COHEN = "Cohen et al. 2024, arXiv 2410.24206 (GD)"
_EPS, _RHO, _LR = 5e-4, 1.0, 0.2
_LRS = {0.3: "die out", 0.5: "grow"}
_DAMPED = 20_000
_SAM = {"rho": 0.05, "lr": 0.3}
_STEPS, _EVERY = 1000, 5
_WINDOW = 500
"""The last steps of a run, over which averages are compared: several bursts."""

_BURSTING = {"heavy ball"}
"""Whose bursts are too few in the window to average the loss over: Proposition C5 says why."""

_LEADING = 3
"""How many eigenvalues of the Hessian are followed along the runs."""


class Case(NamedTuple):
    """A rule on digits; lr is such that the run is at its edge for most of its steps."""

    rule: Callable[[], Any]
    lr: float
    momentum: float | None
    pairs: int


CASES = {
    "GD": Case(lambda: sf.GD(), 0.16, None, 7),
    "heavy ball": Case(lambda: sf.GD(), 0.18, 0.3, 7),
    "USAM": Case(lambda: sf.USAM(rho=0.02), 0.12, None, 5),
    "SAM": Case(lambda: sf.SAM(rho=0.02), 0.12, None, 2),
}


class Toy(NamedTuple):
    """USAM on the valley (1 + x²)(√(1 + y²) − 1) − εx: the flow beside a run."""

    edge: float
    sharpness: tuple[float, float]
    """Of the flow, and the average of the run."""
    variance: tuple[float, float, float]
    """In closed form, of the flow, and the average of the run."""


class Path(NamedTuple):
    """A flow on a toy beside a run, for a figure.

    Attributes:
        steps: of both.
        run: of the run.
        flow: of the flow.

    """

    steps: np.ndarray
    run: np.ndarray
    flow: np.ndarray


class Network(NamedTuple):
    """A run of `_STEPS` steps on digits beside its central flow and its rule's own flow.

    Attributes:
        steps: at which all else is given.
        leading: the largest eigenvalues of the Hessian at averages of the run over two steps,
            shape (steps, 3).
        flow_leading: the same of the flow.
        edge: the sharpness at which the rule flips, by the flow.
        critical: how many directions oscillate, by the flow.
        loss: of the run; its average over four steps.
        predicted: the loss with the oscillation, by the flow.
        at_mean: the loss at the flow's point.
        distance: of the run's average from the flow.
        plain_distance: of the same from the rule's flow ẇ = −d(w).

    """

    steps: np.ndarray
    leading: np.ndarray
    flow_leading: np.ndarray
    edge: np.ndarray
    critical: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray
    at_mean: np.ndarray
    distance: np.ndarray
    plain_distance: np.ndarray


class Record(NamedTuple):
    """Toys, and the network in the full size."""

    toy: Toy
    growth: dict[float, tuple[float, float]]
    """By lr of GD, by the flow and of the run."""
    covariance: tuple[np.ndarray, np.ndarray]
    """Of two critical directions: eigenvalues in closed form and of the flow."""
    sam: tuple[float, float, float]
    """SAM on the toy: the largest distance of the run from the flow, how far the flow moves, and
    the run's distance at the end from a flow without oscillation."""
    bursts: Path
    """The sharpness of GD on the toy, begun with a small oscillation."""
    saturation: Path
    """The size of SAM's oscillation on the toy."""
    networks: dict[str, Network]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow flows and runs."""
    progress("toys")
    toy = sf.loss(f"(1 + x**2)*(sqrt(1 + y**2) - 1) - {_EPS}*x")
    networks = {}
    if size is Size.full:
        loss, w0 = digits_loss(jr.key(0))
        for name, case in CASES.items():
            system = sf.Map(loss, case.rule(), lr=case.lr, momentum=case.momentum)
            told = lambda at, name=name: progress(f"{name}: {at}")  # noqa: E731
            networks[name] = _network(system, w0, case.pairs, told)
    sam, saturation = _sam()
    return Record(
        toy=_toy(toy),
        growth={lr: _growth(toy, lr) for lr in _LRS},
        covariance=_covariance(),
        sam=sam,
        bursts=_bursts(toy),
        saturation=saturation,
        networks=networks,
    )


def judge(record: Record) -> list[Claim]:
    """Compare flows with closed forms and with runs."""
    toy = record.toy
    closed, of_flow, of_run = toy.variance
    claims = [
        _study.close(
            "USAM stays at its edge",
            "USAM on the valley (1 + x²)(√(1 + y²) − 1) − εx, rho = 1, lr = 0.2: the run's average "
            "sharpness is (√(1 + 8 rho/lr) − 1)/2 rho",
            predicted=toy.edge,
            measured=toy.sharpness[1],
            rel=1e-3,
            reason="the edge is that of ‖g‖ = 0. Of the excess of 3.8e-4 the flow, which takes g "
            "as it is, has 2.8e-4; the rest is of order σ²λ",
        ),
        _study.close(
            "variance of USAM",
            "the same run's average of y²: 2ε/((1 + rho λ)²λ′)",
            predicted=closed,
            measured=of_run,
            rel=1e-3,
            reason="terms of relative order ε and σ² are left out",
        ),
        _study.close(
            "variance by the flow",
            "what `central_flow` finds on that valley",
            predicted=closed,
            measured=of_flow,
            rel=1e-3,
            reason="the closed form takes g to be small",
        ),
    ]
    claims += [
        _study.close(
            f"deviations {what}",
            f"GD on the same valley at lr = {lr:g}, λ = {2 / lr:.3g}: growth a step of deviations "
            f"from the edge. They {what}, as 2/lr lies "
            + ("outside" if what == "die out" else "inside")
            + " [1.44, 5.56]",
            predicted=record.growth[lr][0],
            measured=record.growth[lr][1],
            rel=0.1,
            reason="the run's deviations are finite, up to 1e-3 of x, and their spread is taken "
            "over windows in which they change by some per cent",
        )
        for lr, what in _LRS.items()
    ]
    exact, found = record.covariance
    claims.append(
        _study.fact(
            "two critical directions",
            "with two eigenvalues at GD's edge, and all entries of their 2×2 block free, the "
            "flow's Σ has the eigenvalues of the matrix that holds the block, to 1e-6",
            predicted=True,
            measured=bool(np.allclose(exact, found, rtol=1e-6)),
            reason="in closed form: [[2a, b], [b, 2c]] for the pulls a, b, c",
            evidence=Evidence.numerical,
        )
    )
    far, moved, alone = record.sam
    claims.append(
        _study.below(
            "SAM on the valley",
            "distance of SAM's average from its central flow, at most, over that from SAM's flow "
            "without oscillation at the end",
            bound=0.01,
            measured=far / alone,
            reason=f"the flow moves by {moved:.3g}; the size of the oscillation lags a few steps",
        )
    )
    for name, network in record.networks.items():
        claims += _network_claims(name, network)
    return claims


def _network_claims(name: str, network: Network) -> list[Claim]:
    last = network.steps > _STEPS - _WINDOW
    lasting = f"over the last {_WINDOW} steps of {name} on digits"
    sampling = f"the error is that of the mean of {_BATCHES} batches of steps, bursts included"
    of_flow, of_run = network.flow_leading[last], network.leading[last]
    tied = of_flow > (1 - _TIED) * of_flow[:, :1]
    predicted, measured = ((each * tied).sum(1) / tied.sum(1) for each in (of_flow, of_run))
    gained = (network.loss - network.at_mean)[last]
    wanted = (network.predicted - network.at_mean)[last]
    claims = [
        _study.sampled(
            f"{name}: sharpness",
            f"{lasting} the mean of the leading eigenvalues of the Hessian that the flow holds "
            f"together ({tied.sum(1).mean():.1f} of them) is that of the flow",
            predicted=float(predicted.mean()),
            measured=float(measured.mean()),
            error=_error(measured - predicted),
            freedom=_BATCHES - 1,
            bias=_LEFT_OUT * float(predicted.mean()),
            reason=f"{sampling}; {100 * _LEFT_OUT:g} % for what the flow leaves out, as the change "
            "of H within an oscillation. The largest eigenvalue alone is larger in the mean, as "
            "the largest of several that fluctuate",
            source=_COHEN if name == "GD" else None,
        ),
        _study.below(
            f"{name}: distance",
            f"{lasting} the mean distance of its average from the central flow, over that from the "
            "flow of the rule alone",
            bound=0.5,
            measured=float(network.distance[last].mean() / network.plain_distance[last].mean()),
            reason="nearer by half at least",
        ),
    ]
    if name in _BURSTING:
        return claims
    loss = _study.sampled(
        f"{name}: loss",
        f"{lasting} the loss exceeds the loss at the average by the predicted ½⟨H, Σ⟩",
        predicted=float(wanted.mean()),
        measured=float(gained.mean()),
        error=_error(gained - wanted),
        freedom=_BATCHES - 1,
        reason=sampling,
        source=_COHEN if name == "GD" else None,
    )
    return [*claims, loss]


_TIED, _LEFT_OUT = 0.02, 0.03
_BATCHES = 6


def _error(series: np.ndarray) -> float:
    """Return the standard error of the mean of a series, from means over batches."""
    return mean_of_series(series, _BATCHES).error


def _toy(toy: Any) -> Toy:
    edge = float(theory.evaluate(theory.edge("usam"), rho=_RHO, lr=_LR))
    x = math.sqrt(edge - 1)
    variance = 2 * _EPS / ((1 + _RHO * edge) ** 2 * 2 * x)
    system = sf.Map(toy, sf.USAM(rho=_RHO), lr=_LR)
    flow = sf.central_flow(system, [x - 0.002, 0.0], num_steps=100, keep_every=100)
    start = [x, math.sqrt(variance)]
    run = np.asarray(sf.iterate(system, start, num_steps=_DAMPED, keep_every=1).w)[_DAMPED // 2 :]
    return Toy(
        edge=edge,
        sharpness=(float(flow.sharpness[-1]), float(np.mean(1 + run[:, 0] ** 2))),
        variance=(variance, float(flow.variance[-1, 0, 0]), float(np.mean(run[:, 1] ** 2))),
    )


def _growth(toy: Any, lr: float) -> tuple[float, float]:
    """Return the growth of deviations from the edge, by the flow and measured."""
    x = math.sqrt(2 / lr - 1)
    system = sf.Map(toy, sf.USAM(rho=0.0), lr=lr)  # GD, by the program that USAM has
    flow = sf.central_flow(system, [x, 0.0], num_steps=12, keep_every=12)
    start = [x - 1e-4, math.sqrt(_EPS / x)]
    run = np.asarray(sf.iterate(system, start, num_steps=_DAMPED, keep_every=1).w)[:, 0]
    early, late = np.std(run[:2000]), np.std(run[-2000:])
    return float(flow.growth[-1]), float(np.log(late / early) / (_DAMPED - 2000))


def _bursts(toy: Any) -> Path:
    lr, number = 0.3, 750
    start = math.sqrt(2 / lr - 1) - 0.01
    system = sf.Map(toy, sf.USAM(rho=0.0), lr=lr)
    flow = sf.central_flow(system, [start, 0.0], num_steps=number, keep_every=10)
    run = sf.iterate(system, [start, 3e-3], num_steps=number, keep_every=10).w
    return Path(np.asarray(flow.steps), 1 + np.asarray(run)[:, 0] ** 2, np.asarray(flow.sharpness))


def _two_along(w: Any) -> Any:
    """½qᵀMq − pulls·(a, b, c), with M = [[a, b], [b, c]] of three of the weights."""
    a, b, c, y, z = w
    curved = (a * y**2 + 2 * b * y * z + c * z**2) / 2
    return curved - jnp.vdot(jnp.asarray(_PULLS), w[:3])


_PULLS = (3e-4, 1e-4, 2e-4)


def _covariance() -> tuple[np.ndarray, np.ndarray]:
    system = sf.Map(sf.loss(_two_along, dim=5), sf.GD(), lr=0.5)
    start = [3.99, 0.0, 3.99, 0.0, 0.0]
    flow = sf.central_flow(system, start, num_steps=160, num_pairs=3, keep_every=160)
    a, b, c = _PULLS
    return np.linalg.eigvalsh([[2 * a, b], [b, 2 * c]]), np.linalg.eigvalsh(flow.variance[-1])[1:]


def _sam() -> tuple[tuple[float, float, float], Path]:
    pull, start, number = 5e-3, 0.5, 200
    loss = sf.loss(f"(1 + x**2)*(sqrt(1 + y**2) - 1) - {pull}*x")
    system = sf.Map(loss, sf.SAM(rho=_SAM["rho"]), lr=_SAM["lr"])
    flow = sf.central_flow(system, [start, 0.0], num_steps=number, keep_every=10)
    run = sf.iterate(system, [start, _SAM["rho"] / 4], num_steps=number + 1, keep_every=1).w
    end = float(two_step_mean(run, [number])[0, 0])
    # Without oscillation SAM's flow is ẋ = ε.
    alone = abs(end - (start + pull * _SAM["lr"] * number))
    far = float(jnp.nanmax(flow.distance(run)[2:]))
    sizes = np.sqrt(np.asarray(flow.variance)[:, 0, 0])
    path = Path(np.asarray(flow.steps), np.abs(np.asarray(run)[:-1:10, 1]), sizes)
    return (far, float(flow.w[-1, 0] - flow.w[0, 0]), alone), path


def _network(system: sf.Map, w0: Any, pairs: int, progress: Callable[[str], None]) -> Network:
    progress("run")
    run = jnp.asarray(sf.iterate(system, w0, num_steps=_STEPS + 4, keep_every=1).w)
    progress("central flow")
    flow = sf.central_flow(system, w0, num_steps=_STEPS, num_pairs=pairs, keep_every=_EVERY)
    progress("sharpness of the run")
    steps = np.asarray(flow.steps)
    means = two_step_mean(run, steps)
    time = float(system.lr) / (1 - float(system.momentum or 0.0))
    small = sf.Map(system.loss, system.rule, lr=time / 8)
    plain = sf.iterate(small, w0, num_steps=8 * _STEPS, keep_every=8 * _EVERY).w
    losses = np.asarray(jax.lax.map(system.loss, run))
    blocks = [losses[max(k - 1, 0) : k + 3].mean() for k in steps]
    return Network(
        steps=steps,
        leading=_leading(system, means.at[0].set(run[0])),
        flow_leading=_leading(system, flow.w),
        edge=np.asarray(flow.edge),
        critical=np.asarray(flow.num_critical),
        loss=np.array(blocks),
        predicted=np.asarray(flow.mean_loss),
        at_mean=np.asarray(flow.loss),
        distance=np.asarray(flow.distance(run)),
        plain_distance=np.asarray(jnp.linalg.norm(means - plain, axis=1)),
    )


def _leading(system: sf.Map, points: Any) -> np.ndarray:
    """Return the largest eigenvalues of the Hessian at points along a run, each from the last."""
    gd, block, found = sf.Map(system.loss, sf.GD(), lr=1.0), (), []
    for w in points:
        modes = leading_modes(gd, w, _LEADING, block)
        block = modes.block
        found.append(modes.values)
    return np.array(found)
