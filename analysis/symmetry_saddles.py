"""Saddles that symmetry makes in networks: GD leaves, USAM is held from rho = 1/|λ₋| on."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from samflow.networks.saddles.critical import critical_point
from samflow.networks.saddles.deep_linear import deep_linear_saddle
from samflow.networks.saddles.holding import departure, holding_threshold
from samflow.networks.saddles.symmetries import (
    SymmetrySaddle,
    duplication_saddle,
    permutation_saddle,
)

NAME = "symmetry-saddles"
TITLE = "Networks' saddles by symmetry: USAM is held from 1/|λ₋| on, of the weakest λ₋"
_study = Study(NAME, "[K] theorem 1; eigenvalues derived in docs/theory.md")

SIGMA = 2.0
DEGENERATE_LR = 0.2
DEGENERATE_RHOS = (10.0, 20.0, 50.0)
_DISTANCE = 2e-3
_SCAN = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of rho tried at the saddle of order three."""


def data(seed: int, inputs: int, outputs: int, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return Gaussian inputs, and Gaussian targets of twice their size that no unit can fit."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, inputs)), 2 * generator.normal(size=(n, outputs))


def perceptron(seed: int, inputs: int, outputs: int, width: int, *, bias: bool) -> eqx.nn.MLP:
    """Return a random perceptron with one hidden layer of tanh."""
    return eqx.nn.MLP(
        inputs,
        outputs,
        width,
        1,
        activation=jnp.tanh,
        use_bias=bias,
        use_final_bias=bias,
        key=jr.key(seed),
    )


def duplicated(seed: int, inputs: int, *shares: float, bias: bool) -> list[SymmetrySaddle]:
    """Return a trained network of one unit with this unit duplicated, one for each share."""
    x, y = data(seed, inputs, 1)
    model = perceptron(seed, inputs, 1, 1, bias=bias)
    loss = sf.losses.network(model, x, y)
    model = loss.unflatten(critical_point(loss, loss.flatten(model)).w)
    return [duplication_saddle(model, x, y, unit=0, share=share) for share in shares]


def saddles() -> dict[str, SymmetrySaddle]:
    """Return a saddle of each kind."""
    x, y = data(0, 3, 2)
    whitened = np.sqrt(len(x)) * np.linalg.qr(x)[0]
    alike = perceptron(0, 2, 2, 3, bias=True)
    return {
        "duplicated unit": duplicated(37, 2, 0.5, bias=True)[0],
        "three units alike": permutation_saddle(alike, *data(22, 2, 2), alike=(0, 1, 2)),
        "linear, 2 layers, zero": deep_linear_saddle(x, y, width=3),
        "linear, 3 layers, one mode": deep_linear_saddle(whitened, y, width=3, layers=3, learned=1),
    }


def degenerate() -> tuple[SymmetrySaddle, np.ndarray]:
    """Return three linear layers at zero, and the direction in which the loss falls fastest."""
    x = np.sqrt(2) * np.eye(2)
    saddle = deep_linear_saddle(x, x * [SIGMA, SIGMA / 2], width=2, layers=3)
    direction = np.zeros(len(saddle.eigenvalues))
    direction[::4] = 1 / np.sqrt(3)  # the entry (0, 0) of each of the three matrices
    return saddle, direction


def run(progress: Callable[[str], None] = lambda message: None) -> list[Claim]:
    """Compare rates, both sides of the threshold and the threshold itself, saddle by saddle."""
    claims = []
    for name, saddle in saddles().items():
        progress(name)
        claims += _spectrum(name, saddle) + _rates(name, saddle) + _threshold(name, saddle)
    progress("a unit duplicated without a saddle")
    claims += _sign_of_the_block()
    progress("a saddle of order three")
    return claims + _order_three()


def _spectrum(name: str, saddle: SymmetrySaddle) -> list[Claim]:
    distances = np.abs(saddle.closed_form[:, None] - saddle.eigenvalues).min(axis=1)
    return [
        _study.below(
            f"{name}: eigenvalues",
            f"largest distance of the {len(distances)} eigenvalues in closed form from those of "
            f"the dense Hessian, {len(saddle.eigenvalues)} weights, ‖g‖ = "
            f"{saddle.gradient_norm:.1e}",
            bound=1e-12,
            measured=float(distances.max()),
            reason="rounding, for max|λ| < 10",
        )
    ]


def _rates(name: str, saddle: SymmetrySaddle) -> list[Claim]:
    strength, lr = abs(saddle.weakest), 0.5 * saddle.largest_lr
    claims = []
    for part in (0.0, 0.9, 1.1):
        # With rho = 0 this is GD, in the program that serves all rho.
        system = sf.Map(saddle.loss, sf.USAM(rho=part / strength), lr=lr)  # pyright: ignore
        found = departure(saddle, system, along=saddle.direction)
        kept = "is held" if part > 1 else "leaves"
        claims += [
            _study.fact(
                f"{name}: rho = {part:g}/|λ₋|",
                f"{'USAM' if part else 'GD'}, rho = {part:g}/|λ₋|, {kept}",
                predicted=part > 1,
                measured=found.held,
                reason="whether the displacement shrinks",
            ),
            _study.close(
                f"{name}: rate at {part:g}",
                "its rate a step along the weakest eigenvector, log(1 + lr|λ₋|(1 − rho|λ₋|))",
                predicted=float(np.log1p(lr * strength * (1 - part))),
                measured=found.rate,
                rel=1e-3,
                reason="quadratic terms at 1e-3 of the unit of weight, where the fit ends",
            ),
        ]
    return claims


def _threshold(name: str, saddle: SymmetrySaddle) -> list[Claim]:
    found = holding_threshold(saddle, lr=0.5 * saddle.largest_lr)
    return [
        _study.close(
            f"{name}: threshold",
            f"the smallest rho that holds, by bisection on {found.num_orbits} orbits that start "
            "along all eigenvectors of λ ≠ 0, is 1/|λ₋| of the weakest λ₋",
            predicted=found.predicted,
            measured=found.rho,
            rel=0.01,
            reason="the bracket is 0.5 % wide, and slopes are told apart within it",
        )
    ]


def _sign_of_the_block() -> list[Claim]:
    claims = []
    shares = (0.5, 1.5)
    for share, saddle in zip(shares, duplicated(22, 1, *shares, bias=False), strict=True):
        found = holding_threshold(saddle, lr=0.01)
        claims.append(
            _study.fact(
                f"one input, share {share:g}",
                "with C > 0, the only entry of its block, a duplicated unit is a saddle with a "
                "threshold of rho iff its share is outside [0, 1]",
                predicted=not 0 <= share <= 1,
                measured=bool(np.isfinite(saddle.weakest) and np.isfinite(found.rho)),
                reason="the sign of α(1 − α)C; orbits of GD are held where there is no saddle",
            )
        )
    return claims


def _order_three() -> list[Claim]:
    saddle, along = degenerate()
    found = holding_threshold(
        saddle, lr=DEGENERATE_LR, along=along, distance=_DISTANCE, scan=_SCAN, num_steps=4000
    )
    claims = [
        _study.fact(
            "3 layers, zero: no threshold",
            f"H = 0, and GD and USAM with each rho of {_SCAN} move away from zero",
            predicted=True,
            measured=not found.held.any(),
            reason="g is of second order in w, and rho g(w) smaller than w the nearer to zero",
        )
    ]
    for rho in DEGENERATE_RHOS:
        system = sf.Map(saddle.loss, sf.USAM(rho=rho), lr=DEGENERATE_LR)  # pyright: ignore
        moved = departure(saddle, system, along=along, distance=_DISTANCE, num_steps=20_000)
        claims.append(
            _study.close(
                f"3 layers, zero: rho = {rho:g}",
                "USAM stalls beside zero where w + rho g(w) = 0, at distance √3/(rho σ): a "
                "semi-stable point, neared like 1/k",
                predicted=float(np.sqrt(3) / (rho * SIGMA)),
                measured=float(moved.sizes[-1]),
                rel=0.03,
                reason="the gap is 1/k of the time, and terms of the sixth order in w",
            )
        )
    return claims
