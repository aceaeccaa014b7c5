"""Run a recording again: a system of its own, the same files, the same messages, until every visit has its manifest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Producer, TopicPartition

from infra import kafka, sal
from infra.objects import ObjectStore, open_object_store
from infra.reading import partitions_of
from infra.settings import Settings
from infra.topics_admin import create_topics
from schemas.errors import NightcastError, UndecodableEventError
from schemas.events import AlertManifest, AssociationDecision, Cancelled, VisitClosed, VisitEvent
from schemas.topics import topic
from schemas.wire import EventCodec, frame, unframe
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.inputs import announce_release
from streams.replay.corrections import CorrectionScore
from streams.replay.engines import replay_settings, running_system
from streams.replay.errors import ReplayError, ReplayStalledError
from streams.replay.pacing import Pace, Score
from streams.replay.provide import provide_claims, provide_files, provide_release
from streams.replay.recording import RecordedMessage, Recording
from streams.stage_codec import Outgoing, StageCodec

__all__ = ["Followed", "Replayed", "follow", "run_replay"]

PATIENCE_S = 300.0
"""How long nothing at all may happen before a replay is given up."""

FOLLOWED = ("visit-events", "alert-manifests")
CORRECTIONS_TOPIC = "association-log"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to."""

    folder: str
    visits: int
    alerts: int
    wall_s: float


@dataclass(slots=True)
class Followed:
    """What has become of the visits of a replay."""

    closed: dict[int, str] = field(default_factory=dict)
    """Visit to the reason of its end."""
    cancelled: set[int] = field(default_factory=set)
    manifests: dict[int, AlertManifest] = field(default_factory=dict)
    answered: int = 0
    """Corrections of DayMOPS that association has answered."""

    def has_ended(self, visit: int) -> bool:
        """Tell whether nothing more is expected of a visit."""
        return visit in self.manifests or (visit in self.cancelled and visit in self.closed)


def follow(followed: Followed, event: object) -> str | None:
    """Take an event in; return a sentence where people should hear of it."""
    if isinstance(event, AlertManifest):
        followed.manifests[event.visit] = event
        return f"visit {event.visit}: {event.published} of {event.expected} alerts published"
    if isinstance(event, AssociationDecision) and event.correction is not None:
        followed.answered += 1
        return f"night {event.day_obs}: corrected by DayMOPS"
    if isinstance(event, VisitEvent) and isinstance(event.fact, Cancelled):
        followed.cancelled.add(event.visit)
    if isinstance(event, VisitEvent) and isinstance(event.fact, VisitClosed):
        followed.closed[event.visit] = event.fact.reason
        return f"visit {event.visit}: closed ({event.fact.reason})"
    return None


def run_replay(recording: Recording, base: Settings, folder: Path, *, pace: Pace, keep: bool, say: Say) -> Replayed:
    """Replay a recording in a folder of its own.

    Parameters
    ----------
    recording
        What to play.
    base
        The user's settings: where a remote object store of the recording is.
    folder
        Data directory of the new system; must not be in use.
    pace
        How fast.
    keep
        Whether the system is left running, with its pages.
    say
        Called with a sentence for each thing that happens.

    Raises
    ------
    ReplayError
        When the folder is in use.
    RecordingError
        When something the recording names is gone.
    ReplayStalledError
        When nothing happens for five minutes.
    StartError, PortTakenError
        When the system does not start.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ReplayError(f"{folder} is not empty; choose another folder, or remove it with `nightcast replay forget`.")
    header, started = recording.header, time.monotonic()
    settings = replay_settings(header, folder)
    say(f"Giving the replay {len(header.files)} files of the camera and the data release.")
    provide_files(header, folder / "nights")
    source = ObjectStore.local(Path(header.objects_folder)) if header.objects_folder else open_object_store(base)
    provide_release(header, source, open_object_store(settings), settings.objects_dir)
    provide_claims(header, source, open_object_store(settings), settings.objects_dir)
    announce_release(header.release, settings.release_file)
    say(f"Starting a system of its own in {folder}.")
    with running_system(settings, with_pages=keep, keep=keep):
        followed = _play(settings, recording, pace, say)
    if keep:
        say(f"It is left running: http://{settings.web.host}:{settings.web.port}, Kafka at {settings.bootstrap}.")
    alerts = sum(manifest.published for manifest in followed.manifests.values())
    took = time.monotonic() - started
    return Replayed(folder=str(folder), visits=len(followed.closed), alerts=alerts, wall_s=took)


def _play(settings: Settings, recording: Recording, pace: Pace, say: Say) -> Followed:
    wiring, header = Wiring(settings), recording.header
    create_topics(settings.bootstrap, topics=sal.sal_topics(header.subname), replication=settings.kafka.replication)
    _tell_ephemerides(wiring, recording)
    topics = (*FOLLOWED, CORRECTIONS_TOPIC) if header.corrections else FOLLOWED
    sender, follower = _Sender(wiring, recording), _Follower(settings.bootstrap, wiring.codec, say, topics)
    after = [one.after_visit for one in header.corrections]
    score, corrections = Score(recording.messages, header.visits, pace, after), CorrectionScore(header)
    daymops = BulkProducer(wiring.producer("replay-daymops"), StageCodec(wiring.registry))
    started = news = time.monotonic()
    try:
        while not (score.finished and all(map(follower.seen.has_ended, header.visits))):
            correction = corrections.due(follower.seen.closed, follower.seen.answered)
            if correction is not None:
                daymops.put([Outgoing(topic="daymops-log", key=correction.instrument, record=correction)])
                daymops.confirm()
            due = score.due(time.monotonic() - started, follower.seen.closed, follower.seen.answered)
            sender.send(due)
            if follower.poll(0.1) or due or (pace.factor is not None and not score.finished):
                news = time.monotonic()
            elif time.monotonic() - news > PATIENCE_S:
                raise _stalled(settings, header.visits, follower.seen)
    finally:
        follower.close()
    return follower.seen


def _tell_ephemerides(wiring: Wiring, recording: Recording) -> None:
    """Give NightMOPS the recorded nights' ephemerides before the first announcement comes."""
    producer = BulkProducer(wiring.producer("replay-ephemerides"), StageCodec(wiring.registry))
    producer.put(
        Outgoing(topic="ephemeris-catalogues", key=f"{one.instrument}:{one.day_obs}", record=one)
        for one in recording.header.ephemerides
    )
    producer.confirm()


def _stalled(settings: Settings, visits: tuple[int, ...], seen: Followed) -> ReplayStalledError:
    open_visits = ", ".join(str(visit) for visit in visits if not seen.has_ended(visit))
    return ReplayStalledError(
        f"Nothing happened for {PATIENCE_S:.0f} s while visits {open_visits} were open; see the logs in {settings.logs_dir}."
    )


class _Sender:
    """Sends recorded messages, framed with the ids of the replay's own registry."""

    def __init__(self, wiring: Wiring, recording: Recording) -> None:
        self._producer: Producer = wiring.producer("replay")
        self._ids = {
            int(number): wiring.registry.register(subject, text)
            for number, (subject, text) in recording.header.schemas.items()
        }

    def send(self, messages: list[RecordedMessage]) -> None:
        """Send messages in order, each kept by the cluster before the next one goes."""
        for message in messages:
            headers: list[tuple[str, str | bytes | None]] = [(header.name, header.value) for header in message.headers]
            with kafka.translated(f"send to {message.topic}"):
                self._producer.produce(message.topic, self._framed(message.value), message.key, headers=headers)
                self._producer.flush(30.0)

    def _framed(self, value: bytes | None) -> bytes | None:
        try:
            identifier, datum = unframe(value or b"")
        except UndecodableEventError:
            return value
        return frame(self._ids[identifier], datum) if identifier in self._ids else value


class _Follower:
    """Reads what becomes of the replay's visits."""

    def __init__(self, bootstrap: str, codec: EventCodec, say: Say, topics: Sequence[str]) -> None:
        self._codec, self._say = codec, say
        self.seen = Followed()
        self._consumer = kafka.consumer(bootstrap, f"replay-{uuid.uuid4()}")
        with kafka.translated("follow the replay"):
            self._consumer.assign(
                [TopicPartition(name, p, OFFSET_BEGINNING) for name in topics for p in partitions_of(bootstrap, name)]
            )

    def poll(self, timeout_s: float) -> bool:
        """Take in what is new, and tell whether there was anything."""
        messages = [m for m in self._consumer.consume(num_messages=200, timeout=timeout_s) if m.error() is None]
        for message in messages:
            kind, value = topic(str(message.topic())).event, message.value()
            if kind is None or value is None:
                continue
            try:
                sentence = follow(self.seen, self._codec.decode(kind, value))
            except NightcastError:
                continue
            if sentence is not None:
                self._say(sentence)
        return bool(messages)

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()
