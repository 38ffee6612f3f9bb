"""Checks of `diagnose` on trained networks: dense matrices, and running the rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.compiling import initialised
from analysis.size import Size
from samflow import networks
from samflow.losses import network
from samflow.networks import Checkpoint, Diagnosis, convolutional, load_digits, perceptron
from samflow.spectra.products import hessian_product

NAME = "checkpoints"
TITLE = "Trained networks: extreme Hessian eigenvalues, and how perturbations grow under each rule"
SMALL_SIZE = "only a perceptron; convolutional networks on digits and on MNIST are left out."
_study = Study(NAME, "derived in docs/theory, sections 1, 2 and 10")

RHO = 0.05
EFFORT = networks.Effort(num_eigenpairs=3, density_probes=3, trace_products=40)
_NUM_DIGITS = 300
_DECAY = 3e-3
"""Of the losses by cross-entropy, ½ decay ‖w‖²: without it there is no minimum to be near."""
_MOST_DENSE = 2000
"""Weights up to which the Hessian is formed."""
_STEPS = 5
"""How long a perturbation is followed: at these large lr the point itself moves on."""
_DISTANCE = 1e-6
_SIDES = (0.9, 1.1)
"""lr·U(λmax) over its limit: a rule that keeps the sharpest direction, and one that leaves."""


class Trained(NamedTuple):
    """A network with what training made of it."""

    name: str
    checkpoint: Checkpoint
    lr: float


def _perceptron() -> Trained:
    x, y = load_digits(_NUM_DIGITS)
    (model,) = initialised(lambda key: perceptron(key, hidden=24), [jr.key(0)])
    loss = network(model, x, y, name="perceptron on digits")
    return _train("perceptron", loss, model, lr=0.05, steps=1500)


def _convolutional() -> Trained:
    x, y = load_digits(_NUM_DIGITS)
    made = lambda key: convolutional(key, side=8, channels=(4, 8), hidden=16)  # noqa: E731
    (model,) = initialised(made, [jr.key(0)])
    images, classes = x.reshape(-1, 1, 8, 8), np.argmax(y, axis=1)
    settings = {"loss": "cross_entropy", "weight_decay": _DECAY}
    loss = network(model, images, classes, name="CNN on digits", **settings)
    return _train("CNN", loss, model, lr=0.1, steps=600)


def _mnist() -> Trained:
    x, y = networks.load_mnist(2000)
    model = convolutional(jr.key(0))
    settings = {"loss": "cross_entropy", "weight_decay": _DECAY, "dtype": "float32"}
    loss = network(model, x, y, name="CNN on MNIST", **settings)
    return _train("MNIST CNN", loss, model, lr=0.1, steps=250)


def _train(name: str, loss: Any, model: Any, *, lr: float, steps: int) -> Trained:
    """Run GD with momentum from the model's weights; full batch, so that g gets small."""
    system = sf.Map(loss, sf.GD(), lr=lr, momentum=0.9)  # pyright: ignore[reportCallIssue]
    z = system.lift(loss.flatten(model))
    for _ in range(steps):
        z = _step(system, z)
    return Trained(name, Checkpoint(loss, system.position(z), name), lr)


@eqx.filter_jit
def _step(system: Any, z: Any) -> Any:
    return system.step(z)


class Gap(NamedTuple):
    """Growth of a perturbation along the sharpest direction, a step."""

    lr: float
    predicted: float
    measured: float


class Examined(NamedTuple):
    """What was found of one network.

    Attributes:
        found: what `diagnose` says.
        eigenvalues: of the dense Hessian, ascending; None where it is too large.
        gaps: by rule, inside the edge and outside.

    """

    found: Diagnosis
    eigenvalues: np.ndarray | None
    gaps: dict[str, tuple[Gap, Gap]]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> dict[str, Examined]:
    """Train and diagnose each network, and follow perturbations."""
    makers = {"perceptron": _perceptron}
    if size is Size.full:
        makers |= {"CNN": _convolutional, "MNIST CNN": _mnist}
    record = {}
    for name, make in makers.items():
        progress(f"{name}: training, then its curvature")
        made = make()
        found = networks.diagnose(made.checkpoint, rho=RHO, lr=made.lr, effort=EFFORT)
        dense = _dense(made, found.dim) if found.dim <= _MOST_DENSE else None
        progress(f"{name}: perturbations under each rule")
        record[name] = Examined(found, dense, _gaps(made, found))
    return record


def _dense(made: Trained, dim: int) -> np.ndarray:
    # Column by column from one compiled product: a compiled loop over convolutions is slow.
    product = hessian_product(made.checkpoint.loss, made.checkpoint.w)
    hessian = np.stack([product(unit) for unit in np.eye(dim)])
    return np.linalg.eigvalsh((hessian + hessian.T) / 2)


def judge(record: dict[str, Examined]) -> list[Claim]:
    """Compare each diagnosis with dense matrices, and with what perturbations did."""
    claims: list[Claim] = []
    for name, (found, eigenvalues, gaps) in record.items():
        if eigenvalues is None:
            claims.append(_residuals(name, found))
        else:
            claims += _against_dense(name, found, eigenvalues)
        claims += _perturbations(name, gaps)
    return claims


def _against_dense(name: str, found: Diagnosis, values: np.ndarray) -> list[Claim]:
    k = len(found.pairs.values) // 2
    wanted = np.concatenate([values[:k], values[-k:]])
    error = np.abs(np.asarray(found.pairs.values) - wanted).max() / values[-1]
    assert found.trace is not None
    return [
        _study.below(
            f"{name}: ends of the spectrum",
            f"the {k} smallest and the {k} largest of {found.dim} Hessian eigenvalues, which lie "
            f"between {values[0]:.4g} and {values[-1]:.4g}, from Hessian-vector products alone: "
            "largest error over λmax",
            bound=1e-6,
            measured=float(error),
            reason="compared with the dense Hessian, diagonalised; "
            f"{found.pairs.num_products} products instead of {found.dim}",
        ),
        _study.sampled(
            f"{name}: trace",
            "tr H by XTrace with 40 products, against the sum of all eigenvalues",
            predicted=float(values.sum()),
            measured=float(found.trace.value),
            error=float(found.trace.standard_error),
            reason="four standard errors, as XTrace estimates them",
        ),
    ]


def _residuals(name: str, found: Diagnosis) -> Claim:
    ratio = float(np.max(found.pairs.residuals) / np.abs(found.pairs.values).max())
    return _study.below(
        f"{name}: residuals",
        f"Hessian eigenvalues of {found.dim} weights in single precision, between "
        f"{float(found.pairs.values[0]):.4g} and {found.sharpness:.4g}: largest residual over λmax",
        bound=2e-5,
        measured=ratio,
        reason="a hundred times the rounding of single precision",
    )


def _gaps(made: Trained, found: Diagnosis) -> dict[str, tuple[Gap, Gap]]:
    """Follow a perturbation along the sharpest direction on either side of each rule's edge."""
    v, by_rule = np.asarray(found.pairs.vectors[-1]), {}
    for rule, verdict in zip((sf.GD(), sf.USAM(rho=RHO)), found.rules, strict=False):
        gaps = []
        for side in _SIDES:
            # U along v does not depend on lr, the limit 2 does not on the rule.
            lr = side * verdict.limit / float(verdict.measured[-1])
            # With rho = 0 USAM is GD, and runs the same compiled program.
            same = rule if isinstance(rule, sf.USAM) else sf.USAM(rho=0.0)  # pyright: ignore
            system = sf.Map(made.checkpoint.loss, same, lr=lr)  # pyright: ignore
            predicted = float(np.log(abs(1 - lr * verdict.measured[-1])))
            gaps.append(Gap(lr, predicted, _growth(system, made.checkpoint.w, v)))
        by_rule[rule.name] = tuple(gaps)
    return by_rule


def _perturbations(name: str, gaps: dict[str, tuple[Gap, Gap]]) -> list[Claim]:
    claims = []
    for rule, (inside, outside) in gaps.items():
        claims += [
            _study.fact(
                f"{name}: {rule}'s edge",
                "a perturbation along the sharpest direction decays 10 % below the edge of "
                f"stability, at lr = {inside.lr:.4g}, and grows 10 % above it, at lr = "
                f"{outside.lr:.4g}. Rates per step: {inside.measured:.4f} and "
                f"{outside.measured:.4f}, predicted {inside.predicted:.4f} and "
                f"{outside.predicted:.4f}",
                predicted=True,
                measured=inside.measured < 0 < outside.measured,
                reason="two orbits that start 1e-6 apart",
                evidence=Evidence.numerical,
            ),
            _study.close(
                f"{name}: {rule}'s growth",
                "growth rate per step of this perturbation above the edge, log|1 − lr·U|, over "
                f"{_STEPS} steps",
                predicted=outside.predicted,
                measured=outside.measured,
                rel=0.05,
                reason="lr·U may drift by 1 % in these steps, which changes the rate by 1.8 times "
                "as much",
            ),
        ]
    return claims


def _growth(system: Any, w: Any, v: np.ndarray) -> float:
    """Return the mean log-growth a step, along v, of the distance between two orbits."""
    here, there = w, w + _DISTANCE * jnp.asarray(v)
    for _ in range(_STEPS):
        here, there = _step(system, here), _step(system, there)
    return float(np.log(abs(v @ np.asarray(there - here)) / _DISTANCE) / _STEPS)
