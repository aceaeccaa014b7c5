"""How much memory the arrays take of what is kept between jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["array_bytes"]


def array_bytes(value: Any) -> int:
    """Return the bytes of all arrays in a dataclass, a mapping, or a sequence of such, however deep."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(array_bytes(part) for part in value.values())
    if isinstance(value, (tuple, list)):
        return sum(array_bytes(part) for part in value)
    if is_dataclass(value):
        return sum(array_bytes(getattr(value, field.name)) for field in fields(value))
    return 0
