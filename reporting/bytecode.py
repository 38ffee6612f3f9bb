"""`python -m reporting.bytecode`: import all modules that the report and the commands use.

Python then keeps the bytecode of those modules, and of no others: of what is installed it is a
small part, and processes that may not write bytecode would compile it again, each for itself.
"""

import contextlib
import importlib
import pkgutil
from types import ModuleType

import analysis
import figures
import reporting
import samflow

_LATER = (
    "jax.experimental.jet",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "optax",
    "rich.live",
    "safetensors.numpy",
    "scipy.integrate",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn.datasets",
    "xarray",
)
"""What our modules import inside of functions."""


def main() -> None:
    """Import all modules of ours, and what they import later; leave out what is not installed."""
    packages = (analysis, figures, reporting, samflow)
    for name in (*(name for package in packages for name in _modules(package)), *_LATER):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _modules(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _: None)
    return [module.name for module in found if not module.name.endswith("__main__")]


if __name__ == "__main__":
    main()
