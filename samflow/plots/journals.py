"""Journals and conferences: the widths of their columns, and the letters of their figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from samflow import _checks

_MM = 1 / 25.4
_PT = 1 / 72.27
_ALONE = 3.35
_ROMAN: dict[str, Any] = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"}
_COMPUTER_MODERN: dict[str, Any] = {
    "font.family": ["cmr10", "STIXGeneral"],
    "mathtext.fontset": "cm",
}
_COMPUTER_MODERN["axes.formatter.use_mathtext"] = True  # cmr10 has no minus sign
# cmr10 has no Greek letters either: those of STIX stand in.
_SANS: dict[str, Any] = {"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}


class Journal(NamedTuple):
    """A journal's widths in inches, and the settings of matplotlib for its letters.

    `double` is the whole width of the text. `column` is a column's; where the text has one column,
    that of a figure which stands in it by itself.
    """

    column: float
    double: float
    letters: dict[str, Any]
    source: str


DEFAULT = Journal(_ALONE, 6.9, _ROMAN, "a column that fits most journals")
JOURNALS = {
    "aistats": Journal(3.25, 6.75, _ROMAN, "aistats.sty"),
    "aps": Journal(246 * _PT, 510 * _PT, _ROMAN, "revtex4-2.cls, also PRL, PRE, PRX"),
    "elsevier": Journal(90 * _MM, 190 * _MM, _ROMAN, "artwork sizing: single and double column"),
    "iclr": Journal(_ALONE, 5.5, _ROMAN, "iclr_conference.sty"),
    "icml": Journal(3.25, 6.75, _ROMAN, "icml.sty"),
    "ieee": Journal(252 * _PT, 516 * _PT, _ROMAN, "IEEEtran.cls"),
    "jmlr": Journal(_ALONE, 6.0, _COMPUTER_MODERN, "jmlr2e.sty"),
    "nature": Journal(89 * _MM, 183 * _MM, _SANS, "guide to figures: single and double column"),
    "neurips": Journal(_ALONE, 5.5, _ROMAN, "neurips.sty"),
    "pmlr": Journal(_ALONE, 6.0, _COMPUTER_MODERN, "jmlr.cls, also COLT and ALT"),
    "siam": Journal(_ALONE, 5.125, _COMPUTER_MODERN, "siamart.cls"),
    "springer": Journal(84 * _MM, 174 * _MM, _ROMAN, "artwork: small and large format"),
    "tmlr": Journal(_ALONE, 6.5, _COMPUTER_MODERN, "tmlr.sty"),
}
"""By name; each with the style file or the guide that has its widths."""

_CURRENT: ContextVar[Journal] = ContextVar("journal", default=DEFAULT)


@contextmanager
def journal(name: str | None) -> Iterator[Journal]:
    """Draw figures for a journal, within a `with`: its widths by default, and its letters.

    A figure keeps them, also when it is saved later. Sizes given by `size=` stay as given. Letters
    are 8 points high, and 7 in legends and at ticks, so include the file at its own size.

    Args:
        name: one of `JOURNALS`; None changes nothing.

    Yields:
        The journal, with `column` and `double`, its widths in inches.

    Raises:
        ArgumentError: for an unknown journal.

    """
    chosen = current() if name is None else JOURNALS[_checks.known("journal", name, JOURNALS)]
    token = _CURRENT.set(chosen)
    try:
        yield chosen
    finally:
        _CURRENT.reset(token)


def current() -> Journal:
    """Return the journal that figures are drawn for."""
    return _CURRENT.get()


__all__ = ["JOURNALS", "Journal", "current", "journal"]
