"""The topic table: the one source from which topics, documentation and tests are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas import events

__all__ = [
    "DEAD_LETTER_PREFIX",
    "TOPICS",
    "Cleanup",
    "Partitions",
    "Topic",
    "dead_letter_topic",
    "topic",
    "topic_configuration",
]

DEAD_LETTER_PREFIX = "dlq."
"""A topic's dead letters go to the topic of this prefix and its name."""

_DAY_MS = 86_400_000


class Cleanup(StrEnum):
    """What the broker does with old records."""

    DELETE = "delete"
    COMPACT = "compact"


class Partitions(StrEnum):
    """How many partitions: one, or the setting P (a power of two) for what is keyed by object."""

    ONE = "1"
    P = "P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row of the table."""

    name: str
    key: str
    """What the key is, in words."""
    event: type | None
    """Dataclass of the value; None where the value is the public packet or raw bytes."""
    partitions: Partitions = Partitions.ONE
    cleanup: Cleanup = Cleanup.DELETE
    retention_days: float | None = 30
    """None keeps for ever."""
    max_message_mb: int = 8
    dead_letters: bool = False
    """Whether something reads it and may refuse an event."""
    producers: tuple[str, ...] = ()
    """Stages that write it."""
    consumers: tuple[str, ...] = ()
    """Stages that read it."""
    summary: str = ""


_ONE, _P, _COMPACT = Partitions.ONE, Partitions.P, Cleanup.COMPACT

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="visit-events",
        key="instrument",
        event=events.VisitEvent,
        dead_letters=True,
        producers=("ocs-bridge", "dmcs"),
        consumers=("dmcs", "orchestration", "nightmops", "detectors", "association", "quality", "distribution"),
        summary="announced, cancelled, integration started, readout ended, closed, late result",
    ),
    Topic(
        name="jobs",
        key="instrument",
        event=events.JobEvent,
        dead_letters=True,
        producers=("dmcs", "orchestration", "archiver", "detectors"),
        consumers=("dmcs", "orchestration", "archiver", "detectors", "quality"),
        summary="planned, leased, started, succeeded, failed, expired, cancelled, superseded",
    ),
    Topic(
        name="job-heartbeats",
        key="worker",
        event=events.WorkerHeartbeat,
        retention_days=1,
        producers=("archiver", "detectors"),
        consumers=("orchestration",),
        summary="workers' signs of life and their leases",
    ),
    Topic(
        name="job-ledger",
        key="job",
        event=events.JobLedgerEntry,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("orchestration",),
        consumers=("toolkit",),
        summary="last state of each job",
    ),
    Topic(
        name="exposures",
        key="instrument",
        event=events.ExposureEvent,
        dead_letters=True,
        producers=("archiver", "dmcs"),
        consumers=("detectors",),
        summary="a detector's raw frame is available (claim check) or lost",
    ),
    Topic(
        name="known-objects",
        key="instrument",
        event=events.KnownObjects,
        dead_letters=True,
        producers=("association",),
        consumers=("detectors",),
        summary="positions of known objects in an announced field (claim check)",
    ),
    Topic(
        name="predicted-ssobjects",
        key="instrument",
        event=events.PredictedSsObjects,
        dead_letters=True,
        producers=("nightmops",),
        consumers=("dmcs",),
        summary="known moving objects of an announced field (claim check)",
    ),
    Topic(
        name="ephemeris-catalogues",
        key="night",
        event=events.EphemerisCatalogue,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("nightmops",),
        consumers=("nightmops", "toolkit"),
        summary="coarse ephemerides of a night (claim check)",
    ),
    Topic(
        name="orbit-store",
        key="designation",
        event=events.OrbitEvent,
        cleanup=_COMPACT,
        retention_days=None,
        dead_letters=True,
        producers=("daymops", "toolkit"),
        consumers=("nightmops", "daymops", "toolkit"),
        summary="the Moving Object Database: imported catalogues and our own orbits",
    ),
    Topic(
        name="night-events",
        key="instrument",
        event=events.NightEnded,
        retention_days=None,
        dead_letters=True,
        producers=("daymops", "toolkit"),
        consumers=("daymops",),
        summary="a night is over: observed to its end, followed by a later one, or asked for by a person",
    ),
    Topic(
        name="daymops-log",
        key="instrument",
        event=events.DayMopsDecision,
        retention_days=None,
        dead_letters=True,
        producers=("daymops",),
        consumers=("daymops", "association", "toolkit"),
        summary="what DayMOPS decided for each night, in order",
    ),
    Topic(
        name="tracklet-store",
        key="tracklet",
        event=events.TrackletState,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("daymops",),
        consumers=("toolkit",),
        summary="the Tracklet Database: free, linked, attributed, precovered; withdrawn ones end in a tombstone",
    ),
    Topic(
        name="ssobjects",
        key="object",
        event=events.SsObjectVersion,
        partitions=_P,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("association",),
        consumers=("toolkit",),
        summary="newest version of each Solar System object",
    ),
    Topic(
        name="detector-results",
        key="instrument",
        event=events.DetectorResult,
        dead_letters=True,
        producers=("detectors",),
        consumers=("association",),
        summary="DIASources, forced photometry and metrics of one detector of one visit",
    ),
    Topic(
        name="association-log",
        key="instrument",
        event=events.AssociationDecision,
        retention_days=None,
        max_message_mb=15,
        producers=("association",),
        consumers=("association", "distribution", "quality", "daymops"),
        summary="every change of grouping, in order",
    ),
    Topic(
        name="object-updates",
        key="object",
        event=events.ObjectUpdate,
        partitions=_P,
        dead_letters=True,
        producers=("association",),
        consumers=("alert-assembly", "toolkit"),
        summary="an object touched in a visit",
    ),
    Topic(
        name="diasources",
        key="object",
        event=events.DiaSourceEvent,
        partitions=_P,
        retention_days=400,
        producers=("association",),
        consumers=("toolkit",),
        summary="one DIASource with its association",
    ),
    Topic(
        name="diaobjects",
        key="object",
        event=events.DiaObjectVersion,
        partitions=_P,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("association",),
        consumers=("toolkit",),
        summary="newest version of each DIAObject",
    ),
    Topic(
        name="alert-packets",
        key="object",
        event=events.AssembledAlert,
        partitions=_P,
        retention_days=7,
        dead_letters=True,
        producers=("alert-assembly",),
        consumers=("distribution",),
        summary="packet without stamps",
    ),
    Topic(
        name="lsst-alerts-v11",
        key="object as text",
        event=None,
        partitions=_P,
        retention_days=7,
        producers=("distribution",),
        consumers=("brokers", "toolkit"),
        summary="the public packet, Confluent wire format, schema id 1101",
    ),
    Topic(
        name="alerts-lite",
        key="object as text",
        event=None,
        partitions=_P,
        producers=("distribution",),
        consumers=("brokers",),
        summary="public packet without stamps and history",
    ),
    Topic(
        name="alert-store",
        key="alert",
        event=None,
        partitions=_P,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("distribution",),
        consumers=("toolkit",),
        summary="the alert database: the packet exactly as sent",
    ),
    Topic(
        name="alert-ledger",
        key="alert",
        event=events.AlertLedgerEntry,
        partitions=_P,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("distribution",),
        consumers=("distribution", "toolkit"),
        summary="digest and state of each alert",
    ),
    Topic(
        name="alert-manifests",
        key="visit",
        event=events.AlertManifest,
        producers=("distribution",),
        consumers=("brokers", "quality", "toolkit"),
        summary="what was published for a visit, beside what was expected",
    ),
    Topic(
        name="alert-annotations",
        key="annotation",
        event=events.Annotation,
        retention_days=None,
        producers=("toolkit",),
        consumers=("toolkit",),
        summary="remarks about alerts and objects, append-only",
    ),
    Topic(
        name="quality-metrics",
        key="visit or visit:detector",
        event=events.QualityMetrics,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("quality",),
        consumers=("toolkit",),
        summary="quality of detectors and visits",
    ),
    Topic(
        name="stage-state",
        key="stage",
        event=events.StageState,
        cleanup=_COMPACT,
        retention_days=None,
        producers=("dmcs", "orchestration", "nightmops", "archiver", "detectors", "distribution", "quality", "daymops"),
        consumers=("dmcs", "orchestration", "nightmops", "archiver", "detectors", "distribution", "quality", "daymops"),
        summary="state of each transactional stage, written with the offsets it belongs to",
    ),
)


def dead_letter_topic(name: str) -> str:
    """Return the topic where a topic's refused events go."""
    return f"{DEAD_LETTER_PREFIX}{name}"


def topic(name: str) -> Topic:
    """Return the row of that name, or raise KeyError."""
    for row in TOPICS:
        if row.name == name:
            return row
    raise KeyError(name)


def topic_configuration(row: Topic, *, development: bool = True) -> dict[str, str]:
    """Return the broker's configuration of a topic, as text.

    Parameters
    ----------
    row
        The topic's row.
    development
        Small segments and quick compaction, for one machine.
    """
    configuration = {
        "cleanup.policy": row.cleanup.value,
        "max.message.bytes": str(row.max_message_mb * 1024 * 1024),
        "message.timestamp.type": "LogAppendTime",
    }
    if row.cleanup is Cleanup.DELETE:
        days = row.retention_days
        configuration["retention.ms"] = "-1" if days is None else str(int(days * _DAY_MS))
    else:
        configuration["min.cleanable.dirty.ratio"] = "0.1" if development else "0.2"
        configuration["segment.bytes"] = str((16 if development else 256) * 1024 * 1024)
    return configuration
