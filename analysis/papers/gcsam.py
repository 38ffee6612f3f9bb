"""GCSAM: the variance over mini-batches of gradient, ascent and direction, raw and centralised."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.size import Size
from analysis.statistics import Interval, interval, missed
from samflow.networks import digits_loss

NAME = "gcsam"
TITLE = "Centralised gradients at minima of a network that reads digits: whose variance falls"
SMALL_SIZE = "5 networks instead of 12, and 2,000 mini-batches instead of 8,000."
PAPER = "Hassan, Vakanski, Zhang, Xian 2025, arXiv 2501.11584"
_study = Study(NAME, "derived here")

IMAGES, HIDDEN, RHO, BATCH_SIZE = 200, 8, 0.05, 20
SEEDS, DRAWS = {Size.full: 12, Size.small: 5}, {Size.full: 8000, Size.small: 2000}
TRAINING_LR, TRAINING_STEPS = 0.3, 3000
LEAST = 0.01
"""A variance of the ascent, over ρ², that falls by less does not fall."""
ASCENTS = ("raw", "shorter", "unit")
"""ĝ, Pg/‖g‖ as the authors' code has it, Pg/‖Pg‖. P takes from each row of a tensor its mean."""


class Record(NamedTuple):
    """E‖x − E x‖² over mini-batches, one entry per network.

    Attributes:
        gradient: of g and of Pg, shape (2, networks).
        ascent: of the ascents divided by ρ, by name.
        length: E‖a‖²/ρ², by name.
        direction: of d = g(w + a), by name.
        largest: ‖∇L‖ over ‖H‖‖w‖: how near the points are to minima.

    """

    gradient: np.ndarray
    ascent: dict[str, np.ndarray]
    length: dict[str, np.ndarray]
    direction: dict[str, np.ndarray]
    largest: float


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train networks by gradient descent, and draw mini-batches at their ends."""
    rows, nearness = [], []
    for seed in range(SEEDS[size]):
        progress(f"network {seed}")
        loss, w0 = digits_loss(jr.key(seed), num_images=IMAGES, hidden=HIDDEN)
        w = _trained(sf.Map(loss, sf.GD(), lr=TRAINING_LR), w0)  # pyright: ignore
        sharpness = float(sf.spectra.extreme_eigenpairs(loss, w, which="largest").values[-1])
        size_of = float(jnp.linalg.norm(loss.gradient(w)))
        nearness.append(size_of / (sharpness * float(jnp.linalg.norm(w))))
        shapes = tuple(loss.weight_shapes)
        keys = jr.split(jr.key(100 + seed), DRAWS[size])
        rows.append(np.asarray(_variances(loss, w, keys, shapes)))
    table = np.stack(rows, axis=1)
    names = dict(zip(ASCENTS, range(3), strict=True))
    ascent, length, direction = (
        {name: table[start + i] for name, i in names.items()} for start in (2, 5, 8)
    )
    return Record(table[:2], ascent, length, direction, max(nearness))


def judge(record: Record) -> list[Claim]:
    """Say whose variance centralising lowers, and decide the paper's claim."""
    count = record.gradient.shape[1]
    kept = interval(record.gradient[1] / record.gradient[0])
    own = interval(record.ascent["unit"])
    raw = interval(record.ascent["raw"])
    change = interval(record.ascent["unit"] - record.ascent["raw"])
    about = (
        f"{count} networks (64–{HIDDEN}–10) at minima on {IMAGES} digits, batches of {BATCH_SIZE}"
    )
    return [
        _study.below(
            "the points are near minima",
            "the largest ‖∇L‖/(λ_max ‖w‖) of the networks",
            bound=1e-3,
            measured=record.largest,
            reason=f"{TRAINING_STEPS:,} steps of gradient descent; the gradient of a batch is then "
            "its noise",
        ),
        _study.fact(
            "gradient",
            f"E‖Pg − E Pg‖² ≤ E‖g − E g‖² at every network of {about}; mean of the ratio {kept}",
            predicted=count,
            measured=int((record.gradient[1] <= record.gradient[0]).sum()),
            reason="P is a projection",
        ),
        _study.beside(
            "ascent of length ρ",
            f"variance of the ascent over ρ², with ĝ and with Pg/‖Pg‖, {about}",
            paper="centralising lowers the variance of the ascent",
            found=f"raw {raw.mean:.4f}, centralised {own.mean:.4f}; difference {_signed(change)}",
            agrees=True if change.high < -LEAST else False if change.low > -LEAST else None,
            reason="a unit vector has the variance 1 − ‖E e‖², and at a minimum E e is small: the "
            "normalisation undoes what P removes. Less than 1 % is no fall; 95 % interval over "
            "networks, paired",
            error_probability=0.025,
            source=PAPER,
        ),
        _paper(record, "ascent", "shorter", "ascent as in the authors' code, Pg/‖g‖", about),
        _study.fact(
            "why that ascent varies less",
            "of the fall of its variance, the part that is its smaller length: (1 − E‖a‖²/ρ²) over "
            "(variance of ĝ less its own), between .9 and 1.1 at every network",
            predicted="all",
            measured="all" if _all_length(record) else "not all",
            reason="with E a small, E‖a − E a‖² is E‖a‖² but for ‖E a‖²",
            evidence=Evidence.numerical,
        ),
        _paper(record, "direction", "shorter", "direction d = g(w + ρPg/‖g‖)", about),
        _paper(record, "direction", "unit", "direction d = g(w + ρPg/‖Pg‖)", about),
    ]


def _paper(record: Record, what: str, name: str, called: str, about: str) -> Claim:
    values: dict[str, np.ndarray] = getattr(record, what)
    ratio = interval(np.log(values[name] / values["raw"]))
    count = len(values[name])
    return _study.beside(
        called,
        f"log of its variance over that with ĝ, {about}, ρ = {RHO}",
        paper="centralising lowers the variance",
        found=f"{_signed(ratio)}",
        agrees={"lower": True, "higher": False}.get(ratio.sign),
        reason="95 % interval over networks; every rule sees the same batches",
        error_probability=max(missed(ratio, count), 1e-12),
        source=PAPER,
    )


def _signed(found: Interval) -> str:
    return f"{found.mean:+.4f} ± {found.half:.4f}{found.decided}"


def _all_length(record: Record) -> bool:
    lost = 1 - record.length["shorter"]
    fell = record.ascent["raw"] - record.ascent["shorter"]
    return bool((np.abs(lost / fell - 1) < 0.1).all())


@eqx.filter_jit
def _trained(system: Any, w: Array) -> Array:
    return lax.fori_loop(0, TRAINING_STEPS, lambda _, w: system.step(w), w)


@eqx.filter_jit
def _variances(loss: Any, w: Array, keys: Array, shapes: tuple[tuple[int, ...], ...]) -> Array:
    """Return the variances of g, Pg, the three ascents, their squared lengths, the directions'."""

    def draw(key: Array) -> list[Array]:
        chosen = jr.choice(key, IMAGES, (BATCH_SIZE,), replace=False)
        part = loss.batch(chosen)
        g = part.gradient(w)
        p = centred(g, shapes)
        unit = g / jnp.linalg.norm(g)
        ascents = [unit, p / jnp.linalg.norm(g), p / jnp.linalg.norm(p)]
        return [g, p, *ascents, *(part.gradient(w + RHO * a) for a in ascents)]

    found = lax.map(draw, keys, batch_size=100)
    varied = [jnp.sum(jnp.var(rows, axis=0, ddof=1)) for rows in found]
    lengths = [jnp.mean(jnp.sum(rows**2, axis=1)) for rows in found[2:5]]
    return jnp.stack([*varied[:5], *lengths, *varied[5:]])


def centred(g: Array, shapes: tuple[tuple[int, ...], ...]) -> Array:
    """Return Pg: each row of a tensor with two axes or more less its mean."""
    parts, begin = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        part = g[begin : begin + size]
        if len(shape) > 1:
            rows = part.reshape(shape[0], -1)
            part = (rows - rows.mean(axis=1, keepdims=True)).ravel()
        parts.append(part)
        begin += size
    return jnp.concatenate(parts)
