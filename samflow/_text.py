"""Texts from outside as they may be shown, and names of rules apart from formulas of rules."""

import re
from typing import Any


def printable(text: str) -> str:
    """Return `text` with every character that does not print, but for line ends, escaped.

    Names in files and folders may hold sequences that a terminal obeys, or marks that turn the
    direction of writing. Everything printed that came from outside goes through here.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def printable_json(text: str) -> str:
    """Return JSON with the same characters escaped as JSON has it; it means the same."""
    return "".join(c if c.isprintable() or c == "\n" else _in_json(c) for c in text)


def is_formula(rule: Any) -> bool:
    """Say whether a text is meant as the formula of a rule, and not as a name.

    A name is a word, or words with hyphens, unless one of them is g or w.
    """
    if not isinstance(rule, str):
        return False
    words = re.fullmatch(r"\s*[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*\s*", rule)
    return bool(rule.strip()) and not (words and {"g", "w"}.isdisjoint(rule.strip().split("-")))


def shown_name(name: str) -> str:
    """Return a rule's name as tables and titles have it: in capitals, unless it is a formula."""
    return name if is_formula(name) else name.upper()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
