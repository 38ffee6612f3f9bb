"""All studies and figures by name, and what their modules say of themselves."""

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType

from analysis.size import Size


class Modules(Mapping[str, ModuleType]):
    """The modules of a package by their `NAME`, which is the file's, with hyphens if it likes.

    One of a package inside it is listed as `inside/name`. A process imports only what it uses:
    every study together takes longer than a short one.
    """

    def __init__(self, package: str, listed: tuple[str, ...]) -> None:
        """Take the modules in the order in which they are listed."""
        paths = (f"{package}.{path}".replace("/", ".").replace("-", "_") for path in listed)
        names = (path.rpartition("/")[2] for path in listed)
        self._paths = dict(zip(names, paths, strict=True))

    def __getitem__(self, name: str) -> ModuleType:
        """Import the module of that name."""
        return importlib.import_module(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        """Go through the names in their order."""
        return iter(self._paths)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._paths)


STUDIES = Modules(
    "analysis",
    (
        "beale-threshold",
        "map-window",
        "beale-descent",
        "sam-cycle",
        "saddle-cycles",
        "rotation",
        "sam-flow",
        "saddle-at-finite-rho",
        "global-dynamics",
        "practical-sam",
        "proved-traps",
        "hallucinated",
        "relatives",
        "lyapunov",
        "noise-moments",
        "toy-network",
        "weak-order",
        "escape",
        "valley-phases",
        "valley-drift",
        "asymmetric-valley",
        "central-flows",
        "edges",
        "interpolation",
        "digits-phases",
        "watched-switch",
        "digits-noise",
        "noisy-switch",
        "late-attack",
        "batch-momentum",
        "symmetry-saddles",
        "landscapes",
        "checkpoints",
        "papers/si-yun",
        "papers/dai-ahn-sra",
        "papers/mordukhovich",
        "papers/compagnoni",
        "papers/monge-sam",
        "papers/lookahead",
        "papers/ssam",
        "papers/multistep",
        "papers/dpsat",
        "papers/robust-measures",
        "papers/warm-start",
        "papers/gcsam",
        "papers/decentralised",
    ),
)
"""Every study by name, in the order of the report."""

FIGURES = Modules(
    "figures",
    (
        "portrait",
        "beale",
        "crossing",
        "threshold",
        "separatrices",
        "saddle-cycles",
        "staircase",
        "global-dynamics",
        "hallucinated",
        "two_phases",
        "central-flows",
        "edges",
        "interpolation",
        "noise-moments",
        "weak-order",
        "escape",
        "noisy-switch",
        "late-attack",
        "watched-switch",
        "batch-momentum",
        "symmetry-saddles",
        "landscapes",
    ),
)
"""Every figure by name, in the order of the report."""


def studies_of(figure: ModuleType) -> tuple[str, ...]:
    """Return the names of the studies whose records a figure draws."""
    return figure.STUDIES


def home(figure: ModuleType) -> str:
    """Return the study beside which a figure stands in the report."""
    return getattr(figure, "BESIDE", None) or figure.STUDIES[0]


def sized(module: ModuleType, size: Size) -> tuple[Size, ...]:
    """Return the last arguments of `measure` or `draw` of a module: the size, or nothing."""
    return (size,) if hasattr(module, "SMALL_SIZE") else ()


def reduction(module: ModuleType, size: Size) -> str:
    """Return what a study or figure reduces or leaves out at a size; empty if nothing."""
    return getattr(module, "SMALL_SIZE", "") if size is Size.small else ""
