"""Diffusion models: weak order 1 in lr of each, and what it rests on; Ornstein-Uhlenbeck."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.linalg
import scipy.sparse.linalg

import samflow as sf
from analysis.claims import Claim, Study
from analysis.compiling import quickly
from samflow import rules
from samflow.systems import EulerMaruyama
from samflow.systems.gradient_noise import TiltedLoss

NAME = "weak-order"
TITLE = "Diffusion models of SGD, USAM, DNSAM and SAM: weak order 1 in lr, and its conditions"
_study = Study(NAME, "Compagnoni et al. 2023, arXiv 2301.08203; docs/theory, section 8")

LRS = 2.0 ** -np.arange(4, 12)
FITTED = 6
"""Of the finest of `LRS` an order is fitted to so many."""
RHO_SCALE = 0.4
"""rho = this times √lr."""
FIXED_RHO = 0.15
NAMES = ("gd", "usam", "dnsam", "sam")
_LABELS = {"gd": "SGD", "usam": "USAM", "dnsam": "DNSAM", "sam": "SAM"}
POINTS = 19
"""Points a side of the torus: expectations change by less than 1e-8 with more of them."""
EXAMPLES = (
    "2*x + 0.8*y + 0.3*sin(x + y)",
    "-0.9*x + 1.2*y + 0.2*cos(x) + 0.2*sin(y)",
    "0.8*x - 0.4*y + 0.25*sin(x - y)",
)
"""Gradients of period 2π, never 0, nor is their mean: no SAM's direction jumps anywhere."""
_START, _END, _STEPS = 2.0, 0.5, 256
"""Ornstein and Uhlenbeck's process: from where, until when, in how many steps."""
_CURVATURE = np.array([[1.5, 0.4], [0.4, 0.5]])
_SIGMA = np.array([[1.0, -0.6], [-0.6, 0.8]])


@functools.cache
def torus_loss() -> sf.losses.FiniteSumLoss:
    """Return the mean of `EXAMPLES`, of which a step draws one."""
    return sf.losses.mean([sf.loss(text) for text in EXAMPLES])


def grid() -> np.ndarray:
    """Return the points of the torus, shape (POINTS², 2)."""
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    return np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)


def observed(w: np.ndarray) -> np.ndarray:
    """Return φ(w) = sin x + cos y."""
    return np.sin(w[:, 0]) + np.cos(w[:, 1])


class Model(NamedTuple):
    """Drift (points, 2) and covariance (points, 2, 2) of an equation on the grid."""

    drift: np.ndarray
    covariance: np.ndarray


@quickly
def _on_grid(system: sf.Diffusion, w: Any) -> tuple[Any, Any]:
    return jax.vmap(system.drift)(w), jax.vmap(system.diffusion)(w)


def model(name: str, rho: float, lr: float, moments: str = "leading") -> Model:
    """Return the diffusion model of the rule called `name` on the torus."""
    noise = sf.noise.MiniBatch(1)
    system = sf.Diffusion(torus_loss(), rules.rule(name, rho=rho), lr, noise, moments)  # pyright: ignore[reportCallIssue]
    drift, factor = map(np.asarray, _on_grid(system, jnp.asarray(grid())))
    return Model(drift, factor @ factor.transpose(0, 2, 1))


def of_whole_norm(rho: float, lr: float) -> Model:
    """Return DNSAM's model with the drift −∇(f + rho‖∇f‖) in the place of its own."""
    drift = -np.asarray(_regularised_slope(torus_loss(), jnp.asarray(rho), jnp.asarray(grid())))
    return model("dnsam", rho, lr)._replace(drift=drift)


@quickly
def _regularised_slope(f: Any, rho: Any, points: Any) -> Any:
    return jax.vmap(jax.grad(lambda w: f(w) + rho * jnp.linalg.norm(f.gradient(w))))(points)


def after_model(found: Model, t1: float = 1.0) -> np.ndarray:
    """Return E φ(X(t1)) for a start at each point of the grid, by e^(t1 A) φ.

    The generator A acts on trigonometric polynomials.
    """
    dx, dy, dxx, dyy, dxy = _derivatives()
    c = found.covariance
    generator = found.drift[:, :1] * dx + found.drift[:, 1:] * dy
    generator += 0.5 * c[:, 0, 0, None] * dxx + 0.5 * c[:, 1, 1, None] * dyy
    generator += c[:, 0, 1, None] * dxy
    return scipy.sparse.linalg.expm_multiply(t1 * generator, observed(grid()))


@functools.cache
def _derivatives() -> tuple[np.ndarray, ...]:
    """Return ∂x, ∂y, ∂xx, ∂yy, ∂xy of trigonometric polynomials by their values on the grid."""
    frequency, unit = np.fft.fftfreq(POINTS, 1 / POINTS), np.eye(POINTS)
    first = np.fft.ifft(1j * frequency[:, None] * np.fft.fft(unit, axis=0), axis=0).real
    second = first @ first
    pairs = ((first, unit), (unit, first), (second, unit), (unit, second), (first, first))
    return tuple(np.kron(a, b) for a, b in pairs)


@quickly
def _images(loss: Any, rule: Any, lr: Any, w: Any) -> Any:
    """Return where each example takes each point, shape (examples, points, 2)."""
    drawn = [loss.batch([i]) for i in range(len(EXAMPLES))]
    return jnp.stack([jax.vmap(sf.Map(part, rule, lr=lr).step)(w) for part in drawn])


@functools.cache
def after_map(name: str, rho: float, lr: float, t1: float = 1.0) -> np.ndarray:
    """Return E φ(w_k), k = t1/lr, for a start at each point, by applying the transition k times.

    u(w) becomes (1/n) Σ u(F_i(w)), u a trigonometric polynomial in each coordinate.
    """
    images = np.asarray(_images(torus_loss(), rules.rule(name, rho=rho), lr, jnp.asarray(grid())))
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    step = np.zeros((POINTS**2, POINTS**2))
    for image in images:
        along = [_cardinal(image[:, i, None] - x) for i in (0, 1)]
        step += np.einsum("pi,pj->pij", *along).reshape(step.shape) / len(images)
    value = observed(grid())
    for _ in range(round(t1 / lr)):
        value = step @ value
    return value


def _cardinal(distance: np.ndarray) -> np.ndarray:
    """Return the trigonometric polynomial that is 1 at 0 and 0 at the other points."""
    modes = np.arange(1, POINTS // 2 + 1)
    return (1 + 2 * np.cos(distance[..., None] * modes).sum(axis=-1)) / POINTS


def quadratic_errors(covariance: str, strong: bool) -> np.ndarray:
    """Return |E‖w_k‖² − E‖X(1)‖²| of USAM on a quadratic with additive noise, for each lr.

    Args:
        covariance: "leading"; "published", Σ + rho (S + Sᵀ); or "sgd", Σ.
        strong: whether the noise grows as 1/lr, so that lr Σ is fixed.

    """
    return np.array([_quadratic_error(covariance, strong, lr) for lr in LRS])


def _quadratic_error(covariance: str, strong: bool, lr: float) -> float:
    loss = sf.loss("0.75*x**2 + 0.4*x*y + 0.25*y**2")
    rule = sf.USAM(rho=RHO_SCALE * lr**0.5)
    noise = sf.noise.AdditiveNoise(_SIGMA, lr if strong else 1.0)
    system = sf.Diffusion(loss, rule, lr, noise)  # pyright: ignore[reportCallIssue]
    slope, (push, factor, published) = _linear(system)
    q = {
        "leading": factor @ factor.T,
        "published": published,
        "sgd": lr * np.asarray(noise.covariance),
    }[covariance]
    start = np.array([1.0, -0.5])
    # The map: moments by recursion.
    second, a = np.outer(start, start), np.eye(2) - lr * slope
    added = lr**2 * push @ np.asarray(noise.covariance) @ push.T
    for _ in range(round(1 / lr)):
        second = a @ second @ a.T + added
    # The equation: d vec P/dt = (A ⊕ A) vec P + vec Q.
    whole = np.zeros((5, 5))
    whole[:4, :4] = -np.kron(slope, np.eye(2)) - np.kron(np.eye(2), slope)
    whole[:4, 4] = q.ravel()
    modelled = scipy.linalg.expm(whole) @ np.append(np.outer(start, start), 1.0)
    return abs(float(np.trace(second) - modelled[0] - modelled[3]))


@quickly
def _linear_parts(system: sf.Diffusion) -> Any:
    zero = jnp.zeros(2)
    d = lambda w, xi: system.rule.step(TiltedLoss(system.loss, xi), w, w[:0])[0]  # noqa: E731
    slope, push = jax.jacfwd(d, argnums=(0, 1))(zero, zero)
    return slope, (push, system.diffusion(zero), system.expanded_covariance(zero))


def _linear(system: sf.Diffusion) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return ∂d/∂w, ∂d/∂ξ of the update itself, and the model's factor and covariance."""
    return jax.tree.map(np.asarray, _linear_parts(system))


def torus_errors(
    name: str, make: Callable[[float, float], Model], rho: float | None = None
) -> np.ndarray:
    """Return the error of E φ(X(1)) for E φ(w_k), of a rule called `name` and a model, for each lr.

    The root mean square over all starts on the grid: a single start may lie where the error
    changes its sign. rho is RHO_SCALE √lr unless it is given.
    """
    errors = []
    for lr in LRS:
        radius = RHO_SCALE * lr**0.5 if rho is None else rho
        apart = after_map(name, radius, lr) - after_model(make(radius, lr))
        errors.append(np.sqrt(np.mean(apart**2)))
    return np.array(errors)


def order(errors: np.ndarray) -> tuple[float, float]:
    """Return p and twice its standard error in log|e| = log C + p log lr + c √lr + r lr.

    The errors themselves are exact: the interval is that of the fit, for terms of higher order.
    """
    lr = LRS[-FITTED:]
    columns = np.stack([np.ones_like(lr), np.log(lr), lr**0.5, lr], axis=1)
    solution, residue, *_ = np.linalg.lstsq(columns, np.log(errors[-FITTED:]), rcond=None)
    variance = float(residue[0]) / (FITTED - columns.shape[1])
    spread = np.linalg.inv(columns.T @ columns)[1, 1]
    return float(solution[1]), 2 * float(np.sqrt(variance * spread))


class Curve(NamedTuple):
    """Errors at `LRS`, the order that theory gives them, and what they are errors of."""

    errors: np.ndarray
    predicted: float
    statement: str


def shrinking() -> dict[str, Curve]:
    """Return the errors on the torus where rho shrinks as √lr."""
    curves = {
        name: Curve(
            torus_errors(name, functools.partial(model, name)),
            1,
            f"weak order of {_LABELS[name]}'s diffusion model, for three nonlinear examples on the "
            "torus of which each step draws one, with rho = .4 √lr",
        )
        for name in NAMES
    }
    bare = lambda rho, lr: _without_noise(model("usam", rho, lr))  # noqa: E731
    return curves | {
        "usam, SGD's model": Curve(
            torus_errors("usam", functools.partial(model, "gd")),
            0.5,
            "weak order if SGD's model, without the terms in rho, is used for USAM",
        ),
        "dnsam, gradient drift": Curve(
            torus_errors("dnsam", of_whole_norm),
            0.5,
            "weak order for DNSAM if its drift −∇f − rho E[H_γ g_γ]/‖∇f‖, with γ the example "
            "drawn, is replaced by −∇(f + rho‖∇f‖)",
        ),
        "usam, no covariance": Curve(
            torus_errors("usam", bare),
            1,
            "weak order if USAM's model has no covariance: the covariance does not raise the order",
        ),
    }


def fixed() -> dict[str, Curve]:
    """Return the errors on the torus where rho stays."""
    return {
        f"{name}, {moments}": Curve(
            torus_errors(
                name,
                lambda rho, lr, name=name, moments=moments: model(name, rho, lr, moments),
                FIXED_RHO,
            ),
            float(moments == "exact"),
            f"weak order for {_LABELS[name]} at rho = {FIXED_RHO} for every lr, if the model's "
            f"drift and covariance are {words}",
        )
        for name in ("usam", "sam")
        for moments, words in (("exact", "exact"), ("leading", "of first order in rho"))
    }


def strong() -> dict[str, Curve]:
    """Return the errors on a quadratic where the noise grows as 1/lr."""
    words = {
        "leading": (1, "(I + rho H) Σ (I + rho H)"),
        "published": (1, "Σ + rho (S + Sᵀ)"),
        "sgd": (0.5, "Σ alone"),
    }
    return {
        kind: Curve(
            quadratic_errors(kind, strong=True),
            predicted,
            "weak order for E‖w‖² of USAM on a quadratic where lr·Σ is fixed, if the covariance of "
            f"the model is {formula}",
        )
        for kind, (predicted, formula) in words.items()
    }


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        lrs: the learning rates.
        names: the rules on the torus.
        fixed_rho: rho of the curves in `fixed`.
        quadratic: errors on a quadratic with noise of a fixed covariance.
        strong: the same where the noise grows as 1/lr, by covariance.
        shrinking: errors on the torus where rho shrinks as √lr.
        fixed: the same where rho stays.
        ends: Ornstein and Uhlenbeck's X(½) from `START`, one per path.

    """

    lrs: np.ndarray
    names: tuple[str, ...]
    fixed_rho: float
    quadratic: Curve
    strong: dict[str, Curve]
    shrinking: dict[str, Curve]
    fixed: dict[str, Curve]
    ends: np.ndarray


def measure(progress: Callable[[str], None] = lambda message: None) -> Record:
    """Compute the errors, and sample Ornstein and Uhlenbeck's process."""
    progress("quadratic")
    quadratic = Curve(
        quadratic_errors("leading", strong=False),
        1,
        "weak order of USAM's diffusion model for E‖w‖², on a quadratic with additive noise of "
        "fixed covariance Σ",
    )
    noisy = strong()
    progress("torus, rho = O(√lr)")
    first = shrinking()
    progress("torus, rho fixed")
    second = fixed()
    progress("Ornstein-Uhlenbeck")
    return Record(LRS, NAMES, FIXED_RHO, quadratic, noisy, first, second, _ends())


def judge(record: Record) -> list[Claim]:
    """Compare the orders, and Ornstein and Uhlenbeck's rates."""
    weak = {"quadratic": record.quadratic}
    weak |= {f"strong noise, {kind}": curve for kind, curve in record.strong.items()}
    weak |= record.shrinking | record.fixed
    return [_of_order(name, curve) for name, curve in weak.items()] + _rates(record.ends)


def _of_order(name: str, curve: Curve) -> Claim:
    slope, interval = order(curve.errors)
    return _study.close(
        name,
        curve.statement,
        predicted=curve.predicted,
        measured=slope,
        absolute=0.02,
        reason="both expectations are computed exactly; slope over lr = 2⁻⁶ to 2⁻¹¹, with an error "
        f"of ±{interval:.1g} from the fit",
    )


def _ends() -> np.ndarray:
    """Return X(½) of dX = −X dt + √2 dB by Euler and Maruyama's steps, one per path."""
    equation = sf.FunctionDiffusion(
        lambda z: (-z[0],), lambda z: ((2**0.5,),), dim=1, name="ou", elementwise=True
    )
    paths = sf.noise.sample_paths(
        EulerMaruyama(equation, dt=_END / _STEPS),  # pyright: ignore[reportCallIssue]
        [_START],
        key=jr.key(0),
        num_paths=200_000,
        num_steps=_STEPS,
    )
    return np.asarray(paths.w[:, -1, 0])


def _rates(x: np.ndarray) -> list[Claim]:
    """Check E He_n(X_t) = e^(−nt) He_n(x₀)."""
    claims = []
    for n in range(1, 5):
        hermite = np.eye(n + 1)[n]
        values = np.polynomial.hermite_e.hermeval(x, hermite)
        begin = float(np.polynomial.hermite_e.hermeval(_START, hermite))
        error = values.std() / x.size**0.5 / abs(values.mean()) / _END
        claims.append(
            _study.sampled(
                f"Ornstein-Uhlenbeck, n = {n}",
                f"E He_{n}(X), with He_{n} a Hermite polynomial, decays at the rate {n}, since the "
                f"generator has the eigenvalue −{n}",
                predicted=n,
                measured=float(-np.log(values.mean() / begin) / _END),
                error=float(error),
                bias=n * _END / _STEPS,
                reason=f"four standard errors over {x.size:,} paths, plus twice Euler's n·dt/2",
                source="Risken 1989, The Fokker-Planck Equation, section 5.5.1",
            )
        )
    return claims


def _without_noise(found: Model) -> Model:
    return found._replace(covariance=np.zeros_like(found.covariance))
