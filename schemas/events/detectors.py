"""Exposures, inputs and results of single detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from schemas.tables import Claim, Table

__all__ = [
    "AvailableExposure",
    "CutoutPack",
    "CutoutSet",
    "DetectorResult",
    "ExposureEvent",
    "KnownObjects",
    "LostExposure",
    "SnapPresence",
]


class SnapPresence(IntEnum):
    """Which snaps saw a source; bit k stands for snap k."""

    UNKNOWN = 0
    FIRST = 1
    SECOND = 2
    BOTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableExposure:
    """The raw frame of one detector is in the object store."""

    raw: Claim
    header: Mapping[str, str]
    """Cards of the primary header, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostExposure:
    """The raw frame of one detector will not come."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureEvent:
    """What became of one detector's exposure."""

    instrument: str
    visit: int
    exposure: int
    snap: int
    detector: int
    fact: AvailableExposure | LostExposure


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownObjects:
    """Positions of the field's DIAObjects as they stood after the visit two before this one."""

    instrument: str
    visit: int
    as_of_visit: int | None
    """The visit two before in visit order, or null when there is none."""
    count: int
    positions: Claim
    """An encoded Table with diaObjectId, ra, dec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorResult:
    """Everything one detector of one visit gave."""

    instrument: str
    visit: int
    detector: int
    job_id: str
    band: str
    midpoint_mjd_tai: float
    exposure_time: float
    """Sum of the snaps, seconds."""
    diasources: Table
    """Rows of the public DIASource columns; diaObjectId is 0."""
    forced: Table
    """Rows of the public DIAForcedSource columns at the known objects' positions."""
    metrics: Mapping[str, float]
    cutouts: Claim | None
    """A CutoutPack."""
    calibrated: Claim | None
    """The calibrated visit image, FITS."""
    inputs: Mapping[str, str]
    """Name of each input to its sha256."""
    notes: tuple[str, ...]
    """What a reader should know, such as one snap only."""
    corners: tuple[float, ...] = ()
    """ra, dec of the four corners, degrees, counter-clockwise from pixel (0, 0)."""
    snaps: Table | None = None
    """What the two snaps say of each DIASource: its dia_source_id, presence (0 not told, 1 first, 2 second, 3 both), the part
    of its flux in the first, its motion, and their errors; null for one snap, and in results older than this field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutSet:
    """The three stamps of one DIASource, each a FITS file."""

    dia_source_id: int
    difference: bytes
    science: bytes
    template: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutPack:
    """All stamps of one detector's visit, in order of their DIASources."""

    visit: int
    detector: int
    stamps: tuple[CutoutSet, ...]
