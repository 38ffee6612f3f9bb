"""A table in LaTeX, with the rules of booktabs."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SYMBOLS = {
    "λ": r"\lambda", "ρ": r"\rho", "η": r"\eta", "β": r"\beta", "ε": r"\varepsilon",
    "σ": r"\sigma", "μ": r"\mu", "γ": r"\gamma", "Δ": r"\Delta", "‖": r"\|", "∞": r"\infty",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "±": r"\pm", "∓": r"\mp",
    "−": "-", "·": r"\cdot", "×": r"\times", "√": r"\surd", "→": r"\to", "∈": r"\in",
    "²": "^2", "³": "^3", "₋": "_-", "₊": "_+", "₀": "_0", "₁": "_1", "ᵀ": r"^{\top}",
    "⁺": "^+", "½": r"\tfrac12",
}  # fmt: skip


def booktabs(
    table: "pandas.DataFrame",
    *,
    digits: int = 6,
    item: str = "",
    short: Mapping[str, str] | None = None,
) -> str:
    """Return a `tabular` that needs the package booktabs.

    Numbers are on the right, words on the left; NaN is a dash. A column `..._latex` is set as
    mathematics, and the column `..._text` that says the same is left out.
    So is a column with nothing in it. A heading does not repeat what a row is, the `item`; `short`
    has the headings of columns that have another than their name.
    """
    formulas = {name for name in map(str, table.columns) if name.endswith("latex")}
    same = {name.removesuffix("latex") + "text" for name in formulas}
    names = [name for name in map(str, table.columns) if name not in same]
    names = [name for name in names if any(map(_says, table[name])) or not len(table)]
    number = {name: table[name].dtype.kind in "iuf" for name in names}
    lines = [rf"\begin{{tabular}}{{{''.join('r' if number[name] else 'l' for name in names)}}}"]
    # Not where another column has that heading.
    other = {name: new for name, new in (short or {}).items() if new not in names}
    lines += [r"\toprule", _line([_heading(other.get(name, name), item) for name in names])]
    lines.append(r"\midrule")
    for row in table[names].itertuples(index=False, name=None):
        cells = zip(names, row, strict=True)
        lines.append(
            _line(
                [f"${cell}$" if name in formulas else _cell(cell, digits) for name, cell in cells]
            )
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _heading(name: str, item: str) -> str:
    return escaped(name.removeprefix(f"{item}_").replace("_", " "))


def _says(value: Any) -> bool:
    """Say whether a cell holds anything: not NaN, and not an empty word."""
    return value == value and value != ""


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(value: Any, digits: int) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return escaped(str(value))
    if isinstance(value, int):
        return f"${value}$"
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"


def escaped(text: str) -> str:
    """Return words as LaTeX sets them; symbols of the theory are set as mathematics."""
    told = (_ESCAPED.get(sign) or _math(sign) for sign in text)
    return "".join(told)


def _math(sign: str) -> str:
    return f"${_SYMBOLS[sign]}$" if sign in _SYMBOLS else sign
