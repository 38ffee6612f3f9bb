"""A network that fits its digits: SGD's minimum is mean-square stable for SGD, not for SAM."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from analysis.size import Size
from samflow.networks import digits_loss
from samflow.noise import (
    MiniBatch,
    mean_square_rate,
    sample_paths,
    stability_threshold,
    typical_rate,
)
from samflow.noise.batch_moments import BatchMoments
from samflow.noise.batch_operator import operator, update
from samflow.noise.linearisation import linearise

NAME = "digits-noise"
TITLE = "Mean-square stability on a real network: an MLP (64–16–10, tanh) that fits 20 digits"
_study = Study(NAME, "[Z] section 4; exact operator derived in docs/theory.md, section 7")

NUM_IMAGES, HIDDEN, LR, BATCH_SIZE, RHO = 20, 16, 0.1, 2, 0.05
TRAINING_STEPS = 6000
NUM_RUNS = {Size.full: 1000, Size.small: 250}
"""Runs with different seeds."""
START = 1e-10
"""They begin at a Gaussian displacement of this size."""
SMALL_SIZE = "250 runs in the place of 1000."
COMPARED = (4, 8)
"""Steps at which means are compared; later a few runs carry them, and their errors mean nothing."""
FITTED = (12, 32)
"""Steps between which the growth of single runs is fitted: after the start, before the escape."""
LAST = 80


def minimum() -> tuple[Any, Any, float]:
    """Return the loss, a minimum that SGD found, and how far it was moved to fit perfectly.

    SGD stops at a loss of 1e-6; a few steps of Gauss and Newton make the fit perfect.
    """
    loss, w0 = digits_loss(jr.key(0), num_images=NUM_IMAGES, hidden=HIDDEN)
    found = sample_paths(
        _system(loss, 0.0), w0, key=jr.key(1), num_paths=1, num_steps=TRAINING_STEPS
    )
    reached = w = found.w[0, -1]
    residuals = lambda v: jnp.ravel(loss.predict(v) - loss.y)  # noqa: E731
    jacobian = eqx.filter_jit(jax.jacrev(residuals))
    for _ in range(8):
        w = w - jnp.linalg.lstsq(jacobian(w), residuals(w))[0]
    return loss, w, float(jnp.linalg.norm(w - reached))


def _system(loss: Any, rho: float) -> sf.StochasticMap:
    rule = sf.USAM(rho=rho) if rho else sf.GD()  # pyright: ignore[reportCallIssue]
    step = sf.Map(loss, rule, lr=LR)  # pyright: ignore[reportCallIssue]
    return sf.StochasticMap(step, MiniBatch(BATCH_SIZE))


def losses(loss: Any, w: Any, rho: float, num_runs: int) -> np.ndarray:
    """Return the loss of every run at every step, shape (LAST + 1, num_runs)."""
    starts = w + START * jr.normal(jr.key(5), (num_runs, loss.dim))
    paths = sample_paths(
        _system(loss, rho), starts, key=jr.key(7), num_paths=num_runs, num_steps=LAST, keep_every=1
    )
    values = eqx.filter_jit(lambda rows: jax.lax.map(jax.vmap(loss), rows))
    return np.asarray(values(jnp.swapaxes(paths.w, 0, 1)))


def expected(loss: Any, w: Any, rho: float, steps: int) -> np.ndarray:
    """Return E L after 0, 1, ... steps from the same start: ½ tr(H Tᵏ(P₀)), exactly."""
    data = linearise(loss, w)
    moments = BatchMoments(data, BATCH_SIZE, replacement=False)
    apply = operator(moments, update(_system(loss, rho)))
    hessian = data.hessians().mean(axis=0)
    p, means = START**2 * np.eye(data.span_dim), []
    for _ in range(steps + 1):
        means.append(0.5 * np.sum(hessian * p))
        p = apply(p)
    return np.array(means)


def run(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> list[Claim]:
    """Train, ask for the rates of SGD and USAM, and compare them with many runs."""
    num_runs = NUM_RUNS[size]
    progress("training by SGD to a perfect fit")
    loss, w, moved = minimum()
    progress("threshold of SGD")
    threshold = stability_threshold(_system(loss, 0.0), w)
    progress("rates of USAM")
    usam = _system(loss, RHO)
    mean_square, typical = (
        mean_square_rate(usam, w),
        typical_rate(usam, w, key=jr.key(3), num_steps=500),
    )
    progress(f"{num_runs} runs of SGD and of USAM")
    kept, left = (losses(loss, w, rho, num_runs) for rho in (0.0, RHO))
    claims = [
        _study.below(
            "stable for SGD",
            f"SGD's lr is below the exact mean-square threshold of the minimum it found (moved by "
            f"{moved:.2g} to a perfect fit), batches of {BATCH_SIZE}",
            bound=threshold.value,
            measured=LR,
            reason="an inequality",
        ),
        _study.fact(
            "unstable for SAM",
            f"for USAM with rho = {RHO} at the same lr the same minimum is mean-square unstable, "
            f"at the rate {mean_square.rate:.4f} a step, and typically, at {typical.rate:.4f}",
            predicted="unstable, unstable",
            measured=f"{mean_square.verdict}, {typical.verdict}",
            reason="exact operator; 95 % interval of the exponent",
        ),
        _study.fact(
            "runs",
            f"of {num_runs} runs from 1e-10 away, those with a loss above 1e-6 after {LAST} steps: "
            "SGD, USAM",
            predicted=f"0, {num_runs}",
            measured=f"{int(np.sum(~(kept[-1] <= 1e-6)))}, {int(np.sum(left[-1] > 1e-6))}",
            reason="a count",
        ),
    ]
    for name, rho, values in (("SGD", 0.0, kept), ("USAM", RHO, left)):
        exact = expected(loss, w, rho, COMPARED[-1])
        for k in COMPARED:
            claims.append(
                _study.close(
                    f"{name}, mean loss at step {k}",
                    f"mean loss of {num_runs} runs against the exact second moment",
                    predicted=float(exact[k]),
                    measured=float(values[k].mean()),
                    absolute=4 * float(values[k].std(ddof=1)) / num_runs**0.5,
                    reason="four standard errors of the mean",
                )
            )
    first, last = FITTED
    slopes = (np.log(left[last]) - np.log(left[first])) / (last - first)
    error = slopes.std(ddof=1) / num_runs**0.5
    claims.append(
        _study.close(
            "USAM, typical growth",
            f"mean growth of log L a step between steps {first} and {last}, against twice the "
            "Lyapunov exponent; the mean square grows faster",
            predicted=2 * typical.rate,
            measured=float(slopes.mean()),
            absolute=4 * float(np.hypot(error, 2 * typical.standard_error)),
            reason="four standard errors of runs and exponent together",
        )
    )
    return claims
