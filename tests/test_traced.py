"""What runs under `jax.vmap` and what refuses to: the table of the docs, executed."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow._checks import ArgumentError

PAGE = Path(__file__).parents[1] / "docs" / "tour" / "global-dynamics.md"
WITHOUT_NUMBERS = {"loss", "rule", "load_dataset", "open_store", "poincare_map", "stroboscopic_map"}
"""What makes things and has no analysis to do."""
QUARTIC = sf.loss("x**2/2 - y**2/2 + y**4/4")
RHO = jnp.array([0.2, 1.5])


def rows():
    """Return what the docs say of each function: under vmap, and in a sweep."""
    table = re.findall(r"^\| (`.*?) \| (yes|no) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: said for names, *said in table for name in re.findall(r"`(\w+)`", names)}


ROWS = rows()
REFUSE = sorted(name for name, (traced, _) in ROWS.items() if traced == "no")


def usam(rho):
    return sf.Map(QUARTIC, sf.USAM(rho=rho), lr=0.1)


SECTION = sf.orbits.Section(
    normal=[0.0, 1.0],  # pyright: ignore[reportArgumentType]
    point=[0.0, 0.0],  # pyright: ignore[reportArgumentType]
)


def turn(z, a):
    """A damped rotation."""
    return jnp.stack([z[1], -z[0] - a * z[1] / 4])


RUN = {
    "iterate": lambda s: sf.iterate(s, [0.4, 0.3], num_steps=7).final,
    "integrate": lambda s: sf.integrate(sf.Flow(s.loss, s.rule), [0.4, 0.3], t1=1.0).states,
    "lyapunov_spectrum": lambda s: sf.lyapunov_spectrum(s, [0.4, 0.3], num_steps=7).exponents,
    "poincare_section": lambda s: (
        sf.poincare_section(
            sf.FunctionFlow(Partial(turn, a=s.rule.rho), dim=2),
            [1.0, 0.5],
            SECTION,
            num_crossings=2,
            max_time=20.0,
        ).points
    ),
    "classify": lambda s: {"margin": sf.classify(s, [0.0, 0.0]).margin},
    "conditions": lambda s: str(sf.conditions(s, [0.0, 0.0]).rho_window),
    "find_fixed_points": lambda s: len(sf.find_fixed_points(s, (-2, 2)).w),
    "find_cycles": lambda s: len(sf.find_cycles(s, (-2, 2), period=2, num_starts=4).w),
    "certify_fixed_points": lambda s: str(sf.certify_fixed_points(s, ((-2, 2),) * 2).verdict),
    "continue_branch": lambda s: len(sf.continue_branch(s, [0.0, 0.0], "lr", (0.05, 0.1)).special),
}


def test_every_public_function_is_in_the_table():
    public = {name for name in sf.__all__ if inspect.isfunction(getattr(sf, name))}
    assert set(ROWS) == public - WITHOUT_NUMBERS
    assert {name for name, (traced, _) in ROWS.items() if traced == "yes"} <= set(RUN)


@pytest.mark.parametrize("name", REFUSE)
def test_traced_numbers_are_refused(name):
    """In one line, before any work, wherever they are: in the system, a point, or a function."""
    function = getattr(sf, name)
    inside = lambda c: sf.loss(lambda w: c * jnp.sum(w**2), dim=2)  # noqa: E731
    givers = {
        "system": lambda c: function(usam(c)),
        "point": lambda c: function(usam(0.1), jnp.stack([c, c])),
        "function": lambda c: function(sf.Map(inside(c), sf.GD(), lr=0.1)),
    }
    sweeps = ROWS[name][1] != "no"
    for transform in (jax.vmap, lambda f: lambda values: jax.jit(f)(values[0])):
        for give in givers.values():
            with pytest.raises(ArgumentError) as caught:
                transform(give)(RHO)
            message = str(caught.value)
            assert message.startswith(f"`{name}` decides with numbers")
            assert "\n" not in message
            assert ("sf.sweep(system" in message) == sweeps
            assert (f'of="{name}"' in message) == (f'"{name}"' in ROWS[name][1])


@pytest.mark.parametrize("name", [name for name, (traced, _) in ROWS.items() if traced == "yes"])
def test_what_is_said_to_vmap_does(name):
    run = RUN[name]
    found = jax.vmap(lambda rho: run(usam(rho)))(RHO)
    for i, rho in enumerate(RHO):
        np.testing.assert_allclose(found[i], run(usam(float(rho))), rtol=1e-9)  # adaptive steps


@pytest.mark.parametrize("name", RUN)
def test_what_is_said_to_be_one_program_is(name):
    said = ROWS[name][1]
    if '"' in said:
        named = sf.sweep(usam(0.1), {"rho": RHO}, name, w0=[0.0, 0.0])
        assert named.compiled == said.startswith("one program")
        return
    found = sf.sweep(usam(0.1), {"rho": RHO}, RUN[name])
    assert found.compiled == (said == "one program")
    np.testing.assert_array_equal(
        found["value"][1], np.asarray(sf.sweep(usam(1.5), {"lr": [0.1]}, RUN[name])["value"][0])
    )


def test_numbers_inside_a_transformation_are_taken():
    """A function that holds no traced number decides as it does outside."""
    kinds = []

    def also(x):
        kinds.append(sf.classify(usam(1.5), [0.0, 0.0]).kind)
        return x

    jax.vmap(also)(RHO)
    assert kinds == [sf.Kind.attracting]


def test_a_function_may_hold_anything():
    """A dict whose keys have no order is no tree of JAX."""
    held = {1: "a", "b": 2}
    loss = sf.loss(lambda w: len(held) * w @ w, dim=2)
    assert sf.classify(sf.Map(loss, sf.GD(), lr=0.1), [0.0, 0.0]).kind is sf.Kind.attracting


def test_derivatives_by_a_hyperparameter():
    """Of the last state, by rho, against a difference of two orbits."""
    last = lambda rho: sf.iterate(usam(rho), [0.4, 0.3], num_steps=7).final[1]  # noqa: E731
    found = jax.jvp(last, (0.2,), (1.0,))[1]
    h = 1e-6
    difference = (last(0.2 + h) - last(0.2 - h)) / (2 * h)
    np.testing.assert_allclose(found, difference, rtol=1e-8)  # h² and rounding over h


def test_noise_is_refused_alike():
    noise = sf.noise.isotropic_noise(2, sigma=0.1)
    for name, function in {
        "escape_time": lambda s: sf.escape_time(
            s, [0.0, 0.0], radius=0.5, key=jr.key(0), num_paths=2, max_steps=2
        ),
        "second_moment": lambda s: sf.noise.second_moment(s, [0.0, 0.0], num_steps=2),
    }.items():
        with pytest.raises(ArgumentError, match=f"`{name}` decides with numbers"):
            jax.vmap(lambda rho, f=function: f(sf.StochasticMap(usam(rho), noise)))(RHO)
