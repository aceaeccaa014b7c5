"""Rows of the view as people ask for them; identifiers are integers here and text in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processors.errors import ProcessingError
from processors.moving_objects.designations import unpack

__all__ = ["AlertRow", "AnnotationRow", "FateRow", "ObjectRow", "RunRow", "VisitRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert in the index."""

    sequence: int
    """Order of arrival in this view."""
    alert_id: int
    object_id: int | None
    ss_object_id: int | None
    ra: float
    dec: float
    mjd: float
    """Midpoint, MJD TAI."""
    band: str | None
    visit: int
    detector: int
    flux: float | None
    """PSF flux on the difference image, nJy."""
    flux_error: float | None
    science_flux: float | None
    """PSF flux on the direct image, nJy."""
    science_flux_error: float | None
    snr: float | None
    reliability: float | None
    schema_id: int
    size: int
    partition: int
    offset: int
    """Where the packet lies in alert-store."""
    appended_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """A DIAObject in its newest version."""

    object_id: int
    ra: float
    dec: float
    n_sources: int
    first_mjd: float | None
    last_mjd: float | None
    visit: int
    """The visit that made this version."""
    partition: int
    offset: int
    """Where this version lies in diaobjects."""
    separation_arcsec: float | None = None
    """From the centre of the cone that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FateRow:
    """What DayMOPS made of a DIAObject."""

    object_id: int
    closed: bool
    """Whether it was left without sources."""
    ss_object_id: int
    """Where the sources of a closed one went, 0 for none."""
    verdict: int
    """A `Verdict`; -1 for none, as where a later night gave the sources of an object to another."""
    day_obs: int
    """The night that DayMOPS looked at."""
    founded: int
    """The night of the source that founded the object."""

    @property
    def designation(self) -> str:
        """Designation of the object that its sources went to, packed where it has no other form; empty for none."""
        packed = self.ss_object_id.to_bytes(8, "big").strip(b"\0 ").decode("ascii", "replace")
        try:
            return unpack(packed)
        except ProcessingError:
            return packed


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationRow:
    """A remark, and what later ones made of it."""

    annotation_id: str
    sequence: int
    target_kind: str
    target_id: int
    author: str
    author_kind: str
    topic: str
    version: str
    created_unix_s: float
    classification: str
    explanation: str
    data: str
    url: str
    supersedes: str | None
    retracts: str | None
    superseded_by: str | None = None
    retracted_by: str | None = None

    @property
    def stands(self) -> bool:
        """Whether nothing later took its place or took it back."""
        return self.superseded_by is None and self.retracted_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRow:
    """A visit: its manifest, its jobs and its quality, as far as they are known."""

    visit: int
    band: str | None
    expected: int | None
    published: int | None
    quarantined: int | None
    complete: bool | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_max_s: float | None
    alerts: int
    """Alerts in the view."""
    jobs: Mapping[str, int]
    """State to number of jobs."""
    verdict: str | None
    quality: Mapping[str, Any]
    reasons: tuple[str, ...] = ()
    """Why the verdict is not good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """DayMOPS' newest decision for a night."""

    instrument: str
    day_obs: int
    sequence: int
    """0 for the first decision of the night, then one more for each that followed on new data."""
    counts: Mapping[str, float]
    appended_unix_s: float | None
