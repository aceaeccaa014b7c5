"""The observatory's messages: SAL events on Kafka, as ts_salobj 8 and ts_xml 28 lay them out.

Topic ``lsst.<subname>.<Component>.<event>``, subject topic + ``-value``, Avro namespace ``lsst.sal.<Component>``, every field
non-null with a default, Confluent wire format, and as key a JSON text that names component, index and topic.
Both sides use this module: the simulated OCS writes, the OCS bridge reads.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from schemas.errors import InvalidIdError, PermanentFailure, UndecodableEventError
from schemas.ids import exposure_id
from schemas.topics import Topic
from schemas.wire import SchemaSource, frame, unframe

__all__ = [
    "END_READOUT",
    "EVENTS",
    "NEXT_VISIT",
    "NEXT_VISIT_CANCELED",
    "START_INTEGRATION",
    "ImageEvent",
    "NextVisit",
    "NextVisitCanceled",
    "SalCodec",
    "SalEvent",
    "SalMessageError",
    "group_id_of",
    "mjd_of_tai",
    "parse_group_id",
    "sal_key",
    "sal_topics",
    "tai_of_mjd",
    "topic_of",
]

UNIX_EPOCH_MJD = 40587
ICRS, SKY_ROTATION, DOME_OPEN = 2, 2, 2
"""ScriptQueue's codes: coordinateSystem, rotationSystem, dome."""

_GROUP = re.compile(r"(\d{8})-(\d{5})")
_DEFAULTS: dict[str, Any] = {"string": "", "double": 0.0, "long": 0, "int": 0, "boolean": False}

_PRIVATE = (
    ("private_sndStamp", "double", "Time of instance publication (TAI unix seconds)"),
    ("private_rcvStamp", "double", "Time of instance reception (TAI unix seconds)"),
    ("private_efdStamp", "double", "UTC time for EFD timestamp (unix seconds)"),
    ("private_kafkaStamp", "double", "TAI time at which the Kafka message was created (unix seconds)"),
    ("private_seqNum", "long", "Sequence number"),
    ("private_revCode", "string", "Revision code of topic"),
    ("private_identity", "string", "Identity of publisher: SAL component name or user@host"),
    ("private_origin", "long", "Process identifier of the publisher"),
)

_IMAGE = (
    ("additionalKeys", "string", "Additional keys passed to startImage command (: delimited)"),
    ("additionalValues", "string", "Additional values passed to startImage command (: delimited)"),
    ("imagesInSequence", "long", "Number of images in sequence"),
    ("imageName", "string", "Image name"),
    ("imageIndex", "long", "Image number within the sequence, from 1"),
    ("imageSource", "string", "Image source"),
    ("imageController", "string", "Image controller"),
    ("imageDate", "string", "Image observation day, YYYYMMDD"),
    ("imageNumber", "long", "Image number within the night"),
    ("timestampAcquisitionStart", "double", "Start of the acquisition (TAI unix seconds)"),
)


class SalMessageError(PermanentFailure):
    """An OCS message lacks what it must say, or says it in a form that is not its own."""

    code = "sal_message"


@dataclass(frozen=True, slots=True, kw_only=True)
class SalEvent:
    """One topic of the observatory."""

    component: str
    name: str
    index: int | None
    """The component's index, or None when there is but one."""
    fields: tuple[tuple[str, Any, str], ...]
    """Name, Avro type and description of the public fields."""

    def schema_text(self) -> str:
        """Return the Avro schema."""
        index = (("salIndex", "long", "SAL index"),) if self.index is not None else ()
        fields = [
            {"name": name, "type": kind, "default": _default(kind), "description": text}
            for name, kind, text in (*index, *_PRIVATE, *self.fields)
        ]
        document = {"type": "record", "name": self.name, "namespace": f"lsst.sal.{self.component}", "fields": fields}
        return json.dumps(document, separators=(",", ":"))


_DOUBLES = {"type": "array", "items": "double"}

NEXT_VISIT = SalEvent(
    component="ScriptQueue",
    name="logevent_nextVisit",
    index=1,
    fields=(
        ("scriptSalIndex", "long", "Index of the script"),
        ("groupId", "string", "Group of the visit's images"),
        ("coordinateSystem", "long", "1 none, 2 ICRS, 3 observed, 4 mount"),
        ("position", _DOUBLES, "Right ascension and declination (deg)"),
        ("startTime", "double", "Expected start of the first exposure (TAI unix seconds)"),
        ("rotationSystem", "long", "1 none, 2 sky, 3 horizon, 4 mount"),
        ("cameraAngle", "double", "Position angle of the camera (deg)"),
        ("filters", "string", "Comma-separated list of acceptable filters"),
        ("dome", "long", "1 closed, 2 open, 3 either"),
        ("duration", "double", "Expected duration of the visit (s)"),
        ("nimages", "long", "Number of images; 0 if unknown"),
        ("instrument", "string", "Name of the instrument"),
        ("survey", "string", "Name of the survey"),
        ("totalCheckpoints", "long", "Number of checkpoints of the script"),
    ),
)

NEXT_VISIT_CANCELED = SalEvent(
    component="ScriptQueue",
    name="logevent_nextVisitCanceled",
    index=1,
    fields=(
        ("scriptSalIndex", "long", "Index of the script"),
        ("groupId", "string", "Group of the visit that was announced"),
    ),
)

START_INTEGRATION = SalEvent(
    component="MTCamera",
    name="logevent_startIntegration",
    index=None,
    fields=(
        *_IMAGE,
        ("exposureTime", "double", "Exposure time (s)"),
        ("mode", "string", "Normal or calibration"),
        ("timeout", "double", "Timeout (s)"),
    ),
)

END_READOUT = SalEvent(
    component="MTCamera",
    name="logevent_endReadout",
    index=None,
    fields=(
        *_IMAGE,
        ("requestedExposureTime", "double", "Requested exposure time (s)"),
        ("timestampEndOfReadout", "double", "End of the read-out (TAI unix seconds)"),
    ),
)

EVENTS = (NEXT_VISIT, NEXT_VISIT_CANCELED, START_INTEGRATION, END_READOUT)
"""The events that start and end work of ours."""


def topic_of(subname: str, event: SalEvent) -> str:
    """Return the Kafka topic of an event."""
    return f"lsst.{subname}.{event.component}.{event.name}"


def sal_topics(subname: str) -> list[Topic]:
    """Return rows for the topics of `EVENTS`: one partition; kept 30 days rather than compacted, so that a late bridge misses none."""
    return [
        Topic(name=topic_of(subname, event), key="component, index and topic as JSON", event=None, summary=event.name)
        for event in EVENTS
    ]


def sal_key(event: SalEvent) -> bytes:
    """Return the key of an event's messages."""
    index = {} if event.index is None else {"index": event.index}
    return json.dumps({"component": event.component, **index, "topic": event.name}).encode()


def tai_of_mjd(mjd_tai: float) -> float:
    """Return TAI seconds since 1970 of an MJD in TAI."""
    return (mjd_tai - UNIX_EPOCH_MJD) * 86400


def mjd_of_tai(seconds: float) -> float:
    """Return the MJD in TAI of TAI seconds since 1970."""
    return seconds / 86400 + UNIX_EPOCH_MJD


def group_id_of(day_obs: int, sequence: int) -> str:
    """Return the group of the visit whose first exposure has that sequence number: ``YYYYMMDD-nnnnn``."""
    return f"{day_obs}-{sequence:05d}"


def parse_group_id(group_id: str) -> tuple[int, int]:
    """Return night and first sequence number of a group.

    Raises
    ------
    SalMessageError
        When the text is no group of ours.
    """
    match = _GROUP.fullmatch(group_id)
    if match is None:
        raise SalMessageError(f"A group is named YYYYMMDD-nnnnn, which {group_id!r} is not.")
    return int(match.group(1)), int(match.group(2))


class SalCodec:
    """Encodes and decodes the observatory's messages.

    Parameters
    ----------
    registry
        Where schemas are registered and looked up.
    subname
        Second part of the topics' names.
    """

    def __init__(self, registry: SchemaSource, subname: str) -> None:
        self._registry = registry
        self._subname = subname
        self._ids: dict[str, int] = {}
        self._writers: dict[int, Any] = {}

    def encode(self, event: SalEvent, record: Mapping[str, Any]) -> bytes:
        """Encode a record, in which fields that are left out have their defaults."""
        text = event.schema_text()
        if event.name not in self._ids:
            self._ids[event.name] = self._registry.register(f"{topic_of(self._subname, event)}-value", text)
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(text)), dict(record), strict=False)
        return frame(self._ids[event.name], buffer.getvalue())

    def decode(self, event: SalEvent, message: bytes) -> dict[str, Any]:
        """Decode a message of an event's topic, whatever version of its schema it was written with.

        Raises
        ------
        UndecodableEventError
            When the bytes break the framing or the schema.
        UnknownSchemaError
            When the registry does not know the schema.
        """
        identifier, datum = unframe(message)
        if identifier not in self._writers:
            self._writers[identifier] = fastavro.parse_schema(json.loads(self._registry.schema(identifier)))
        buffer = io.BytesIO(datum)
        try:
            reader = fastavro.parse_schema(json.loads(event.schema_text()))
            record = fastavro.schemaless_reader(buffer, self._writers[identifier], reader)
        except Exception as error:  # fastavro raises whatever the broken bytes lead to
            raise UndecodableEventError(f"The message does not decode as {event.name}: {error}.") from error
        if not isinstance(record, dict) or buffer.read(1):
            raise UndecodableEventError(f"The message does not end where its {event.name} does.")
        return dict(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextVisit:
    """What an announcement says of the visit."""

    instrument: str
    group_id: str
    ra: float
    dec: float
    """Degrees, ICRS."""
    rotation: float
    """Position angle of the camera, degrees east of north."""
    band: str
    start_mjd_tai: float
    duration_s: float
    n_snaps: int
    survey: str
    sent_unix_s: float
    """When it was sent, by the clock on the wall (UTC)."""

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> NextVisit:
        """Read a decoded record.

        Raises
        ------
        SalMessageError
            When position, filter, time or number of images make no visit of the sky.
        """
        _require(record["coordinateSystem"] == ICRS, "its coordinate system is not ICRS")
        _require(record["rotationSystem"] == SKY_ROTATION, "its camera angle is not on the sky")
        position = record["position"]
        _require(len(position) == 2 and all(map(math.isfinite, position)), "its position is not two numbers")
        ra, dec = float(position[0]), float(position[1])
        _require(0 <= ra < 360 and -90 <= dec <= 90, "its position is not on the sky")
        _require(math.isfinite(record["cameraAngle"]), "its camera angle is not a number")
        bands = [band.strip() for band in record["filters"].split(",") if band.strip()]
        _require(len(bands) == 1, "it does not name one filter")
        _require(record["instrument"] != "", "it names no instrument")
        _require(record["nimages"] > 0, "it does not say how many images it has")
        _require(math.isfinite(record["duration"]) and record["duration"] > 0, "its duration is not positive")
        _require(math.isfinite(record["startTime"]) and record["startTime"] > 0, "its start is not a time")
        parse_group_id(record["groupId"])
        return NextVisit(
            instrument=record["instrument"],
            group_id=record["groupId"],
            ra=ra,
            dec=dec,
            rotation=float(record["cameraAngle"]),
            band=bands[0],
            start_mjd_tai=mjd_of_tai(record["startTime"]),
            duration_s=float(record["duration"]),
            n_snaps=int(record["nimages"]),
            survey=record["survey"],
            sent_unix_s=float(record["private_efdStamp"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NextVisitCanceled:
    """Which announcement is taken back."""

    group_id: str

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> NextVisitCanceled:
        """Read a decoded record, or raise SalMessageError when its group is none of ours."""
        parse_group_id(record["groupId"])
        return NextVisitCanceled(group_id=record["groupId"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEvent:
    """What startIntegration and endReadout say of an exposure."""

    group_id: str
    exposure: int
    snap: int
    """From 0."""
    n_snaps: int
    exposure_time: float
    mjd_tai: float
    """Start of the acquisition, or end of the read-out, in the telescope's time."""
    sent_unix_s: float
    """When the event was sent, by the clock on the wall (UTC)."""

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> ImageEvent:
        """Read a decoded startIntegration or endReadout.

        Raises
        ------
        SalMessageError
            When group, image number or time are missing.
        """
        extra = dict(zip(record["additionalKeys"].split(":"), record["additionalValues"].split(":"), strict=False))
        _require("groupId" in extra, "it names no group")
        parse_group_id(extra["groupId"])
        _require(record["imageDate"].isdigit(), "its image date is not a night")
        _require(1 <= record["imageIndex"] <= record["imagesInSequence"], "its image is not one of its sequence")
        try:
            exposure = exposure_id(int(record["imageDate"]), int(record["imageNumber"]))
        except InvalidIdError as error:
            raise SalMessageError(f"The message cannot be used: {error}") from error
        ended = "timestampEndOfReadout" in record
        return ImageEvent(
            group_id=extra["groupId"],
            exposure=exposure,
            snap=int(record["imageIndex"]) - 1,
            n_snaps=int(record["imagesInSequence"]),
            exposure_time=float(record["requestedExposureTime" if ended else "exposureTime"]),
            mjd_tai=mjd_of_tai(record["timestampEndOfReadout" if ended else "timestampAcquisitionStart"]),
            sent_unix_s=float(record["private_efdStamp"]),
        )


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise SalMessageError(f"The message cannot be used: {fault}.")


def _default(kind: Any) -> Any:
    return [] if isinstance(kind, dict) else _DEFAULTS[kind]
