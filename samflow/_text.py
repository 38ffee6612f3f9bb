"""What comes from outside, as it may be shown: nothing in it speaks to a terminal."""


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


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
