"""Parts of `benchmarks/gpu.py`: monitor, edges, central flow, checkpoint and landscapes."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu_scales import Scale

SEED = 0
_ABOVE = 1.3
"""How far above the sharpness at the start the edge of each rule lies, so that it is reached."""
_ADAM_LR = 1e-3
_EVERY = 50
"""Steps between two rows where the overhead of a monitor is measured."""
_CENTRAL_LR, _CENTRAL_PAIRS = 0.16, 7
"""Of GD on 300 digits, as in the study `central-flows`."""

Progress = Callable[[str], None]


def _network(scale: Scale, *, squared: bool = False) -> tuple[Any, Any]:
    """Return the loss of a convolutional network with tanh on MNIST, and its random weights."""
    import jax.numpy as jnp
    import jax.random as jr

    from samflow import losses, networks

    x, y = networks.load_mnist(scale.watched_images)
    targets = jnp.eye(10)[y] if squared else y
    model = networks.convolutional(jr.key(SEED), **scale.convolutional)
    criterion = "squared" if squared else "cross_entropy"
    loss = losses.network(
        model, x - x.mean(axis=0), targets, loss=criterion, dtype="float32", name="convolutional"
    )
    return loss, loss.flatten(model)


def _wall(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    made = run()
    return time.perf_counter() - began, made


def monitor(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Time full-batch training with a monitor every 50 steps and without."""
    import jax

    import samflow as sf
    from samflow import networks

    loss, w = _network(scale)
    rows = []
    for rule in (sf.GD(), sf.USAM(rho=0.02), sf.SAM(rho=0.02)):
        progress(rule.name)
        system = sf.Map(loss, rule, lr=scale.lr["resnet"])
        start = networks.first_state(system, w)

        def trained(made: Any = None, system: Any = system, start: Any = start) -> Any:
            until = scale.watched_steps
            ended = networks.train(system, start, until=until, monitor=made)
            return jax.block_until_ready(ended.state.z)

        trained(networks.Monitor(every=_EVERY))  # compiles
        seconds: dict[str, list[float]] = {"plain": [], "watched": []}
        for _ in range(scale.runs):
            seen = networks.Monitor(every=_EVERY)
            seconds["plain"].append(_wall(trained)[0])
            seconds["watched"].append(_wall(lambda seen=seen: trained(seen))[0])
        plain, watched = (float(np.median(each)) for each in seconds.values())
        products = seen.record.num_products
        rows.append(
            {
                "rule": rule.name,
                "plain_seconds": plain,
                "watched_seconds": watched,
                "overhead": watched / plain - 1,
                "products_of_the_first_row": int(products[0]),
                "products_of_a_row": float(products[1:].mean()) if len(products) > 1 else None,
            }
        )
    return {"weights": loss.dim, "images": loss.num_examples, "every": _EVERY, "rules": rows}


def edges(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Train to the edge of each rule, which at the start lies 1.3 times above the sharpness.

    The start is what GD comes to in a tenth of the steps, of half the size that random weights
    allow: the sharpness of random weights falls at first.
    """
    from analysis.edges import Case, batch_ratio, held, watched
    from samflow.spectra.spectrum import extreme_eigenpairs

    loss, w = _network(scale, squared=True)

    def sharpness(w: Any) -> float:
        found = extreme_eigenpairs(loss, w, k=1, tol=scale.tol, max_products=scale.max_products)
        return float(found.values[-1])

    progress("start")
    first = sharpness(w)
    w = _descended(loss, w, lr=1 / first, steps=scale.edge_steps // 10)
    settled = sharpness(w)
    edge, rho = _ABOVE * settled, 0.2 / settled
    slope = float(np.linalg.norm(np.asarray(loss.gradient(w))))
    cases = {
        "GD": Case("gd", 2 / edge),
        "heavy ball": Case("gd", 3 / edge, momentum=0.5),
        "USAM": Case("usam", 2 / (edge * (1 + rho * edge)), rho=rho),
        "SAM": Case("sam", 2 / (edge * (1 + rho * edge)), rho=rho * slope),
        "Adam": Case("gd", _ADAM_LR, adam=True),
    }
    rules = {}
    for name, case in cases.items():
        progress(name)
        seconds, run = _wall(
            lambda case=case: watched(case.on(loss), w, scale.edge_steps, scale.edge_every)
        )
        at = held(run)
        rules[name] = {
            "lr": case.lr,
            "sharpness_over_edge": at.ratio.mean,
            "standard_error": at.ratio.error,
            "allowed": at.allowed,
            "steps": run.steps.tolist(),
            "sharpness": run.curvature.tolist(),
            "edge": run.edge.tolist(),
            "loss": float(run.loss[-1]),
            "seconds": seconds,
        }
    progress("SGD")
    how = {"batch_size": scale.batch_size}
    epochs = max(1, 2 * scale.edge_steps * scale.batch_size // scale.watched_images)
    system = Case("gd", 2 / edge).on(loss)
    seconds, run = _wall(lambda: watched(system, w, epochs, scale.edge_every, **how))
    batch = batch_ratio(run)
    noisy = {
        **how,
        "lr": 2 / edge,
        "batch_sharpness_over_edge": batch.mean,
        "standard_error": batch.error,
        "sharpness_over_edge": held(run).ratio.mean,
        "steps": run.steps.tolist(),
        "batch_sharpness": run.batch_sharpness.tolist(),
        "sharpness": run.sharpness.tolist(),
        "seconds": seconds,
    }
    start = {"sharpness_of_random_weights": first, "sharpness_at_the_start": settled}
    return {"weights": loss.dim, **start, "rules": rules, "SGD": noisy}


def central(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Follow the central flow of GD on digits beside the run, and beside gradient flow."""
    import jax
    import jax.numpy as jnp

    import samflow as sf
    from samflow.networks import digits_loss
    from samflow.orbits import two_step_mean

    loss, w = digits_loss(jax.random.key(SEED))
    system, steps, every = sf.Map(loss, sf.GD(), lr=_CENTRAL_LR), scale.central_steps, 5
    progress("run")
    run = jnp.asarray(sf.iterate(system, w, num_steps=steps + 4, keep_every=1).w)
    progress("central flow")
    how: dict[str, Any] = {"num_steps": steps, "num_pairs": _CENTRAL_PAIRS, "keep_every": every}
    seconds, flow = _wall(lambda: jax.block_until_ready(sf.central_flow(system, w, **how)))
    progress("gradient flow")
    finer = sf.Map(loss, sf.GD(), lr=_CENTRAL_LR / 8)
    plain = sf.iterate(finer, w, num_steps=8 * steps, keep_every=8 * every).w
    means = two_step_mean(run, np.asarray(flow.steps))
    last = slice(len(flow.steps) // 2, None)
    distance = np.asarray(flow.distance(run))[last]
    apart = np.asarray(jnp.linalg.norm(means - plain, axis=1))[last]
    return {
        "steps": steps,
        "weights": loss.dim,
        "status": flow.status.label,
        "most_critical_directions": int(np.asarray(flow.num_critical).max()),
        "mean_distance": float(np.nanmean(distance)),
        "mean_distance_of_gradient_flow": float(apart.mean()),
        "seconds": seconds,
    }


def checkpoint(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Time the first answer of a diagnosis and the whole, compilation included."""
    from samflow import networks

    loss, w = _trained(scale, progress)
    began, stages = time.perf_counter(), []

    def told(found: Any) -> None:
        values = np.asarray(found.pairs.values)
        passed = time.perf_counter() - began
        stages.append(
            {
                "stage": found.stage,
                "seconds": passed,
                "lowest": float(values[0]),
                "largest": float(values[-1]),
            }
        )

    told(
        networks.diagnose(
            networks.Checkpoint(loss, w),
            rho=scale.rho,
            lr=scale.lr["resnet"],
            effort=networks.Effort(
                num_eigenpairs=scale.k, tol=scale.tol, max_products=scale.max_products
            ),
            progress=progress,
            answer=told,
        )
    )
    return {"weights": loss.dim, "images": loss.num_examples, "stages": stages}


def landscapes(scale: Scale, progress: Progress) -> dict[str, Any]:
    """Time the loss along the ends of the spectrum with their plane, and a trajectory's plane."""
    import samflow as sf

    states: list[np.ndarray] = []
    loss, w = _trained(scale, progress, lambda z: states.append(np.asarray(z)))
    found = {}
    for name, at in (("eigenvectors", w), ("trajectory", np.stack(states))):
        progress(name)
        points = scale.landscape_points
        seconds, made = _wall(
            lambda at=at, points=points: sf.landscape(
                loss, at, num_points=points, max_products=scale.max_products
            )
        )
        found[name] = {
            "values": made.num_values,
            "undefined": made.num_undefined,
            "curvatures": made.curvatures.tolist(),
            "residuals": made.residuals.tolist(),
            "parabola_holds": made.departs.tolist(),
            "shares": made.shares.tolist(),
            "seconds": seconds,
        }
    return {"weights": loss.dim, "images": loss.num_examples, **found}


def _trained(
    scale: Scale, progress: Progress, seen: Callable[[Any], Any] = lambda z: None
) -> tuple[Any, Any]:
    """Train the convolutional network briefly by GD; `seen` gets every 50th state."""
    progress("training")
    loss, w = _network(scale)
    w = _descended(loss, w, lr=scale.lr["resnet"], steps=scale.watched_steps, seen=seen)
    return loss, w


def _descended(
    loss: Any, w: Any, *, lr: float, steps: int, seen: Callable[[Any], Any] = lambda z: None
) -> Any:
    import samflow as sf
    from samflow import networks

    def step(state: Any) -> None:
        if state.epoch % _EVERY == 0:
            seen(state.z)

    system = sf.Map(loss, sf.GD(), lr=lr)
    start = networks.first_state(system, w)
    ended = networks.train(system, start, until=steps, on_step=step)
    return ended.state.z


PARTS: dict[str, Callable[[Scale, Progress], dict[str, Any]]] = {
    "monitor": monitor,
    "edges": edges,
    "central": central,
    "checkpoint": checkpoint,
    "landscapes": landscapes,
}
"""Every part by name."""
