"""Every relative of SAM at one saddle and one maximum: what theory says, what orbits do."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

import samflow as sf
from analysis.claims import Claim, Study
from samflow import rules

NAME = "relatives"
TITLE = "The relatives of SAM at a saddle and at a maximum"
_study = Study(NAME, "docs/theory.md, section 5")
_RHO, _LR = 0.1, 0.05
_SADDLE, _MAXIMUM = (1.0, -0.5), (-1.0, -1.0)
_HELD = "held"
_TABLE = {
    "gd": ("leaves", "leaves"),
    "usam": ("leaves", "leaves"),
    "sam": ("cycle", "trap"),
    "practical-sam": ("cycle", "trap"),
    "multistep-sam": ("cycle", "trap"),
    "ssam": ("attractor", "attractor"),
    "pgn": ("cycle", "trap"),
    "lookahead-sam": (_HELD, "trap"),
    "optimistic-sam": ("cycle", "trap"),
    "gcsam": (_HELD, "leaves"),
    "average-sam": ("leaves", "leaves"),
    "m-sam": ("cycle", "trap"),
    "n-sam": ("cycle", "trap"),
    "f-sam": ("leaves", "leaves"),
    "vasso": (_HELD, "trap"),
    "dp-sat": ("leaves", "leaves"),
}
"""At rho = .1, lr = .05, other settings by default. "held": cycle or trap, theory does not say
which. GCSAM's flow leaves this saddle (1ᵀH⁻¹1 = −1); what holds its map is the 2-cycle of
Proposition 14's last remark. ASAM is left out: at a weight of 0 it has no scale."""


class Quadratic(eqx.Module):
    """½ Σ λᵢ wᵢ², with λ as an array: one program serves both points."""

    lams: jax.Array

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the loss."""
        return 0.5 * jnp.sum(self.lams * w**2)


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Follow orbits of every rule from near the two points."""
    claims = []
    for name, expected in _TABLE.items():
        progress(name)
        claims.append(
            _study.fact(
                rules.RULES[name].name,
                "orbits from next to a saddle (λ = 1, −.5), and to a maximum (λ = −1, −1)",
                predicted=", ".join(expected),
                measured=", ".join(
                    _seen(name, lams, word)
                    for lams, word in zip((_SADDLE, _MAXIMUM), expected, strict=True)
                ),
                reason="12 random starts at rho/1000, 12,000 steps; all must agree",
            )
        )
    return claims


def _seen(name: str, lams: tuple[float, ...], expected: str) -> str:
    loss = sf.loss(Quadratic(jnp.array(lams)), dim=2)
    system = sf.Map(loss, rules.rule(name, rho=_RHO), lr=_LR)  # pyright: ignore
    fates = set(sf.fate(system, [0.0, 0.0], num_starts=12, num_steps=12_000).fates)
    if expected == _HELD and fates <= {"cycle", "trap"}:
        return _HELD
    return " and ".join(sorted(fates))
