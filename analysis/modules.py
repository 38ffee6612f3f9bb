"""Modules by name, imported at first use."""

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType


class Modules(Mapping[str, ModuleType]):
    """The modules of a package by their `NAME`, which is the file's, with hyphens if it likes.

    A process imports only what it uses: every study together takes longer than a short one.
    """

    def __init__(self, package: str, names: tuple[str, ...]) -> None:
        """Take the names in the order in which they are listed."""
        self._package, self._names = package, names

    def __getitem__(self, name: str) -> ModuleType:
        """Import the module of that name."""
        if name not in self._names:
            raise KeyError(name)
        return importlib.import_module(f"{self._package}.{name.replace('-', '_')}")

    def __iter__(self) -> Iterator[str]:
        """Go through the names in their order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)
