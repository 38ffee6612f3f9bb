"""Sweeps against the same analyses cell by cell, and against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors.sweep.measures import MEASURES

RHO, LR = np.array([0.05, 0.2, 0.4]), np.array([0.05, 0.5])
WELL = sf.Map(sf.loss("-y**2/2 + y**4/4"), sf.SAM(rho=0.1), lr=0.1)
"""A loss of components, whose leaves become arrays of a block."""
DENSE = sf.Map(
    sf.loss(lambda w: jnp.sum(jnp.cos(w) * jnp.array([1.0, 2.0])) + w[0] * w[1], dim=2),
    sf.USAM(rho=0.1),
    lr=0.1,
    momentum=0.5,
)
"""A loss of arrays, which a block maps over."""


def cells(system):
    for i, rho in enumerate(RHO):
        for j, lr in enumerate(LR):
            rule = type(system.rule)(rho=rho)
            yield (i, j), sf.Map(system.loss, rule, lr=lr, momentum=system.momentum)


@pytest.mark.parametrize(("system", "w0"), [(WELL, [1.001]), (DENSE, [0.4, 0.3])])
def test_orbits_and_exponents_are_those_of_each_cell(system, w0):
    grid = {"rho": RHO, "lr": LR}
    orbits = sf.sweep(system, grid, "orbit", w0=w0, num_steps=60)
    growth = sf.sweep(system, grid, "exponent", w0=w0, num_steps=60)
    for found in (orbits, growth):  # what is said before it is computed is no more than it takes
        size = sum(array.nbytes for array in found.values.values())
        least = MEASURES[found.quantity].bytes_of(len(RHO) * len(LR), system.state_dim)
        assert size / 3 < least <= size
    for at, one in cells(system):
        alone = sf.iterate(one, w0, num_steps=60)
        # Two programs of one map agree to rounding, which 60 steps of a contraction do not grow.
        np.testing.assert_allclose(orbits["final"][at], alone.final, rtol=1e-9, atol=1e-12)
        assert orbits["status"][at] == sf.Status(int(alone.status)).label
        expected = sf.lyapunov_spectrum(one, w0, num_steps=60, num_exponents=1).exponents[0]
        np.testing.assert_allclose(growth["exponent"][at], expected, rtol=1e-7, atol=1e-9)


def test_periods_of_sam_at_a_minimum():
    """At rho = .1: 7 up to .15, 9 at .17 to .19, 2 from .2 on; GD rests, the trap has none."""
    lr = [0.05, 0.15, 0.18, 0.25]
    found = sf.sweep(WELL, {"rho": [0.1], "lr": lr}, "period", w0=[1.001], num_steps=4000)
    assert found["period"].tolist() == [[7, 7, 9, 2]]
    flat = sf.Map(WELL.loss, sf.GD(), lr=0.1)
    assert sf.sweep(flat, {"lr": [0.1]}, "period", w0=[0.9])["period"].tolist() == [1]
    trap = sf.sweep(WELL, {"lr": [0.1]}, "period", w0=[0.001])  # chaotic about the maximum
    assert trap["period"].tolist() == [0]


def falling(k):
    return jnp.where(k < 20, 0.25, 0.05)


@pytest.mark.parametrize("num_steps", [30, 10])
def test_orbits_follow_a_schedule(num_steps):
    """Step k of every cell has the lr of step k; in 10 steps the drop to 0.05 is not met."""
    system = sf.Map(WELL.loss, sf.SAM(rho=0.1), lr=falling)
    grid = {"rho": RHO[:2]}
    found = sf.sweep(system, grid, "orbit", w0=[1.001], num_steps=num_steps)
    for final, rho in zip(found["final"], RHO, strict=False):
        one = sf.Map(WELL.loss, sf.SAM(rho=rho), lr=falling)
        alone = sf.iterate(one, [1.001], num_steps=num_steps)
        np.testing.assert_allclose(final, alone.final, rtol=1e-9)  # as above


def test_what_a_schedule_ends_in():
    """At rho = .1 the period is 2 at lr .25 and 7 at .05, which the last steps have."""
    system = sf.Map(WELL.loss, sf.SAM(rho=0.1), lr=falling)
    grid = {"rho": [0.1]}
    assert sf.sweep(system, grid, "period", w0=[1.001], num_steps=4000)["period"].tolist() == [7]
    descent = sf.Map(WELL.loss, sf.USAM(rho=0.0), lr=falling)
    ends = sf.sweep(descent, {"rho": [0.0]}, "sharpness", w0=[1.3], num_steps=2000)
    assert abs(ends["sharpness"][0] - 2) < 1e-9  # 3y² − 1 at y = 1
    rising = sf.Map(WELL.loss, sf.USAM(rho=0.0), lr=lambda k: jnp.where(k < 20, 0.1, 9.0))
    gone = sf.sweep(rising, {"rho": [0.0]}, "escaped", w0=[1.3], num_steps=2000)
    assert gone["escaped"].tolist() == [True]
    assert gone["stopped_at"].item() > 20


@pytest.mark.parametrize("of", ["exponent", "classify", "fate", lambda s: s.rule.rho])
def test_what_asks_about_one_map_refuses_a_schedule(of):
    system = sf.Map(WELL.loss, sf.SAM(rho=0.1), lr=falling)
    with pytest.raises(ArgumentError, match=r"must not change, but the lr of this system"):
        sf.sweep(system, {"rho": [0.1]}, of, w0=[1.001])


def test_schedules_of_a_sweep_are_checked():
    """At all steps that are made, `max_period` more for periods, with the numbers of each cell."""
    system = sf.Map(WELL.loss, sf.SAM(rho=0.1), lr=lambda k: 0.1 - 0.01 * k)
    grid = {"rho": [0.1]}
    sf.sweep(system, grid, "orbit", w0=[1.001], num_steps=10)
    with pytest.raises(ArgumentError, match=r"`lr` must be .* at step 11\."):
        sf.sweep(system, grid, "orbit", w0=[1.001], num_steps=30)
    with pytest.raises(ArgumentError, match=r"`lr` must be .* at step 11\."):
        sf.sweep(system, grid, "period", w0=[1.001], num_steps=10)
    with pytest.raises(ArgumentError, match=r"^Argument `grid` .* but its lr is a schedule\.$"):
        sf.sweep(system, {"lr": [0.1]}, "orbit", w0=[1.001])
    line = jax.tree_util.Partial(lambda k, slope: 0.1 - slope * k, slope=0.0)
    system = sf.Map(WELL.loss, sf.SAM(rho=0.1), lr=line)
    with pytest.raises(ArgumentError, match=r"`lr` must be .* at step 11\."):
        sf.sweep(system, {"slope": [0.0, 0.01]}, "orbit", w0=[1.001], num_steps=30)


def test_sharpness_and_escape():
    found = sf.sweep(sf.Map(WELL.loss, sf.GD(), lr=0.1), {"lr": [0.1, 3.0]}, "sharpness", w0=[1.3])
    assert found["status"].tolist()[1] in ("diverged", "not finite")
    assert abs(found["sharpness"][0] - 2) < 1e-9  # 3y² − 1 at y = 1
    assert np.isnan(found["sharpness"][1])
    gone = sf.sweep(sf.Map(WELL.loss, sf.GD(), lr=0.1), {"lr": [0.1, 3.0]}, "escaped", w0=[1.3])
    assert gone["escaped"].tolist() == [False, True]


def test_kinds_are_those_of_classify_on_both_sides_of_both_thresholds():
    """Beale's saddle attracts USAM for 4/111 < rho and below the flip."""
    system = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)
    rho = np.array([0.036, 0.0361, 0.2236, 0.2237])
    found = sf.sweep(system, {"rho": rho, "lr": [0.01]}, "classify", w0=[0.0, 1.0])
    assert found["kind"][:, 0].tolist() == ["saddle", "attracting", "attracting", "saddle"]
    for i, value in enumerate(rho):
        one = sf.classify(sf.Map(system.loss, sf.USAM(rho=value), lr=0.01), [0.0, 1.0])
        assert abs(found["margin"][i, 0] - one.margin) < 1e-12
    sam = sf.Map(system.loss, sf.SAM(rho=0.05), lr=0.01)
    local = sf.sweep(sam, {"rho": [0.05]}, "classify", w0=[0.0, 1.0])
    alone = sf.classify(sam, [0.0, 1.0])
    assert (local["kind"][0], local["status"][0]) == (alone.kind, alone.status.label)
    nowhere = sf.sweep(system, {"rho": [0.05]}, "classify", w0=[0.3, 0.3])
    assert nowhere["status"].tolist() == ["not a fixed point"]


def test_functions_in_one_program_and_cell_by_cell():
    done = []
    grid = {"rho": [0.03, 0.05]}
    system = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)
    point = jnp.array([0.0, 1.0])
    together = sf.sweep(system, grid, lambda s: jnp.linalg.det(s.jacobian(point)))
    assert together.compiled
    apart = sf.sweep(
        system,
        grid,
        lambda s: {"kind": sf.classify(s, point).kind, "margin": sf.classify(s, point).margin},
        progress=lambda n, total: done.append((n, total)),
    )
    assert not apart.compiled
    assert done == [(1, 2), (2, 2)]
    assert apart["kind"].tolist() == ["saddle", "attracting"]
    expected = [
        float(jnp.linalg.det(sf.Map(system.loss, sf.USAM(rho=r), lr=0.01).jacobian(point)))
        for r in grid["rho"]
    ]
    np.testing.assert_allclose(together["value"], expected, rtol=1e-12)


LEAVES = {
    "momentum": (sf.Map(WELL.loss, sf.GD(), lr=0.1, momentum=0.5), [0.0, 0.9]),
    "weight_decay": (sf.Map(WELL.loss, sf.GD(), lr=0.1, weight_decay=0.5), [0.0, 0.3]),
    "lookahead": (sf.Map(WELL.loss, sf.rules.LookaheadSAM(0.1, lookahead=0.2), lr=0.1), [0.1, 0.3]),
    "r": (
        sf.FunctionMap(jax.tree_util.Partial(lambda z, r: r * z * (1 - z), r=3.0), dim=1),
        [2.5, 3.2],
    ),
}


@pytest.mark.parametrize("name", LEAVES)
def test_any_number_of_a_system_is_swept(name):
    """Each is in the grid what it is in a system that is made with it."""
    system, values = LEAVES[name]
    found = sf.sweep(system, {name: values}, "orbit", w0=[0.4], num_steps=20)["final"]
    for value, final in zip(values, found, strict=True):
        if name == "r":
            alone = sf.FunctionMap(lambda z, r=value: r * z * (1 - z), dim=1)
        elif name == "lookahead":
            alone = sf.Map(system.loss, sf.rules.LookaheadSAM(0.1, lookahead=value), lr=0.1)
        else:
            alone = sf.Map(system.loss, sf.GD(), lr=0.1, **{name: value})
        expected = sf.iterate(alone, [0.4], num_steps=20).final_w
        np.testing.assert_allclose(final[:1], expected, rtol=1e-12)  # 20 contracting steps


def test_what_the_constructor_refuses_is_refused_in_the_grid():
    system, _ = LEAVES["lookahead"]
    with pytest.raises(ArgumentError, match="Argument `lookahead` must be finite and at least 0"):
        sf.sweep(system, {"lookahead": [0.1, -0.1]}, "orbit", w0=[0.4])
    with pytest.raises(ArgumentError, match="as momentum=0"):
        sf.sweep(WELL, {"momentum": [0.0, 0.9]}, "orbit", w0=[0.4])
    with pytest.raises(ArgumentError, match=r"Argument `momentum` must be in \[0, 1\)"):
        sf.sweep(LEAVES["momentum"][0], {"momentum": [0.0, 1.0]}, "orbit", w0=[0.4])


def test_functions_of_flows_and_of_diffusions():
    """Of ½x² + y²: the flow of USAM decays at λ(1 + ρλ); the noise of the diffusion is √lr."""
    loss = sf.loss("x**2/2 + y**2")
    flow, rho = sf.Flow(loss, sf.USAM(rho=0.1)), np.array([0.0, 0.5])
    ends = sf.sweep(flow, {"rho": rho}, lambda s: sf.integrate(s, [1.0, 1.0], t1=1.0).states[-1])
    assert ends.compiled
    lam = np.array([1.0, 2.0])
    expected = np.exp(-lam * (1 + rho[:, None] * lam))
    np.testing.assert_allclose(ends["value"], expected, rtol=1e-6)  # rtol of `integrate` is 1e-8
    noise = sf.noise.isotropic_noise(2, sigma=1.0)
    diffusion = sf.Diffusion(loss, sf.GD(), lr=0.1, noise=noise)
    found = sf.sweep(diffusion, {"lr": [0.01, 0.04]}, lambda s: s.diffusion(jnp.zeros(2)))
    sizes = np.abs(np.linalg.det(found["value"])) ** 0.5
    np.testing.assert_allclose(sizes, [0.1, 0.2], rtol=1e-12)


def test_a_function_that_returns_a_record():
    """The quartic has 5 fixed points under USAM at rho = 2, and 3 below 1: the rest is missing."""
    system = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.USAM(rho=0.5), lr=0.05)
    found = sf.sweep(system, {"rho": [0.5, 2.0]}, lambda s: sf.find_fixed_points(s, [(-2, 2)] * 2))
    assert not found.compiled
    data = found.to_dataset()
    assert data["kind"].dims == ("rho", "point")
    assert [int((row != "").sum()) for row in data["kind"].values] == [3, 5]
    missing = np.isnan(data["w"].values).all(axis=-1)
    np.testing.assert_array_equal(missing, data["kind"].values == "")
    orbits = sf.sweep(WELL, {"rho": RHO}, lambda s: sf.iterate(s, [1.001], num_steps=9))
    assert orbits.compiled
    named = sf.sweep(WELL, {"rho": RHO}, "orbit", w0=[1.001], num_steps=9)
    np.testing.assert_allclose(orbits["final"], named["final"], rtol=1e-12)
    assert orbits["status"].tolist() == named["status"].tolist()
    assert orbits.to_dataset()["states"].dims == ("rho", "kept", "state")


def test_dataset_has_named_axes():
    found = sf.sweep(WELL, {"rho": RHO, "lr": LR}, "orbit", w0=[1.001], num_steps=5)
    data = found.to_dataset()
    assert dict(data.sizes) == {"rho": 3, "lr": 2, "final_0": 1}
    assert float(data["final"].sel(rho=0.2, lr=0.5).item()) == found["final"][1, 1, 0]
    assert str(found) == "orbit over rho (3) × lr (2): final, status, stopped_at"


def test_a_last_block_that_is_not_full():
    """5 cells in blocks of 2: the filling is dropped."""
    from samflow.attractors.sweep._sweep import _axes, _cells, _in_blocks
    from samflow.attractors.sweep.functions import named

    leaves, axes = _axes(WELL, {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]})
    made = _cells(WELL, leaves, axes, [1.0])
    found = _in_blocks(
        lambda part: named({"lr": np.asarray(part.varied.values[0])}),
        made,
        2,
        lambda n, total: None,
    )
    assert found["lr"].values.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"grid": {}}, "values of each parameter"),
        ({"grid": {"rhoo": [1.0]}}, "Unknown grid"),
        ({"grid": {"rho": [-1.0]}}, "rho"),
        ({"grid": {"lr": [0.0, 0.1]}}, "lr"),
        ({"grid": {"lr": [np.nan]}}, "finite"),
        ({"of": "perid"}, "Did you mean period"),
        ({"of": 3}, "name of an analysis"),
        ({"w0": None}, "w0"),
        ({"w0": [[1.0], [2.0]]}, "one point"),
    ],
)
def test_bad_input(arguments, words):
    given = {"grid": {"rho": [0.1]}, "of": "orbit", "w0": [1.0]} | arguments
    with pytest.raises(ArgumentError, match=words):
        sf.sweep(WELL, given.pop("grid"), given.pop("of"), **given)


def test_flows_have_no_orbits_of_steps():
    flow = sf.Flow(WELL.loss, sf.USAM(rho=0.1))
    with pytest.raises(ArgumentError, match="flow"):
        sf.sweep(flow, {"rho": [0.1]}, "period", w0=[1.0])
    found = sf.sweep(flow, {"rho": [0.5, 2.0]}, "classify", w0=[0.0])
    assert found["kind"].tolist() == ["repelling", "attracting"]  # −1(1 − rho), both sides of 1
