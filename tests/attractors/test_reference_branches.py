"""Reference problems of continuation: right labels, nothing spurious, nothing missed.

Each is followed from both ends of its range, in other units, and up to bounds that end exactly at
a bifurcation, and just before and beyond it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow._status import Status
from tests.references import (
    FEIGENBAUM_DELTA,
    FEIGENBAUM_FLIPS,
    FEIGENBAUM_LIMIT,
    QUARTIC_AT_RHO_6,
)

LOCATED = 1e-7
"""Relative: a bracket is some 1e-9 of a step wide, and a cusp-like fold is a root of a square."""


class Problem(NamedTuple):
    """A branch that is known in closed form, and its bifurcations in order of the parameter."""

    motion: Callable
    state: Callable
    bounds: tuple[float, float]
    events: tuple[tuple[str, float], ...]
    discrete: bool = True

    def system(self, p: float, state_unit: float = 1.0, unit: float = 1.0):
        """Return the system in units in which states and the parameter are so many times larger."""
        motion = self.motion

        def scaled(z, p, k, c):
            return k * motion(z / k, p / c)

        made = Partial(scaled, p=unit * p, k=state_unit, c=unit)
        kind = sf.FunctionMap if self.discrete else sf.FunctionFlow
        return kind(made, dim=len(self.state(p)), name="reference")

    def branch(self, p, bounds=None, state_unit=1.0, unit=1.0):
        """Follow the branch from the point at p."""
        low, high = self.bounds if bounds is None else bounds
        start = state_unit * np.asarray(self.state(p))
        system = self.system(p, state_unit, unit)
        return sf.continue_branch(system, start, "p", (unit * low, unit * high))


def henon_state(a):
    x = (-0.7 + np.sqrt(0.49 + 4 * a)) / (2 * a)
    return [x, 0.3 * x]


def turned(z, p):
    scale = 1 + p - (z[0] ** 2 + z[1] ** 2)
    c, s = np.cos(1.0), np.sin(1.0)
    return scale * jnp.stack([c * z[0] - s * z[1], s * z[0] + c * z[1]])


def slope(w):
    return jnp.stack([w[0], w[1] ** 3 - w[1]])


def quartic(w, rho):
    """The quartic under USAM at lr = 0.05."""
    return w - 0.05 * slope(w + rho * slope(w))


def lorenz(z, r):
    x, y, u = z
    return jnp.stack([10 * (y - x), x * (r - u) - y, x * y - 8 / 3 * u])


def lorenz_state(r):
    x = np.sqrt(8 / 3 * (r - 1))
    return [x, x, r - 1]


ROOT = np.sqrt(6)
PROBLEMS = {
    "logistic": Problem(
        lambda z, r: r * z * (1 - z),
        lambda r: [1 - 1 / r],
        (0.5, 3.9),
        (("transcritical", 1.0), ("flip", 3.0)),
    ),
    "logistic twice": Problem(
        lambda z, r: r * (w := r * z * (1 - z)) * (1 - w),
        lambda r: [(1 + r + np.sqrt((r + 1) * (r - 3))) / (2 * r)],
        (3.1, 3.9),
        (("flip", 1 + ROOT),),
    ),
    "Hénon": Problem(
        lambda z, a: jnp.stack([1 - a * z[0] ** 2 + z[1], 0.3 * z[0]]),
        henon_state,
        (-0.12, 1.4),
        (("flip", 0.3675),),
    ),
    "delayed logistic": Problem(
        lambda z, a: jnp.stack([a * z[0] * (1 - z[1]), z[0]]),
        lambda a: [1 - 1 / a] * 2,
        (1.2, 2.5),
        (("Neimark–Sacker", 2.0),),
    ),
    "flip": Problem(
        lambda z, p: (-1 + p) * z + z**3, lambda p: [0.0], (-0.5, 0.5), (("flip", 0.0),)
    ),
    "Neimark–Sacker": Problem(
        turned, lambda p: [0.0, 0.0], (-0.5, 0.4), (("Neimark–Sacker", 0.0),)
    ),
    "transcritical": Problem(
        lambda z, p: p * z - z**2,
        lambda p: [0.0],
        (-0.7, 0.6),
        (("transcritical", 0.0),),
        discrete=False,
    ),
    "pitchfork": Problem(
        lambda z, p: p * z - z**3,
        lambda p: [0.0],
        (-0.7, 0.6),
        (("pitchfork", 0.0),),
        discrete=False,
    ),
    "Hopf": Problem(
        lambda z, p: jnp.stack(
            [p * z[0] - z[1] - z[0] * (z @ z), z[0] + p * z[1] - z[1] * (z @ z)]
        ),
        lambda p: [0.0, 0.0],
        (-0.7, 0.6),
        (("Hopf", 0.0),),
        discrete=False,
    ),
    "Lorenz, at rest": Problem(
        lorenz, lambda r: [0.0, 0.0, 0.0], (0.0, 20.0), (("pitchfork", 1.0),), discrete=False
    ),
    "Lorenz": Problem(lorenz, lorenz_state, (2.0, 30.0), (("Hopf", 470 / 19),), discrete=False),
    "quartic, saddle": Problem(quartic, lambda rho: [0.0, 0.0], (0.1, 7.0), (("pitchfork", 1.0),)),
    "quartic, minimum": Problem(quartic, lambda rho: [0.0, 1.0], (0.1, 12.0), (("flip", 9.5),)),
}
"""lr = 1/(1 + 2 rho) = 0.05 is rho = 9.5; 1 + √6 is the flip of the 2-cycle."""


def feigenbaum(rounds):
    """Return the flips of the logistic map's cycles of period 1, 2, 4, ..., by switching."""
    system = sf.FunctionMap(Partial(lambda z, r: r * z * (1 - z), r=2.9), dim=1, name="logistic")
    branch = sf.continue_branch(system, [1 - 1 / 2.9], "r", (2.8, 3.5699))
    flips = []
    for k in range(rounds):
        # A cycle is born at the flip of a shorter one, where its branch ends, and flips once.
        events = [(str(point.kind), point.parameter) for point in branch.special]
        kinds = [kind for kind, _ in events]
        assert kinds == ["flip"] * (1 if k == 0 else 2)
        assert k == 0 or set(branch.ends) == {Status.shrunk, Status.reached_bound}
        # A square root is at the birth of a cycle: the end is known less well than the flip.
        assert k == 0 or abs(min(at for _, at in events) - flips[-1]) < 1e-7
        flip = max(branch.special, key=lambda point: point.parameter)
        flips.append(flip.parameter)
        branch = sf.switch_branch(system, branch, flip)
    return np.array(flips)


def test_the_flip_cascade_of_the_logistic_map():
    flips = feigenbaum(3)
    np.testing.assert_allclose(flips, FEIGENBAUM_FLIPS[:3], rtol=0, atol=5e-7)  # their digits


@pytest.mark.slow
def test_feigenbaums_numbers():
    """δ from the ratios of windows, r∞ by Aitken's extrapolation; they converge as δ^(−k)."""
    flips = feigenbaum(6)
    windows = np.diff(flips)
    ratios = windows[:-1] / windows[1:]
    assert abs(ratios[-1] - FEIGENBAUM_DELTA) < 1e-3
    limit = flips[-1] + windows[-1] / (ratios[-1] - 1)
    assert abs(limit - FEIGENBAUM_LIMIT) < 1e-7


FOLDS = {
    # A sheet of fixed points above the fold, one below; and where the fold is.
    "normal form": (
        lambda z, p: p - z**2,
        [lambda p: [np.sqrt(p)], lambda p: [-np.sqrt(p)]],
        (-0.5, 1.0),
        0.0,
        False,
    ),
    "Hénon": (
        lambda z, a: jnp.stack([1 - a * z[0] ** 2 + z[1], 0.3 * z[0]]),
        [henon_state, lambda a: [x := (-0.7 - np.sqrt(0.49 + 4 * a)) / (2 * a), 0.3 * x]],
        (-0.2, -0.05),
        -0.1225,
        True,
    ),
    "quartic": (
        quartic,
        [
            lambda rho: [0.0, -0.5 + np.sqrt(0.25 - 1 / rho)],
            lambda rho: [0.0, -0.5 - np.sqrt(0.25 - 1 / rho)],
        ],
        (3.0, 7.0),
        4.0,
        True,
    ),
}
"""The quartic under USAM: y + rho(y³ − y) = −1, less the root y = −1, is y² + y + 1/rho = 0."""


@pytest.mark.parametrize(
    "name",
    ["normal form", *(pytest.param(each, marks=pytest.mark.slow) for each in list(FOLDS)[1:])],
)
def test_folds_from_both_sheets(name):
    """Both ends of the branch are at the upper bound; a bound above the fold parts the sheets."""
    motion, sheets, (low, high), fold, discrete = FOLDS[name]
    start = high - 0.2 * (high - fold)
    for sheet, (k, c) in zip(sheets, ((1.0, 1.0), (1e-3, 1e4)), strict=True):
        problem = Problem(motion, sheet, (low, high), (), discrete)
        branch = problem.branch(start, state_unit=k, unit=c)
        (point,) = branch.special
        assert point.kind == "fold"
        assert abs(point.parameter / c - fold) < LOCATED * (high - low)
        assert branch.parameter[0] == branch.parameter[-1] == c * high
        above = fold + 1e-5 * (high - fold)
        part = problem.branch(start, (above, high), k, c)
        assert part.special == ()
        assert (part.parameter.min(), part.parameter.max()) == (c * above, c * high)


def test_all_nine_fixed_points_of_the_quartic():
    """At rho = 6: on 0 and ±1 for every rho, on the fork of rho = 1, and on the folds of 4."""
    system = sf.Map(sf.losses.quartic(), sf.USAM(rho=6.0), lr=0.01)
    starts = [[0.0, sign * y] for y in QUARTIC_AT_RHO_6 for sign in (1, -1)]
    found = sf.attractors.bifurcation_diagram(
        system, starts, "rho", (0.1, 8.0), num_values=2, num_kept=1, num_transient=0
    )
    heights = np.concatenate([branch.at(6.0)[:, 1] for branch in found.branches])
    wanted = sorted({sign * y + 0.0 for y in QUARTIC_AT_RHO_6 for sign in (1, -1)})
    np.testing.assert_allclose(np.sort(heights), wanted, atol=2e-3)  # interpolated
    events = sorted(
        (str(event.point.kind), round(event.point.parameter, 5)) for event in found.events
    )
    assert events == [("fold", 4.0)] * 2 + [("pitchfork", 1.0)] * 2


EVERY = [
    pytest.param(name, marks=() if name in ("logistic", "Hopf") else pytest.mark.slow)
    for name in PROBLEMS
]


def check(problem, branch, bounds, unit=1.0):
    """Compare with theory: the events between the bounds, in order, and both ends."""
    low, high = bounds
    expected = [(kind, p) for kind, p in problem.events if low < p < high]
    found = [(str(point.kind), point.parameter / unit) for point in branch.special]
    if branch.parameter[0] > branch.parameter[-1]:
        found = found[::-1]
    assert [kind for kind, _ in found] == [kind for kind, _ in expected], (found, expected)
    for (_, p), (_, known) in zip(found, expected, strict=True):
        assert abs(p - known) < LOCATED * (high - low)
    assert set(branch.ends) == {Status.reached_bound}
    assert (branch.parameter.min(), branch.parameter.max()) == (unit * low, unit * high)


@pytest.mark.parametrize("name", EVERY)
def test_from_both_ends_and_in_other_units(name):
    problem = PROBLEMS[name]
    low, high = problem.bounds
    inside = 1e-3 * (high - low)
    check(problem, problem.branch(low + inside), problem.bounds)
    scaled = problem.branch(high - inside, state_unit=1e-4, unit=1e5)
    check(problem, scaled, problem.bounds, unit=1e5)


@pytest.mark.parametrize("name", EVERY)
def test_bounds_at_a_bifurcation(name):
    """Just before it nothing is there; beyond it, it is; at it, nothing else is."""
    problem = PROBLEMS[name]
    low, _ = problem.bounds
    for kind, at in problem.events:
        for gap in (-1e-5, 1e-5):
            bounds = (low, at + gap * (at - low))
            check(problem, problem.branch(low + 0.3 * (at - low), bounds), bounds)
        exact = problem.branch(low + 0.3 * (at - low), (low, at))
        # Where Newton's method is singular, the last point is a billionth of the range before it.
        assert at - 2e-9 * (at - low) <= exact.parameter.max() <= at
        before = [event for event, p in problem.events if p < at]
        assert [str(point.kind) for point in exact.special] in (before, [*before, kind])
