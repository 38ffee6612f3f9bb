"""Saddles that symmetry makes in networks: GD leaves, USAM is held from rho = 1/|λ₋| on."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from samflow.networks.saddles.critical import critical_point
from samflow.networks.saddles.deep_linear import deep_linear_saddle
from samflow.networks.saddles.holding import (
    Departure,
    HoldingThreshold,
    departure,
    holding_threshold,
)
from samflow.networks.saddles.symmetries import (
    SymmetrySaddle,
    duplication_saddle,
    permutation_saddle,
)

NAME = "symmetry-saddles"
TITLE = "Saddles of networks by symmetry: USAM stays for rho > 1/|λ₋|, with the weakest λ₋"
SMALL_SIZE = (
    "only a duplicated unit and two linear layers; three equal units, and three linear layers with "
    "one learned mode, are left out."
)
_study = Study(NAME, "[K] theorem 1; eigenvalues derived in docs/theory")

SIGMA = 2.0
DEGENERATE_LR = 0.2
DEGENERATE_RHOS = (10.0, 20.0, 50.0)
DRAWN_PARTS = tuple(float(part) for part in np.linspace(0, 1.6, 9))
"""ρ|λ₋| at which the figure has rates, for the first saddle."""
_SHIFT = 0.05
"""By how much that of the next is larger, so that markers stand apart."""
_PARTS = (0.0, 0.9, 1.1)
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


def saddles(size: Size = Size.full) -> dict[str, SymmetrySaddle]:
    """Return a saddle of each kind; in the small size, two."""
    x, y = data(0, 3, 2)
    found = {
        "duplicated unit": duplicated(37, 2, 0.5, bias=True)[0],
        "linear, 2 layers, zero": deep_linear_saddle(x, y, width=3),
    }
    if size is Size.full:
        whitened = np.sqrt(len(x)) * np.linalg.qr(x)[0]
        alike = perceptron(0, 2, 2, 3, bias=True)
        found |= {
            "three units alike": permutation_saddle(alike, *data(22, 2, 2), alike=(0, 1, 2)),
            "linear, 3 layers, one mode": deep_linear_saddle(
                whitened, y, width=3, layers=3, learned=1
            ),
        }
    return found


def degenerate() -> tuple[SymmetrySaddle, np.ndarray]:
    """Return three linear layers at zero, and the direction in which the loss falls fastest."""
    x = np.sqrt(2) * np.eye(2)
    saddle = deep_linear_saddle(x, x * [SIGMA, SIGMA / 2], width=2, layers=3)
    direction = np.zeros(len(saddle.eigenvalues))
    direction[::4] = 1 / np.sqrt(3)  # the entry (0, 0) of each of the three matrices
    return saddle, direction


class Followed(NamedTuple):
    """What was followed at one saddle.

    Attributes:
        closed_form: its eigenvalues in closed form.
        eigenvalues: those of the dense Hessian.
        gradient_norm: ‖g‖ there.
        weakest: the weakest negative eigenvalue.
        lr: the step size of departures and bisection.
        departures: by ρ|λ₋|.
        threshold: the bisection.
        parts: ρ|λ₋| of the figure.
        slopes: rates over η|λ₋| there, for a smaller step size.

    """

    closed_form: np.ndarray
    eigenvalues: np.ndarray
    gradient_norm: float
    weakest: float
    lr: float
    departures: dict[float, Departure]
    threshold: HoldingThreshold
    parts: np.ndarray
    slopes: np.ndarray


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        followed: by name of the saddle.
        duplicated: by share: whether there is a negative eigenvalue, and whether a threshold.
        held: whether each rho tried held the orbit at the saddle of order three, 0 first.
        stalls: orbits there by rho, 0 first.
        sigma: the largest singular value of its data.

    """

    followed: dict[str, Followed]
    duplicated: dict[float, tuple[bool, bool]]
    held: np.ndarray
    stalls: dict[float, Departure]
    sigma: float


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Follow orbits at each saddle."""
    followed = {}
    for i, (name, saddle) in enumerate(saddles(size).items()):
        progress(name)
        followed[name] = _follow(saddle, np.array(DRAWN_PARTS) + i * _SHIFT)
    progress("a unit duplicated without a saddle")
    shares = (0.5, 1.5)
    alike = zip(shares, duplicated(22, 1, *shares, bias=False), strict=True)
    thresholds = {
        share: (
            bool(np.isfinite(saddle.weakest)),
            bool(np.isfinite(holding_threshold(saddle, lr=0.01).rho)),
        )
        for share, saddle in alike
    }
    progress("a saddle of order three")
    saddle, along = degenerate()
    found = holding_threshold(
        saddle, lr=DEGENERATE_LR, along=along, distance=_DISTANCE, scan=_SCAN, num_steps=4000
    )
    stalls = {}
    for rho in (0.0, *DEGENERATE_RHOS):
        system = sf.Map(saddle.loss, sf.USAM(rho=rho), lr=DEGENERATE_LR)  # pyright: ignore
        stalls[rho] = departure(saddle, system, along=along, distance=_DISTANCE, num_steps=20_000)
    return Record(followed, thresholds, np.asarray(found.held), stalls, SIGMA)


def _follow(saddle: SymmetrySaddle, parts: np.ndarray) -> Followed:
    strength, lr = abs(saddle.weakest), 0.5 * saddle.largest_lr
    # Small enough for the slope, and for λmax at the largest rho.
    small = min(0.3 * saddle.largest_lr, 0.02 / strength)

    def moved(part: float, step: float) -> Departure:
        # With rho = 0 this is GD, in the program that serves all rho.
        system = sf.Map(saddle.loss, sf.USAM(rho=part / strength), lr=step)  # pyright: ignore
        return departure(saddle, system, along=saddle.direction)

    slopes = [moved(part, small).rate / (small * strength) for part in parts]
    return Followed(
        np.asarray(saddle.closed_form),
        np.asarray(saddle.eigenvalues),
        float(saddle.gradient_norm),
        float(saddle.weakest),
        lr,
        {part: moved(part, lr) for part in _PARTS},
        holding_threshold(saddle, lr=lr),
        parts,
        np.array(slopes),
    )


def judge(record: Record) -> list[Claim]:
    """Compare rates, both sides of the threshold and the threshold itself, saddle by saddle."""
    claims = []
    for name, found in record.followed.items():
        claims += [_spectrum(name, found), *_rates(name, found), _threshold(name, found)]
    return [*claims, *_sign_of_the_block(record), *_order_three(record)]


def _spectrum(name: str, found: Followed) -> Claim:
    distances = np.abs(found.closed_form[:, None] - found.eigenvalues).min(axis=1)
    return _study.below(
        f"{name}: eigenvalues",
        f"the {len(distances)} eigenvalues that are known in closed form, against those of the "
        f"dense Hessian of {len(found.eigenvalues)} weights, at ‖g‖ = {found.gradient_norm:.1e}: "
        "largest difference",
        bound=1e-12,
        measured=float(distances.max()),
        reason="rounding, for max|λ| < 10",
    )


def _rates(name: str, found: Followed) -> list[Claim]:
    strength, claims = abs(found.weakest), []
    for part, moved in found.departures.items():
        rule = f"USAM with rho = {part:g}/|λ₋|" if part else "GD, that is rho = 0,"
        claims += [
            _study.fact(
                f"{name}: rho = {part:g}/|λ₋|",
                f"does {rule} stay at the saddle?",
                predicted=part > 1,
                measured=moved.held,
                reason="it stays if a small displacement shrinks",
                evidence=Evidence.numerical,
            ),
            _study.close(
                f"{name}: rate at {part:g}",
                "growth rate per step of this displacement, which is along the eigenvector of the "
                "weakest λ₋: log(1 + lr|λ₋|(1 − rho|λ₋|))",
                predicted=float(np.log1p(found.lr * strength * (1 - part))),
                measured=moved.rate,
                rel=1e-3,
                reason="quadratic terms; the fit ends at a displacement of 1e-3",
            ),
        ]
    return claims


def _threshold(name: str, found: Followed) -> Claim:
    return _study.close(
        f"{name}: threshold",
        "the smallest rho at which USAM stays is 1/|λ₋| for the weakest λ₋: bisection on "
        f"{found.threshold.num_orbits} orbits that start along all eigenvectors with λ ≠ 0",
        predicted=1 / abs(found.weakest),
        measured=found.threshold.rho,
        rel=0.01,
        reason="the bracket is 0.5 % wide, and growth and decay are still distinguished in it",
    )


def _sign_of_the_block(record: Record) -> list[Claim]:
    return [
        _study.fact(
            f"one input, share {share:g}",
            "with one input, duplicating a unit with share α makes a saddle, with a threshold in "
            "rho, iff α is outside [0, 1]; its block of the Hessian is one number C > 0. Compared: "
            "is there a negative eigenvalue, is there a threshold?",
            predicted=(not 0 <= share <= 1,) * 2,
            measured=found,
            reason="the eigenvalue has the sign of α(1 − α)C; without a negative eigenvalue GD "
            "itself stays",
            evidence=Evidence.numerical,
        )
        for share, found in record.duplicated.items()
    ]


def _order_three(record: Record) -> list[Claim]:
    claims = [
        _study.every(
            "3 layers, zero: no threshold",
            "three linear layers have H = 0 at zero: GD, and USAM with rho = "
            f"{', '.join(f'{rho:g}' for rho in _SCAN)}, leave it",
            holding=int(np.sum(~record.held)),
            of=1 + len(_SCAN),
            what="rules leave",
            reason="g is of second order in w, so that near zero rho·g(w) is small against w",
            evidence=Evidence.numerical,
        )
    ]
    for rho, moved in record.stalls.items():
        if not rho:
            continue
        claims.append(
            _study.close(
                f"3 layers, zero: rho = {rho:g}",
                "USAM stalls at distance √3/(rho σ) from zero, where w + rho g(w) = 0. This is a "
                "semi-stable fixed point, which orbits approach like 1/k",
                predicted=float(np.sqrt(3) / (rho * record.sigma)),
                measured=float(moved.sizes[-1]),
                rel=0.03,
                reason="after k steps a distance of order 1/k remains; terms of sixth order in w",
            )
        )
    return claims
