"""Keep what was read for the next job, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = ["Kept", "array_bytes"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Remembers what a function gave for its arguments, the last used first.

    What has been longest unused goes before anything new is read, so that both are never in memory at once. What alone is larger than
    the bound is not kept at all.

    Parameters
    ----------
    read
        The function; its arguments name the value.
    most_bytes
        Bytes of arrays kept.
    """

    def __init__(self, read: Callable[..., Value], most_bytes: int) -> None:
        self._read = read
        self._most_bytes = most_bytes
        self._values: OrderedDict[tuple[Hashable, ...], Value] = OrderedDict()
        self._largest = 0

    def __call__(self, *key: Hashable) -> Value:
        """Return the value of a key, read if it is not kept."""
        if key not in self._values:
            self._make_room()
            value = self._read(*key)
            size = array_bytes(value)
            if size > self._most_bytes:
                return value
            self._values[key], self._largest = value, max(self._largest, size)
        self._values.move_to_end(key)
        return self._values[key]

    def _make_room(self) -> None:
        """Forget values until one as large as the largest so far fits."""
        total = sum(array_bytes(value) for value in self._values.values())
        while self._values and total + self._largest > self._most_bytes:
            total -= array_bytes(self._values.popitem(last=False)[1])


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
