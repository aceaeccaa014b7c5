"""The events of one visit, from the telescope's announcement to the published alert.

Every event is a frozen dataclass; its Avro schema is derived from it (schemas.avro). Times are MJD TAI in days, angles in
degrees (ICRS), fluxes in nJy. Order of fields is part of the contract.
"""

from schemas.events.alerts import AlertLedgerEntry, AlertManifest, Annotation, AssembledAlert, QualityMetrics
from schemas.events.association import AssociationDecision, DiaObjectVersion, DiaSourceEvent, ObjectUpdate
from schemas.events.detectors import (
    AvailableExposure,
    CutoutPack,
    CutoutSet,
    DetectorResult,
    ExposureEvent,
    KnownObjects,
    LostExposure,
)
from schemas.events.housekeeping import DeadLetter, StageState
from schemas.events.jobs import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    JobFact,
    JobKind,
    JobLedgerEntry,
    Leased,
    Planned,
    Started,
    Succeeded,
    Superseded,
    WorkerHeartbeat,
)
from schemas.events.visits import (
    Announced,
    Cancelled,
    DetectorOutcome,
    IntegrationStarted,
    LateResult,
    OutcomeStatus,
    ReadoutEnded,
    ResultRef,
    VisitClosed,
    VisitEvent,
)

__all__ = [
    "AlertLedgerEntry",
    "AlertManifest",
    "Annotation",
    "Announced",
    "AssembledAlert",
    "AssociationDecision",
    "AvailableExposure",
    "Cancelled",
    "CutoutPack",
    "CutoutSet",
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
    "JobFact",
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
]
