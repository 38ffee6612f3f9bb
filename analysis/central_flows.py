"""Central flows at the edge of stability: toys with closed forms, and a network on real digits."""

import itertools
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
_WINDOW = 300
"""The last steps of a run, over which averages are compared: several bursts."""

CASES = {
    "GD": (sf.GD(), 0.14, None),
    "heavy ball": (sf.GD(), 0.15, 0.5),
    "USAM": (sf.USAM(rho=0.02), 0.12, None),
    "SAM": (sf.SAM(rho=0.02), 0.12, None),
}
"""Rule, lr and momentum of each run on digits; each reaches its edge half-way."""


class Toy(NamedTuple):
    """USAM on the valley (1 + x²)(√(1 + y²) − 1) − εx: the flow beside a run."""

    edge: float
    sharpness: tuple[float, float]
    """Of the flow, and the average of the run."""
    variance: tuple[float, float, float]
    """In closed form, of the flow, and the average of the run."""


class Network(NamedTuple):
    """A run of `_STEPS` steps on digits beside its central flow and its rule's own flow.

    Attributes:
        steps: at which all else is given.
        sharpness: of the run, at its time average over two steps; of a plain flow it is that
            of the rule's flow.
        edge: at which the rule flips, by the flow.
        critical: how many directions oscillate, by the flow.
        loss: of the run; its average over four steps.
        predicted: the loss with the oscillation, by the flow.
        at_mean: the loss at the flow's point.
        distance: of the run's average from the flow.
        plain_distance: of the same from the rule's flow ẇ = −d(w).
        flow: what the flow says of itself.

    """

    steps: np.ndarray
    sharpness: np.ndarray
    edge: np.ndarray
    flow_sharpness: np.ndarray
    critical: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray
    at_mean: np.ndarray
    distance: np.ndarray
    plain_distance: np.ndarray
    flow: str


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
        for name, (rule, lr, momentum) in CASES.items():
            system = sf.Map(loss, rule, lr=lr, momentum=momentum)
            networks[name] = _network(system, w0, lambda at, name=name: progress(f"{name}: {at}"))
    return Record(
        toy=_toy(toy),
        growth={lr: _growth(toy, lr) for lr in _LRS},
        covariance=_covariance(),
        sam=_sam(),
        networks=networks,
    )


def _toy(toy: Any) -> Toy:
    edge = float(theory.evaluate(theory.edge("usam"), rho=_RHO, lr=_LR))
    x = math.sqrt(edge - 1)
    variance = 2 * _EPS / ((1 + _RHO * edge) ** 2 * 2 * x)
    system = sf.Map(toy, sf.USAM(rho=_RHO), lr=_LR)
    flow = sf.central_flow(system, [x - 0.005, 0.0], num_steps=200, keep_every=200)
    start = [x, math.sqrt(variance)]
    run = np.asarray(sf.iterate(system, start, num_steps=2 * _DAMPED, keep_every=1).w)[_DAMPED:]
    return Toy(
        edge=edge,
        sharpness=(float(flow.sharpness[-1]), float(np.mean(1 + run[:, 0] ** 2))),
        variance=(variance, float(flow.variance[-1, 0, 0]), float(np.mean(run[:, 1] ** 2))),
    )


def _growth(toy: Any, lr: float) -> tuple[float, float]:
    """Return the growth of deviations from the edge, by the flow and measured."""
    x = math.sqrt(2 / lr - 1)
    system = sf.Map(toy, sf.GD(), lr=lr)
    flow = sf.central_flow(system, [x, 0.0], num_steps=30, keep_every=30)
    start = [x - 1e-4, math.sqrt(_EPS / x)]
    run = np.asarray(sf.iterate(system, start, num_steps=_DAMPED, keep_every=1).w)[:, 0]
    early, late = np.std(run[:2000]), np.std(run[-2000:])
    return float(flow.growth[-1]), float(np.log(late / early) / (_DAMPED - 2000))


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


def _sam() -> tuple[float, float, float]:
    pull, start, number = 5e-3, 0.5, 400
    loss = sf.loss(f"(1 + x**2)*(sqrt(1 + y**2) - 1) - {pull}*x")
    system = sf.Map(loss, sf.SAM(rho=_SAM["rho"]), lr=_SAM["lr"])
    flow = sf.central_flow(system, [start, 0.0], num_steps=number, keep_every=10)
    run = sf.iterate(system, [start, _SAM["rho"] / 4], num_steps=number + 1, keep_every=1).w
    end = float(two_step_mean(run, [number])[0, 0])
    # Without oscillation SAM's flow is ẋ = ε.
    alone = abs(end - (start + pull * _SAM["lr"] * number))
    far = float(jnp.nanmax(flow.distance(run)[2:]))
    return far, float(flow.w[-1, 0] - flow.w[0, 0]), alone


def _network(system: sf.Map, w0: Any, progress: Callable[[str], None]) -> Network:
    progress("run")
    run = jnp.asarray(sf.iterate(system, w0, num_steps=_STEPS + 4, keep_every=1).w)
    progress("central flow")
    flow = sf.central_flow(system, w0, num_steps=_STEPS, num_pairs=5, keep_every=_EVERY)
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
        sharpness=_sharpness(system, means.at[0].set(run[0])),
        edge=np.asarray(flow.edge),
        flow_sharpness=np.asarray(flow.sharpness),
        critical=np.asarray(flow.num_critical),
        loss=np.array(blocks),
        predicted=np.asarray(flow.mean_loss),
        at_mean=np.asarray(flow.loss),
        distance=np.asarray(flow.distance(run)),
        plain_distance=np.asarray(jnp.linalg.norm(means - plain, axis=1)),
        flow=str(flow),
    )


def _sharpness(system: sf.Map, points: Any) -> np.ndarray:
    """Return the largest eigenvalue of the Hessian at points along a run, each from the last."""
    gd, block, found = sf.Map(system.loss, sf.GD(), lr=1.0), (), []
    for w in points:
        modes = leading_modes(gd, w, 1, block)
        block = modes.block
        found.append(modes.values[0])
    return np.array(found)
