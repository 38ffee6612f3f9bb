"""A network that fits its digits: SGD's minimum is mean-square stable for SGD, not for SAM."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from analysis.statistics import Mean, mean_of, redrawn
from samflow.networks import digits_loss
from samflow.noise import (
    MiniBatch,
    mean_square_rate,
    sample_paths,
    stability_threshold,
    typical_rate,
)
from samflow.noise.interpolation.batch_moments import BatchMoments
from samflow.noise.interpolation.batch_operator import operator, update
from samflow.noise.interpolation.linearisation import linearise

NAME = "digits-noise"
TITLE = "Mean-square stability on a real network: an MLP (64–16–10, tanh) that fits 20 digits"
_study = Study(NAME, "[Z] section 4; exact operator derived in docs/theory, section 7")

NUM_IMAGES, HIDDEN, LR, BATCH_SIZE, RHO = 20, 16, 0.1, 2, 0.05
TRAINING_STEPS = 6000
NUM_RUNS = {Size.full: 1000, Size.small: 250}
"""Runs with different seeds."""
START = 1e-10
"""They begin at a Gaussian displacement of this size."""
SMALL_SIZE = "250 runs instead of 1000."
COMPARED = {"SGD": (4, 8), "USAM": (1, 2)}
"""Steps at which means are compared. Under USAM a few runs soon carry them: at step 4 the errors
of a thousand runs are a tenth, and at step 8 they mean nothing."""
FITTED = (12, 32)
"""Steps between which the growth of single runs is fitted: after the start, before the escape."""
LAST = 80
_OUT = 1e-6
"""A loss above says that a run has left."""


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


class Record(NamedTuple):
    """What the study measured.

    Attributes:
        moved: how far SGD's minimum was moved to fit perfectly.
        threshold: SGD's mean-square threshold in lr there.
        mean_square: USAM's mean-square rate, and its verdict.
        typical: USAM's Lyapunov exponent with its error, and its verdict.
        losses: of every run at every step, by rule.
        expected: E L at every step up to the last that is compared, by rule.

    """

    moved: float
    threshold: float
    mean_square: tuple[float, str]
    typical: tuple[Mean, str]
    losses: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train, ask for the rates of SGD and USAM, and follow many runs."""
    num_runs = NUM_RUNS[size]
    progress("training by SGD to a perfect fit")
    loss, w, moved = minimum()
    progress("threshold of SGD")
    threshold = stability_threshold(_system(loss, 0.0), w)
    progress("rates of USAM")
    usam = _system(loss, RHO)
    mean_square = mean_square_rate(usam, w)
    typical = typical_rate(usam, w, key=jr.key(3), num_steps=500)
    progress(f"{num_runs} runs of SGD and of USAM")
    rules = {"SGD": 0.0, "USAM": RHO}
    return Record(
        moved=moved,
        threshold=threshold.value,
        mean_square=(mean_square.rate, str(mean_square.stability)),
        typical=(Mean(typical.rate, typical.standard_error), str(typical.stability)),
        losses={name: losses(loss, w, rho, num_runs) for name, rho in rules.items()},
        expected={name: expected(loss, w, rho, max(COMPARED[name])) for name, rho in rules.items()},
    )


def judge(record: Record) -> list[Claim]:
    """Compare what is computed at the minimum with the runs."""
    kept, left = record.losses["SGD"], record.losses["USAM"]
    (rate, verdict), (typical, typical_verdict) = record.mean_square, record.typical
    num_runs = kept.shape[1]
    claims = [
        _study.below(
            "stable for SGD",
            f"with batches of {BATCH_SIZE}, SGD's lr is below the exact mean-square threshold of "
            f"the minimum that SGD found (moved by {record.moved:.2g} to a perfect fit)",
            bound=record.threshold,
            measured=LR,
            reason="a strict inequality",
        ),
        _study.fact(
            "unstable for SAM",
            f"for USAM with rho = {RHO} at the same lr the same minimum is unstable in mean "
            f"square, with rate {rate:.4f} per step, and typically, with rate {typical.mean:.4f} ± "
            f"{2 * typical.error:.4f}",
            predicted="unstable, unstable",
            measured=f"{verdict}, {typical_verdict}",
            reason="the rate in mean square is exact; 95 % interval of the typical rate",
            evidence=Evidence.statistical,
            error_probability=redrawn([typical], 2.0),
        ),
        _runs(kept, left, typical),
    ]
    for name, values in record.losses.items():
        for k in COMPARED[name]:
            mean = mean_of(values[k])
            claims.append(
                _study.sampled(
                    f"{name}, mean loss at step {k}",
                    f"mean loss of {num_runs} runs, against its expectation from the exact second "
                    "moments",
                    predicted=float(record.expected[name][k]),
                    measured=mean.mean,
                    error=mean.error,
                    reason="four standard errors of the mean",
                )
            )
    first, last = FITTED
    slopes = mean_of((np.log(left[last]) - np.log(left[first])) / (last - first))
    claims.append(
        _study.sampled(
            "USAM, typical growth",
            f"log L grows per step, between steps {first} and {last}, by twice the Lyapunov "
            "exponent in the mean over runs; the mean square grows faster",
            predicted=2 * typical.mean,
            measured=slopes.mean,
            error=float(np.hypot(slopes.error, 2 * typical.error)),
            reason="four standard errors, of the runs and of the exponent together",
        )
    )
    return claims


def _runs(kept: np.ndarray, left: np.ndarray, typical: Mean) -> Claim:
    """Count the runs that leave, and how likely one of USAM's would not have yet.

    log L grows by twice the exponent a step, with a deviation that the fitted steps show.
    """
    num_runs = kept.shape[1]
    first, last = FITTED
    gains = np.log(left[last]) - np.log(left[first])
    spread = gains.std(ddof=1) * np.sqrt((LAST - last) / (last - first))
    needed = np.log(_OUT) - np.log(left[last]).mean()
    room = Mean(2 * typical.mean * (LAST - last) - needed, float(np.hypot(spread, gains.std())))
    return _study.fact(
        "runs",
        f"of {num_runs} runs that start {START:g} from the minimum, the number with a loss above "
        f"{_OUT:g} after {LAST} steps, under SGD and under USAM",
        predicted=f"0, {num_runs}",
        measured=f"{int(np.sum(~(kept[-1] <= _OUT)))}, {int(np.sum(left[-1] > _OUT))}",
        reason=f"a count; USAM's typical growth up to then is {room.z:.1f} standard deviations "
        "larger than is needed to reach this loss",
        evidence=Evidence.statistical,
        error_probability=redrawn([room], 0.0, of=num_runs),
    )
