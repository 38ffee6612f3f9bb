"""What is wrong with a built site: `python docs/_ext/check.py docs/_build/html`.

Every link inside the site leads to a page and an anchor that exist, and no page loads anything
from another host: scripts, styles, fonts and pictures are on the site itself.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src"), ("iframe", "src")}
_LINKS_ONLY = {"next", "prev", "search", "index", "canonical"}
"""What a `link` may be that a browser loads nothing for."""


class Page(HTMLParser):
    """What a page defines, links to and loads."""

    def __init__(self, path: Path) -> None:
        """Read a page."""
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the anchors and addresses of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get("rel") in _LINKS_ONLY:
            return
        self.loads += [value for name, value in values.items() if (tag, name) in _LOADS]


def faults(site: Path) -> Iterator[str]:
    """Go through the faults of a site, each as a line."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: no pages"
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        for address in page.loads:
            if _is_elsewhere(address):
                yield f"{where}: loads {address} from another host"
        for address in page.links + page.loads:
            if fault := _fault(path, address, pages):
                yield f"{where}: {fault}"
    for style in sorted(site.rglob("*.css")):
        for address in re.findall(r"(?:url\(|@import )[\"']?([^\"')\s]+)", style.read_text()):
            if _is_elsewhere(address):
                yield f"{style.relative_to(site)}: loads {address} from another host"


def _is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def _fault(path: Path, address: str, pages: dict[Path, Page]) -> str:
    """Return what is wrong with a link, or nothing."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return f"{address} leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"{address} has no such anchor"
    return ""


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
