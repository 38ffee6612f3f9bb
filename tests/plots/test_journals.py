"""Figures for journals: their widths, their letters, and that a figure keeps them."""

import warnings

import pytest
from matplotlib import font_manager

from samflow import plots
from samflow._checks import ArgumentError
from samflow.plots import style


@pytest.mark.parametrize("name", plots.JOURNALS)
def test_journal_sets_widths_and_letters_that_have_every_sign_of_ours(name):
    with plots.journal(name) as chosen:
        assert (style.column(), style.double_column()) == (chosen.column, chosen.double)
        figure = plots.new_figure(style.column(), 2.0)
        with plots.styled():
            ax = figure.add_subplot()
            ax.set_title("λ = −1, ρ ≤ ½, ‖g‖, η × 10³")
            ax.set_xlim(-1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        plots.files._rendered(figure, "pdf")
    wanted = chosen.letters["font.family"]
    first = wanted if isinstance(wanted, str) else wanted[0]
    assert ax.title.get_fontfamily()[0] == first
    assert font_manager.findfont(first, fallback_to_default=False)


def test_figure_keeps_its_journal_and_the_caller_gets_the_default_back():
    with plots.journal("nature"):
        figure = plots.new_figure()
    assert style.column() == style.COLUMN
    with plots.styled(figure):
        import matplotlib

        assert matplotlib.rcParams["mathtext.fontset"] == "dejavusans"
    with plots.styled(plots.new_figure()):
        assert matplotlib.rcParams["mathtext.fontset"] == "stix"


def test_none_changes_nothing_and_an_unknown_journal_is_refused():
    with plots.journal("icml") as outer, plots.journal(None) as inner:
        assert inner is outer
    with pytest.raises(ArgumentError, match="Did you mean neurips"), plots.journal("neurip"):
        pass


def test_column_is_never_wider_than_the_text():
    for each in plots.JOURNALS.values():
        assert 2.5 < each.column <= each.double < 8.5  # inches: the paper is 8.5 wide
