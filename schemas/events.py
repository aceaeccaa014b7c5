"""The events of one visit, from the telescope's announcement to the published alert.

Every event is a frozen dataclass; its Avro schema is derived from it (schemas.avro). Times are MJD TAI in days, angles in
degrees (ICRS), fluxes in nJy. Order of fields is part of the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.tables import Claim, Table

__all__ = [
    "AlertLedgerEntry",
    "AlertManifest",
    "Annotation",
    "Announced",
    "AssembledAlert",
    "AssociationDecision",
    "AvailableExposure",
    "Cancelled",
    "DeadLetter",
    "DetectorOutcome",
    "DetectorResult",
    "DiaObjectVersion",
    "DiaSourceEvent",
    "Expired",
    "ExposureEvent",
    "Failed",
    "IntegrationStarted",
    "JobCancelled",
    "JobEvent",
    "JobKind",
    "JobLedgerEntry",
    "KnownObjects",
    "LateResult",
    "Leased",
    "LostExposure",
    "ObjectUpdate",
    "OutcomeStatus",
    "Planned",
    "QualityMetrics",
    "ReadoutEnded",
    "ResultRef",
    "StageState",
    "Started",
    "Succeeded",
    "Superseded",
    "VisitClosed",
    "VisitEvent",
    "WorkerHeartbeat",
    "CutoutPack",
    "CutoutSet",
]


class JobKind(StrEnum):
    """What a job does."""

    DETECTOR = "detector"
    ARCHIVE = "archive"


class OutcomeStatus(StrEnum):
    """How one detector of a visit ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    LATE = "late"


# ------------------------------------------------------------------ visits


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LateResult:
    """A result that came after its visit was closed."""

    outcome: DetectorOutcome
    last_readout_mjd_tai: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEvent:
    """One fact about a visit, in the instrument's one ordered log."""

    instrument: str
    visit: int
    fact: Announced | Cancelled | IntegrationStarted | ReadoutEnded | VisitClosed | LateResult


# ------------------------------------------------------------------ jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The DMCS wants the job done; its inputs are named by hash."""

    inputs: Mapping[str, str]
    """Name of each input to its sha256 in the object store, such as release."""
    exposures: tuple[int, ...]
    """Exposures the job works on."""
    priority: int
    """Larger runs first."""
    parameters: Mapping[str, str]
    """What the job must know beyond its inputs, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """The Orchestration Manager gave the job to a worker; a larger epoch fences smaller ones."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The worker has its inputs and began."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The worker did the job."""

    worker: str
    epoch: int
    result: ResultRef | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The worker could not do the job."""

    worker: str
    epoch: int
    code: str
    reason: str
    retriable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The lease ran out without a sign of life."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """Nobody wants the job any more."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Another job took this one's place."""

    by: str


JobFact = Planned | Leased | Started | Succeeded | Failed | Expired | JobCancelled | Superseded
"""What can be said of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One fact about a job, in the instrument's one ordered log of jobs."""

    job_id: str
    kind: JobKind
    instrument: str
    visit: int
    detectors: tuple[int, ...]
    fact: Planned | Leased | Started | Succeeded | Failed | Expired | JobCancelled | Superseded


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLedgerEntry:
    """The last state of a job, for restarts and queries."""

    job_id: str
    kind: JobKind
    instrument: str
    visit: int
    detectors: tuple[int, ...]
    state: str
    worker: str
    epoch: int
    attempts: int
    reason: str
    updated_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeartbeat:
    """A worker lives, offers slots, and holds leases."""

    worker: str
    kind: JobKind
    slots: int
    holding: tuple[str, ...]
    """Leases held, as job_id@epoch."""
    sent_unix_s: float


# ------------------------------------------------------------------ exposures and inputs


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


# ------------------------------------------------------------------ results


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


# ------------------------------------------------------------------ association


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationDecision:
    """What association decided for one visit; its state changes only by folding these."""

    instrument: str
    visit: int
    sequence: int
    """0 for the visit's own decision, then one more for each late result."""
    day_obs: int
    band: str
    processed_mjd_tai: float
    """Last end of read-out: the time of processing that records carry."""
    diasources: Table
    """Accepted rows with diaObjectId filled, in order of diaSourceId."""
    forced: Table
    """Forced rows of existing objects, in order of object and detector."""
    new_objects: tuple[int, ...]
    """Objects founded by this visit, ascending."""
    quarantined: Mapping[str, str]
    """Identifier of a refused row to the reason."""
    cutouts: Mapping[str, Claim]
    """Detector to its pack of stamps."""
    details: Mapping[str, float]
    """Counts and separations, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectUpdate:
    """One object touched by one visit: its new rows and its new version."""

    dia_object_id: int
    visit: int
    sequence: int
    diasources: tuple[bytes, ...]
    """Public DIASource records of this visit, encoded, in order of their ids; each makes an alert."""
    forced: tuple[bytes, ...]
    """Public DIAForcedSource records of this visit, encoded, in order of detectors."""
    dia_object: bytes
    """Public DIAObject record, encoded, after this visit."""
    cause: str
    """detected, forced or late."""
    cutouts: Mapping[str, Claim]
    """Detector to its pack of stamps, for the detectors of diasources."""
    dia_source_ids: tuple[int, ...]
    midpoint_mjd_tai: float
    last_readout_sent_unix_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaSourceEvent:
    """One DIASource with its association."""

    dia_source_id: int
    dia_object_id: int
    visit: int
    detector: int
    record: bytes
    """Public DIASource record, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaObjectVersion:
    """The newest version of a DIAObject."""

    dia_object_id: int
    visit: int
    """The visit that made this version."""
    record: bytes
    """Public DIAObject record, encoded."""


# ------------------------------------------------------------------ alerts


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledAlert:
    """A packet without its stamps."""

    alert_id: int
    """That of its DIASource."""
    dia_object_id: int
    visit: int
    detector: int
    packet: bytes
    """Public alert record whose three stamps are null, encoded."""
    cutouts: Claim | None
    last_readout_sent_unix_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLedgerEntry:
    """What became of one alert."""

    alert_id: int
    dia_object_id: int
    visit: int
    digest: str
    """sha256 of the packet as sent."""
    state: str
    """published, quarantined or conflict."""
    reason: str
    topic: str


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


# ------------------------------------------------------------------ housekeeping


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that could not be processed, with its cause and origin."""

    origin_topic: str
    origin_partition: int
    origin_offset: int
    key: bytes | None
    payload: bytes | None
    stage: str
    code: str
    reason: str
    attempts: int
    failed_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """The state of a stage, written in the transaction that moved it."""

    stage: str
    payload: bytes
    version: int = field(default=1)
