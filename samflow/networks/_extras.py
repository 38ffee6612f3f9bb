"""Import of packages that only the optional extra `networks` brings."""

import importlib
from typing import Any


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
        raise ImportError(
            f"{task} needs {package}, which the extra `networks` brings: "
            "pip install 'samflow[networks]'"
        ) from error
