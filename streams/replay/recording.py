"""The file of a recording: an Avro object container of the observatory's messages, its header in the container's metadata.

Messages keep their bytes. The schemas they were framed with travel in the header, since another registry gives other ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import fastavro

from schemas import avro
from schemas.errors import SchemaError
from schemas.events import DayMopsDecision, EphemerisCatalogue
from schemas.tables import Claim
from streams.replay.errors import RecordingError

__all__ = [
    "MessageHeader",
    "RawFile",
    "RecordedCorrection",
    "RecordedMessage",
    "Recording",
    "RecordingHeader",
    "read_recording",
    "write_recording",
]

HEADER_KEY = "nightcast.recording"
VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHeader:
    """One header of a Kafka record."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMessage:
    """One message of the observatory."""

    topic: str
    at_unix_s: float
    """When the broker appended it."""
    key: bytes | None
    value: bytes | None
    headers: tuple[MessageHeader, ...]
    visit: int | None
    """The visit it is about; null where it cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """One file of the camera's buffer."""

    path: str
    """Below the buffers' folder: night, ``buffer``, exposure, name."""
    sha256: str
    size: int
    text: str | None = None
    """Content of a small text file, such as a checksum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCorrection:
    """A decision of DayMOPS, and where among the visits association answered it."""

    after_visit: int
    """The visit that association had decided last, 0 for none of the recorded ones."""
    decision: DayMopsDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingHeader:
    """What a replay must know beside the messages."""

    nights: tuple[int, ...]
    instrument: str
    camera: str
    subname: str
    visits: tuple[int, ...]
    """Visits whose announcement was accepted, in order of announcement."""
    release: Claim
    """Manifest of the data release that their jobs were given."""
    schemas: dict[str, tuple[str, str]]
    """Registry id to subject and text of every schema that messages are framed with."""
    files: tuple[RawFile, ...]
    nights_folder: str
    """Folder whose files ``files`` names."""
    objects_folder: str | None
    """Local object store with the release and the archived frames; None where it is a remote one."""
    ephemerides: tuple[EphemerisCatalogue, ...] = ()
    """NightMOPS' coarse ephemerides of the nights, which the replay predicts from as well."""
    corrections: tuple[RecordedCorrection, ...] = ()
    """What DayMOPS decided in time for one of the visits, in association's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded night, with those before it whose objects it began with."""

    header: RecordingHeader
    messages: tuple[RecordedMessage, ...]
    """In the order in which the broker took them."""


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording in one step: a file under that name is always whole."""
    corrections = [(one.after_visit, avro.encode(one.decision).hex()) for one in recording.header.corrections]
    document = asdict(replace(recording.header, corrections=()))
    header = json.dumps({"version": VERSION, **document, "corrections": corrections})
    scratch = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch.open("wb") as file:
        fastavro.writer(
            file,
            avro.parsed(RecordedMessage),
            [avro.to_record(message) for message in recording.messages],
            codec="deflate",
            metadata={HEADER_KEY: header},
            sync_marker=hashlib.sha256(header.encode()).digest()[:16],
        )
    scratch.replace(path)


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises
    ------
    RecordingError
        When the file is missing, or is none of ours.
    """
    try:
        with path.open("rb") as file:
            reader = fastavro.reader(file)
            document = json.loads(reader.metadata[HEADER_KEY])
            messages = tuple(avro.from_record(RecordedMessage, record) for record in reader)
        return Recording(header=_header(document), messages=messages)
    except OSError as error:
        raise RecordingError(f"The recording {path} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError, EOFError, IndexError, StopIteration, SchemaError) as error:
        raise RecordingError(f"The file {path} is no recording of a night ({type(error).__name__}).") from error


def _header(document: dict[str, Any]) -> RecordingHeader:
    if document.pop("version") != VERSION:
        raise RecordingError("The recording was written by another version of this program; record the night again.")
    lists: dict[str, Sequence[Any]] = {
        "nights": document["nights"],
        "visits": document["visits"],
        "files": [RawFile(**entry) for entry in document["files"]],
        "ephemerides": [_ephemerides(entry) for entry in document["ephemerides"]],
        "corrections": [_correction(*entry) for entry in document.get("corrections", ())],
    }
    return RecordingHeader(
        **{
            **document,
            **{name: tuple(values) for name, values in lists.items()},
            "release": Claim(**document["release"]),
            "schemas": {number: (subject, text) for number, (subject, text) in document["schemas"].items()},
        }
    )


def _correction(after_visit: int, datum: str) -> RecordedCorrection:
    return RecordedCorrection(after_visit=after_visit, decision=avro.decode(DayMopsDecision, bytes.fromhex(datum)))


def _ephemerides(entry: dict[str, Any]) -> EphemerisCatalogue:
    claims = {name: Claim(**entry[name]) for name in ("file", "orbits")}
    return EphemerisCatalogue(**{**entry, **claims})
