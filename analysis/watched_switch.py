"""A late switch seen whole: sharpness, edges and test error along SGD → SAM → SGD, on digits."""

from collections.abc import Callable
from typing import NamedTuple

import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Study
from analysis.size import Size
from samflow.losses import NetworkLoss
from samflow.networks import (
    Monitor,
    TrainingRecord,
    digits_loss,
    first_state,
    load_digits,
    switch,
    train,
    train_to_minimum,
)
from samflow.switching import PhaseClaim, line_barrier, phases_of

NAME = "watched-switch"
TITLE = "A late switch seen whole: SGD → SAM → SGD on digits, with sharpness and edges at each step"
SMALL_SIZE = "the training in mini-batches has one seed of three."
_study = Study(NAME, "[Z] P1 to P4; Long, Bartlett 2024 for SAM's edge; docs/theory")

LR, TARGET = 0.05, 2.6
"""Of the full batch: lr·U(λ_max) at the switch, which decides rho."""
FULL_STEPS = (60, 500, 300)
"""Steps of GD, of USAM and of GD again, from GD's minimum."""
KICK = 1e-7
"""Of ‖w‖: a minimum is a fixed point, so that an exact orbit would stay there."""

NOISY_LR, RHO, BATCH_SIZE = 0.1, 0.05, 50
NOISY_EPOCHS = (100, 50, 50)
"""Epochs, of six steps each, of SGD, of SAM and of SGD again, from random weights."""
SEEDS = 3
ALL_IMAGES = 1797


class Noisy(NamedTuple):
    """What a monitor saw of one training in mini-batches."""

    record: TrainingRecord

    def last_third(self, part: int) -> np.ndarray:
        """Return the sharpness in the last third of SGD (0), of SAM (1), of SGD again (2)."""
        names, steps = list(self.record.update), self.record.steps
        cuts = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
        rows = np.split(np.arange(len(steps)), cuts)[part]
        return self.record.sharpness[rows[-(len(rows) // 3) :]]


class Record(NamedTuple):
    """The switch from a minimum, in full batch, and from a training in mini-batches."""

    full: TrainingRecord
    phases: tuple[PhaseClaim, ...]
    noisy: tuple[Noisy, ...]


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train, switch to a sharpness-aware rule and back, with a monitor at each."""
    progress("training by full-batch GD")
    loss, w0 = digits_loss(jr.key(0))
    x, y = load_digits(ALL_IMAGES)
    test = loss.on(x[loss.num_examples :], y[loss.num_examples :], None)
    full, phases = _from_a_minimum(loss, w0, test, progress)
    seeds = range(SEEDS if size is Size.full else 1)
    return Record(full, phases, tuple(_noisy(loss, test, seed, progress) for seed in seeds))


def _from_a_minimum(
    loss: NetworkLoss, w0: object, test: NetworkLoss, progress: Callable[[str], None]
) -> tuple[TrainingRecord, tuple[PhaseClaim, ...]]:
    trained = train_to_minimum(loss, w0)
    sharpness = float(trained.sharpness.values[-1])
    rho = (TARGET / (LR * sharpness) - 1) / sharpness
    gd, usam = sf.Map(loss, sf.GD(), lr=LR), sf.Map(loss, sf.USAM(rho=rho), lr=LR)
    compare = (sf.GD(), sf.USAM(rho=rho))
    # Rates are claimed to 0.2 %: U = vᵀDv to that needs a better v than 2 % gives.
    how = {"tol": 1e-4, "max_products": 40, "motion": True}
    monitor = Monitor(every=5, compare=compare, test=test, **how)
    progress("GD, USAM and GD again, watched every 5 steps")
    before, during, after = FULL_STEPS
    state = train(gd, first_state(gd, trained.w), until=before, monitor=monitor).state
    v = trained.sharpness.vectors[-1]
    state = state._replace(z=state.z + KICK * float(np.linalg.norm(state.z)) * v)
    start = usam.position(state.z)
    state = train(usam, state, until=before + during, monitor=monitor).state
    barrier = line_barrier(loss, start, usam.position(state.z))
    train(gd, state, until=before + during + after, monitor=monitor)
    return monitor.record, phases_of(monitor.record, usam, barrier=barrier)


def _noisy(
    loss: NetworkLoss, test: NetworkLoss, seed: int, progress: Callable[[str], None]
) -> Noisy:
    progress(f"SGD, SAM and SGD again in mini-batches, seed {seed}")
    sgd, sam = (sf.Map(loss, rule, lr=NOISY_LR) for rule in (sf.GD(), sf.SAM(rho=RHO)))
    monitor = Monitor(every=12, batch_size=BATCH_SIZE, test=test)
    w = digits_loss(jr.key(seed))[1]
    state, until, before = first_state(sgd, w, key=jr.key(seed)), 0, sgd
    for system, epochs in zip((sgd, sam, sgd), NOISY_EPOCHS, strict=True):
        until += epochs
        state = switch(state, before, system)
        made = train(system, state, until=until, batch_size=BATCH_SIZE, monitor=monitor)
        state, before = made.state, system
    return Noisy(monitor.record)
