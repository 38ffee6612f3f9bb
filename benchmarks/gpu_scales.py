"""The two sizes of `benchmarks/gpu.py`."""

from typing import Any, NamedTuple

from analysis.batch_momentum import SMALL, Settings


class Scale(NamedTuple):
    """How large everything is.

    Attributes:
        images: of MNIST.
        epochs: of training with momentum 0.9 before curvature is measured.
        batch_size: of that training.
        resnet: arguments of `networks.residual`.
        transformer: arguments of `networks.transformer.vision_transformer`.
        lr: of training and diagnosis, by network.
        rho: of the diagnosis.
        k: eigenvalues at either end.
        tol: largest residual of an eigenvalue, as a part of max|λ|.
        max_products: where the search for eigenvalues gives up; so many vectors are held.
        trace_products: products for the trace.
        probes: of the spectral density.
        density_steps: of Lanczos for each.
        runs: of each thing timed.
        table: [K]'s table.
        growth: widths of the transformers that are tried for size; all of them on a GPU only.
        growth_depth: their depth.
        growth_images: images of their loss.
        orbits: how many orbits of maps, and their steps.
        convolutional: arguments of `networks.convolutional`, for the parts along training.
        watched_images: of MNIST, for these.
        watched_steps: of the full batch, for the monitor, the checkpoint and the landscapes.
        edge_steps: of the full batch for each edge.
        edge_every: steps between two rows there.
        central_steps: of the central flow.
        landscape_points: along each direction.

    """

    images: int
    epochs: int
    batch_size: int
    resnet: dict[str, Any]
    transformer: dict[str, Any]
    lr: dict[str, float]
    rho: float
    k: int
    tol: float
    max_products: int
    trace_products: int
    probes: int
    density_steps: int
    runs: int
    table: Settings
    growth: tuple[int, ...]
    growth_depth: int
    growth_images: int
    orbits: tuple[int, int]
    convolutional: dict[str, Any]
    watched_images: int
    watched_steps: int
    edge_steps: int
    edge_every: int
    central_steps: int
    landscape_points: int


SCALES = {
    "small": Scale(
        images=60,
        epochs=4,
        batch_size=20,
        resnet={"widths": (4, 8), "blocks_per_stage": 1},
        transformer={"width": 16, "depth": 1, "heads": 2},
        lr={"resnet": 0.02, "transformer": 0.02},
        rho=0.05,
        k=5,
        tol=1e-3,
        max_products=200,
        trace_products=10,
        probes=2,
        density_steps=10,
        runs=3,
        table=SMALL._replace(num_train=250, widths=(4, 8), epochs=4, num_seeds=2),
        growth=(16, 32),
        growth_depth=1,
        growth_images=8,
        orbits=(256, 20),
        convolutional={"channels": (2, 4), "hidden": 8},
        watched_images=60,
        watched_steps=100,
        edge_steps=160,
        edge_every=10,
        central_steps=40,
        landscape_points=11,
    ),
    "full": Scale(
        images=4000,
        epochs=10,
        batch_size=100,
        resnet={},
        transformer={"patch": 4, "width": 192, "depth": 9, "heads": 6},
        lr={"resnet": 0.01, "transformer": 0.01},
        rho=0.05,
        k=5,
        tol=1e-3,
        max_products=150,
        trace_products=60,
        probes=4,
        density_steps=60,
        runs=10,
        table=Settings(
            images="mnist",
            num_train=4000,
            num_test=1000,
            widths=(64, 128, 256, 512),
            blocks_per_stage=2,
            activation="relu",
            batch_sizes=(100, 1000),
            rhos=(0.0, 0.05, 0.1, 0.2),
            lr=0.02,
            epochs=20,
        ),
        growth=tuple(256 * step for step in (2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32)),
        growth_depth=24,
        growth_images=32,
        orbits=(2**20, 1000),
        convolutional={},
        watched_images=4000,
        watched_steps=1000,
        edge_steps=2000,
        edge_every=10,
        central_steps=1000,
        landscape_points=51,
    ),
}
