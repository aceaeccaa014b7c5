"""What DayMOPS keeps between nights, as a value: the linking window, the objects it found, and every detection that is held.

Each detection has at most one holder. Those of objects of ours are kept for good, because the next fit needs them; those
attributed to imported orbits only while the night may still be looked at again, unless an object of ours had found them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from processors.moving_objects.detections import night_numbers, no_detections
from processors.moving_objects.linking_nightly import NightlyRules, NightlyState, begin
from processors.moving_objects.precovery import PrecoveryRules
from schemas.detections import DETECTION
from schemas.orbits import ORBIT_ROW

__all__ = ["HELD", "OBJECT", "DayRules", "DayState", "How", "begin_days", "nights_of", "no_holdings", "tracklet_id"]

Array = np.ndarray[Any, Any]


class How(IntEnum):
    """How a detection came to its object."""

    LINKED = 1
    ATTRIBUTED = 2
    PRECOVERED = 3
    IDENTIFIED = 4
    """Found by an object of ours that turned out to be one of the imported catalogue: kept for good, under the name there."""


OBJECT = np.dtype([*ORBIT_ROW.descr, ("link_id", "<i8"), ("chi2", "<f8"), ("reportable", "i1")])
"""An object of ours: its orbit, the identifier that its link keeps, and how good the link is."""

HELD = np.dtype(
    [
        *DETECTION.descr,
        ("designation", "<U16"),
        ("ss_object_id", "<i8"),
        ("how", "i1"),
        ("offset_ra_arcsec", "<f8"),
        ("offset_dec_arcsec", "<f8"),
    ]
)
"""A detection and who holds it; the offsets are observed less computed, east on the great circle and north, NaN if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRules:
    """All limits of DayMOPS."""

    nightly: NightlyRules = field(default_factory=NightlyRules)
    precovery: PrecoveryRules = field(default_factory=PrecoveryRules)
    past_nights: int = 30
    """How far before the window free detections are kept, to find new orbits in them (LSE-61, precovery window: 30 days)."""
    detections_most: int = 2_000_000
    """Detections of the window and the past: 0.7 GB at most, measured at size L."""
    objects_most: int = 1_000_000
    """Objects of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayState:
    """What is kept between nights."""

    linking: NightlyState
    """The window."""
    past: Array
    """Free detections of the nights before the window, dtype ``DETECTION``, in their canonical order."""
    objects: Array
    """Dtype ``OBJECT``, in order of designations."""
    held: Array
    """Dtype ``HELD``, in order of detection_id."""

    def active(self) -> Array:
        """Return which objects have their link in the window."""
        return np.isin(self.objects["link_id"], self.linking.link_ids)

    def of_ours(self) -> Array:
        """Return which holdings are of objects of ours."""
        return np.isin(self.held["designation"], self.objects["designation"])

    def free(self) -> Array:
        """Return the detections of the window that no object holds."""
        rows = self.linking.detections
        return rows[~np.isin(rows["detection_id"], self.held["detection_id"])]


def begin_days() -> DayState:
    """Return the state before the first night."""
    return DayState(linking=begin(), past=no_detections(), objects=np.zeros(0, OBJECT), held=no_holdings())


def no_holdings() -> Array:
    """Return no holdings."""
    return np.zeros(0, HELD)


def tracklet_id(members: tuple[int, ...]) -> int:
    """Return a tracklet's identifier: 63 bits of a hash of its members in ascending order."""
    text = ",".join(map(str, sorted(members))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1 or 1


def nights_of(rows: Array) -> Array:
    """Return the number of the night of each row."""
    return night_numbers(rows["midpoint_mjd_tai"])
