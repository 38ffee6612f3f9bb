"""Text of a formula to Python's syntax tree: limits, signs and refusals with their place.

Nothing is evaluated. What reads the tree takes each node that it allows, and refuses the others.
"""

import ast
import keyword
import re
import warnings
from collections.abc import Mapping

from samflow._checks import ArgumentError, excerpt

MAX_LENGTH = 10_000
"""Characters; a formula typed by a person has fewer, and hostile input more."""
MAX_NODES = 2_000
_ASCII = {"−": "-", "–": "-", "·": "*", "×": "*", "÷": "/", "²": "**2", "³": "**3", "π": "pi"}
"""What to write for signs that are pasted from a paper."""
_WHAT = {
    ast.Attribute: "attribute access (a dot)",
    ast.Subscript: "indexing",
    ast.Lambda: "a lambda",
    ast.Compare: "a comparison",
    ast.BoolOp: "and/or",
    ast.IfExp: "a conditional",
    ast.List: "a list",
    ast.Tuple: "a comma",
    ast.Dict: "a dictionary",
    ast.JoinedStr: "a string",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
}


class Source:
    """The text of a formula, which says where in it something is refused.

    Attributes:
        text: what is read, in one line.
        what: what it is called in messages, as "expression".

    """

    def __init__(self, text: str, what: str = "expression") -> None:
        """Take the text with its white space made single; nothing is checked yet."""
        self.text, self.what = " ".join(text.split()), what

    def refused(self, start: int, end: int, reason: str) -> ArgumentError:
        """Return the error that quotes the characters from `start` to `end`."""
        return ArgumentError(
            f"Cannot read the {self.what} {quoted(self.text)}: at column {start + 1}, "
            f"{quoted(self.text, start, max(end, start + 1))}: {reason}."
        )

    def refused_at(self, node: ast.AST, reason: str) -> ArgumentError:
        """Return the error that quotes what a node is written as."""
        start = getattr(node, "col_offset", 0)
        return self.refused(start, getattr(node, "end_col_offset", start + 1), reason)

    def not_allowed(self, node: ast.AST) -> ArgumentError:
        """Return the error for a node that no formula may have."""
        return self.refused_at(node, f"{_WHAT.get(type(node), 'this')} is not allowed")

    def too_deep(self) -> ArgumentError:
        """Return the error for a text that is nested too deeply."""
        return ArgumentError(f"The {self.what} is nested too deeply to be read.")


def tree_of(
    text: str,
    what: str = "expression",
    *,
    signs: Mapping[str, str] = _ASCII,
    max_length: int = MAX_LENGTH,
    max_nodes: int = MAX_NODES,
) -> tuple[Source, ast.expr, int]:
    """Return a formula's text, its syntax tree, and how many nodes that has.

    Args:
        text: the formula.
        what: what messages call it.
        signs: what to write in the place of signs that are no ASCII.
        max_length: characters.
        max_nodes: nodes of the tree.

    Raises:
        ArgumentError: for what is no text, is empty, too long or too deep, has other signs than
            ASCII or a comment, and for what is no expression of Python.

    """
    article = "An" if what[0] in "aeiou" else "A"
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"{article} {what} must be a non-empty text, but is {excerpt(text)}.")
    if len(text) > max_length:
        raise ArgumentError(
            f"{article} {what} must have at most {max_length} characters, but has {len(text)}."
        )
    source = Source(text, what)
    _check_signs(source, signs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python warns of what is refused below, as 1or x
            tree = ast.parse(source.text, mode="eval").body
    except SyntaxError as error:
        column = max((error.offset or 1) - 1, 0)
        for word in re.finditer(r"(?<!\w)[A-Za-z_]\w*", source.text):
            if keyword.iskeyword(word[0]):
                reason = (
                    f"{word[0]} is a reserved word of Python; rename it, for example to {word[0]}_"
                )
                raise source.refused(*word.span(), reason) from None
        raise source.refused(column, column + 1, error.msg) from None
    except (ValueError, MemoryError, RecursionError):
        raise source.too_deep() from None
    try:
        size = sum(1 for _ in ast.walk(tree))
    except RecursionError:
        raise source.too_deep() from None
    if size > max_nodes:
        raise ArgumentError(f"{article} {what} must have at most {max_nodes} terms and signs.")
    return source, tree, size


def literal(source: Source, node: ast.Constant) -> str:
    """Return the digits of a decimal number; refuse what is none, or too large or too long."""
    digits = ast.get_source_segment(source.text, node) or ""
    if type(node.value) not in (int, float) or not re.fullmatch(r"[0-9.eE+-]+", digits):
        raise source.refused_at(node, "only decimal numbers are allowed")
    size = abs(float(digits)) if len(digits) <= 60 else float("inf")
    if not size < 1e300:
        raise source.refused_at(node, "the number is too large or too long")
    return digits


def is_name(text: str) -> bool:
    """Say whether a text can name a variable or a number of a formula."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", text) is not None and "__" not in text


def quoted(source: str, start: int = 0, end: int | None = None) -> str:
    """Return a piece of a formula as messages quote it."""
    piece = source[start:end]
    return f"`{piece[:40]}…`" if len(piece) > 40 else f"`{piece}`"


def _check_signs(source: Source, signs: Mapping[str, str]) -> None:
    """Refuse characters that Python would ignore, such as a comment, or take for others."""
    for column, sign in enumerate(source.text):
        if sign == "#":
            reason = "a comment is not allowed, because everything after it would be lost"
        elif not sign.isascii():
            hint = f"; write {signs[sign]}" if sign in signs else ""
            reason = f"only ASCII letters, digits and signs are allowed{hint}"
        else:
            continue
        raise source.refused(column, column + 1, reason)
