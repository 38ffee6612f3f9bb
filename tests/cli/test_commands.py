"""What the commands print, write, and return."""

import json

import numpy as np
import pytest

from samflow._status import Status
from samflow.cli import run
from samflow.cli.options import rule_names, rule_with
from samflow.losses import ZOO
from samflow.rules import RULES
from tests.references import BEALE_EIGENVALUES, BEALE_THRESHOLD

BEALE = ["saddle", "--loss", "beale", "--lr", "0.01"]


def _json(arguments, capsys, code=0):
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def _at_the_saddle(found, rule):
    (point,) = [p for p in found["points"] if np.allclose(p["w"], [0, 1], rtol=0, atol=1e-9)]
    (behaviour,) = [b for b in point["behaviours"] if b["rule"] == rule]
    return point, behaviour


def test_saddle_json_has_the_known_answers(capsys):
    found = _json([*BEALE, "--rho", "0.05"], capsys)
    assert found["verdict"] == "proved"
    for w, eigenvalues in BEALE_EIGENVALUES.items():
        (point,) = [p for p in found["points"] if np.allclose(p["w"], w, rtol=0, atol=1e-5)]
        assert point["eigenvalues"] == pytest.approx(eigenvalues, rel=1e-5)  # printed digits
    point, usam = _at_the_saddle(found, "usam")
    assert point["proved"]
    multipliers = [z["real"] for z in usam["multipliers"]]
    assert multipliers == pytest.approx([0.89246875, 0.33746875], rel=1e-12)  # 1 − lr U(±27.75)
    threshold = usam["rho_window"]["low"]
    assert threshold["value"] == pytest.approx(float(BEALE_THRESHOLD), rel=1e-15)
    assert threshold["event"] == "plus_one"
    assert _at_the_saddle(found, "sam")[1]["multipliers"] == []


@pytest.mark.parametrize(("rho", "kind"), [("0.03", "saddle"), ("0.05", "attracting")])
def test_saddle_says_on_which_side_of_the_threshold_it_is(rho, kind, capsys):
    found = _json([*BEALE, "--rho", rho, "--rule", "usam"], capsys)
    usam = _at_the_saddle(found, "usam")[1]
    assert (usam["kind"], usam["verdict"]) == (kind, "proved")
    assert run([*BEALE, "--rho", rho, "--rule", "usam"]) == 0
    table = capsys.readouterr().out.split("(0.100538")[0]
    (row,) = [line for line in table.splitlines() if line.strip().startswith("USAM  ")]
    assert row.split()[-3:] == [kind, "yes" if kind == "attracting" else "no", "yes"]


@pytest.mark.parametrize(("rho", "kind"), [("0.03", "saddle"), ("0.05", "attracting")])
def test_a_rule_by_formula_is_the_rule_and_its_name_the_formula(rho, kind, capsys):
    formula = "g(w + rho*g)"
    found = _json([*BEALE, "--rho", rho, "--rule", "usam", "--rule", formula], capsys)
    usam, own = (_at_the_saddle(found, rule)[1] for rule in ("usam", formula))
    assert (own["kind"], own["verdict"]) == (kind, "proved")
    assert own | {"rule": "usam"} == usam


def test_commas_within_a_formula_part_no_rules():
    text = "usam, g*dot(g, H(w)) , sam"
    assert rule_names(text) == ["usam", "g*dot(g, H(w))", "sam"]


def test_numbers_of_a_formula_come_from_set_and_from_its_text():
    numbers = {"rho": np.array(0.1), "eps": np.array([0.5, 2.0])}
    made, _ = rule_with("g(w + rho*g/(norm(g) + eps)) + b*w; b = 3", numbers)
    assert {name: float(value) for name, value in made.numbers.items()} == {
        "rho": 0.1,
        "eps": 2.0,
        "b": 3.0,
    }


def test_saddle_prints_everything_asked_for_and_no_colour_codes(capsys):
    assert run([*BEALE, "--rho", "0.05"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for piece in (
        "exactly 3 critical points in [-4.5, 4.5] × [-4.5, 4.5]: proved",
        "Hessian eigenvalues: -0.781027, 867.752",
        "0.892469, 0.337469",
        "USAM: attracts for 0.036036 (λ = -27.75 passes +1) < rho < 0.223683 (λ = 27.75 flips)",
        "GD: attracts for no lr: λ = -27.75 grows at every lr",
        "no Jacobian",
        "2-cycle, rotation 1/2 along λ = 27.75",
        "of the loss itself only what is marked as proved is a proof",
    ):
        assert piece in " ".join(out.split())
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in out.splitlines())


def test_saddle_says_what_is_proved_of_the_flow_of_sam(capsys):
    """The quartic at rho 0.5, where all three points hold it, and at 1.2, where none does."""
    quartic = ("saddle", "--loss", "quartic", "--rule", "sam", "--lr", "0.01", "--rho")
    assert run([*quartic, "0.5"]) == 0
    out = capsys.readouterr().out
    assert "SAM, flow: arrives in finite time: proved" in out
    assert "SAM: the flow comes to 3 of 3: proved" in out
    assert run([*quartic, "1.2"]) == 0
    out = capsys.readouterr().out
    assert "a solution leaves along (0, 1): proved" in out
    assert "SAM: the flow comes to 0 of 3" in out


def test_saddle_lists_hallucinated_points_when_asked(capsys):
    found = _json([*BEALE, "--rho", "0.05", "--all", "--rule", "usam"], capsys)
    assert len(found["hallucinated"]) == 2
    assert run([*BEALE, "--rho", "0.05", "--all", "--rule", "usam"]) == 0
    assert "no critical points: 2" in capsys.readouterr().out


def test_saddle_says_where_it_looks_when_nobody_said(capsys):
    found = _json(["saddle", "--loss", "x**2 - y**2"], capsys)
    assert found["box"] == [[-3.0, 3.0], [-3.0, 3.0]]
    assert run(["saddle", "--loss", "x**2 - y**2"]) == 0
    assert "Searching [-3, 3] × [-3, 3]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "box"),
    [("-2,2", [[-2, 2], [-2, 2]]), ("-2,2,-1,1", [[-2, 2], [-1, 1]])],
)
def test_a_box_has_one_pair_for_all_or_one_a_weight(text, box, capsys):
    found = _json(["saddle", "--loss", "quartic", "--rule", "gd", "--box", text], capsys)
    assert found["box"] == box


def test_eigenvalues_make_a_saddle_and_dim_a_larger_loss(capsys):
    arguments = ["saddle", "--rule", "gd", "--box", "-1,2", "--loss"]
    found = _json([*arguments, "saddle", "--eigenvalues", "1,-2,3"], capsys)
    assert found["points"][0]["eigenvalues"] == [-2.0, 1.0, 3.0]
    found = _json([*arguments, "rosenbrock", "--dim", "3"], capsys)
    assert found["points"][0]["w"] == [1.0, 1.0, 1.0]


def test_a_search_that_finds_and_proves_nothing_returns_1(capsys):
    assert run(["saddle", "--loss", "1/sin(x)", "--box", "-1,1"]) == 1
    out, err = capsys.readouterr()
    assert "no critical point found" in out
    assert "not decided in" in out
    assert err == "No critical point was found, nor a proof that there is none.\n"


def test_no_critical_point_can_be_proved(capsys):
    assert run(["saddle", "--loss", "exp(x)", "--box", "-1,1"]) == 0
    assert "no critical points in [-1, 1]: proved" in capsys.readouterr().out


def test_a_file_gets_what_stdout_would(tmp_path, capsys):
    arguments = ["saddle", "--loss", "quartic", "--box", "-2,2"]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    for suffix in ("txt", "json"):
        assert run([*arguments, "-o", str(tmp_path / f"found.{suffix}")]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Wrote ")
    assert (tmp_path / "found.txt").read_text() == printed
    assert len(json.loads((tmp_path / "found.json").read_text())["points"]) == 3
    assert len(list(tmp_path.iterdir())) == 2


VALLEY = ["two-phase", "--loss", "valley", "--start", "2,0.1"]


def test_two_phase_holds_on_the_valley(capsys):
    assert run(VALLEY) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in ("P1", "P2", "P3", "P4"):
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert line.endswith("yes")


def test_two_phase_that_does_not_come_out_returns_1(capsys):
    """Twenty times the rate at which the valley is left: the orbit diverges."""
    found = _json([*VALLEY, "--rho", "20"], capsys, code=1)
    assert found["status"] != Status.converged.label
    assert run([*VALLEY, "--rho", "20"]) == 1
    err = capsys.readouterr().err
    assert "P3 was not measured: the orbit diverged, so that it has no end." in err
    assert "Not as predicted" not in err


def test_portrait_writes_the_file_and_prints_the_fixed_points(tmp_path, capsys):
    path = tmp_path / "quartic.pdf"
    arguments = ["portrait", "--loss", "quartic", "--rule", "usam", "--rho", "2", "--flow"]
    arguments += ["--box", "-2,2", "--start", "1,0.5", "--length", "3", "-o", str(path)]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert path.read_bytes().startswith(b"%PDF")
    assert err == f"Wrote {path}\n"
    assert out.startswith("5 fixed points (all, proved)")
    assert list(tmp_path.iterdir()) == [path]


def test_losses_lists_every_name(capsys):
    rows = _json(["losses"], capsys)
    assert [row["name"] for row in rows] == list(ZOO)
    (beale,) = [row for row in rows if row["name"] == "beale"]
    assert beale["known_critical_points"] == {"minimum": 1, "saddle": 2}
    assert run(["losses"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ZOO)


def test_rules_says_which_have_a_jacobian(capsys):
    rows = {row["name"]: row for row in _json(["rules"], capsys)}
    assert list(rows) == list(RULES)
    assert rows["usam"]["smooth_at_critical_points"]
    assert not rows["sam"]["smooth_at_critical_points"]
    smooth = {name for name, row in rows.items() if row["smooth_at_critical_points"]}
    two_more = {"two-step-usam", "hessian-usam"}
    assert smooth == two_more | {"gd", "usam", "practical-sam", "average-sam"}
    memory = {name for name, row in rows.items() if row["memory"]}
    assert memory == {"f-sam", "vasso", "dp-sat", "optimistic-sam"}
    assert rows["practical-sam"]["options"] == ["eps=1e-12", "placement=outside"]
    assert rows["sam"]["options"] == []


def test_rules_prints_each_with_its_formula_and_source_in_a_page_of_text(capsys):
    assert run(["rules"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    words = " ".join(out.split())
    for name, rule in RULES.items():
        assert f"{name} d(w) = {rule.formula} at critical points: " in words
        assert rule.source in words
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert heads == [*RULES, "", "A formula can be a rule too"]
    assert words.count("has a memory of earlier gradients: for maps only") == 4


def test_a_long_source_is_folded_under_its_rule(monkeypatch, capsys):
    monkeypatch.setattr(RULES["sam"], "source", "Somebody, " * 30 + "arXiv 0000.00000")
    assert run(["rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    begin = lines.index("sam")
    folded = lines[begin + 3 : lines.index("practical-sam")]
    assert len(folded) > 2
    assert all(line.startswith("  Somebody") or line.endswith("0000.00000") for line in folded)
    assert all(line.startswith("  ") for line in folded)


def test_help_and_version(capsys):
    assert run([]) == 0
    assert "two-phase" in capsys.readouterr().out
    assert run(["saddle", "--help"]) == 0
    assert "--momentum" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("samflow 0.")


def test_saddle_compares_rules_by_theory_and_by_orbits(capsys):
    arguments = ["saddle", "--loss", "x**2/2 - y**2/4", "--box=-1,1,-1,1", "--rho", "0.1"]
    arguments += ["--lr", "0.1", "--rule", "sam", "--rule", "ssam", "--simulate"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "2-cycle ±0.00526316 along λ = 1" in out
    assert "cycle of period 2 (32 of 32)" in out
    assert "slides" in out
    assert "attractor (32 of 32)" in out
    assert "SAM: orbits stay near 1 of 1" in out


def test_rules_are_compared_point_by_point_first_and_points_alike_come_once(capsys):
    arguments = ["saddle", "--loss", "quartic", "--box=-2,2", "--rho", "0.1", "--lr", "0.05"]
    assert run([*arguments, "--rule", "gd", "--rule", "sam", "--simulate"]) == 0
    out = capsys.readouterr().out
    first, rest = out.split("\n\n(0, -1) and (0, 1)  ")
    rows = [line.split() for line in first.splitlines()[-4:] if line]
    assert ["GD", "attractor", "leaves"] in rows
    assert ["SAM", *["cycle", "of", "period", "7"], *["cycle", "of", "period", "2"]] in rows
    assert "(0, -1) ×2" in first
    assert rest.count("2 minima alike") == 1
    assert rest.count("Hessian eigenvalues: 1, 2") == 1
    assert rest.count("7-cycle, rotation 4/7 along λ = 2") == 1
    assert "differ" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "quartic", "--rho", "1.1"], "SAM: held near 0 of 3, let go by 3 (proved)"),
        (["--loss", "quartic", "--rho", "0.1"], "SAM: held near 3 of 3 (3 proved)"),
        (
            ["--loss", "log(1+x) - x/2 + y**2", "--rho", "2.5"],
            "SAM: held near 0 of 1, let go by 1 (proved)",
        ),
    ],
)
def test_the_summary_says_what_is_proved_of_traps(capsys, arguments, said):
    assert run(["saddle", *arguments, "--rule", "sam"]) == 0
    assert said in capsys.readouterr().out.splitlines()


def test_where_orbits_differ_from_theory_a_star_and_a_sentence_say_so(capsys):
    arguments = ["saddle", "--loss", "quartic", "--box=-0.4,0.4", "--rho", "3"]
    assert run([*arguments, "--lr", "0.1", "--rule", "sam", "--simulate"]) == 0
    first, rest = capsys.readouterr().out.split("* differs from theory, see below")
    assert any(
        line.split()[:2] == ["SAM", "leaves"] and line.endswith("*") for line in first.splitlines()
    )
    said = "SAM: orbits differ from theory, which predicts: a 2-cycle, rotation 1/2 along λ = 1,"
    assert rest.count(said) == 1


def test_at_a_degenerate_point_the_verdict_of_higher_order_is_printed(capsys):
    arguments = ["saddle", "--loss", "x**4 + y**2", "--box=-2,2", "--rule", "gd", "--lr", "0.25"]
    assert run(arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 critical point in [-2, 2] × [-2, 2], 1 proved; all, by exact algebra." in out
    # x⁺ = x − 4·lr·x³ on the manifold y = 0, whatever lr < 2/2.
    assert "GD: attracting at order 3, coefficient -1 along (1, 0), proved" in out
    assert "GD: attracts for 0 < lr < 1 (λ = 2 flips); 1 neutral direction" in out
    assert "GD: attracted to 1 of 1" in out


def test_of_a_pole_without_critical_points_algebra_proves_that_there_is_none(capsys):
    assert run(["saddle", "--loss", "1/x", "--box", "-1,1"]) == 0
    assert "no critical point in [-1, 1]: proved, by exact algebra" in capsys.readouterr().out


def test_a_curve_of_critical_points_is_named_as_such_and_a_loss_of_0_is_0(capsys):
    assert run(["saddle", "--loss", "(x**2 + y**2 - 1)**2", "--box=-2,2", "--rule", "gd"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 isolated critical point, 1 of them proved, and 1 closed curve of critical" in out
    said = "closed curve of critical points (x, y) = (cos(t), sin(t)) (proved); loss 0"
    assert out.count(said) == 1
    # Across it λ = 8: GD's edge is 2/8.
    assert "GD: across it attracting; lr edge 0.25" in out
    assert "degenerate" not in out
    assert "nonhyperbolic" not in out
    assert run(["saddle", "--loss", "(x**2 - 1)**2/4", "--box=-2,2", "--rule", "gd"]) == 0
    out = capsys.readouterr().out
    assert "(-1) and (1)  2 minima alike, loss 0, proved to exist" in out
