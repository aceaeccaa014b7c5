"""Alerts on their way out, quality, and remarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.tables import Claim

__all__ = ["AlertLedgerEntry", "AlertManifest", "Annotation", "AssembledAlert", "QualityMetrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledAlert:
    """A packet without its stamps."""

    alert_id: int
    """That of its DIASource."""
    dia_object_id: int
    """0 where the alert is of a known Solar System object."""
    visit: int
    detector: int
    packet: bytes
    """Public alert record whose three stamps are null, encoded."""
    cutouts: Claim | None
    last_readout_sent_unix_s: float = 0.0
    ss_object_id: int = 0
    """0 where the alert is of a DIAObject."""

    @property
    def owner(self) -> int:
        """Identifier of whichever object it is."""
        return self.dia_object_id or self.ss_object_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLedgerEntry:
    """What became of one alert."""

    alert_id: int
    dia_object_id: int
    """0 where the alert is of a known Solar System object."""
    visit: int
    digest: str
    """sha256 of the packet as sent."""
    state: str
    """published, quarantined or conflict."""
    reason: str
    topic: str
    ss_object_id: int = 0
    """0 where the alert is of a DIAObject."""

    @property
    def owner(self) -> int:
        """Identifier of whichever object it is."""
        return self.dia_object_id or self.ss_object_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertManifest:
    """Everything published for one visit, with what was expected."""

    visit: int
    expected: int
    published: int
    quarantined: int
    alert_ids: tuple[int, ...]
    digest: str
    """sha256 over the packets' digests in order of alert ids."""
    failed_detectors: tuple[int, ...]
    complete: bool
    latency_p50_s: float
    latency_p95_s: float
    latency_max_s: float
    latency_p98_s: float = 0.0
    """The quantile that the field's requirement on latency is stated for (LSE-61, OTT1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMetrics:
    """Quality of one detector's visit, or of a whole visit (detector null)."""

    instrument: str
    visit: int
    detector: int | None
    band: str
    values: Mapping[str, float]
    verdict: str
    """good, warning or bad."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A remark about an alert or an object; never changed, only superseded or retracted."""

    annotation_id: str
    target_kind: str
    """object or alert."""
    target_id: int
    author: str
    author_kind: str
    """human or robot."""
    topic: str
    version: str
    created_unix_s: float
    classification: str
    explanation: str
    data: str
    """Free JSON."""
    url: str
    supersedes: str | None = None
    retracts: str | None = None
