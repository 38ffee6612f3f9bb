"""Adversarial training for the last epochs only: robustness, natural error and sharpness.

The network, lr, batches, the attack, what counts as late and what as alike were chosen before
anything was trained: the perceptron of the other studies with cross-entropy, SGD with the usual lr
0.1 and momentum 0.9, PGD of ten steps within 0.1, less than two of the 16 grey levels of a pixel.
Late is the last sixteenth of all epochs, as in the code of [Z], whose default is the last 10 of
160; other than there, lr stays the same. No setting was changed after the first table, which gave
the signs that the claims repeat. The short training was meant to be a quick answer; that natural
errors compare the other way round after it was found in that table.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Study
from analysis.size import Size
from analysis.statistics import Interval, interval
from samflow import networks
from samflow.losses import network

NAME = "late-attack"
TITLE = "Adversarial training for the last epochs only, on digits with mini-batches"
SMALL_SIZE = (
    "trainings of 16 epochs only; those of 80 are left out, and a stronger attack with them"
)
_study = Study(NAME, "[Z] on adversarial training late in training")

NUM_SEEDS, NUM_TRAIN, NUM_TEST = 5, 1000, 797
BATCH_SIZE, LR, MOMENTUM, EPSILON = 100, 0.1, 0.9, 0.1
LATE_PART = 16
"""Late is the last of so many parts of all epochs."""
MARGIN = 0.01
"""Errors are alike if the whole interval of their difference lies within it."""
STRONGER_STEPS = 100
_ORDER = 1
"""Of the key for the order of the images and the attacks' first points."""


class Settings(NamedTuple):
    """How long is trained, and for how many epochs at the end under attack, few first."""

    epochs: int
    tails: tuple[int, ...]

    @property
    def late(self) -> int:
        """The epochs that are late."""
        return self.epochs // LATE_PART


FULL = Settings(80, (1, 2, 5, 10, 20, 40))
SMALL = Settings(16, (1,))


def settings(size: Size) -> Settings:
    """Return the settings of a size."""
    return SMALL if size is Size.small else FULL


class Problem(NamedTuple):
    """SGD on the training images, the loss on the others, and the first weights of each seed."""

    system: sf.Map
    test: Any
    starts: Any


@functools.cache
def problem() -> Problem:
    """Make the network and its data."""
    x, y = networks.load_digits(NUM_TRAIN + NUM_TEST)
    models = [networks.perceptron(key) for key in jr.split(jr.key(0), NUM_SEEDS)]
    loss, test = (
        network(models[0], x[part], y[part], loss="cross_entropy", name="digits")
        for part in (slice(NUM_TRAIN), slice(NUM_TRAIN, None))
    )
    system = sf.Map(loss, sf.GD(), lr=LR, momentum=MOMENTUM)  # pyright: ignore[reportCallIssue]
    return Problem(system, test, jnp.stack([loss.flatten(model) for model in models]))


def attack(num_steps: int = 10) -> networks.PGD:
    """Return the attack, of training and of errors alike."""
    return networks.PGD(EPSILON, num_steps=num_steps)


@functools.cache
def sweep(size: Size) -> networks.SwitchSweep:
    """Train all arms from the same starts; once a process."""
    made, (epochs, tails) = problem(), settings(size)
    return networks.sweep_switch(
        made.system,
        made.system,
        made.starts,
        total_epochs=epochs,
        switch_epochs=[epochs - tail for tail in tails],
        batch_size=BATCH_SIZE,
        attack=attack(),
        key=jr.key(_ORDER),
        test=made.test,
        num_points=3,
    )


def column(size: Size, quantity: str, tail: int) -> np.ndarray:
    """Return a quantity of the arm with so many epochs under attack, one entry a seed."""
    found = sweep(size)
    return getattr(found, quantity)[found.switch_epochs == found.total_epochs - tail][0]


def difference(size: Size, quantity: str, first: int, second: int) -> Interval:
    """Return the first arm's quantity less the second's, seed by seed; arms as in `column`."""
    return interval(column(size, quantity, first) - column(size, quantity, second))


def errors_of_the_late_arm(size: Size, num_steps: int) -> np.ndarray:
    """Train the late arm again and return its error under attacks of so many steps, by seed."""
    made, epochs, late, errors = problem(), settings(size).epochs, settings(size).late, []
    for seed, w in enumerate(made.starts):
        key = jr.fold_in(jr.key(_ORDER), seed)
        state = networks.first_state(made.system, w, key=key)
        for until, under in ((epochs - late, None), (epochs, attack())):
            state = networks.train(
                made.system, state, until=until, batch_size=BATCH_SIZE, attack=under
            ).state
        end = made.system.position(state.z)
        errors.append(networks.adversarial_error(made.test, end, attack(num_steps), key=key))
    return np.array(errors)


def run(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> list[Claim]:
    """Compare the arms seed by seed, after a short training and a long one."""
    claims = []
    for each in (Size.small, Size.full) if size is Size.full else (Size.small,):
        epochs, tails = settings(each)
        progress(f"{epochs} epochs, {len(tails) + 2} arms, {NUM_SEEDS} seeds each")
        claims += [_learned(each), _as_robust(each), _natural(each), _sharpness(each)]
    if size is Size.full:
        progress("the late arm under a stronger attack")
        claims += [_longer(), _stronger()]
    return claims


_FOUND = {
    Size.small: ("lower", "higher", "lower", "undecided"),
    Size.full: ("lower", "higher", "higher", "higher"),
}
"""The signs of the first table, in the order of the four claims of a training."""
_REASON = f"95 % interval of {NUM_SEEDS} paired seeds"


def _learned(size: Size) -> Claim:
    (epochs, _), late = settings(size), settings(size).late
    gain = difference(size, "adversarial_error", late, 0)
    whole = difference(size, "adversarial_error", epochs, 0)
    return _study.fact(
        f"{epochs} epochs: learned late",
        f"test error under attack is {_percent(size, 'adversarial_error', 0)} without adversarial "
        f"training, {_percent(size, 'adversarial_error', late)} with {late} of {epochs} epochs of "
        f"it at the end: late less never {gain.points} points, all along less never "
        f"{whole.points}",
        predicted=_FOUND[size][0],
        measured=gain.sign,
        reason=_REASON,
    )


def _as_robust(size: Size) -> Claim:
    (epochs, _), late = settings(size), settings(size).late
    gap = difference(size, "adversarial_error", late, epochs)
    return _study.fact(
        f"{epochs} epochs: as robust",
        f"test error under attack is {_percent(size, 'adversarial_error', epochs)} with "
        f"adversarial training all along: late less all along {gap.points} points",
        predicted=_FOUND[size][1],
        measured=alike_or_sign(gap),
        reason=f"{_REASON}; alike if it lies within ±{100 * MARGIN:g} point; "
        f"{_beside_zhou(alike_or_sign(gap))}",
    )


def _natural(size: Size) -> Claim:
    (epochs, _), late = settings(size), settings(size).late
    gap = difference(size, "test_error", late, epochs)
    price = difference(size, "test_error", epochs, 0)
    return _study.fact(
        f"{epochs} epochs: natural error",
        f"test error without attack is {_percent(size, 'test_error', late)} late, "
        f"{_percent(size, 'test_error', epochs)} all along: late less all along {gap.points} "
        f"points{gap.decided}, all along less never {price.points}{price.decided}",
        predicted=_FOUND[size][2],
        measured=gap.sign,
        reason=_REASON,
    )


def _sharpness(size: Size) -> Claim:
    (epochs, _), late = settings(size), settings(size).late
    rise = difference(size, "sharpness", late, 0)
    whole = difference(size, "sharpness", epochs, 0)
    return _study.fact(
        f"{epochs} epochs: sharpness",
        f"of the natural loss: {column(size, 'sharpness', 0).mean():.2f} without adversarial "
        f"training, late less never {rise}{rise.decided}, all along less never {whole}"
        f"{whole.decided}",
        predicted=_FOUND[size][3],
        measured=rise.sign,
        reason=_REASON,
    )


def _percent(size: Size, quantity: str, tail: int) -> str:
    return f"{100 * column(size, quantity, tail).mean():.1f} %"


def alike_or_sign(gap: Interval) -> str:
    """Return "alike" for a difference of errors within `MARGIN`, otherwise its sign."""
    return "alike" if gap.low > -MARGIN and gap.high < MARGIN else gap.sign


def _beside_zhou(found: str) -> str:
    """Say whether what [Z] finds, that the last method decides, is found here."""
    if found in ("undecided", "not finite"):
        return f"[Z] finds them alike: {found} here"
    return f"[Z] finds them alike: {'the same here' if found == 'alike' else 'a disagreement'}"


def _longer() -> Claim:
    tails, throughout = FULL.tails, FULL.epochs
    means = [column(Size.full, "adversarial_error", t).mean() for t in (0, *tails, throughout)]
    gaps = {tail: difference(Size.full, "adversarial_error", tail, throughout) for tail in tails}
    short = [str(tail) for tail, gap in gaps.items() if gap.sign == "higher"]
    return _study.fact(
        "longer is more robust",
        "the mean test error under attack falls from each number of epochs under attack to the "
        f"next: 0, {', '.join(map(str, tails))}, {throughout}; the seeds tell {', '.join(short)} "
        f"from {throughout}, and no other",
        predicted=True,
        measured=bool((np.diff(means) < 0).all()),
        reason=f"means of {NUM_SEEDS} seeds",
    )


def _stronger() -> Claim:
    weak, strong = (
        errors_of_the_late_arm(Size.full, steps) for steps in (attack().num_steps, STRONGER_STEPS)
    )
    return _study.below(
        "stronger attack",
        f"the attack is strong enough: {STRONGER_STEPS} steps instead of {attack().num_steps} add "
        "to the error of the late arm, in points, in the worst seed",
        bound=100 * MARGIN,
        measured=float(100 * np.max(strong - weak)),
        reason="the margin within which errors are alike",
    )
