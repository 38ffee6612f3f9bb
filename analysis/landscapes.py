"""Landscapes on digits: how far parabolas hold, what planes show, where SAM's hold ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow.landscapes import Landscape, random_walk_shares
from samflow.networks.saddles.sliding_sample import SlidingSample

NAME = "landscapes"
TITLE = "Landscapes: SAM holds along negative curvature as far as the slice falls, and no further"
_study = Study(NAME, 'derived in docs/theory, "Sliding" and "Landscapes"')
_LR, _STEPS, _KEPT = 0.2, 2000, 20
"""At the edge of stability, λmax ≈ 2/lr."""
_TOL = 0.01
_RHO = 0.05
_WALKS = 8
_SADDLE_RHO, _BELOW = 0.3, 0.95
_SADDLE_LR, _SADDLE_STEPS, _AWAY = 0.01, 4000, 1e-3
_SEEDS = 3


class Record(NamedTuple):
    """What was measured: a trained perceptron, random walks, two linear layers at zero.

    Attributes:
        plane: the plane of GD's trajectory.
        slices: along the eigenvectors at both ends, with what the parabola departs by 1 %.
        lowest: along the lowest eigenvector, past where the loss turns.
        predicted_departures: from the third and fourth derivatives, shape (2, 2).
        turns: where the slice along the lowest eigenvector has its minima, (low, high).
        ends: the rho at which S ends to be positive along that eigenvector, backwards and forwards.
        walk_shares: what two principal axes hold of each random walk.
        values: the negative eigenvalues of two linear layers at zero.
        saddle_ends: the rho at which S ends along their eigenvectors.
        closed_ends: √(2σ/(vᵀΣv)).
        saddle_window: where the least S found in any direction ends.
        rho: of the orbits.
        sam: the largest ‖g‖ of each orbit of SAM, over what a step changes.
        gd: the same of GD.

    """

    plane: Landscape
    slices: Landscape
    lowest: Landscape
    predicted_departures: np.ndarray
    turns: tuple[float, float]
    ends: tuple[float, float]
    walk_shares: np.ndarray
    values: np.ndarray
    saddle_ends: np.ndarray
    closed_ends: np.ndarray
    saddle_window: float
    rho: float
    sam: np.ndarray
    gd: np.ndarray


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Train the perceptron, look at it along directions, and sample S there and at a saddle."""
    progress("training")
    loss, w = sf.networks.digits_loss(jr.key(0))
    orbit = sf.iterate(sf.Map(loss, sf.GD(), lr=_LR), w, num_steps=_STEPS, keep_every=_KEPT)
    states = np.asarray(orbit.states)
    progress("landscapes")
    plane = sf.landscape(loss, states, num_points=41)
    slices = sf.landscape(loss, states[-1], tol=_TOL, num_points=41)
    progress("S at trained weights")
    sampled = sf.networks.sample_sliding(loss, states[-1], rho=_RHO, k=1, num_random=1, end=False)
    v = slices.directions[1]
    ends = tuple(_end(sampled, sign * v) for sign in (-1, 1))
    lowest = sf.landscape(loss, states[-1], along=v, extent=1.4 * max(ends), num_points=281)
    progress("random walks")
    walks = [_walk_share(seed, len(states), loss.dim) for seed in range(_WALKS)]
    progress("two linear layers")
    return Record(
        plane,
        slices,
        lowest,
        np.stack([_departures(loss, states[-1], u, _TOL) for u in slices.directions]),
        _turns(lowest),
        ends,  # pyright: ignore[reportArgumentType]
        np.array(walks),
        *_saddle(),
    )


def _end(sampled: SlidingSample, e: np.ndarray) -> float:
    """Return the rho at which S ends to be positive along e, one of the eigenvectors."""
    eigen = np.array([kind == "eigenvector" for kind in sampled.kinds])
    cosines = np.where(eigen, sampled.directions @ e, -1.0)
    return float(sampled.ends[int(np.argmax(cosines))])


def _turns(found: Landscape) -> tuple[float, float]:
    """Return where a slice has its first minimum on each side, by parabolas of three values."""
    a, heights = found.offsets[0], found.slices[0]
    middle, places = len(a) // 2, []
    for way in (-1, 1):
        i = middle + way
        while not heights[i - 1] > heights[i] < heights[i + 1]:
            i += way
        below, here, above = heights[i - 1 : i + 2]
        places.append(a[i] + 0.5 * (a[1] - a[0]) * (below - above) / (below - 2 * here + above))
    return float(places[0]), float(places[1])


def _departures(loss: Any, w: np.ndarray, v: np.ndarray, tol: float) -> np.ndarray:
    """Return where |T a/3 + Q a²/12| = tol |c| on both sides, T and Q derivatives of order 3, 4."""

    def line(t: Any) -> Any:
        return loss(jnp.asarray(w) + t * jnp.asarray(v))

    def derivative(f: Any) -> Any:
        return lambda t: jax.jvp(f, (t,), (jnp.ones(()),))[1]

    second = derivative(derivative(line))
    third = derivative(second)
    c, third_, fourth = (
        float(f(jnp.zeros(()))) for f in map(jax.jit, (second, third, derivative(third)))
    )
    found = []
    for sign in (-1, 1):
        roots = np.concatenate(
            [np.roots([fourth / 12, sign * third_ / 3, s * tol * abs(c)]) for s in (-1, 1)]
        )
        real = roots[np.abs(roots.imag) < 1e-12].real
        found.append(sign * real[real > 0].min())
    return np.array(found)


def _walk_share(seed: int, count: int, dim: int) -> float:
    """Return what the first two axes about the end hold of a random walk."""
    walk = np.cumsum(np.random.default_rng(seed).normal(size=(count, dim)), axis=0)
    moved = walk[:-1] - walk[-1]
    values = np.linalg.eigvalsh(moved @ moved.T)
    return float(values[-2:].sum() / values.sum())


def _saddle() -> tuple[Any, ...]:
    """Return S's ends at the zero of two linear layers on digits, and orbits from beside it."""
    x, y = map(np.asarray, sf.networks.load_digits())
    saddle = sf.networks.deep_linear_saddle(x, y, width=1)
    _, strengths, v = np.linalg.svd(y.T @ x / len(x), full_matrices=False)
    spread = np.einsum("ij,jk,ik->i", v, x.T @ x / len(x), v)
    closed = np.sqrt(2 * strengths / spread)
    sampled = sf.networks.sample_sliding(
        saddle.loss, saddle.w, rho=_SADDLE_RHO, k=len(strengths), num_random=8
    )
    eigen = [i for i, kind in enumerate(sampled.kinds) if kind == "eigenvector"]
    falling = [i for i in eigen if sampled.curvatures[i] < 0]
    values = sampled.curvatures[falling]
    rho = _BELOW * sampled.window[1]
    heights = {
        name: np.array([_largest_gradient(saddle, rule, seed) for seed in range(_SEEDS)])
        for name, rule in (("sam", sf.SAM(rho=rho)), ("gd", sf.GD()))
    }
    # ‖g‖ changes by up to lr max|λ| max‖g(w + rho e)‖ in a step; on the quadratic part it is this.
    step = _SADDLE_LR * rho * strengths[0] ** 2
    return (
        values,
        sampled.ends[falling],
        closed[[int(np.argmin(np.abs(strengths + value))) for value in values]],
        sampled.window[1],
        rho,
        heights["sam"] / step,
        heights["gd"] / step,
    )


def _largest_gradient(saddle: Any, rule: Any, seed: int) -> float:
    w0 = _AWAY * jr.normal(jr.key(seed), (len(saddle.w),))
    system = sf.Map(saddle.loss, rule, lr=_SADDLE_LR)
    orbit = sf.iterate(system, w0, num_steps=_SADDLE_STEPS, keep_every=40)
    sizes = jnp.linalg.norm(jax.vmap(saddle.loss.gradient)(orbit.states), axis=1)
    return float(jnp.max(sizes))


def judge(record: Record) -> list[Claim]:
    """Compare slices with S, parabolas with derivatives, planes with walks, ends with theory."""
    walk = float(random_walk_shares(len(record.plane.path_distances)).sum())  # pyright: ignore
    held = 100 * float(record.plane.shares.sum())
    lam = float(record.slices.curvatures[1])
    curved, measured = record.predicted_departures, record.slices.departs
    return [
        *(
            _study.close(
                f"end along the lowest eigenvector, {way}",
                f"at trained weights with λ = {lam:.3g}, S(e) = λ dL(w + rho e)/d rho along an "
                "eigenvector e: SAM's hold along it ends at the rho at which the slice has its "
                "minimum; the quadratic part holds at every rho",
                predicted=abs(turn),
                measured=end,
                rel=0.005,
                reason="S is bisected to 0.2 %, and the minimum is from values 1 % of it apart",
            )
            for way, turn, end in zip(
                ("backwards", "forwards"), record.turns, record.ends, strict=True
            )
        ),
        _study.below(
            "departure of the parabola",
            f"the loss leaves the parabola by {100 * _TOL:g} % where its third and fourth "
            "derivatives say so, along the sharpest and the lowest eigenvector, both ways: largest "
            "relative difference",
            bound=0.05,
            measured=float(np.max(np.abs(measured / curved - 1))),
            reason="the fifth derivative and on",
        ),
        _study.sampled(
            "what a random walk shows in a plane",
            f"two principal axes about the end hold {100 * walk:.3g} % of a random walk in many "
            f"dimensions, with no landscape at all; of GD's trajectory they hold {held:.3g} %",
            predicted=walk,
            measured=float(record.walk_shares.mean()),
            error=float(record.walk_shares.std(ddof=1) / np.sqrt(len(record.walk_shares))),
            bias=1e-3,
            reason="4 standard errors, and terms of order 1/dim",
        ),
        _study.below(
            "ends at a saddle of two layers",
            "two linear layers at zero on digits: along the eigenvector of −σ SAM's hold ends at "
            "rho = √(2σ/(vᵀΣv)), Σ the second moments of the inputs: largest relative difference "
            f"over {len(record.values)} eigenvectors and signs",
            bound=3e-3,
            measured=float(np.max(np.abs(record.saddle_ends / record.closed_ends - 1))),
            reason="S is bisected to 0.2 %",
        ),
        _study.close(
            "no direction ends earlier",
            "the search over the sphere finds no direction in which the hold ends before that of "
            "the earliest of these",
            predicted=float(record.closed_ends.min()),
            measured=record.saddle_window,
            rel=5e-3,
            reason="the least S is bisected to 0.2 %, from above",
        ),
        _study.every(
            "held below",
            f"from beside that zero, at rho = {record.rho:.3g}, {_BELOW:g} of the end, and lr = "
            f"{_SADDLE_LR:g}, SAM keeps ‖g‖ within what one step changes",
            holding=int(np.sum(record.sam < 1)),
            of=_SEEDS,
            what="orbits",
            reason="S > 0 in every direction sampled",
            evidence=Evidence.numerical,
        ),
        _study.every(
            "left by gradient descent",
            "from the same starts gradient descent leaves: its ‖g‖ grows beyond ten such steps",
            holding=int(np.sum(record.gd > 10)),
            of=_SEEDS,
            what="orbits",
            reason="a saddle",
            evidence=Evidence.numerical,
        ),
    ]
