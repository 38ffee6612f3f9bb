"""Conditions in symbols and in numbers say what the linearisation says."""

import numpy as np
import pytest

import samflow as sf
from samflow import rules, theory
from samflow._checks import ArgumentError
from samflow.equilibria import _conditions
from samflow.equilibria.nonsmooth import arriving
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
    assert found.lr_window.describe().startswith("attracts for no lr")


def test_sam_says_that_it_has_none():
    found = sf.conditions(sf.Map(sf.losses.beale(), sf.SAM(rho=0.05), lr=0.01), BEALE_SADDLE)
    assert found.status is sf.Status.not_differentiable
    assert found.formulas == ()
    assert found.rho_window is None
    assert found.kind is sf.Kind.undefined
    assert "no Jacobian" in str(found)


@pytest.mark.parametrize("extra", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
@pytest.mark.parametrize("placement", theory.PLACEMENTS)
def test_practical_sam_changes_its_mind_at_both_ends_of_every_window(placement, extra):
    """Proposition 11; classify has the multipliers from the rule's own Jacobian."""
    loss, rho, eps, lr = sf.losses.beale(), 0.05, 0.5, 0.01

    def made(rho=rho, eps=eps, lr=lr):
        return sf.Map(
            loss, rules.PracticalSAM(rho=rho, eps=eps, placement=placement), lr=lr, **extra
        )

    found = sf.conditions(made(), BEALE_SADDLE)
    assert found.status is sf.Status.located
    assert found.kind is sf.classify(made(), BEALE_SADDLE).kind is sf.Kind.attracting
    windows = {"rho": found.rho_window, "eps": found.eps_window, "lr": found.lr_window}
    for name, window in windows.items():
        for end in (window.low, window.high):
            if end.eigenvalue is None:
                continue
            for share in (1 - 1e-6, 1 + 1e-6):
                value = float(end.value) * share
                kind = sf.classify(made(**{name: value}), BEALE_SADDLE).kind
                assert kind is (sf.Kind.attracting if value in window else sf.Kind.saddle)
    assert (found.momentum_window is None) == (not extra)
    high = float(found.eps_window.high.value)
    assert high == pytest.approx(rho * 27.75, rel=1e-12)  # ρ min|λ₋|
    assert f"< eps < {high:.6g} (λ = -27.75 passes +1)" in str(found)


def test_the_conditions_of_practical_sam_are_those_of_usam_with_rho_over_eps():
    loss = sf.losses.beale()
    practical = sf.Map(loss, rules.PracticalSAM(rho=0.05, eps=0.5), lr=0.01, momentum=0.3)
    usam = sf.Map(loss, sf.USAM(rho=0.05 / 0.5), lr=0.01, momentum=0.3)
    ours, theirs = (sf.conditions(system, BEALE_SADDLE) for system in (practical, usam))
    assert (ours.kind, ours.lr_window) == (theirs.kind, theirs.lr_window)
    assert ours.momentum_window == theirs.momentum_window
    assert theirs.eps_window is None
    texts = {formula.name: formula.text for formula in ours.formulas}
    assert texts["effective curvature"] == "λ·(1 + λ·ρ/ε)"
    assert texts["lr window"] == "0 < η < 2·(β + 1)/(λ·(1 + λ·ρ/ε))"
    assert texts["rho window, λ < 0"].startswith("-ε/λ < ρ < ")
    assert texts["eps window, λ < 0"] == "η·λ²·ρ/(2·β - η·λ + 2) < ε < -λ·ρ"
    assert texts["eps window, 0 < η·λ < 2·(β + 1)"] == "η·λ²·ρ/(2·β - η·λ + 2) < ε"


def test_the_flow_of_practical_sam_and_a_radius_of_zero():
    loss = sf.losses.beale()
    flow = sf.conditions(sf.Flow(loss, rules.PracticalSAM(rho=0.05, eps=0.5)), BEALE_SADDLE)
    assert flow.kind is sf.Kind.attracting
    assert "attracts for 0 < eps < 1.3875 (λ = -27.75: an eigenvalue passes 0)" in str(flow)
    assert flow.lr_window is None
    still = sf.Map(loss, rules.PracticalSAM(rho=0.0, eps=0.5), lr=0.01)
    found = sf.conditions(still, BEALE_SADDLE)
    assert (found.kind, found.eps_window) == (sf.Kind.saddle, None)  # gradient descent


def test_a_smooth_rule_without_a_closed_form_says_so():
    saddle = sf.losses.saddle((1.0, -0.5))
    average = sf.Map(saddle, rules.AverageSAM(rho=0.1), lr=0.1)
    for found in (sf.conditions(average), sf.conditions(average, [0.0, 0.0])):
        assert (found.status, found.kind) == (sf.Status.no_closed_form, None)
        assert "no Jacobian" not in str(found)
        assert "No closed form" in str(found)
        assert f"In closed form: {average.rule.closed_forms}." in str(found)
    assert sf.classify(average, [0.0, 0.0]).status is sf.Status.located


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (("x**2 - y**2", "2*x*y + x**2"), sf.Status.not_differentiable),  # critical for both
        (("x**2 - y**2 + x", "x**2 - y**2 - x"), sf.Status.no_closed_form),
        (("x**2 - y**2 + x", "2*x**2 - y**2 - x"), sf.Status.not_a_fixed_point),
    ],
)
def test_m_sam_is_asked_at_the_point(parts, status):
    system = sf.Map(sf.losses.mean([sf.loss(part) for part in parts]), rules.MSAM(rho=0.1), lr=0.1)
    found = sf.conditions(system, [0.0, 0.0])
    assert found.status is status is not sf.Status.located
    undefined = sf.Kind.undefined if status is sf.Status.not_differentiable else None
    assert found.kind is undefined
    assert found.status.message in str(found)


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


@pytest.mark.parametrize(("rho", "kind"), [(0.5, sf.Kind.sliding), (1.2, sf.Kind.saddle)])
def test_the_window_of_sams_flow_is_that_of_the_loss_itself(rho, kind):
    """S/rho = 1 − rho²e_y⁴ on the quartic: the window ends at 1, whatever rho the rule has."""
    found = sf.conditions(sf.Flow(sf.losses.quartic(), sf.SAM(rho=rho)), [0.0, 0.0])
    assert (found.kind, found.status) == (kind, sf.Status.located)
    low, high = found.rho_window.high.enclosure
    assert low <= 1 <= high < low + 2e-4
    assert found.rho_window.high.event is theory.Event.grows
    assert abs(found.rho_window.high.direction[1]) > 0.999
    assert "(‖g‖ grows along (" in str(found)
    assert "proved" in str(found)


@pytest.mark.parametrize(("eps", "kept"), [(0.03, True), (0.07, False)])
def test_the_flow_of_practical_sam_keeps_a_set_that_is_proved(eps, kept):
    """On ½(x² − y²/2), rho = 0.1, ‖g‖ falls up to rho|λ| − eps."""
    flow = sf.Flow(sf.losses.saddle((1.0, -0.5)), rules.PracticalSAM(rho=0.1, eps=eps))
    found = sf.conditions(flow, [0.0, 0.0])
    assert found.kind is (sf.Kind.attracting if kept else sf.Kind.saddle)
    if kept:
        assert 0.9 * (0.05 - eps) < found.sliding.radius < 0.05 - eps
        assert "approaches for ever, from ‖g‖ <" in str(found)
        assert "proved" in str(sf.classify(flow, [0.0, 0.0], measure=True))
    else:
        assert found.sliding.radius is None
        assert "no radius was proved" in str(found)


def test_the_window_of_a_quadratic_and_of_a_domain():
    """A quadratic holds every rho; on x − log x the ascent from 1 leaves the domain at rho = 1."""
    everywhere = sf.conditions(sf.Flow(sf.losses.saddle(), sf.SAM(rho=0.1)), [0.0, 0.0])
    assert everywhere.rho_window.describe() == "attracts for 0 < rho"
    edge = sf.conditions(sf.Flow(sf.loss("x - log(x)"), sf.SAM(rho=0.1)), [1.0]).rho_window
    assert edge.high.event is theory.Event.outside
    assert edge.high.enclosure[0] == pytest.approx(1, abs=1e-3)
    assert "an ascent point leaves the domain" in edge.describe()


@pytest.mark.parametrize("rho", [0.5, 1.5])
def test_the_window_ends_where_the_ascent_point_leaves_the_domain_at_any_rho(rho):
    """On log(1 + x) − x/2 + y² the ascent from 1 leaves the domain at rho = 2."""
    loss = sf.loss("log(1 + x) - x/2 + y**2")
    high = sf.conditions(sf.Flow(loss, sf.SAM(rho=rho)), [1.0, 0.0]).rho_window.high
    low, above = high.enclosure
    assert high.event is theory.Event.outside
    assert low <= 2 <= above
    assert float(high.value) == low  # no more than is proved
    assert above - low < 0.01 * low


def test_a_window_says_how_far_it_is_known():
    """S > 0 at every rho on ½x² + ¼x⁴: what ends is the search. A proof may end below a failure."""
    flow = sf.Flow(sf.loss("x**2/2 + x**4/4"), sf.SAM(rho=0.5))
    window = sf.conditions(flow, [0.0]).rho_window
    assert window.high.event is theory.Event.unknown
    assert window.high.enclosure == (float(window.high.value), float("inf"))
    assert "(not known beyond)" in window.describe()
    open_end = arriving.Sliding(arriving.Evidence.proved, rho_end=(1.0, 2.0), end_direction=(1.0,))
    assert "1 (not known up to 2)" in _conditions._falling_window(open_end).describe()
    assert _conditions._falling_window(open_end._replace(rho_end=(0.0, 2.0))) is None


def test_without_a_formula_the_window_is_bracketed_by_minimisation():
    loss = sf.loss(lambda w: w[0] ** 2 / 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4, dim=2)
    found = sf.conditions(sf.Flow(loss, sf.SAM(rho=0.1)), [0.0, 0.0])
    assert found.rho_window.high.enclosure is None  # not proved
    # Bisected to 1e-4 of rho.
    assert float(found.rho_window.high.value) == pytest.approx(1, abs=2e-4)
    assert "by minimisation over the sphere" in str(found)


def test_of_sams_map_it_says_what_is_proved_at_its_own_rho_and_lr():
    """The quartic's saddle holds SAM's map for rho < 1 at small lr, and lets it go beyond."""
    for rho, verdict in ((0.5, "proved"), (1.2, "refuted")):
        made = sf.Map(sf.losses.quartic(), sf.SAM(rho=rho), lr=0.01)
        found = sf.conditions(made, [0.0, 0.0])
        assert verdict in found.trap
        assert found.trap in str(found)
    assert sf.conditions(made).trap == ""
    assert (
        sf.conditions(sf.Map(made.loss, sf.SAM(rho=0.5), lr=0.01, momentum=0.5), [0.0, 0.0]).trap
        == ""
    )
