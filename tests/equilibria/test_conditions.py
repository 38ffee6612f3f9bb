"""Conditions in symbols and in numbers say what the linearisation says."""

import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.equilibria.conditions import show_window
from tests.references import BEALE_SADDLE, BEALE_THRESHOLD


@pytest.mark.parametrize("extra", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_classify_changes_its_mind_at_both_ends_of_the_window(extra):
    loss = sf.losses.beale()

    def kind(rho):
        return sf.classify(sf.Map(loss, sf.USAM(rho=rho), lr=0.01, **extra), BEALE_SADDLE).kind

    window = sf.conditions(sf.Map(loss, sf.USAM(rho=0.05), lr=0.01, **extra), BEALE_SADDLE)
    low, high = (float(end.value) for end in (window.rho_window.low, window.rho_window.high))
    assert low == pytest.approx(float(BEALE_THRESHOLD), rel=1e-12)
    for rho in (low * (1 + 1e-6), high * (1 - 1e-6)):
        assert kind(rho) is sf.Kind.attracting
    for rho in (low * (1 - 1e-6), high * (1 + 1e-6)):
        assert kind(rho) is sf.Kind.saddle
    assert window.kind is sf.Kind.attracting


def test_lr_window_at_its_end():
    loss = sf.losses.beale()
    found = sf.conditions(sf.Map(loss, sf.USAM(rho=0.05), lr=0.01), BEALE_SADDLE)
    high = float(found.lr_window.high.value)
    assert high == pytest.approx(2 / (27.75 * (1 + 0.05 * 27.75)), rel=1e-12)
    for factor, kind in ((1 - 1e-6, sf.Kind.attracting), (1 + 1e-6, sf.Kind.saddle)):
        assert (
            sf.classify(sf.Map(loss, sf.USAM(rho=0.05), lr=factor * high), BEALE_SADDLE).kind
            is kind
        )


def test_heavy_ball_ends_in_a_neimark_sacker_bifurcation():
    """0 < lr·U < 2(1 + β), so β > lr·U/2 − 1, up to β = 1 where complex pairs cross."""
    loss = sf.losses.saddle((1.0, 2.0))
    system = sf.Map(loss, sf.USAM(rho=0.1), lr=1.0, momentum=0.5)
    found = sf.conditions(system, [0.0, 0.0])
    window = found.momentum_window
    assert float(window.low.value) == pytest.approx(1.0 * 2 * 1.2 / 2 - 1)
    assert float(window.high.value) == 1
    assert window.low.event == "flip"
    assert window.high.event == "neimark_sacker"
    assert "Neimark–Sacker" in str(found)
    low = float(window.low.value)
    for beta, kind in ((low + 1e-6, sf.Kind.attracting), (low - 1e-6, sf.Kind.saddle)):
        moved = sf.Map(loss, sf.USAM(rho=0.1), lr=1.0, momentum=beta)
        assert sf.classify(moved, [0.0, 0.0]).kind is kind
    assert sf.conditions(sf.Map(loss, sf.GD(), lr=0.1), [0.0, 0.0]).momentum_window is None


def test_formulas_come_as_text_and_latex():
    found = sf.conditions(sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01, momentum=0.9))
    names = [formula.name for formula in found.formulas]
    assert names[:2] == ["effective curvature", "multipliers"]
    assert all(formula.text and "\\lambda" in formula.latex for formula in found.formulas)
    assert found.rho_window is None


def test_gd_never_attracts_at_a_saddle():
    found = sf.conditions(sf.Map(sf.losses.beale(), sf.GD(), lr=0.01), BEALE_SADDLE)
    assert found.kind is sf.Kind.saddle
    assert found.lr_window.is_empty
    assert show_window(found.lr_window).startswith("never")


def test_sam_says_that_it_has_none():
    found = sf.conditions(sf.Map(sf.losses.beale(), sf.SAM(rho=0.05), lr=0.01), BEALE_SADDLE)
    assert found.status is sf.Status.not_differentiable
    assert found.formulas == ()
    assert found.rho_window is None
    assert found.kind is sf.Kind.undefined
    assert "no Jacobian" in str(found)


def test_neutral_directions_are_named():
    found = sf.conditions(sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3), [2.0, 0.0])
    assert "1 neutral direction" in str(found)
    assert found.kind is sf.Kind.nonhyperbolic


def test_what_cannot_be_answered_is_refused():
    loss = sf.losses.beale()
    with pytest.raises(ArgumentError, match=r"must be a critical point, but .* away from one"):
        sf.conditions(sf.Map(loss, sf.GD(), lr=0.01), [0.5, 0.5])
    with pytest.raises(ArgumentError, match="no weight decay"):
        sf.conditions(sf.Map(loss, sf.GD(), lr=0.01, weight_decay=0.1), BEALE_SADDLE)
    with pytest.raises(ArgumentError, match="must be a Map or a Flow"):
        sf.conditions(sf.FunctionMap(lambda z: z, dim=2), BEALE_SADDLE)
    with pytest.raises(ArgumentError, match="finite"):
        sf.conditions(sf.Map(loss, sf.GD(), lr=0.01), [np.nan, 0.0])
