"""A diagram shows branches, their bifurcations and where orbits end."""

import numpy as np
import pytest

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow.attractors import OrbitDiagram, orbit_diagram

WELL = sf.loss("-y**2/2 + y**4/4")


@pytest.fixture(scope="module")
def branch():
    """The saddle y = 0 of USAM, which attracts from rho = 1 on."""
    system = sf.Map(WELL, sf.USAM(rho=0.5), lr=0.1)
    return sf.continue_branch(system, [0.0], "rho", (0.1, 2.0))


@pytest.fixture(scope="module")
def orbits():
    system = sf.Map(WELL, sf.USAM(rho=0.5), lr=0.1)
    return orbit_diagram(system, [[0.1]], "rho", [0.5, 1.5], num_transient=400, num_kept=2)


def test_branches_orbits_and_the_pitchfork_are_where_the_records_say(branch, orbits):
    assert isinstance(orbits, OrbitDiagram)
    (ax,) = plots.bifurcation(branch, orbits=orbits, title="A well").axes
    (dots,) = [line for line in ax.lines if line.get_gid() == "orbits"]
    where, states = orbits.points()
    assert np.array_equal(dots.get_xydata(), np.column_stack([where, states[:, 0]]))
    # below rho = 1 the orbit ends in the minimum, above it in the saddle
    assert states[where == 0.5] == pytest.approx(1.0, abs=1e-6)
    assert states[where == 1.5] == pytest.approx(0.0, abs=1e-6)
    solid = [line for line in ax.lines if line.get_label() == "attracting"]
    drawn = np.concatenate([line.get_xydata() for line in solid])
    drawn = drawn[np.isfinite(drawn[:, 1])]
    attracts = np.array([kind is Kind.attracting for kind in branch.kinds])
    assert np.array_equal(drawn[:, 0], branch.parameter[attracts])
    assert np.array_equal(attracts, branch.parameter > 1)
    (mark,) = [line for line in ax.lines if line.get_label() == "pitchfork"]
    assert mark.get_xydata()[0] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == (r"$\rho$", "$w_1$", "A well")


def test_orbits_alone_and_an_observable_of_the_states(orbits):
    figure = plots.bifurcation([], observable=lambda states: states[:, 0] ** 2, orbits=orbits)
    (ax,) = figure.axes
    assert ax.lines[0].get_ydata() == pytest.approx(orbits.points()[1][:, 0] ** 2)
    assert ax.get_ylabel() == ""


def test_a_branch_on_given_axes_has_no_legend(branch):
    figure = plots.new_figure()
    ax = figure.add_subplot()
    assert plots.bifurcation([branch], ax=ax) is figure
    assert not figure.legends


def test_nothing_to_draw_and_two_parameters_are_refused(branch):
    with pytest.raises(ArgumentError, match="at least one branch, or `orbits`"):
        plots.bifurcation([])
    system = sf.Map(WELL, sf.USAM(rho=0.5), lr=0.1)
    other = orbit_diagram(system, [[0.1]], "lr", [0.1], num_transient=1, num_kept=1)
    with pytest.raises(ArgumentError, match="along one parameter, but are along lr, rho"):
        plots.bifurcation(branch, orbits=other)
    with pytest.raises(ArgumentError, match="`found` must be a Branch"):
        plots.bifurcation([other])
    with pytest.raises(ArgumentError, match="`orbits` must be a OrbitDiagram"):
        plots.bifurcation(branch, orbits=branch)
