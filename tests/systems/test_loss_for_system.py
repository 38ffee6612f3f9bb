"""A loss where a system is meant: every analysis says how to make one."""

import jax
import pytest

import samflow as sf
from samflow import equilibria, noise, plots, spectra
from samflow._checks import ArgumentError

POINT, BOX, KEY = [0.0, 0.0], ((-1, 1), (-1, 1)), jax.random.key(0)
ANALYSES = [
    lambda s: sf.classify(s, POINT),
    lambda s: sf.conditions(s, POINT),
    lambda s: sf.fate(s, POINT),
    lambda s: sf.find_cycles(s, period=2, box=BOX),
    lambda s: sf.find_fixed_points(s, BOX),
    lambda s: sf.certify_fixed_points(s, BOX),
    lambda s: sf.lyapunov_spectrum(s, POINT, num_steps=3),
    lambda s: sf.two_phase(s, POINT),
    lambda s: sf.iterate(s, POINT, num_steps=3),
    lambda s: sf.integrate(s, POINT, t1=1.0),
    lambda s: sf.portrait(s, BOX),
    lambda s: plots.sample_field(s, BOX),
    lambda s: spectra.update_multipliers(s, POINT),
    lambda s: spectra.measured_along(s, POINT, [POINT]),
    lambda s: noise.mean_square_along(s, POINT, POINT, batch_size=1, key=KEY),
    lambda s: equilibria.measured_attraction_radius(s, POINT),
    lambda s: sf.escape_time(s, POINT, radius=1.0, num_paths=2, max_steps=3, key=KEY),
    lambda s: sf.mean_square_rate(s, POINT),
    lambda s: sf.typical_rate(s, POINT, key=KEY),
]


@pytest.mark.parametrize("number", range(len(ANALYSES)))
def test_a_loss_where_a_system_is_meant_is_told_how_to_become_one(number):
    loss = sf.loss("x**2 + y**2")
    with pytest.raises(ArgumentError, match=r"but is ExpressionLoss.*`sf.(Map|Flow|StochasticMap)"):
        ANALYSES[number](loss)


def test_a_system_of_another_kind_has_another_remedy():
    """The negative case: a map is a system, and needs none made of it."""
    system = sf.Map(sf.loss("x**2 + y**2"), sf.GD(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"must be a Flow, but is Map. Use `iterate` for a map"):
        sf.integrate(system, POINT, t1=1.0)
