"""Rows of predicted moving objects: the public ssSource columns and how sure the position is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from schemas.errors import InvalidIdError
from schemas.public import null_rows, record_dtype

__all__ = ["predicted_dtype", "predicted_rows", "ss_object_id_of"]

_ELLIPSE = [("semi_major_arcsec", "<f4"), ("semi_minor_arcsec", "<f4"), ("position_angle_deg", "<f4")]


@functools.cache
def predicted_dtype() -> np.dtype[Any]:
    """Return the type of a prediction: ssSource's columns, then the one sigma ellipse on the sky.

    Semi-axes are in arcseconds, the angle of the major one in degrees east of north.
    """
    return np.dtype([*record_dtype("ssSource").descr, *_ELLIPSE])


def predicted_rows(count: int) -> np.ndarray[Any, Any]:
    """Return rows of predictions in which everything nullable is null and the ellipse is a point."""
    return np.repeat(_nothing_predicted(), count)


@functools.cache
def _nothing_predicted() -> np.ndarray[Any, Any]:
    row, nulls = np.zeros(1, predicted_dtype()), null_rows("ssSource", 1)
    for name in nulls.dtype.names or ():
        row[name] = nulls[name]
    return row


def ss_object_id_of(packed_designation: str) -> int:
    """Return a Solar System object's identifier: its packed designation's ASCII bytes as one number (63 bits at most).

    Rubin's numbers of known objects are made so; two objects share one only if they share the designation.

    Raises
    ------
    InvalidIdError
        When the designation is empty, longer than eight characters, or not ASCII.
    """
    text = packed_designation.encode("ascii") if packed_designation.isascii() else b""
    if not 0 < len(text) <= 8:
        raise InvalidIdError(f"A packed designation has one to eight ASCII characters, not {packed_designation!r}.")
    return int.from_bytes(text.ljust(7), "big")
