"""A toolkit over a view in a temporary folder, filled with built alerts and nothing else: no Kafka, no registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.kafka import producer
from infra.public_schemas import register_public
from infra.registry.client import RegistryClient
from infra.settings import load_settings
from schemas import events
from schemas.errors import UnknownSchemaError
from schemas.wire import EventCodec, unframe
from streams.toolkit.live import Changes
from streams.toolkit.service import Toolkit
from streams.views.database import open_database
from streams.views.fold import Folder, Message
from streams.views.reader import writing
from streams.views.view import View
from tests.support.packets import BuiltAlert, Story, encode_record, forced_of

__all__ = [
    "MemoryRegistry",
    "QuietReader",
    "TellingLog",
    "alert_messages",
    "fill",
    "make_toolkit",
    "make_view",
    "messages_of",
]


class MemoryRegistry:
    """Schemas in a list."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        """Return the place of the schema in the list."""
        if schema not in self.texts:
            self.texts.append(schema)
        return self.texts.index(schema) + 1

    def schema(self, identifier: int) -> str:
        """Return the schema at a place."""
        if not 0 < identifier <= len(self.texts):
            raise UnknownSchemaError(f"no schema {identifier}")
        return self.texts[identifier - 1]


class QuietReader:
    """A reader that follows nothing and has whatever trouble a test gives it."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.caught_up = True

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class TellingLog:
    """An annotation log that folds what is appended straight into the view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.appended: list[events.Annotation] = []

    def append(self, annotation: events.Annotation) -> None:
        """Fold it at the next offset."""
        message = _message(
            self._view.codec, "alert-annotations", annotation.annotation_id, annotation, len(self.appended)
        )
        self.appended.append(annotation)
        fill(self._view, [message])


def make_view(folder: Path) -> View:
    """Return an empty view in a folder."""
    registry = MemoryRegistry()
    engine = open_database(f"sqlite:///{folder / 'view.sqlite'}")
    return View(engine=engine, reader=QuietReader(), codec=EventCodec(registry), registry=registry)  # type: ignore[arg-type]


def make_toolkit(folder: Path, stories: Iterable[Story] = ()) -> Toolkit:
    """Return a toolkit whose view holds some stories, their ledger, manifests, jobs and quality."""
    view = make_view(folder)
    fill(view, messages_of(view.codec, list(stories)))
    return Toolkit(settings=load_settings(data_dir=folder), view=view, log=TellingLog(view), changes=Changes())


def fill(view: View, messages: Iterable[Message]) -> int:
    """Fold messages into a view."""
    folder = Folder(view.codec, view.registry.schema)
    with writing(view.engine) as connection:
        return folder.fold(connection, messages)


def alert_messages(stories: Iterable[Story], first_offset: int = 0) -> list[Message]:
    """Return the alert store's messages of some stories, in order of time."""
    alerts = sorted((alert for story in stories for alert in story.alerts), key=lambda alert: alert.visit)
    return [
        Message(
            topic="alert-store", partition=0, offset=first_offset + n, key=str(alert.alert_id).encode(),
            value=alert.framed, timestamp_s=1.8e9 + n,
        )
        for n, alert in enumerate(alerts)
    ]  # fmt: skip


def messages_of(codec: EventCodec, stories: list[Story]) -> list[Message]:
    """Return every message that the toolkit reads for some stories."""
    found = alert_messages(stories)
    alerts = [alert for story in stories for alert in story.alerts]
    facts: list[tuple[str, str, Any]] = [("diaobjects", str(story.object_id), _version(story)) for story in stories]
    facts += [("object-updates", str(alert.object_id), _update(alert)) for alert in alerts]
    facts += [("alert-ledger", str(alert.alert_id), _entry(alert)) for alert in alerts]
    for visit in sorted({alert.visit for alert in alerts}):
        members = [alert for alert in alerts if alert.visit == visit]
        facts.append(("alert-manifests", str(visit), _manifest(visit, members)))
        facts.append(("quality-metrics", str(visit), _quality(visit, members)))
        facts += [("job-ledger", f"d-{visit}-{n:03d}", _job(visit, n)) for n in range(4)]
    offsets: dict[str, int] = {}
    for topic, key, event in facts:
        offset = offsets.get(topic, 0)
        offsets[topic] = offset + 1
        found.append(_message(codec, topic, key, event, offset))
    return found


def put_into_kafka(bootstrap: str, registry_url: str, stories: list[Story]) -> None:
    """Write everything that the toolkit reads, and the public topic, into the topics of a real cluster."""
    registry = RegistryClient(registry_url)
    register_public(registry)
    client = producer(bootstrap, client_id="built-alerts")
    for message in messages_of(EventCodec(registry), stories):
        client.produce(message.topic, key=message.key, value=message.value)
        client.poll(0)
    for alert in (alert for story in stories for alert in story.alerts):
        client.produce("lsst-alerts-v11", key=str(alert.object_id).encode(), value=alert.framed)
    assert client.flush(30) == 0


def _message(codec: EventCodec, topic: str, key: str, event: Any, offset: int) -> Message:
    value = codec.encode(topic, event)
    return Message(topic=topic, partition=0, offset=offset, key=key.encode(), value=value, timestamp_s=1.8e9)


def _version(story: Story) -> events.DiaObjectVersion:
    record = encode_record(story.dia_object, "diaObject")
    return events.DiaObjectVersion(dia_object_id=story.object_id, visit=story.alerts[-1].visit, record=record)


def _update(alert: BuiltAlert) -> events.ObjectUpdate:
    """Return the update that caused an alert; its forced measurement is one that no later packet of the story tells."""
    source = alert.record["diaSource"]
    return events.ObjectUpdate(
        dia_object_id=alert.object_id, visit=alert.visit, sequence=0, diasources=(encode_record(source, "diaSource"),),
        forced=(encode_record(forced_of(alert.object_id, source), "diaForcedSource"),),
        dia_object=encode_record(alert.record["diaObject"], "diaObject"), cause="detected", cutouts={},
        dia_source_ids=(alert.alert_id,), midpoint_mjd_tai=source["midpointMjdTai"],
    )  # fmt: skip


def _entry(alert: BuiltAlert) -> events.AlertLedgerEntry:
    digest = hashlib.sha256(unframe(alert.framed)[1]).hexdigest()
    return events.AlertLedgerEntry(
        alert_id=alert.alert_id, dia_object_id=alert.object_id, visit=alert.visit, digest=digest, state="published",
        reason="", topic="lsst-alerts-v11",
    )  # fmt: skip


def _manifest(visit: int, members: list[BuiltAlert]) -> events.AlertManifest:
    return events.AlertManifest(
        visit=visit, expected=len(members), published=len(members), quarantined=0,
        alert_ids=tuple(sorted(alert.alert_id for alert in members)), digest="0" * 64, failed_detectors=(),
        complete=True, latency_p50_s=7.5, latency_p95_s=11.25, latency_max_s=12.0,
    )  # fmt: skip


def _quality(visit: int, members: list[BuiltAlert]) -> events.QualityMetrics:
    band = members[0].record["diaSource"]["band"]
    return events.QualityMetrics(
        instrument="NightcastSim", visit=visit, detector=None, band=band, values={"psf_fwhm_arcsec": 0.81},
        verdict="good", reasons=(),
    )  # fmt: skip


def _job(visit: int, detector: int) -> events.JobLedgerEntry:
    return events.JobLedgerEntry(
        job_id=f"d-{visit}-{detector:03d}", kind=events.JobKind.DETECTOR, instrument="NightcastSim", visit=visit,
        detectors=(detector,), state="succeeded", worker="worker-0", epoch=1, attempts=1, reason="", updated_unix_s=1.8e9,
    )  # fmt: skip
