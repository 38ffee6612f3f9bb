"""Charts over rho and lr: colours against theory's curves and against classify."""

import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError

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
        known = np.isfinite(line.lr)
        u = lam * (1 + line.rho[known] * lam)
        if "flips" in line.name:
            np.testing.assert_allclose(line.lr[known] * u, 2, rtol=1e-12)
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": sf.GD()}, "must have a rho"),
        ({"w": [0.3, 0.4]}, "critical point"),
        ({"lr": [0.0]}, "lr"),
        ({"rho": [-1.0]}, "rho"),
        ({"loss": "beale"}, "loss"),
    ],
)
def test_bad_input(arguments, words):
    given = {"loss": BEALE, "rule": sf.USAM(rho=0.1), "w": [0.0, 1.0]} | arguments
    axes = {"rho": given.pop("rho", [0.1]), "lr": given.pop("lr", [0.01])}
    with pytest.raises(ArgumentError, match=words):
        sf.stability_chart(given["loss"], given["rule"], given["w"], **axes)
