"""Adversarial training for the last epochs only: robustness, natural error and sharpness.

All settings were chosen before anything was trained: the network, lr, the batches, the attack,
what counts as late and what as alike. The network is the perceptron of the other studies with
cross-entropy. SGD has the usual lr 0.1 and momentum 0.9. The attack is PGD of ten steps within 0.1,
less than two of the 16 grey levels of a pixel. Late is the last sixteenth of all epochs, as in the
code of [Z], whose default is the last 10 of 160; unlike there, lr stays the same. No setting was
changed after the first table. [Z] says that the method of the last epochs decides. The study
reports what was found beside it, since a sample of this network cannot prove or refute it for
theirs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.claims import Claim, Evidence, Study
from analysis.compiling import initialised
from analysis.size import Size
from analysis.statistics import Interval, interval, missed
from samflow import networks
from samflow.losses import network

NAME = "late-attack"
TITLE = "Adversarial training for the last epochs only, on digits with mini-batches"
SMALL_SIZE = (
    "only the trainings of 16 epochs. Those of 80 epochs are left out, and with them the test of a "
    "stronger attack."
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


class Problem(NamedTuple):
    """SGD on the training images, the loss on the others, and the first weights of each seed."""

    system: sf.Map
    test: Any
    starts: Any


def problem() -> Problem:
    """Make the network and its data."""
    x, y = networks.load_digits(NUM_TRAIN + NUM_TEST)
    models = initialised(networks.perceptron, list(jr.split(jr.key(0), NUM_SEEDS)))
    loss, test = (
        network(models[0], x[part], y[part], loss="cross_entropy", name="digits")
        for part in (slice(NUM_TRAIN), slice(NUM_TRAIN, None))
    )
    system = sf.Map(loss, sf.GD(), lr=LR, momentum=MOMENTUM)  # pyright: ignore[reportCallIssue]
    return Problem(system, test, jnp.stack([loss.flatten(model) for model in models]))


def attack(num_steps: int = 10) -> networks.PGD:
    """Return the attack, of training and of errors alike."""
    return networks.PGD(EPSILON, num_steps=num_steps)


class Training(NamedTuple):
    """What came of one training, by the arms' epochs under attack at the end.

    Attributes:
        settings: how long, and which arms.
        arms: epochs under attack at the end: 0, the tails, all.
        values: quantity and arm to one entry per seed.
        means: the same to mean and interval.

    """

    settings: Settings
    arms: tuple[int, ...]
    values: dict[tuple[str, int], np.ndarray]
    means: dict[tuple[str, int], Interval]

    def difference(self, quantity: str, first: int, second: int) -> Interval:
        """Return the first arm's quantity less the second's, seed by seed."""
        return interval(self.values[quantity, first] - self.values[quantity, second])


class Record(NamedTuple):
    """What the study measured, and its settings.

    Attributes:
        trainings: the short one; in the full size the long one, too.
        late_part: late is the last of so many parts of all epochs.
        num_seeds: of each arm.
        about: what was trained, for a caption.
        stronger: error of the late arm under the attack and a longer one, by seed; if measured.

    """

    trainings: tuple[Training, ...]
    late_part: int
    num_seeds: int
    about: str
    stronger: tuple[np.ndarray, np.ndarray] | None


QUANTITIES = ("adversarial_error", "test_error", "sharpness")


def measure(
    progress: Callable[[str], None] = lambda message: None, size: Size = Size.full
) -> Record:
    """Train all arms, after a short training and a long one."""
    made, trainings, stronger = problem(), [], None
    for each in (SMALL, FULL) if size is Size.full else (SMALL,):
        progress(f"{each.epochs} epochs, {len(each.tails) + 2} arms, {NUM_SEEDS} seeds each")
        trainings.append(sweep(made, each))
    if size is Size.full:
        progress("the late arm under a stronger attack")
        steps = attack().num_steps, STRONGER_STEPS
        weak, strong = (errors_of_the_late_arm(made, FULL, n) for n in steps)
        stronger = weak, strong
    about = (
        f"An MLP (64–32–10, tanh, cross-entropy) on {NUM_TRAIN} digits, batches of {BATCH_SIZE}, "
        f"lr {LR:g}, momentum {MOMENTUM:g}; tested on {NUM_TEST} other digits. The attack is ten "
        f"steps of PGD within {EPSILON:g} in the maximum norm, for pixels in [0, 1]"
    )
    return Record(tuple(trainings), LATE_PART, NUM_SEEDS, about, stronger)


def sweep(made: Problem, settings: Settings) -> Training:
    """Train all arms from the same starts."""
    epochs, tails = settings
    found = sf.sweep_switch(
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
    arms = (0, *tails, epochs)
    rows = {arm: found.switch_epochs == epochs - arm for arm in arms}
    values = {
        (of, arm): np.asarray(getattr(found, of)[row][0])
        for of in QUANTITIES
        for arm, row in rows.items()
    }
    return Training(settings, arms, values, {key: interval(each) for key, each in values.items()})


def errors_of_the_late_arm(made: Problem, settings: Settings, num_steps: int) -> np.ndarray:
    """Train the late arm again and return its error under attacks of so many steps, by seed."""
    epochs, late, errors = settings.epochs, settings.late, []
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


def judge(record: Record) -> list[Claim]:
    """Set the arms, compared seed by seed, beside [Z]."""
    claims = []
    for training in record.trainings:
        claims += [_learned(training), _as_robust(training), _natural(training)]
        claims.append(_sharpness(training))
    if record.stronger is not None:
        claims += [_longer(record.trainings[-1]), _stronger(*record.stronger)]
    return claims


_REASON = f"95 % interval over {NUM_SEEDS} paired seeds"
_ALIKE = "alike, since the method of the last epochs decides"


def _learned(training: Training) -> Claim:
    epochs, late = training.settings.epochs, training.settings.late
    gain = training.difference("adversarial_error", late, 0)
    whole = training.difference("adversarial_error", epochs, 0)
    return _study.beside(
        f"{epochs} epochs: learned late",
        f"the test error under attack is {_percent(training, 'adversarial_error', 0)} without "
        f"adversarial training and {_percent(training, 'adversarial_error', late)} if "
        f"{_last(late)} of {epochs} is adversarial. Adversarial training in all epochs changes it "
        f"by {whole.points} points against none",
        paper="late adversarial training makes the network robust",
        found=f"late minus none: {gain.points} points, {gain.sign}",
        agrees={"lower": True, "higher": False}.get(gain.sign),
        reason=_REASON,
        error_probability=0.025,
        source=_study.source,
    )


def _as_robust(training: Training) -> Claim:
    epochs, late = training.settings.epochs, training.settings.late
    gap = training.difference("adversarial_error", late, epochs)
    return _alike(
        f"{epochs} epochs: as robust",
        "the test error under attack is "
        f"{_percent(training, 'adversarial_error', late)} if {_last(late)} of {epochs} is "
        f"adversarial and {_percent(training, 'adversarial_error', epochs)} if all are",
        gap,
        MARGIN,
        f"late minus all: {gap.points} points",
        f"alike if it lies within ±{100 * MARGIN:g} point",
    )


def _natural(training: Training) -> Claim:
    epochs, late = training.settings.epochs, training.settings.late
    gap = training.difference("test_error", late, epochs)
    price = training.difference("test_error", epochs, 0)
    return _alike(
        f"{epochs} epochs: natural error",
        f"the test error without attack is {_percent(training, 'test_error', late)} if "
        f"{_last(late)} of {epochs} is adversarial and {_percent(training, 'test_error', epochs)} "
        f"if all are. Adversarial training in all epochs changes it by {price.points} "
        f"points{price.decided} against none",
        gap,
        MARGIN,
        f"late minus all: {gap.points} points",
        f"alike if it lies within ±{100 * MARGIN:g} point",
    )


def _sharpness(training: Training) -> Claim:
    epochs, late = training.settings.epochs, training.settings.late
    gap = training.difference("sharpness", late, epochs)
    rise = training.difference("sharpness", late, 0)
    whole = training.difference("sharpness", epochs, 0)
    never = float(training.values["sharpness", 0].mean())
    return _alike(
        f"{epochs} epochs: sharpness",
        f"the sharpness of the loss without attack is {never:.2f} without adversarial training. "
        f"Late adversarial training changes it by {rise}{rise.decided}, adversarial training in "
        f"all epochs by {whole}{whole.decided}",
        gap,
        0.1 * never,
        f"late minus all: {gap}",
        f"alike if it lies within ±10 % of {never:.2f}",
    )


def _alike(
    name: str, statement: str, gap: Interval, margin: float, found: str, reason: str
) -> Claim:
    said = alike_or_sign(gap, margin)
    return _study.beside(
        name,
        statement,
        paper=_ALIKE,
        found=f"{found}, {said}",
        agrees={"alike": True, "lower": False, "higher": False}.get(said),
        reason=f"{_REASON}; {reason}",
        error_probability=0.05,
        source=_study.source,
    )


def _percent(training: Training, quantity: str, tail: int) -> str:
    return f"{100 * training.values[quantity, tail].mean():.1f} %"


def _last(late: int) -> str:
    return "the last epoch" if late == 1 else f"each of the last {late} epochs"


def alike_or_sign(gap: Interval, margin: float = MARGIN) -> str:
    """Return "alike" for a difference within the margin, otherwise its sign."""
    return "alike" if gap.low > -margin and gap.high < margin else gap.sign


def _longer(training: Training) -> Claim:
    quantity, (*_, throughout) = "adversarial_error", training.arms
    means = ", ".join(_percent(training, quantity, arm) for arm in training.arms)
    gaps = {arm: training.difference(quantity, arm, throughout) for arm in training.settings.tails}
    apart = [str(arm) for arm, gap in gaps.items() if gap.sign == "higher"]
    x = np.log2(1 + np.array(training.arms))
    errors = np.stack([training.values[quantity, arm] for arm in training.arms])
    slopes = interval(-np.polyfit(x, 100 * errors, 1)[0])
    return _study.fact(
        "longer is more robust",
        "the test error under attack falls with the number of adversarial epochs at the end: by "
        f"{slopes} points for each doubling of 1 + epochs. For "
        f"{', '.join(map(str, training.arms))} epochs it is {means}. The seeds distinguish only "
        f"{', '.join(apart)} from {throughout}",
        predicted="falls",
        measured="falls" if slopes.low > 0 else "does not fall",
        reason=f"95 % interval over the slopes of {len(errors.T)} seeds",
        evidence=Evidence.statistical,
        error_probability=missed(slopes, len(errors.T)),
    )


def _stronger(weak: np.ndarray, strong: np.ndarray) -> Claim:
    return _study.below(
        "stronger attack",
        f"the attack is strong enough: with {STRONGER_STEPS} steps instead of "
        f"{attack().num_steps} the error under attack of the network trained late rises by less "
        f"than {100 * MARGIN:g} point; the largest rise over the seeds, in points",
        bound=100 * MARGIN,
        measured=float(100 * np.max(strong - weak)),
        reason="the margin within which errors count as alike",
    )
