"""Normalised SAM at a saddle: where its 2-cycle attracts, in two and in more dimensions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow import theory

NAME = "saddle-cycles"
TITLE = "Two bounds decide whether a saddle holds normalised SAM; ρ does not matter"
_study = Study(NAME, "derived in docs/theory, Proposition 8")

_RHO = 0.3
_NUM_STEPS = 40_000
_AWAY = 0.02
"""Points with a bound nearer than this, relative to |λ₋|, are left out of the grid."""
_AWAY_FACTOR = 1 + _AWAY
_DIMS = (2, 3, 5)

_LOWEST, _HIGHEST = 0.02, 20.0
_PIXELS = {Size.full: 120, Size.small: 60}
PLANE_STEPS = 20_000
SMALL_SIZE = "60 by 60 saddles in the plane instead of 120 by 120."
LEAVES, CYCLE, TRAP = 0, 1, 2
"""What an orbit does."""


class Compared(NamedTuple):
    """How many saddles there are, how many do what theory says, how many have such a cycle."""

    number: int
    agree: int
    held: int


class Plane(NamedTuple):
    """What the orbit does from a random start beside the saddle, over a plane of saddles.

    With λ₁ = 1: `lr` and `ratio` = |λ₋| at the edges of the pixels, `codes` by row of `ratio`.
    """

    lr: np.ndarray
    ratio: np.ndarray
    codes: np.ndarray
    steps: int = PLANE_STEPS

    @property
    def middles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lr and ratio in the middle of each pixel."""
        return middles(self.lr, self.ratio)


class Record(NamedTuple):
    """Orbits beside the 2-cycle by dimension, and a plane of saddles from nearby."""

    compared: dict[int, Compared]
    plane: Plane


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow orbits that begin beside the 2-cycle, and orbits that begin beside the saddle."""
    compared = {}
    for dim in _DIMS:
        progress(f"saddles in {dim} dimensions")
        compared[dim] = _compare(*(_grid() if dim == 2 else _random(dim)))
    progress("a plane of saddles")
    count = _PIXELS[size] + 1
    lr, ratio = np.linspace(0.01, 1.99, count), np.geomspace(_LOWEST, _HIGHEST, count)
    return Record(compared, Plane(lr, ratio, outcomes(*middles(lr, ratio))))


def judge(record: Record) -> list[Claim]:
    """Compare with the two bounds, and with the ball of gradients that is kept."""
    grid = record.compared[2]
    claims = [
        _study.every(
            f"grid of {grid.number} saddles",
            "an orbit that starts beside the 2-cycle along λ₁ converges to it iff "
            "ηλ₁²/(2 − ηλ₁) < |λ₋| < 2λ₁/(2 − ηλ₁), over a grid of λ₁, λ₋ and η "
            f"({grid.held} of the saddles have an attracting cycle)",
            holding=grid.agree,
            of=grid.number,
            what="agree",
            reason=f"saddles within {_AWAY:.0%} of a bound are left out beforehand: there the "
            f"multiplier is too near 1 to decide in {_NUM_STEPS} steps",
            evidence=Evidence.numerical,
        )
    ]
    claims += [
        _study.every(
            f"{found.number} random saddles, dimension {dim}",
            "an orbit that starts beside the 2-cycle along the largest eigenvalue converges to it "
            "iff every negative eigenvalue lies between the same bounds "
            f"({found.held} of the saddles have an attracting cycle)",
            holding=found.agree,
            of=found.number,
            what="agree",
            reason=f"saddles with a multiplier within {_AWAY:.0%} of 1 are left out beforehand: "
            f"{_NUM_STEPS} steps do not decide them",
            evidence=Evidence.numerical,
        )
        for dim, found in record.compared.items()
        if dim > 2
    ]
    lr, ratio = record.plane.middles
    # Where the ball is invariant it holds ‖g‖ ≤ η·ρ·max λ², and starts are far inside.
    kept = (ratio > _AWAY_FACTOR * lr / np.minimum(1, 2 - lr)) & (ratio * _AWAY_FACTOR < 1 / lr)
    return [
        *claims,
        _study.every(
            "the invariant ball",
            "a ball of gradients around the saddle is invariant if η|λ₋| < 1 and "
            "|λ₋| > λ₁·ηλ₁/min(1, 2 − ηλ₁): from a random start at distance ρ/1000 no orbit leaves",
            holding=int((record.plane.codes[kept] != LEAVES).sum()),
            of=int(kept.sum()),
            what="stay",
            reason=f"the invariance is proved; {PLANE_STEPS:,} steps; saddles within {_AWAY:.0%} "
            "of a bound are left out beforehand",
            evidence=Evidence.numerical,
            source="derived in docs/theory, Proposition 10",
        ),
    ]


def middles(lr: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lr and ratio in the middle of each pixel, as grids."""
    x, y = 0.5 * (lr[1:] + lr[:-1]), np.sqrt(ratio[1:] * ratio[:-1])
    grid = np.meshgrid(x, y)
    return grid[0], grid[1]


def outcomes(lr: np.ndarray, ratio: np.ndarray, num_steps: int = PLANE_STEPS) -> np.ndarray:
    """Return what the orbit of each (lr, ratio) does, with λ₁ = 1 and |λ₋| = ratio."""
    system = sf.Map(sf.losses.Quadratic((1.0, -1.0)), sf.SAM(rho=1.0), lr=1.0)  # pyright: ignore[reportCallIssue]
    keys = jr.split(jr.key(0), lr.size)
    codes = _outcomes(system, jnp.ravel(lr), jnp.ravel(ratio), keys, num_steps)
    return np.asarray(codes).reshape(lr.shape)


@eqx.filter_jit
def _outcomes(system: Any, lr: Array, ratio: Array, keys: Array, num_steps: int) -> Array:
    rho = system.rule.rho

    def one(step: Array, m: Array, key: Array) -> Array:
        lams = jnp.stack([jnp.ones_like(m), -m])
        moved = eqx.tree_at(lambda s: (s.loss.lams, s.lr), system, (lams, step))
        turn = jr.uniform(key) * 2 * jnp.pi
        start = 1e-3 * rho * jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        end = lax.fori_loop(0, num_steps, lambda _, w: moved.step(w), start)
        again = moved.step(moved.step(end))
        far = ~(jnp.linalg.norm(end) < 10 * rho * (1 + m))
        cycle = jnp.linalg.norm(again - end) < 1e-6 * jnp.linalg.norm(end)
        return jnp.where(far, LEAVES, jnp.where(cycle, CYCLE, TRAP))

    return jax.vmap(one)(lr, ratio, keys)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    lam, weak, lr = np.meshgrid(
        [0.5, 1.0, 3.0], np.geomspace(0.02, 12, 40), np.linspace(0.05, 1.9, 26), indexing="ij"
    )
    lam, m, lr = lam.ravel(), (weak * lam).ravel(), (lr / lam).ravel()
    low, high = lr * lam**2 / (2 - lr * lam), 2 * lam / (2 - lr * lam)
    kept = (np.abs(m / low - 1) > _AWAY) & (np.abs(m / high - 1) > _AWAY)
    # A multiplier is within 1e-3 of 1 where η|λ₋| is small, however far from the bound.
    kept &= lr * np.minimum(np.abs(m - low), np.abs(high - m)) > 1e-3
    return np.stack([lam, -m], axis=1)[kept], lr[kept]


def _random(dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(dim)
    lams = rng.uniform(0.1, 1.0, (400, dim))
    signs = np.where(rng.random((400, dim - 1)) < 0.4, -1, 1)
    signs[:, 0] = -1
    lams[:, 1:] *= signs * rng.uniform(0.3, 1.0, (400, 1))
    lams[:, 0] = 1.0
    lr = rng.uniform(0.1, 1.8, 400)
    x = lr[:, None] * lams[:, 1:] + lams[:, 1:] ** 2 * (2 - lr[:, None])
    kept = (np.abs(np.abs(1 - x) - 1) > _AWAY).all(axis=1)
    return lams[kept], lr[kept]


def _compare(lams: np.ndarray, lr: np.ndarray) -> Compared:
    """Follow an orbit beside the 2-cycle of each saddle."""
    predicted = np.array(
        [
            theory.stable_cycles(row.tolist(), lr=step) == (0,)
            for row, step in zip(lams, lr, strict=True)
        ]
    )
    system = sf.Map(sf.losses.Quadratic(np.ones(lams.shape[1])), sf.SAM(rho=_RHO), lr=1.0)  # pyright: ignore[reportCallIssue]
    seen = np.asarray(_stays(system, jnp.asarray(lams), jnp.asarray(lr)))
    return Compared(len(lr), int((seen == predicted).sum()), int(predicted.sum()))


@eqx.filter_jit
def _stays(system: Any, lams: Array, lr: Array) -> Array:
    """Say for each saddle whether an orbit beside the 2-cycle along the first axis comes to it."""

    def one(lam: Array, step: Array) -> Array:
        moved = eqx.tree_at(lambda s: (s.loss.lams, s.lr), system, (lam, step))
        radius = step * _RHO * lam[0] / (2 - step * lam[0])
        start = radius * jnp.full(len(lam), 1e-4).at[0].set(1 + 1e-4)
        end = lax.fori_loop(0, _NUM_STEPS, lambda _, w: moved.step(w), start)
        return jnp.linalg.norm(jnp.abs(end) - radius * jnp.eye(len(lam))[0]) < 1e-6 * radius

    return jax.vmap(one)(lams, lr)
