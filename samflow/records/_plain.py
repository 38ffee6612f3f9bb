"""Values as JSON knows them."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from samflow._status import Status


def to_json(content: Any) -> str:
    """Return plain content, as `to_dict` makes it, as JSON text."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Return a value as what JSON knows; NaN and infinities become None."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Status):
        return value.label
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        if value and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            keys = [key for key, _ in value]
            if all(isinstance(key, str) for key in keys):
                return {key: plain(item) for key, item in value}
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return str(value) if isinstance(value, str) else value
    array = np.asarray(value)
    if np.iscomplexobj(array):
        return {"real": plain(np.real(array)), "imag": plain(np.imag(array))}
    if array.ndim:
        return [plain(item) for item in array]
    number = array.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number
