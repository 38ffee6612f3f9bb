"""Import of packages that only the optional extras bring."""

import importlib
from typing import Any

_EXTRAS = {"torch": "torch", "zarr": "scale", "bokeh": "explorer"}
"""The extra that brings a package, where it is not `networks`."""


def optional(module: str, task: str) -> Any:
    """Return `module`, or say which extra of samflow brings it.

    Raises:
        ImportError: where it is not installed.

    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = {"sklearn": "scikit-learn"}.get(
            module.partition(".")[0], module.partition(".")[0]
        )
        extra = _EXTRAS.get(package, "networks")
        raise ImportError(
            f"{task} needs {package}, which comes with the extra `{extra}`: pip install "
            f"'samflow[{extra}]'"
        ) from error
