"""Charts over rho and lr: colours against theory's curves and against classify."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.attractors.charts import point
from samflow.attractors.charts.curves import boundaries
from samflow.attractors.charts.plane import make_plane

BEALE = sf.losses.beale()
RHO, LR = np.linspace(0.005, 0.29, 24), np.linspace(0.002, 0.049, 20)


@pytest.fixture(scope="module")
def chart():
    return sf.stability_chart(BEALE, sf.USAM(rho=0.1), [0.0, 1.0], rho=RHO, lr=LR, num_steps=300)


def test_colours_agree_with_the_curves(chart):
    """Attracting exactly where 0 < ηλ(1 + ρλ) < 2 for λ = ±111/4, computed here again."""
    for lam in (-27.75, 27.75):
        assert any(f"{lam:g}" in line.name for line in chart.boundaries)
    x = np.stack([LR * lam * (1 + RHO[:, None] * lam) for lam in (-27.75, 27.75)])
    attracts = ((x > 0) & (x < 2)).all(axis=0)
    np.testing.assert_array_equal(chart.what == "attracting", attracts)
    assert 0 < attracts.mean() < 1
    for line in chart.boundaries:  # each point of a curve satisfies its condition
        lam = float(line.name.split()[2])
        known = np.isfinite(line.y)
        u = lam * (1 + line.x[known] * lam)
        if "flips" in line.name:
            np.testing.assert_allclose(line.y[known] * u, 2, rtol=1e-12)
        else:
            np.testing.assert_allclose(u, 0, atol=1e-9)


def test_the_condition_that_binds(chart):
    """The one with the least slack, by hand at three places."""
    at = sf.stability_chart(
        BEALE, sf.USAM(rho=0.1), [0.0, 1.0], rho=[0.02, 0.2], lr=[0.01, 0.04], num_steps=10
    )
    assert at.binding.tolist() == [
        ["λ = -27.75 passes +1", "λ = -27.75 passes +1"],
        ["λ = 27.75 flips", "λ = 27.75 flips"],
    ]
    assert set(chart.binding.ravel()) <= {
        f"λ = {lam} {what}" for lam in (-27.75, 27.75) for what in ("passes +1", "flips")
    }


def test_orbits_from_beside_the_point(chart):
    """Where the saddle attracts they come to it: sharpness 27.75 and a negative exponent."""
    inside = chart.what == "attracting"
    slow = LR[None, :] * 27.75 * (RHO[:, None] * 27.75 - 1) < 0.2  # 300 steps do not settle there
    settled = inside & ~slow
    np.testing.assert_allclose(chart.sharpness[settled], 27.75, rtol=1e-4)
    assert (chart.exponent[inside] < 0).all()


def test_sam_by_orbits():
    """The quartic's minimum: periods 7, 9, 2 at rho = .1; the maximum holds for rho < 1 alone."""
    well = sf.loss("-(y**2)/2 + y**4/4")  # in the plane the 2-cycle is unstable across
    minimum = sf.stability_chart(
        well, sf.SAM(rho=0.1), [1.0], rho=[0.1], lr=[0.1, 0.18, 0.25], num_steps=3000
    )
    assert minimum.what.tolist() == [
        ["cycle of period 7", "cycle of period 9", "cycle of period 2"]
    ]
    assert not minimum.by_jacobian
    top = sf.stability_chart(
        well, sf.SAM(rho=0.1), [0.0], rho=[0.9, 1.2], lr=[0.01], num_steps=3000
    )
    # g′(±.9) = 1.43 > 0: both branches contract, so that a 2-cycle and no chaos is kept there.
    assert top.what[:, 0].tolist() == ["cycle of period 2", "leaves"]


def curves(loss, rule, w, gradient_norm=None, **numbers):
    """Return theory's curves alone, without orbits."""
    plane = make_plane(loss, rule, numbers)
    known = point.conditions(plane, point.critical_point("w", loss, w), gradient_norm)
    return boundaries(known, plane.x, plane.y)


def outside(system, point):
    """Return how many multipliers of a fixed point lie outside the unit circle."""
    jacobian = np.asarray(system.jacobian(system.lift(jnp.asarray(point))))
    return int((np.abs(np.linalg.eigvals(jacobian)) > 1).sum())


PLANES = {
    "GD": (sf.GD(), {"momentum": np.linspace(0.0, 0.9, 3), "lr": np.linspace(0.01, 0.15, 3)}),
    "USAM": (sf.USAM(rho=0.1), {"rho": np.linspace(0.0, 0.3, 3), "lr": np.linspace(0.01, 0.3, 3)}),
    "USAM, momentum": (
        sf.USAM(rho=0.05),
        {"momentum": np.linspace(0.0, 0.9, 3), "lr": np.linspace(0.01, 0.3, 3)},
    ),
    "practical SAM": (
        sf.rules.PracticalSAM(rho=0.1, eps=1.0),
        {"rho": np.linspace(0.0, 0.3, 3), "eps": np.linspace(0.5, 3.0, 3), "lr": 0.02},
    ),
}


@pytest.mark.parametrize("name", PLANES)
def test_a_multiplier_crosses_the_circle_on_every_curve(name):
    """On its two sides, 1e-6 apart, one multiplier more is outside; USAM's of both eigenvalues."""
    rule, numbers = PLANES[name]
    lines = curves(BEALE, rule, [0.0, 1.0], **numbers)
    names = [key for key, values in numbers.items() if np.ndim(values)]
    lams = {line.name.split()[2] for line in lines}
    assert lams == ({"27.75"} if name == "GD" else {"27.75", "-27.75"})
    for line in lines:
        upright = np.ptp(line.x[np.isfinite(line.x)]) < 1e-9
        for x, y in np.stack([line.x, line.y], axis=1)[3::40]:
            counts = []
            for side in (-1e-6, 1e-6):
                at: dict = {"lr": 0.02} | dict(zip(names, (x, y), strict=True))
                at[names[0 if upright else 1]] += side
                own = {key: at.pop(key) for key in ("rho", "eps") if key in at}
                made = dataclasses.replace(rule, **own) if own else rule
                counts.append(outside(sf.Map(BEALE, made, **at), [0.0, 1.0]))
            assert abs(counts[0] - counts[1]) == 1, (line.name, x, y)


def test_cycles_of_sam_begin_and_end_on_their_curves():
    """Orbits on both sides of each curve, a thousandth apart: period q on one side alone."""
    well = sf.loss("-(y**2)/2 + y**4/4")
    found = curves(well, sf.SAM(rho=0.1), [1.0], rho=[0.06, 0.25], lr=[0.02, 0.3])
    cycles = [line for line in found if line.name.startswith("cycle ")]
    assert {line.name.split()[1][:-1] for line in cycles} >= {"1/2", "4/7", "3/5", "2/3"}
    system = sf.Map(well, sf.SAM(rho=0.1), lr=0.1)
    for line in cycles:
        share = line.name.split()[1][:-1]
        known = np.flatnonzero(np.isfinite(line.x))
        rho, lr = (values[known[len(known) // 2]] for values in (line.x, line.y))
        near = np.array([0.998, 1.002])
        # The curves of 1/2 and 2/3 are flat in rho, those of the other tongues steep.
        found = sf.sweep(
            system, {"rho": rho * near, "lr": lr * near}, "period", w0=[1.001], num_steps=4000
        )["period"]
        q = int(share.split("/")[1])
        assert {value == q for value in found.ravel().tolist()} == {True, False}, line.name


def test_the_two_cycle_on_the_quartic():
    """It exists for lr above 0.1985 at rho = .1 (docs/theory, rotation.md)."""
    well = sf.loss("-(y**2)/2 + y**4/4")
    found = curves(well, sf.SAM(rho=0.1), [1.0], rho=[0.1, 0.1001], lr=[0.1, 0.3])
    (line,) = [line for line in found if line.group == "2-cycle on the loss"]
    assert line.name == "cycle 1/2, high end"
    assert abs(line.y[0] - 0.1985) < 1e-4  # its digits
    slope = lambda y: y**3 - y  # noqa: E731
    down = -line.y[0] * slope(1 + line.x[0])  # from 0 on the positive side, and back to 0
    assert abs(down - line.y[0] * slope(1 + down - line.x[0])) < 1e-12


def test_the_flow_lets_go_of_the_quartics_maximum_at_rho_1():
    """g(rho) = rho³ − rho changes its sign; the map agrees on both sides at a small lr."""
    well = sf.loss("-(y**2)/2 + y**4/4")
    chart = sf.stability_chart(
        well, sf.SAM(rho=0.1), [0.0], rho=[0.98, 1.02], lr=[0.01, 0.02], num_steps=3000
    )
    (line,) = [line for line in chart.boundaries if "lets go" in line.name]
    np.testing.assert_allclose(line.x, 1, atol=1e-4)  # the width of its enclosure
    assert (chart.what[0] != "leaves").all()
    assert (chart.what[1] == "leaves").all()


def test_the_weak_bound_of_sam_at_a_saddle():
    """λ = 1, −.06: the 2-cycle attracts iff .06 > η/(2 − η), η < .12/1.06; ±10 % in lr."""
    end = 2 * 0.06 / 1.06
    chart = sf.stability_chart(
        sf.losses.saddle([1.0, -0.06]),
        sf.SAM(rho=0.1),
        [0.0, 0.0],
        rho=[0.1, 0.2],
        lr=[0.9 * end, 1.1 * end],
        num_steps=20_000,
    )
    (line,) = chart.boundaries
    assert "across λ = -0.06 passes +1" in line.name
    np.testing.assert_allclose(line.y, end, rtol=1e-12)
    assert chart.what.tolist() == [["cycle of period 2", "leaves"]] * 2


def test_sams_edge_is_that_of_usam_at_rho_over_the_gradient():
    """(‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1) = λ: USAM with rho/‖g‖ flips there (Long, Bartlett 2024)."""
    numbers = {"rho": [0.01, 0.1], "lr": [0.01, 0.06]}
    found = curves(BEALE, sf.SAM(rho=0.1), [0.0, 1.0], gradient_norm=2.0, **numbers)
    (line,) = [line for line in found if "edge" in line.name]
    for rho, lr in np.stack([line.x, line.y], axis=1)[3::40]:
        counts = [
            outside(sf.Map(BEALE, sf.USAM(rho=rho / 2), lr=lr + side), [0.0, 1.0])
            for side in (-1e-7, 1e-7)
        ]
        assert abs(counts[0] - counts[1]) == 1


@pytest.fixture(scope="module")
def whole():
    quartic = sf.loss("x**2/2 - y**2/2 + y**4/4")
    return sf.stability_chart(
        quartic,
        sf.USAM(rho=0.1),
        box=(-1.2, 1.2),
        rho=[0.0, 0.9, 1.1],
        lr=[0.3, 0.33, 0.36, 1.1],
        num_starts=4,
    )


def test_all_attractors_of_a_box(whole):
    """The quartic's saddle attracts for 1 < rho, its minima below lr = 1/(1 + 2 rho).

    1/2.8 = .357, 1/3.2 = .3125. At lr = 1.1 the saddle attracts for lr(rho − 1) < 2, and x for
    lr(1 + rho) < 2: at no rho here but 0.
    """
    assert whole.number.tolist() == [[2, 2, 2, 0], [2, 2, 0, 0], [3, 1, 1, 0]]
    found = {*whole.what[0, :3], *whole.what[1, :2]}
    assert found == {"2 minima only"}
    assert whole.what[2].tolist()[:3] == ["2 minima and saddle", "saddle only", "saddle only"]
    assert whole.complete
    assert sorted(whole.shapes) == ["minimum", "minimum", "saddle"]
    shares = whole.elsewhere + whole.lost + whole.unsettled
    assert ((shares >= 0) & (shares <= 1)).all()
    data = whole.to_dataset()
    assert data["what"].dims == ("rho", "lr")
    assert data["at_points"].dims == ("point", "rho", "lr")
    assert str(data["what"].sel(rho=1.1, lr=0.3).values) == "2 minima and saddle"
    names = {line.name for line in whole.boundaries}
    assert "saddle: λ = -1 passes +1" in names
    assert "2 minima: λ = 2 flips" in names  # one curve for both


def test_attractors_away_from_all_points(whole):
    """Beyond the flip of y = ±1 at lr = 1 GD has a 2-cycle; nothing is elsewhere below."""
    assert whole.what[0, 3] == "elsewhere only"
    assert whole.elsewhere[0, 2] == 0 < whole.elsewhere[0, 3]


def test_a_number_of_the_loss_is_an_axis():
    """−a/2 y² + y⁴/4 at y = 0 under GD: |1 + lr a| < 1 iff −2/lr < a < 0."""
    from jax.tree_util import Partial

    loss = sf.loss(Partial(lambda w, a: -a * w[0] ** 2 / 2 + w[0] ** 4 / 4, a=0.5), dim=1)
    plane = make_plane(loss, sf.GD(), {"a": [-21.0, -19.0, 0.1], "lr": [0.1, 0.05]})
    where = point.critical_point("w", loss, [0.0])
    what = point.what_it_is(plane, where, num_steps=1)
    assert what[:, 0].tolist() == ["repelling", "attracting", "repelling"]
    assert plane.names == ("a", "lr")
    assert point.conditions(plane, where, None) == []  # theory's conditions are not in a


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": sf.GD()}, "must have a rho"),
        ({"rho": 0.1}, "row of values for two numbers"),
        ({"rho": "much"}, "number or a row"),
        ({"momentum": [0.1, 0.2]}, "row of values for two numbers"),
        ({"w": None}, "domain"),
        ({"gradient_norm": 0.0}, "gradient_norm"),
        ({"w": [0.3, 0.4]}, "critical point"),
        ({"lr": [0.0]}, "lr"),
        ({"rho": [-1.0]}, "rho"),
        ({"loss": "beale"}, "loss"),
    ],
)
def test_bad_input(arguments, words):
    given = {"loss": BEALE, "rule": sf.USAM(rho=0.1), "w": [0.0, 1.0]} | arguments
    axes = {"rho": given.pop("rho", [0.1]), "lr": given.pop("lr", [0.01])}
    axes |= {name: given.pop(name) for name in ("momentum", "gradient_norm") if name in given}
    if given["w"] is None:
        given["loss"] = sf.loss("x**2 - y**2")
    with pytest.raises(ArgumentError, match=words):
        sf.stability_chart(given["loss"], given["rule"], given["w"], **axes)


def test_neither_axes_nor_units_decide():
    """The quartic turned by 45°, where orbits from along a diagonal would not leave it."""
    grid = {"rho": [0.1, 0.5], "lr": [0.9, 1.1]}  # the 2-cycle repels across it from lr = 1 on
    for text in ("x**2/2 - y**2/2 + y**4/4", "x*y + (x - y)**4/16"):
        found = sf.stability_chart(sf.loss(text), sf.SAM(rho=0.1), [0.0, 0.0], **grid)
        assert (found.what == "cycle of period 2").tolist() == [[True, False]] * 2
    # In units 4096 times as large GD comes to the same minimum, with sharpness 2.
    small = sf.loss("(4096*x)**2/2 - (4096*y)**2/2 + (4096*y)**4/4")
    found = sf.stability_chart(
        small, sf.GD(), [0.0, 0.0], lr=np.array([0.1, 0.5]) / 4096**2, momentum=[0.0, 0.5]
    )
    np.testing.assert_allclose(found.sharpness, 2 * 4096**2, rtol=1e-9)
    assert (found.period == 1).all()
