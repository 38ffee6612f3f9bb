"""Normalised SAM at a saddle: where its 2-cycle attracts, in two and in more dimensions."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Study
from samflow import theory

NAME = "saddle-cycles"
TITLE = "Normalised SAM is held by a saddle, or leaves it, as the two bounds say: ρ does not matter"
_study = Study(NAME, "derived in docs/theory.md, Proposition 8")

_RHO = 0.3
_NUM_STEPS = 40_000
_AWAY = 0.02
"""Points with a bound nearer than this, relative to |λ₋|, are left out of the grid."""


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Follow orbits that begin beside the 2-cycle, over a grid and over random saddles."""
    progress("grid in two dimensions")
    lams, lr = _grid()
    agree, held = _compare(lams, lr)
    claims = [
        _study.fact(
            f"grid of {len(lr)} saddles",
            "the 2-cycle along λ₁ attracts iff ηλ₁²/(2 − ηλ₁) < |λ₋| < 2λ₁/(2 − ηλ₁), over λ₁, λ₋ "
            f"and lr ({held} of the saddles have an attracting cycle)",
            predicted=f"{len(lr)} agree",
            measured=f"{agree} agree",
            reason=f"points within {_AWAY:.0%} of a bound are left out: there the multiplier is "
            f"too near 1 to be seen in {_NUM_STEPS} steps",
        )
    ]
    for dim in (3, 5):
        progress(f"random saddles in {dim} dimensions")
        lams, lr = _random(dim)
        agree, held = _compare(lams, lr)
        claims.append(
            _study.fact(
                f"{len(lr)} random saddles, dimension {dim}",
                "the 2-cycle of the largest eigenvalue attracts iff every negative one is between "
                f"the bounds ({held} of the saddles have an attracting cycle)",
                predicted=f"{len(lr)} agree",
                measured=f"{agree} agree",
                reason=f"multipliers within {_AWAY:.0%} of 1 are left out, as above",
            )
        )
    return claims


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


def _compare(lams: np.ndarray, lr: np.ndarray) -> tuple[int, int]:
    """Return how many saddles do what theory says, and how many have an attracting cycle."""
    predicted = np.array(
        [
            theory.stable_cycles(row.tolist(), lr=step) == (0,)
            for row, step in zip(lams, lr, strict=True)
        ]
    )
    system = sf.Map(sf.losses.Quadratic(np.ones(lams.shape[1])), sf.SAM(rho=_RHO), lr=1.0)  # pyright: ignore[reportCallIssue]
    seen = np.asarray(_stays(system, jnp.asarray(lams), jnp.asarray(lr)))
    return int((seen == predicted).sum()), int(predicted.sum())


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
