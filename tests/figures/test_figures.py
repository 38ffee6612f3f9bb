"""Each figure shows what its caption says; the numbers are computed again here."""

from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import figures
import samflow as sf
from figures import beale, crossing, hallucinated, separatrices, threshold, two_phases
from figures.__main__ import app
from reporting.registry import FIGURES, STUDIES
from reporting.work import draw_all
from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from samflow.plots import contents


def test_every_figure_has_a_name_and_a_caption():
    files = {path.stem for path in Path(figures.__file__).parent.glob("*.py")}
    assert {name.replace("-", "_") for name in FIGURES} == files - {"__init__", "__main__"}
    assert list(FIGURES) == [module.NAME for module in FIGURES.values()]
    for module in FIGURES.values():
        assert callable(module.caption)
        assert set(module.STUDIES) <= set(STUDIES)


def test_no_figure_makes_arrays_on_import():
    # they would be in single precision: the command turns on x64 after the import
    for module in FIGURES.values():
        made = {name: value for name, value in vars(module).items() if not name.startswith("__")}
        assert not [leaf for leaf in jax.tree.leaves(made) if eqx.is_array(leaf)]


@pytest.fixture(scope="module")
def beale_orbits():
    return {rule: beale.orbits(rule) for rule in beale.RHOS}


def test_on_beale_gd_reaches_the_minimum_and_usam_and_sam_stay_at_the_saddle(beale_orbits):
    late = {rule: orbits[1] for rule, orbits in beale_orbits.items()}
    # the slowest mode of GD decays by exp(−600000 · 1e-4 · 0.3015) = 1.4e-8 from distance ~ 1
    assert np.asarray(late["gd"].final_w) == pytest.approx(np.array([[3, 0.5]] * 3), abs=1e-6)
    assert np.asarray(late["usam"].final_w) == pytest.approx(np.array([[0, 1]] * 3), abs=1e-12)
    hovering = np.linalg.norm(np.asarray(late["sam"].w) - [0, 1], axis=-1)
    assert hovering.max() < 0.00115
    assert hovering[:, -1000:].max() > 1e-4  # it hovers and does not converge


def test_the_saddle_of_beale_attracts_usam_from_4_over_111():
    loss = sf.losses.beale()

    def kind(rho):
        return sf.classify(sf.Map(loss, sf.USAM(rho=rho), lr=beale.LR), np.array([0.0, 1.0])).kind

    assert kind(4 / 111 - 1e-6) is Kind.saddle
    assert kind(4 / 111 + 1e-6) is Kind.attracting
    assert beale.RHOS["usam"] > 4 / 111


def test_the_cosine_of_usam_flips_once_and_that_of_sam_keeps_flipping(beale_orbits):
    usam, sam = (beale.cosines(rule, beale_orbits[rule][0].w[0]) for rule in ("usam", "sam"))
    assert usam[0] == pytest.approx(0.99, abs=5e-3)
    assert usam[-1] == pytest.approx(-1, abs=1e-4)
    assert flips(usam) == 1
    # Chaotic, so that the number depends on rounding; about 3 in 100 steps.
    assert flips(sam[500:]) > 50
    # The extremes of few steps depend on it as well, those of many do not.
    longer = sf.iterate(
        beale.system("sam"), beale_orbits["sam"][0].w[0, -1], num_steps=50_000, keep_every=1
    )
    many = beale.cosines("sam", longer.w)
    assert many.min() < -0.99
    assert many.max() > 0.99


def test_gd_crosses_and_usam_and_sam_are_held():
    ends = {rule: np.asarray(crossing.orbit(rule).final_w) for rule in crossing.RHOS}
    assert ends["gd"][1] < -1000
    assert abs(ends["gd"][0]) < 1e-4
    assert np.linalg.norm(ends["usam"]) < 1e-3
    # the 2-cycle's slowest multiplier is 1 − ηλ = 0.98 a step, and 0.98^500 = 4e-5
    assert np.linalg.norm(ends["sam"]) == pytest.approx(crossing.cycle_radius(), rel=1e-4)
    assert crossing.cycle_radius() == pytest.approx(0.00505, abs=5e-6)


def test_sam_is_caught_from_the_rho_in_the_caption_on():
    def end(rho):
        system = sf.Map(sf.loss("x**2 - y**2"), sf.SAM(rho=rho), lr=crossing.LR)
        return sf.iterate(system, np.array(crossing.START), num_steps=3000)

    assert str(crossing.CATCHING_RHO) in crossing.caption()
    assert np.linalg.norm(end(crossing.CATCHING_RHO).final_w) < 0.01
    assert Status(int(end(crossing.CATCHING_RHO - 2e-4).status)) is Status.diverged


def test_the_saddle_attracts_usam_above_the_threshold_only():
    kinds = {}
    for rho in threshold.RHOS:
        gd, usam, sam = (threshold.system(rule) for rule in threshold.rules(rho))
        kinds[rho] = [sf.classify(flow, np.zeros(2)).kind for flow in (gd, usam, sam)]
        beside = sf.find_fixed_points(sam, threshold.BOX)
        others = [k for k, c in zip(beside.kinds, beside.critical, strict=True) if not c]
        assert others == [Kind.saddle] * 2
    below, above = threshold.RHOS
    assert below < 1 < above
    assert kinds[below] == [Kind.saddle, Kind.saddle, Kind.sliding]
    assert kinds[above] == [Kind.saddle, Kind.attracting, Kind.sliding]


def test_what_the_saddle_of_beale_is_for_the_rules_whose_basins_are_drawn():
    gd, usam, sam = separatrices.systems()
    kinds = [sf.classify(system, np.array([0.0, 1.0])).kind for system in (gd, usam, sam)]
    assert kinds == [Kind.saddle, Kind.attracting, Kind.rotation]
    for system in (usam, sam):
        found = sf.find_fixed_points(system, separatrices.BOX)
        own = [k for k, c in zip(found.kinds, found.critical, strict=True) if not c]
        assert own == [Kind.saddle] * 2
    ends = sf.iterate(usam, np.array([[1.6, 1.6], [3.5, 1.8]]), num_steps=9, keep_every=1)
    assert [Status(int(code)) for code in ends.status] == [Status.not_finite, Status.diverged]
    assert "overflow" in separatrices.caption()


@pytest.mark.slow
def test_the_curves_that_are_drawn_part_the_basins():
    for system in separatrices.systems()[:2]:
        for curves in contents.separatrices(
            system, separatrices.BOX, sf.find_fixed_points(system, separatrices.BOX)
        ):
            values, vectors = np.linalg.eig(np.asarray(system.jacobian(curves.saddle)))
            across = 1e-3 * vectors[:, np.argmax(np.abs(values))]
            middle = curves.stable[0].points[1:-1:10]
            sides = [
                np.asarray(sf.iterate(system, middle + sign * across, num_steps=30_000).final_w)
                for sign in (-1, 1)
            ]
            apart = np.linalg.norm(sides[0] - sides[1], axis=1)
            assert (~(apart < 0.5)).all()  # NaN: one side diverges
            assert np.isfinite(apart).any()


@pytest.mark.parametrize(
    ("panel", "count", "ascents"),
    [
        (hallucinated.PANELS[0], 2, ["minimum", "minimum"]),
        (hallucinated.PANELS[1], 14, ["saddle", "minimum", "minimum"]),
        (hallucinated.PANELS[2], 12, ["saddle", "saddle", "minimum", "minimum"]),
    ],
    ids=[panel.loss for panel in hallucinated.PANELS],
)
def test_the_hallucinated_points_of_a_panel_and_what_the_attracting_ones_ascend_to(
    panel, count, ascents
):
    found = sf.certify_fixed_points(hallucinated.system(panel), panel.box)
    assert found.verdict is sf.Verdict.proved
    points = [p for p in found.points if p.origin == "hallucinated"]
    assert len(points) == count
    listed = sf.losses.ZOO[panel.loss]().critical_points
    ends = [np.mean(p.ascent, axis=1) for p in points if p.kind is Kind.attracting]
    kinds = [c.shape for end in ends for c in listed if np.allclose(c.w, end, atol=1e-9)]
    assert sorted(kinds) == sorted(ascents)


def test_how_many_hallucinated_points_himmelblau_has():
    first, last = hallucinated.FIRST_ATTRACTING, hallucinated.LAST
    search = STUDIES["hallucinated"].search

    def kinds(rho):
        found = search("himmelblau", rho, ((-15, 15), (-15, 15)))
        assert found.verdict is sf.Verdict.proved
        return found.kinds

    assert kinds(0.05) == {"saddle": 10, "repelling": 2}
    assert kinds(first - 1e-4)["attracting"] == 0
    assert kinds(first + 1e-4)["attracting"] == 1
    assert kinds(last - 1e-3).total() > 0
    assert kinds(last + 1e-3).total() == 0
    points = np.array([c.w for c in sf.losses.himmelblau().critical_points])
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    assert distances.max() == pytest.approx(last, abs=5e-4)
    maximum = next(c.w for c in sf.losses.himmelblau().critical_points if c.shape == "maximum")
    assert np.abs(np.linalg.norm(points - maximum, axis=1) - first).min() < 5e-5


def test_the_caption_of_the_hallucinated_points_counts_the_radii_that_are_drawn():
    for radii in ((0.05, 0.35), (0.05, 0.15, 0.25)):
        record = SimpleNamespace(radii=radii)
        assert f"proved at {len(radii)} radii" in hallucinated.caption(record)


@pytest.fixture(scope="module")
def valley_phases():
    return STUDIES["valley-phases"].measure()


def test_the_two_phases_have_the_predicted_rates(valley_phases):
    lr, rho, w, _ = valley_phases.shown
    u, v = w[:, 0], np.abs(w[:, 1])
    slopes = np.diff(np.log(v))
    assert two_phases.rate(5.0, lr, rho) == pytest.approx(np.log(2), abs=1e-12)
    assert slopes[:10] == pytest.approx(np.log(2), abs=1e-10)  # |v| < 1e-5: its square is left
    end = two_phases.sharpness(np.array([u[-1], 0.0]))
    assert end == pytest.approx(1.509, abs=5e-4)
    assert two_phases.edge(lr, rho) == pytest.approx(3.791529, abs=1e-6)
    assert slopes[-10:] == pytest.approx(two_phases.rate(end, lr, rho), abs=1e-10)
    assert two_phases.rate(end, lr, rho) == pytest.approx(-0.890, abs=5e-4)
    caption = two_phases.caption(valley_phases)
    assert all(text in caption for text in ("λ = 1.509", "3.79", "= −0.890", "= 3 > 2", "1.5 < 2"))


def test_one_figure_is_drawn_alone(tmp_path):
    seen = []
    (drawn,) = draw_all(tmp_path / "new", "two_phases", lambda *args: seen.append(args))
    assert seen[0] == ("two_phases", 0, 1)
    assert drawn.caption.endswith("docs/theory.")
    assert [path.name for path in drawn.paths] == ["two_phases.pdf", "two_phases.png"]
    pdf, png = (path.read_bytes() for path in drawn.paths)
    assert b"/Type3" not in pdf
    assert len(pdf) < 500_000
    assert len(png) < 400_000


def test_an_unknown_figure_is_refused_with_the_nearest_names(tmp_path):
    with pytest.raises(ArgumentError, match="Did you mean beale"):
        draw_all(tmp_path, "beal")
    result = CliRunner().invoke(app, ["--only", "beal", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "beale" in result.stderr
    assert list(tmp_path.iterdir()) == []


def flips(cosines):
    return int((np.sign(cosines[1:]) != np.sign(cosines[:-1])).sum())
