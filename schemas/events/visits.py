"""What the observatory and the DMCS say of a visit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.tables import Claim

__all__ = [
    "Announced",
    "Cancelled",
    "DetectorOutcome",
    "IntegrationStarted",
    "LateResult",
    "OutcomeStatus",
    "ReadoutEnded",
    "ResultRef",
    "VisitClosed",
    "VisitEvent",
]


class OutcomeStatus(StrEnum):
    """How one detector of a visit ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """The OCS announced the visit (ScriptQueue.nextVisit)."""

    group_id: str
    day_obs: int
    n_snaps: int
    band: str
    ra: float
    """Commanded boresight right ascension, degrees."""
    dec: float
    """Commanded boresight declination, degrees."""
    rotation: float
    """Position angle of the focal plane's y axis, degrees east of north."""
    exposure_time: float
    """Seconds per snap."""
    start_mjd_tai: float
    """When the first exposure is expected to start."""
    duration: float
    """Seconds that the visit is expected to last."""
    camera: str
    """Name of the camera description."""
    detectors: tuple[int, ...]
    survey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The OCS took the announcement back (ScriptQueue.nextVisitCanceled)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationStarted:
    """The camera opened its shutter (MTCamera.startIntegration)."""

    exposure: int
    snap: int
    start_mjd_tai: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutEnded:
    """The camera read the exposure out (MTCamera.endReadout); an alert's latency counts from the last one."""

    exposure: int
    snap: int
    end_mjd_tai: float
    """End of read-out in the telescope's time."""
    sent_unix_s: float
    """When the OCS sent the event, seconds since 1970 of the clock on the wall; never used in what is emitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRef:
    """Where an accepted detector result lies and how to know it again."""

    job_id: str
    epoch: int
    sha256: str
    """Digest of the result's bare Avro datum."""
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOutcome:
    """How one detector of the visit ended."""

    detector: int
    status: OutcomeStatus
    result: ResultRef | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitClosed:
    """The visit is closed: the barrier, the canonical order and the point of no return."""

    outcomes: tuple[DetectorOutcome, ...]
    """In order of detectors."""
    last_readout_mjd_tai: float
    last_readout_sent_unix_s: float
    reason: str
    """complete, deadline or cancelled."""
    predicted: Claim | None = None
    """The `PredictedField` to use; None where NightMOPS had not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateResult:
    """A result that came after its visit was closed."""

    outcome: DetectorOutcome
    last_readout_mjd_tai: float
    predicted: Claim | None = None
    """The `PredictedField` that the visit was closed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEvent:
    """One fact about a visit, in the instrument's one ordered log."""

    instrument: str
    visit: int
    fact: Announced | Cancelled | IntegrationStarted | ReadoutEnded | VisitClosed | LateResult
