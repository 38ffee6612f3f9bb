"""Diminishing steps and radii: ‖g‖ → 0 and iterates converge; with constant ones they need not."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from samflow import rules

NAME = "mordukhovich"
TITLE = (
    "With diminishing lr and ρ SAM converges, to a minimum or to a saddle; at constant ρ it drifts"
)
_study = Study(NAME, "Khanh, Luong, Mordukhovich, Tran 2024, arXiv 2401.08060")
_HERE = "derived in docs/theory, sections 3 and 4"
_STEPS = 200_000

_LR, _RHO = 0.2, 0.1
_P, _Q = 0.5, 0.6
"""lr = .2/(k + 1)^.5 and rho = .1/(k + 1)^.6: Σ lr = ∞, and the errors lr‖d − g‖ ≤ L·lr·rho of
gradient descent are summable. The paper's own conditions were not compared: only its abstract."""
_MIDDLE = 0.4
"""rho = .1/(k + 1)^.4: Σ lr·rho = ∞, but Σ lr·rho² < ∞."""
_RULES = {
    "sam": rules.SAM,
    "f-sam": rules.FSAM,
    "vasso": rules.VaSSO,
    "usam": rules.USAM,
}
_STEEPEST = 82.29
"""The largest eigenvalue at Himmelblau's minimum (3, 2)."""
_VALLEY = "(x*y)**2/2"
_U = 1.0


class Record(NamedTuple):
    """‖g‖ at the end of orbits, where they end along a valley, and at a saddle."""

    constant: float
    falling: tuple[float, float]
    relatives: dict[str, float]
    valley: dict[str, float]
    saddle: dict[str, float]


class Falling(eqx.Module):
    """The schedule scale/(k + 1)^power; the power 0 is a constant. Numbers are leaves."""

    scale: Any = eqx.field(converter=lambda value: jnp.asarray(value, float))
    power: Any = eqx.field(converter=lambda value: jnp.asarray(value, float))

    def __call__(self, k: Any) -> Any:
        """Return the value at step k."""
        return self.scale / (k + 1.0) ** self.power


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Follow SAM and its relatives under constant and diminishing steps."""
    steps = _STEPS
    progress("a minimum")
    bowl, start = sf.losses.Quadratic((3.0, 1.0)), [1.0, -1.0]
    fixed = sf.Map(bowl, sf.SAM(rho=_RHO), lr=_LR)
    constant = _gradient(fixed, sf.iterate(fixed, start, num_steps=2000).final_w)
    less = sf.Map(bowl, sf.SAM(rho=Falling(_RHO, _Q)), lr=Falling(_LR, _P))
    orbit = sf.iterate(less, start, num_steps=steps, keep_every=steps // 10)
    progress("relatives of SAM")
    loss = sf.losses.himmelblau()
    relatives = {}
    for name, rule in _RULES.items():
        system = sf.Map(loss, rule(rho=Falling(_RHO, _Q)), lr=Falling(0.01, _P))
        relatives[name] = _gradient(system, sf.iterate(system, [2.5, 2.5], num_steps=steps).final_w)
    progress("a valley")
    valley = {
        name: _along(steps, power)
        for name, power in (("constant", 0), ("middle", _MIDDLE), ("falling", _Q))
    }
    progress("a saddle")
    quartic = sf.losses.quartic()
    saddle = {
        name: float(
            jnp.linalg.norm(
                sf.iterate(
                    sf.Map(quartic, rule, lr=Falling(_LR, _P)), [0.01, 1e-4], num_steps=steps
                ).final_w
            )
        )
        for name, rule in (("sam", sf.SAM(rho=Falling(_RHO, _Q))), ("gd", sf.GD()))
    }
    return Record(
        constant,
        (_gradient(less, orbit.w[1]), _gradient(less, orbit.w[-1])),
        relatives,
        valley,
        saddle,
    )


def judge(record: Record) -> list[Claim]:
    """Compare with the 2-cycle that shrinks, and with the drift along a valley."""
    last, k = record.falling[1], _STEPS
    slope = math.log(last / record.falling[0]) / math.log(10)
    told = "lr = .2/(k + 1)^½, rho = .1/(k + 1)^.6"
    return [
        _study.close(
            "constant steps",
            "‖g‖ of SAM on ½(3x² + y²) at lr = .2, rho = .1 does not tend to 0, but to its value "
            "on the 2-cycle, lr·rho·λ₁²/(2 − lr·λ₁)",
            predicted=_LR * _RHO * 9 / (2 - _LR * 3),
            measured=record.constant,
            rel=1e-9,
            reason="the cycle attracts; rounding",
        ),
        _study.close(
            "diminishing steps",
            f"‖g‖ of SAM with {told} at step {k:,}, on the same loss: that of the 2-cycle for the "
            "lr and rho of the step, which tends to 0",
            predicted=_cycle(k),
            measured=last,
            rel=1 / k,
            reason="the radius shrinks by the share 1.1/k per step, of which |x|⁺ = lr·rho·λ − (1 "
            "− lr·λ)|x| makes a lag of half a step, .55/k",
        ),
        _study.close(
            "rate",
            f"slope of log ‖g‖ against log k over the last tenfold of the steps: −({_P} + {_Q})",
            predicted=-(_P + _Q),
            measured=slope,
            rel=1e-3,
            reason="the factor 1/(2 − lr·λ₁) changes by .15 %: log 1.0015/log 10 = 7e-4",
        ),
        *(
            _study.below(
                f"{name} on Himmelblau's function",
                f"‖g‖ after {k:,} steps from (2.5, 2.5), with lr = .01/(k + 1)^½ and rho = .1/(k + "
                "1)^.6, is below lr·rho·λ₁² there, twice the ‖g‖ of SAM's 2-cycle",
                bound=float(Falling(0.01, _P)(k) * Falling(_RHO, _Q)(k)) * _STEEPEST**2,
                measured=gradient,
                reason="the ascent has the length rho at most, or vanishes with ‖g‖",
            )
            for name, gradient in record.relatives.items()
        ),
        *(
            _study.close(
                f"along a valley, rho = .1/(k + 1)^{power}",
                f"1 − x after {k:,} steps on ½(xy)² from (1, .01) with lr = .2/(k + 1)^½; to "
                f"leading order x is exp(−Σ lr·rho²(2/(2 − lr·x²))²). {what}",
                predicted=_U - _drifted(k, power),
                measured=_U - record.valley[name],
                rel=rel,
                reason="the first steps, which drift by lr·rho² = .002 each, are not yet on the "
                "2-cycle: off by about 1e-4",
                source=_HERE,
            )
            for name, power, what, rel in (
                (
                    "constant",
                    0,
                    "The sum diverges with Σ lr: though ‖g‖ → 0, x has no limit but 0",
                    1e-3,
                ),
                (
                    "middle",
                    _MIDDLE,
                    "The sum converges though Σ lr·rho does not: the iterates converge where "
                    "errors are not summable",
                    0.05,
                ),
                (
                    "falling",
                    _Q,
                    "The sum converges, and the errors are summable",
                    0.05,
                ),
            )
        ),
        _study.fact(
            "a limit may be a saddle",
            f"from (.01, .0001) beside the quartic's saddle at 0, SAM with {told} converges to the "
            "saddle, where ‖g‖ → 0, and GD with the same lr leaves it",
            predicted="SAM stays, GD leaves",
            measured=", ".join(
                f"{rule.upper()} {'stays' if away < 1e-3 else 'leaves'}"
                for rule, away in record.saddle.items()
            ),
            reason="the flow holds at every rho < 1, and the map too as lr → 0",
            evidence=Evidence.numerical,
            source=_HERE,
        ),
    ]


def _cycle(k: int) -> float:
    lr = float(Falling(_LR, _P)(k))
    return lr * float(Falling(_RHO, _Q)(k)) * 9 / (2 - lr * 3)


def _gradient(system: sf.Map, w: Any) -> float:
    return float(jnp.linalg.norm(system.loss.gradient(w)))


def _along(steps: int, power: float) -> float:
    """Return x at the end of an orbit beside the minima of ½(xy)²."""
    system = sf.Map(sf.loss(_VALLEY), sf.SAM(rho=Falling(_RHO, power)), lr=Falling(_LR, _P))
    return float(sf.iterate(system, [_U, 0.01], num_steps=steps).final_w[0])


def _drifted(steps: int, power: float) -> float:
    """Return x by the drift of docs/theory, section 4, with the lr and rho of each step."""
    k = np.arange(steps)
    lr, rho = Falling(_LR, _P)(k), Falling(_RHO, power)(k)
    x = _U
    for a, b in zip(lr.tolist(), rho.tolist(), strict=True):
        x -= a * x * (2 * b / (2 - a * x * x)) ** 2
    return x
