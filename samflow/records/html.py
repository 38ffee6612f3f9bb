"""A record as a notebook shows it."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

MOST_ROWS = 200
"""Rows of a table that a page shows."""


def as_html(text: str, table: "pandas.DataFrame") -> str:
    """Return the text of a record, and under it its table, which opens by a click.

    Nothing in either is taken for HTML. A long table is cut, and says how many rows it has.
    """
    rows = len(table)
    shown = table.head(MOST_ROWS).to_html(index=False, escape=True, border=0, na_rep="–")
    size = f"{rows} row" if rows == 1 else f"{rows} rows"
    cut = f", the first {MOST_ROWS} shown" if rows > MOST_ROWS else ""
    return (
        f"<pre>{html.escape(text)}</pre>"
        f"<details><summary>table: {size}{cut}</summary>{shown}</details>"
    )


__all__ = ["as_html"]
