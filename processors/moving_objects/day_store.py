"""DayMOPS' state as bytes: the same state gives the same bytes, and the bytes give back the same state, bit by bit.

The arrays follow one another in numpy's own format, each with its type and shape; the first names the version.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from processors.moving_objects.day_state import HELD, OBJECT, DayState
from processors.moving_objects.errors import CatalogueFormatError
from processors.moving_objects.linking_candidates import Candidates
from processors.moving_objects.linking_nightly import NightlyState
from processors.moving_objects.tracklets import Tracklets
from schemas.detections import DETECTION

__all__ = ["state_from_bytes", "state_to_bytes"]

Array = np.ndarray[Any, Any]

MAGIC = b"NCDAYS01"
"""First bytes: kind and version."""

_TRACKLETS, _LINKS = tuple(Tracklets.__slots__), tuple(Candidates.__slots__)
_LINKING = ("detections", "observers", "link_ids", "view", "held")
_DAY = ("past", "objects", "held")


def state_to_bytes(state: DayState) -> bytes:
    """Return a state as bytes."""
    linking, out = state.linking, io.BytesIO()
    out.write(MAGIC)
    arrays = [getattr(linking, name) for name in _LINKING] + [np.array([linking.epoch])]
    arrays += [getattr(linking.tracklets, name) for name in _TRACKLETS]
    arrays += [getattr(linking.links, name) for name in _LINKS]
    arrays += [getattr(state, name) for name in _DAY]
    for array in arrays:
        np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def state_from_bytes(data: bytes) -> DayState:
    """Return the state of bytes.

    Raises
    ------
    CatalogueFormatError
        When they are not what `state_to_bytes` writes.
    """
    if not data.startswith(MAGIC):
        raise CatalogueFormatError("The bytes are no state of DayMOPS, or one of another version.")
    source = io.BytesIO(data)  # the same bytes: a slice of a survey's state would be a copy of fifty megabytes
    source.seek(len(MAGIC))
    try:
        linking = {name: _array(source) for name in _LINKING}
        epoch = float(_array(source)[0])
        tracklets = Tracklets(**{name: _array(source) for name in _TRACKLETS})
        links = Candidates(**{name: _array(source) for name in _LINKS})
        day = {name: _array(source) for name in _DAY}
    except (ValueError, EOFError, IndexError) as error:
        raise CatalogueFormatError(f"The state of DayMOPS cannot be read: {error}") from error
    if (linking["detections"].dtype, day["past"].dtype, day["objects"].dtype, day["held"].dtype) != (
        DETECTION, DETECTION, OBJECT, HELD,
    ):  # fmt: skip
        raise CatalogueFormatError("The state of DayMOPS has other columns than this version.")
    return DayState(linking=NightlyState(**linking, epoch=epoch, tracklets=tracklets, links=links), **day)


def _array(source: io.BytesIO) -> Array:
    return np.asarray(np.lib.format.read_array(source, allow_pickle=False))
