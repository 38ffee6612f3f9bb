"""Whatever needs one map or one flow refuses a system that changes, before any work."""

import inspect

import jax.numpy as jnp
import jax.random as jr
import pytest

import samflow as sf
import samflow.networks
import samflow.noise
import samflow.plots
import samflow.spectra
import samflow.switching
from samflow._checks import ArgumentError
from samflow._status import Kind

FOLLOW = {
    "iterate",
    "integrate",
    "sample_paths",
    "sample_moments",
    "escape_time",
    "escape_times",
    "first_state",
    "save_state",
    "load_state",
    "train",
    "switch",
    "sweep",
}
"""What follows schedules (`sweep` in part, see its tests), or has no need of a map."""
DRAW = {"draw_levels", "eigen_directions", "nullclines"}
"""What draws a record of a system, which nothing makes of one that changes."""


def entries():
    """Return every public function that takes a system first, or maps before and after."""
    rooms = (sf, sf.noise, sf.networks, sf.plots, sf.spectra, sf.switching)
    found = {}
    for room in rooms:
        for name in room.__all__:
            function = getattr(room, name)
            if inspect.isfunction(function) and {"system", "before"} & set(
                inspect.signature(function).parameters
            ):
                found[name] = function
    return found


ENTRIES = {name: f for name, f in entries().items() if name not in FOLLOW | DRAW}


def changing(name):
    """Return a system of the kind that an entry takes, with a step size or radius that changes."""
    loss, falling = sf.losses.beale(), lambda k: 0.1 / (1 + k)
    rule = sf.USAM(rho=falling)
    plain = sf.Map(loss, rule, lr=0.01)
    if name in STOCHASTIC:
        return sf.StochasticMap(plain, sf.noise.isotropic_noise(2, sigma=0.1))
    return plain


STOCHASTIC = {"mean_square_rate", "typical_rate", "alignment_bound", "stability_threshold"}
STOCHASTIC |= {"second_moment"}


def test_entries_are_found():
    assert {"classify", "fate", "find_cycles", "second_moment", "late_switch"} <= set(ENTRIES)
    assert set(entries()) >= FOLLOW | DRAW


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_system_that_changes_is_refused(name):
    function, system = ENTRIES[name], changing(name)
    given = {"box": ((-4, 4), (-4, 4)), "w": [3.0, 0.5], "w0": [3.0, 0.5], "period": 2}
    given |= {"v": [1.0, 0.0], "key": jr.key(0), "parameter": "lr", "vectors": jnp.eye(2)}
    given |= {"before": system, "after": system, "system": system, "total_epochs": 20}
    given |= {"switch_epochs": [10], "start": [3.0, 0.5], "path": "film.gif"}
    parameters = inspect.signature(function).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    arguments = {each: given.get(each, 1) for each in needed}
    words = r"must not change, but the rho of this system changes with the step. Use `\w+\.at\(k\)"
    with pytest.raises(ArgumentError, match=words):
        function(**arguments)


@pytest.mark.parametrize("name", ["classify", "conditions", "fate", "lyapunov_spectrum"])
def test_a_flow_that_changes_is_refused(name):
    flow = sf.Flow(sf.losses.beale(), sf.USAM(rho=lambda t: 0.1 / (1 + t)))
    with pytest.raises(ArgumentError, match=r"rho of this system changes with the time"):
        getattr(sf, name)(flow, [3.0, 0.5])


def test_the_map_at_a_step_is_taken():
    """The saddle of Beale's function attracts USAM for rho > 0.036: at step 1 and not at step 3."""
    system = changing("classify")
    kinds = [sf.classify(system.at(k), [0.0, 1.0]).kind for k in (1, 3)]
    assert kinds == [Kind.attracting, Kind.saddle]
