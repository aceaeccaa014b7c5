"""Tables of the view. None of them is a source of truth: each is a fold of topics and can be dropped and made again.

=================  ==========================  ==============================================
table              topic                       one row is
=================  ==========================  ==============================================
alerts             alert-store                 an alert: what one searches by
packets            alert-store                 the alert's message, byte for byte as sent
objects            diaobjects                  a DIAObject in its newest version
measurements       object-updates              a detection or forced measurement of an object
fates              object-updates              what DayMOPS made of a DIAObject
ledger             alert-ledger                what became of an alert
manifests          alert-manifests             a visit's manifest
quality            quality-metrics             quality of a visit or of one of its detectors
annotations        alert-annotations           a remark; never changed
jobs               job-ledger                  the last state of a job
orbits             orbit-store                 an orbit of ours, or the imported catalogue as a whole
tracklets          tracklet-store              a tracklet in its newest state
daymops_runs       daymops-log                 the newest decision of DayMOPS for a night
positions          (all)                       the next offset of each partition, moved with the rows
faults             (all)                       a message that could not be folded, with the reason
=================  ==========================  ==============================================

Identifiers fill 63 bits; angles are degrees (ICRS), fluxes nJy, times MJD TAI.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

__all__ = [
    "VERSION",
    "alerts",
    "annotation_log",
    "daymops_runs",
    "fates",
    "faults",
    "jobs",
    "ledger",
    "manifests",
    "measurements",
    "metadata",
    "objects",
    "orbits",
    "packets",
    "positions",
    "quality",
    "tracklets",
]

VERSION = 6
"""Version of these tables; a view of another version is dropped and folded again."""

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only in a column that it calls INTEGER."""

alerts = Table(
    "alerts",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("alert_id", BigInteger, nullable=False, unique=True),
    Column("object_id", BigInteger, index=True),
    Column("ss_object_id", BigInteger, index=True),
    Column("ra", Float, nullable=False),
    Column("dec", Float, nullable=False),
    Column("mjd", Float, nullable=False),
    Column("band", String(8)),
    Column("visit", BigInteger, nullable=False, index=True),
    Column("detector", Integer, nullable=False),
    Column("flux", Float),
    Column("flux_error", Float),
    Column("science_flux", Float),
    Column("science_flux_error", Float),
    Column("snr", Float),
    Column("reliability", Float),
    Column("schema_id", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("appended_unix_s", Float, nullable=False),
    Index("alerts_by_time", "mjd", "alert_id"),
    Index("alerts_by_dec", "dec"),
    sqlite_autoincrement=True,
)

packets = Table(
    "packets",
    metadata,
    Column("alert_id", BigInteger, primary_key=True, autoincrement=False),
    Column("message", LargeBinary, nullable=False),
)

objects = Table(
    "objects",
    metadata,
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ra", Float, nullable=False),
    Column("dec", Float, nullable=False),
    Column("n_sources", Integer, nullable=False),
    Column("first_mjd", Float),
    Column("last_mjd", Float),
    Column("visit", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Index("objects_by_dec", "dec"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("source_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("object_id", BigInteger, nullable=False, index=True),
    Column("record", LargeBinary, nullable=False),
    Column("correction", BigInteger, nullable=False),
)

fates = Table(
    "fates",
    metadata,
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    Column("closed", Integer, nullable=False),
    Column("ss_object_id", BigInteger, nullable=False),
    Column("verdict", Integer, nullable=False),
    Column("day_obs", Integer, nullable=False),
    Column("founded", Integer, nullable=False),
    Index("fates_by_night", "founded", "verdict"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("alert_id", BigInteger, primary_key=True, autoincrement=False),
    Column("object_id", BigInteger, index=True),
    Column("visit", BigInteger, index=True),
    Column("digest", String(64)),
    Column("state", String(32)),
    Column("reason", String),
    Column("topic", String),
)

manifests = Table(
    "manifests",
    metadata,
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("expected", Integer),
    Column("published", Integer),
    Column("quarantined", Integer),
    Column("complete", Integer),
    Column("digest", String(64)),
    Column("failed_detectors", String),
    Column("latency_p50_s", Float),
    Column("latency_p95_s", Float),
    Column("latency_max_s", Float),
    Column("appended_unix_s", Float),
)

quality = Table(
    "quality",
    metadata,
    Column("key", String, primary_key=True),
    Column("instrument", String),
    Column("visit", BigInteger, index=True),
    Column("detector", Integer),
    Column("band", String(8)),
    Column("verdict", String(16)),
    Column("values", String),
    Column("reasons", String),
)

annotation_log = Table(
    "annotation_log",
    metadata,
    Column("annotation_id", String, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("target_kind", String(16), nullable=False),
    Column("target_id", BigInteger, nullable=False),
    Column("author", String, nullable=False),
    Column("author_kind", String(16), nullable=False),
    Column("topic", String, nullable=False),
    Column("version", String, nullable=False),
    Column("created_unix_s", Float, nullable=False),
    Column("classification", String, nullable=False),
    Column("explanation", String, nullable=False),
    Column("data", String, nullable=False),
    Column("url", String, nullable=False),
    Column("supersedes", String),
    Column("retracts", String),
    Index("annotations_by_target", "target_kind", "target_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("kind", String(16)),
    Column("instrument", String),
    Column("visit", BigInteger, index=True),
    Column("detectors", String),
    Column("state", String(32)),
    Column("worker", String),
    Column("attempts", Integer),
    Column("reason", String),
    Column("updated_unix_s", Float),
)

orbits = Table(
    "orbits",
    metadata,
    Column("designation", String, primary_key=True),
    Column("ss_object_id", BigInteger, index=True),
    Column("day_obs", Integer),
    Column("reportable", Integer),
    Column("merged_into", String),
    Column("event", LargeBinary, nullable=False),
)

tracklets = Table(
    "tracklets",
    metadata,
    Column("tracklet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("holder", String, index=True),
    Column("day_obs", Integer),
    Column("status", String(16)),
    Column("event", LargeBinary, nullable=False),
)

daymops_runs = Table(
    "daymops_runs",
    metadata,
    Column("key", String, primary_key=True),
    Column("instrument", String),
    Column("day_obs", Integer, index=True),
    Column("sequence", Integer),
    Column("counts", String),
    Column("detections", String),
    Column("appended_unix_s", Float),
)

positions = Table(
    "positions",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

faults = Table(
    "faults",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", String, nullable=False),
)
