"""What `benchmarks/gpu.py` measures, a function a part."""

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from analysis.batch_momentum import Cell, cells, column, table
from analysis.statistics import interval
from benchmarks import gpu_orbits, gpu_training
from benchmarks.gpu_scales import Scale

SEED = 0
_NEUTRAL = 0.01
"""Eigenvalues above minus this part of max|λ| do not count as negative in the density."""


Progress = Callable[[str], None]


def _seconds(run: Callable[[], Any], runs: int) -> float:
    """Return the median wall time of a run, after one that compiles."""
    import jax

    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def resnet(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Train a ResNet-18, or one like it, and measure its curvature."""
    import jax.random as jr

    from samflow.networks import residual

    return _network("resnet", residual(jr.key(SEED), **scale.resnet), scale, progress)


def transformer(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Train a vision transformer and measure its curvature."""
    import jax.random as jr

    from samflow.networks.transformer import vision_transformer

    made = vision_transformer(jr.key(SEED), **scale.transformer)
    return _network("transformer", made, scale, progress)


def _network(name: str, model: Any, scale: Scale, progress: Progress) -> dict[str, Any]:
    import samflow as sf
    from samflow import losses, networks

    x, y = networks.load_mnist(scale.images)
    loss = losses.network(model, x, y, loss="cross_entropy", dtype="float32", name=name)
    lr, momentum = scale.lr[name], 0.9
    system = sf.Map(loss, sf.GD(), lr=lr, momentum=momentum)  # pyright: ignore[reportCallIssue]
    start = networks.first_state(system, loss.flatten(model))
    seconds, ended = _timed(
        lambda: networks.train(
            system, start, until=scale.epochs, batch_size=scale.batch_size, progress=progress
        )
    )
    w = system.position(ended.state.z)
    training = {"epochs": scale.epochs, "batch_size": scale.batch_size, "lr": lr}
    training |= {"momentum": momentum, "seconds": seconds, "status": ended.status.label}
    return {
        "weights": loss.dim,
        "images": loss.num_examples,
        "training": training,
        "loss": float(loss(w)),
        "error": float(loss.misclassified(w)),
        "products": _products(loss, w, scale, progress),
        "eigenvalues": _eigenvalues(loss, w, scale, progress),
        "trace": _trace(loss, w, scale, progress),
        "density": _density(loss, w, scale, progress),
        "diagnosis": _diagnosis(loss, w, lr, scale, progress),
    }


def _products(loss: Any, w: Any, scale: Scale, progress: Progress) -> dict[str, float]:
    """Time a gradient, a fresh product, and one that keeps what does not depend on v.

    The first two stay on the device; the last comes and goes as NumPy has it, as Lanczos needs it.
    """
    import equinox as eqx
    import jax.numpy as jnp

    from samflow.spectra.products import hessian_product

    progress("products")
    v = np.random.default_rng(SEED).normal(size=loss.dim)
    on_device, kept = jnp.asarray(v), hessian_product(loss, w)
    slope = eqx.filter_jit(lambda loss, w: loss.gradient(w))
    fresh = eqx.filter_jit(lambda loss, w, v: loss.hvp(w, v))
    found = {
        "gradient_seconds": _seconds(lambda: slope(loss, w), scale.runs),
        "fresh_seconds": _seconds(lambda: fresh(loss, w, on_device), scale.runs),
        "kept_seconds": _seconds(lambda: kept(v), scale.runs),
    }
    for name in ("fresh", "kept"):
        found[f"{name}_over_gradient"] = found[f"{name}_seconds"] / found["gradient_seconds"]
    return found


def _eigenvalues(loss: Any, w: Any, scale: Scale, progress: Progress) -> dict[str, Any]:
    from samflow import Status
    from samflow.spectra.spectrum import extreme_eigenpairs

    progress("eigenvalues")
    seconds, found = _timed(
        lambda: extreme_eigenpairs(
            loss, w, k=scale.k, tol=scale.tol, max_products=scale.max_products
        )
    )
    return {
        "bottom": np.asarray(found.values)[: scale.k].tolist(),
        "top": np.asarray(found.values)[-scale.k :].tolist(),
        "residuals": np.asarray(found.residuals).tolist(),
        "status": [Status(int(each)).label for each in found.status],
        "products": found.num_products,
        "seconds": seconds,
    }


def _trace(loss: Any, w: Any, scale: Scale, progress: Progress) -> dict[str, Any]:
    import jax.random as jr

    from samflow.spectra import trace

    progress("trace")
    seconds, found = _timed(
        lambda: trace(loss, w, num_products=scale.trace_products, key=jr.key(SEED))
    )
    return {
        "value": float(found.value),
        "interval": np.asarray(found.interval).tolist(),
        "status": found.status.label,
        "products": found.num_products,
        "seconds": seconds,
    }


def _density(loss: Any, w: Any, scale: Scale, progress: Progress) -> dict[str, Any]:
    import jax.random as jr

    from samflow.spectra import spectral_density

    progress("density")
    seconds, found = _timed(
        lambda: spectral_density(
            loss, w, key=jr.key(SEED), num_probes=scale.probes, num_steps=scale.density_steps
        )
    )
    quantiles = {str(q): found.quantile(q).value for q in (0.01, 0.1, 0.5, 0.9, 0.99)}
    # Half the eigenvalues or more are within rounding of 0 and of no sign.
    level = -_NEUTRAL * float(np.max(np.abs(np.asarray(found.nodes))))
    return {
        "level": level,
        "share_below": found.share_below(level)._asdict(),
        "quantiles": quantiles,
        "probes": scale.probes,
        "steps": scale.density_steps,
        "seconds": seconds,
    }


def _diagnosis(loss: Any, w: Any, lr: float, scale: Scale, progress: Progress) -> dict[str, Any]:
    from samflow import networks

    seconds, found = _timed(
        lambda: networks.diagnose(
            networks.Checkpoint(loss, w),
            rho=scale.rho,
            lr=lr,
            momentum=0.9,
            rules=("gd", "practical-sam"),
            effort=networks.Effort(
                num_eigenpairs=scale.k,
                tol=scale.tol,
                max_products=scale.max_products,
                trace_products=scale.trace_products,
            ),
            progress=progress,
        )
    )
    verdicts = {
        each.rule: {
            "stability": each.stability,
            "statement": each.statement,
            "scaled_curvature": each.scaled_curvature,
            "limit": each.limit,
        }
        for each in found.rules
    }
    return {
        "rho": scale.rho,
        "lr": lr,
        "place": found.nearness.statement,
        "rho_threshold": found.rho_threshold,
        "rules": verdicts,
        "seconds": seconds,
    }


def kim_table(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Train the table of [K]: batch size, momentum and rho, means over seeds with intervals."""
    settings = scale.table
    seconds, runs = _timed(lambda: list(table(settings, progress=progress)))
    return {
        "settings": settings._asdict(),
        "cells": [_cell_row(runs, cell) for cell in cells(settings)],
        "seconds": seconds,
    }


def _cell_row(runs: Any, cell: Cell) -> dict[str, Any]:
    measured = {}
    for quantity in ("accuracy", "loss"):
        values = column(runs, cell, quantity)
        found = interval(values)
        measured[quantity] = {"mean": found.mean, "half": found.half, "seeds": values.tolist()}
    ended = [run.status.label for run in runs if run.cell == cell]
    return {**cell._asdict(), **measured, "status": ended}


def largest(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Grow a transformer until a Hessian-vector product no longer fits.

    On a CPU only the first widths are tried: a machine out of memory does not say so, but ends
    the process.
    """
    import jax

    on_gpu = jax.default_backend() == "gpu"
    widths = scale.growth if on_gpu else scale.growth[:2]
    tried = []
    for width in widths:
        progress(f"width {width}")
        tried.append(_one_product(width, scale))
        if not tried[-1]["fits"]:
            break
    fitting = [row for row in tried if row["fits"]]
    return {
        "depth": scale.growth_depth,
        "images": scale.growth_images,
        "tried": tried,
        "largest": max((row["weights"] for row in fitting), default=0),
        "limit_reached": not tried[-1]["fits"],
    }


def _one_product(width: int, scale: Scale) -> dict[str, Any]:
    """Return the time of a product, or that it does not fit, with how many weights it has."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    from samflow import losses, networks
    from samflow._checks import ArgumentError
    from samflow.losses.allocation import explained_allocation
    from samflow.networks.transformer import vision_transformer

    def make(key: Any) -> Any:
        depth, heads = scale.growth_depth, max(1, width // 64)
        return vision_transformer(key, width=width, depth=depth, heads=heads)

    shapes = jax.eval_shape(lambda key: eqx.filter(make(key), eqx.is_array), jr.key(SEED))
    dim = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    row = {"width": width, "weights": dim}
    asked = SimpleNamespace(name=f"a transformer of width {width}", dim=dim, num_examples=1)
    try:
        # What the network itself takes counts, too, and so it is made in here.
        with explained_allocation(asked):
            x, y = networks.load_mnist(scale.growth_images)
            model = make(jr.key(SEED))
            loss = losses.network(model, x, y, loss="cross_entropy", dtype="float32")
            w = loss.flatten(model)
            del model
            v = jnp.ones_like(w)
            product = eqx.filter_jit(lambda loss, w, v: loss.hvp(w, v))
            seconds = _seconds(lambda: product(loss, w, v), 1)
    except ArgumentError as error:
        return {**row, "fits": False, "message": str(error)}
    return {**row, "fits": True, "seconds": seconds}


def sharded(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Time products with the data on one device and across all of them."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    from samflow import losses, networks
    from samflow.networks.sharding import shard_data

    devices = jax.devices()
    progress(f"{len(devices)} devices")
    images = scale.images - scale.images % len(devices)
    x, y = networks.load_mnist(images)
    model = networks.residual(jr.key(SEED), **scale.resnet)
    one = losses.network(model, x, y, loss="cross_entropy", dtype="float32", name="resnet")
    across, w = shard_data(one, devices), one.flatten(model)
    v = jnp.asarray(np.random.default_rng(SEED).normal(size=one.dim))
    product = eqx.filter_jit(lambda loss, w, v: loss.hvp(w, v))
    first, second = (np.asarray(product(loss, w, v)) for loss in (one, across))
    seconds = [_seconds(lambda s=s: product(s, w, v), scale.runs) for s in (one, across)]
    return {
        "devices": len(devices),
        "weights": one.dim,
        "images": images,
        "one_seconds": seconds[0],
        "all_seconds": seconds[1],
        "speed_up": seconds[0] / seconds[1],
        "relative_difference": float(np.linalg.norm(first - second) / np.linalg.norm(first)),
    }


def orbits(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Ensembles of maps."""
    return gpu_orbits.orbits(scale, progress, _seconds)


PARTS: dict[str, Callable[[Scale, Progress], dict[str, Any]]] = {
    "resnet": resnet,
    "transformer": transformer,
    "table": kim_table,
    "largest": largest,
    "sharded": sharded,
    "orbits": orbits,
    **gpu_training.PARTS,
}
"""Every part by name, in the order in which they run."""
