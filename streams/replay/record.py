"""Gather what a night was made of: the observatory's messages, the camera's files by hash, the data release."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from infra import sal
from infra.errors import ObjectMissingError
from infra.kafka import admin, translated
from infra.reading import headers_of, read_to_end
from infra.settings import Settings
from schemas.errors import NightcastError, UndecodableEventError, UnknownSchemaError
from schemas.events import Announced, EphemerisCatalogue, Planned
from schemas.ids import day_obs_of, visit_id
from schemas.tables import Claim
from schemas.wire import unframe
from streams.compose import Wiring
from streams.event_log import append_time, read_events
from streams.replay.corrections import in_time
from streams.replay.errors import ReplayError
from streams.replay.recording import (
    MessageHeader,
    RawFile,
    RecordedCorrection,
    RecordedMessage,
    Recording,
    RecordingHeader,
)

__all__ = ["choose_nights", "raw_files", "record_night", "visit_of"]

TEXT_SUFFIXES = (".sha256", ".json")
"""Small files of the camera's buffer that a recording carries whole."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """A message as it was read, with what it is about."""

    order: int
    message: Message
    visit: int | None

    @property
    def at(self) -> float:
        return append_time(self.message)


def record_night(settings: Settings, wiring: Wiring, day_obs: int, *, alone: bool = False) -> Recording:
    """Record a night.

    Parameters
    ----------
    settings, wiring
        The system that observed it.
    day_obs
        The night, YYYYMMDD.
    alone
        Leave earlier nights of the same log out. The replay then begins with an empty sky and gives other objects than the
        night did, unless it was the first.

    Raises
    ------
    ReplayError
        When the log holds nothing of the night, or its jobs were given no data release, or several.
    KafkaUnavailableError, RegistryUnavailableError
        When cluster or registry do not answer.
    """
    heard = _heard(settings, wiring)
    nights = choose_nights({day_obs_of(item.visit) for item in heard if item.visit is not None}, day_obs, alone=alone)
    chosen = _of_nights(heard, nights)
    announced = {
        item.event.visit: item.event.fact
        for item in read_events(settings.bootstrap, wiring.codec, "visit-events")
        if isinstance(item.event.fact, Announced) and day_obs_of(item.event.visit) in nights
    }
    visits = tuple(announced)
    header = RecordingHeader(
        nights=tuple(nights),
        instrument=settings.night.instrument,
        camera=_camera(announced.values(), settings),
        subname=settings.night.subname,
        visits=visits,
        release=_release(settings, wiring, set(visits)),
        schemas=_schemas(wiring, chosen),
        files=tuple(file for night in nights for file in raw_files(settings.data_dir / "nights", night)),
        nights_folder=str(settings.data_dir / "nights"),
        objects_folder=str(settings.objects_dir) if settings.objects.url is None else None,
        ephemerides=_ephemerides(settings, wiring, nights),
        corrections=_corrections(settings, wiring, nights),
    )
    return Recording(header=header, messages=tuple(_recorded(item) for item in chosen))


def _camera(announced: Iterable[Announced], settings: Settings) -> str:
    """The camera of the visits, whatever the settings say now.

    Raises
    ------
    ReplayError
        When the nights were observed with several.
    """
    cameras = sorted({fact.camera for fact in announced}) or [settings.night.camera]
    if len(cameras) > 1:
        raise ReplayError(
            f"The nights were observed with several cameras, {', '.join(cameras)}: record them one by one."
        )
    return cameras[0]


def choose_nights(known: Collection[int], day_obs: int, *, alone: bool) -> list[int]:
    """Return the nights to record: the wanted one and, unless it shall stand alone, those before it.

    Raises
    ------
    ReplayError
        When nothing is known of the wanted one.
    """
    if day_obs not in known:
        others = ", ".join(map(str, sorted(known))) or "no night at all"
        raise ReplayError(f"The observatory's topics hold nothing of night {day_obs}; they hold {others}.")
    return [day_obs] if alone else sorted(night for night in known if night <= day_obs)


def visit_of(event: sal.SalEvent, record: dict[str, Any]) -> int | None:
    """Return the visit that a decoded message is about, or None where it names none."""
    group = record.get("groupId", "")
    if event.component == "MTCamera":
        extra = dict(zip(record["additionalKeys"].split(":"), record["additionalValues"].split(":"), strict=False))
        group = extra.get("groupId", "")
    try:
        return visit_id(*sal.parse_group_id(group))
    except NightcastError:
        return None


def raw_files(nights_folder: Path, night: int) -> Iterator[RawFile]:
    """Yield the files of a night's camera buffer, in order of their names."""
    for path in sorted((nights_folder / str(night) / "buffer").rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        data = path.read_bytes()
        yield RawFile(
            path=path.relative_to(nights_folder).as_posix(),
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            text=data.decode() if path.suffix in TEXT_SUFFIXES else None,
        )


def _heard(settings: Settings, wiring: Wiring) -> list[_Heard]:
    """Return every message of the observatory, in the order in which the broker took them."""
    codec = sal.SalCodec(wiring.registry, settings.night.subname)
    client = admin(settings.bootstrap)
    with translated("list the topics"):
        present = client.list_topics(timeout=15).topics
    heard: list[_Heard] = []
    for order, event in enumerate(sal.EVENTS):
        name = sal.topic_of(settings.night.subname, event)
        messages = read_to_end(settings.bootstrap, name) if name in present else ()
        heard += [_Heard(order, message, _visit(codec, event, message)) for message in messages]
    return sorted(heard, key=lambda item: (item.at, item.order, item.message.offset() or 0))


def _visit(codec: sal.SalCodec, event: sal.SalEvent, message: Message) -> int | None:
    try:
        return visit_of(event, codec.decode(event, message.value() or b""))
    except (UndecodableEventError, UnknownSchemaError):
        return None


def _of_nights(heard: Sequence[_Heard], nights: Collection[int]) -> list[_Heard]:
    """Keep the messages of some nights, and what came among them without naming a visit."""
    own = [item.at for item in heard if item.visit is not None and day_obs_of(item.visit) in nights]
    first, last = min(own), max(own)
    return [
        item
        for item in heard
        if (day_obs_of(item.visit) in nights if item.visit is not None else first <= item.at <= last)
    ]


def _recorded(item: _Heard) -> RecordedMessage:
    headers = tuple(MessageHeader(name=name, value=value) for name, value in headers_of(item.message).items())
    return RecordedMessage(
        topic=str(item.message.topic()),
        at_unix_s=item.at,
        key=item.message.key(),
        value=item.message.value(),
        headers=headers,
        visit=item.visit,
    )


def _schemas(wiring: Wiring, heard: Iterable[_Heard]) -> dict[str, tuple[str, str]]:
    """Return the schemas that messages are framed with; a message whose schema nobody knows stays what it is."""
    found: dict[str, tuple[str, str]] = {}
    for item in heard:
        try:
            identifier, _ = unframe(item.message.value() or b"")
            if str(identifier) not in found:
                found[str(identifier)] = f"{item.message.topic()}-value", wiring.registry.schema(identifier)
        except (UndecodableEventError, UnknownSchemaError):
            continue
    return found


def _ephemerides(settings: Settings, wiring: Wiring, nights: Collection[int]) -> tuple[EphemerisCatalogue, ...]:
    """Return the newest coarse ephemerides of each night, in order of nights."""
    newest = {
        item.event.day_obs: item.event
        for item in read_events(settings.bootstrap, wiring.codec, "ephemeris-catalogues")
        if item.event.day_obs in nights and item.event.instrument == settings.night.instrument
    }
    return tuple(newest[night] for night in sorted(newest))


def _corrections(settings: Settings, wiring: Wiring, nights: Collection[int]) -> tuple[RecordedCorrection, ...]:
    """Return what DayMOPS decided in time for a visit of the nights."""
    instrument = settings.night.instrument
    daymops = {
        (item.event.day_obs, item.event.sequence): item.event
        for item in read_events(settings.bootstrap, wiring.codec, "daymops-log")
        if item.event.instrument == instrument
    }
    if not daymops:
        return ()
    decisions = (item.event for item in read_events(settings.bootstrap, wiring.codec, "association-log"))
    return in_time(decisions, daymops, instrument=instrument, nights=nights)


def _release(settings: Settings, wiring: Wiring, visits: Collection[int]) -> Claim:
    """Return the one data release that the jobs of some visits were given."""
    named = {
        digest
        for item in read_events(settings.bootstrap, wiring.codec, "jobs")
        if isinstance(item.event.fact, Planned) and item.event.visit in visits
        if (digest := item.event.fact.inputs.get("release", ""))
    }
    if len(named) != 1:
        count = f"{len(named)} data releases" if named else "no data release"
        raise ReplayError(f"The jobs of these visits were given {count}; a recording holds exactly one (try --alone).")
    try:
        return wiring.objects.find(named.pop())
    except ObjectMissingError as error:
        raise ReplayError(f"The data release of the night is gone: {error}") from error
