"""Messages for the person, on stderr; light, so that they are there before anything heavy is."""

import sys

from samflow._text import printable


def say(message: str) -> None:
    """Print a message for the person, not for the next program: to stderr, as one line."""
    if sys.stderr is not None:  # with None, as where it is closed, print would take stdout
        print(printable(" ".join(message.split())), file=sys.stderr, flush=True)


def progress(message: str) -> None:
    """Tell a person who waits what is being done; a log file is spared."""
    if sys.stderr is not None and sys.stderr.isatty():
        say(f"... {message}")
