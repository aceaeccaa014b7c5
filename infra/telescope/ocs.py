"""The simulated OCS: announces visits, opens and closes the shutter, and delivers images, at a pace of its own choosing.

The night's own time (in messages and headers) runs at the telescope's cadence; what is played is the same night at
``cadence_s`` seconds of the wall's clock per visit. Images are in the buffer when their endReadout is sent.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.kafka import producer, translated
from infra.logs import get_logger
from infra.sal import (
    END_READOUT,
    NEXT_VISIT,
    NEXT_VISIT_CANCELED,
    START_INTEGRATION,
    SalCodec,
    SalEvent,
    sal_key,
    sal_topics,
    topic_of,
)
from infra.telescope.camera_buffer import Fault
from infra.telescope.darkroom import Darkroom, NightShift
from infra.telescope.ocs_messages import (
    canceled_record,
    end_readout_record,
    next_visit_record,
    start_integration_record,
)
from infra.telescope.schedule import PlannedVisit
from infra.topics_admin import create_topics
from schemas.wire import SchemaSource

__all__ = ["ImageSource", "KafkaSink", "MessageSink", "OcsPlayer", "PlayedNight", "Step", "plan_shift", "timeline"]

TAI_MINUS_UTC_S = 37.0

FIRST_LEAD = 0.6
"""Cadences between the first announcement and the first exposure: 23 s of the telescope's time at 39 s per visit."""

LATER_LEAD = 1.5
"""Cadences by which later visits are announced ahead: while the visit two before is being taken."""

EXPOSED_SHARE = 0.84
"""Part of the cadence in which a visit's snaps are taken; the rest is the slew."""

_log = get_logger(__name__)


class MessageSink(Protocol):
    """Where messages go."""

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Send a message and wait until it is kept."""


class ImageSource(Protocol):
    """Takes exposures and delivers them to the camera's buffer; `Darkroom` is the real one."""

    def take(self, visit: PlannedVisit) -> None:
        """Begin to take every snap of a visit."""

    def ready(self, visit: PlannedVisit) -> None:
        """Wait until the visit's first snap is taken."""

    def deliver(self, visit: PlannedVisit, snap: int) -> bool:
        """Put a snap into the buffer, waiting for it if need be; return whether there is one."""

    def close(self) -> None:
        """Stop."""


class KafkaSink:
    """Sends messages to a Kafka cluster, one after the other.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    subname
        Second part of the topics' names; missing topics are created.
    """

    def __init__(self, bootstrap: str, subname: str) -> None:
        create_topics(bootstrap, topics=sal_topics(subname))
        self._producer = producer(bootstrap, client_id="simulated-ocs", linger_ms=0)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Send a message and wait until the cluster has it."""
        with translated(f"send to {topic}"):
            self._producer.produce(topic, value=value, key=key)
            self._producer.flush(30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing the OCS does, so many cadences after the first exposure starts."""

    at: float
    order: int
    action: str
    """announce, cancel, start or end."""
    visit: PlannedVisit
    snap: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedNight:
    """What was played."""

    visits: int
    cancelled: int
    exposures: int
    messages: int
    largest_delay_s: float
    """By which a step came after its time, because an image was not ready."""
    complete: bool
    """False when it was stopped."""


def timeline(visits: Sequence[PlannedVisit], faults: Mapping[int, Fault]) -> list[Step]:
    """Return everything that happens in a night, in order; times are in cadences from the first exposure's start."""
    steps: list[Step] = []
    for index, visit in enumerate(visits):
        steps.append(Step(at=max(index - LATER_LEAD, -FIRST_LEAD), order=index, action="announce", visit=visit))
        fault = faults.get(visit.visit)
        if fault is Fault.CANCELLED:
            steps.append(Step(at=index - 0.3, order=index, action="cancel", visit=visit))
            continue
        snaps = visit.n_snaps - 1 if fault is Fault.MISSING_SNAP else visit.n_snaps
        length = EXPOSED_SHARE / visit.n_snaps
        for snap in range(snaps):
            begin = index + snap * length
            steps.append(Step(at=begin, order=index, action="start", visit=visit, snap=snap))
            steps.append(Step(at=begin + 0.95 * length, order=index, action="end", visit=visit, snap=snap))
    return sorted(steps, key=lambda step: (step.at, step.order))


class OcsPlayer:
    """Plays a night.

    Parameters
    ----------
    shift
        The night: its visits, where images and truth go, what goes wrong.
    sink
        Where messages go, such as a `KafkaSink`.
    registry
        Schema registry.
    subname
        Second part of the topics' names.
    cadence_s
        Seconds of the wall's clock from one visit to the next.
    report
        Called with each step that was done.
    images
        Where images come from; called once the night begins. A `Darkroom` when not given.
    """

    def __init__(
        self,
        shift: NightShift,
        *,
        sink: MessageSink,
        registry: SchemaSource,
        subname: str = "sal",
        cadence_s: float = 15.0,
        report: Callable[[Step], None] | None = None,
        images: Callable[[NightShift], ImageSource] = Darkroom,
    ) -> None:
        self._shift = shift
        self._sink = sink
        self._codec = SalCodec(registry, subname)
        self._subname = subname
        self._cadence_s = cadence_s
        self._report = report
        self._images = images
        self._sequence = 0
        self._identity = "ocs@simulation"

    def play(self, stop: threading.Event | None = None) -> PlayedNight:
        """Play the night to its end, or until ``stop`` is set.

        Images of up to two visits are taken ahead of time. The first announcement goes out when the first image is
        taken; a step that has to wait for its image delays those after it.
        """
        stop = stop or threading.Event()
        darkroom = self._images(self._shift)
        visits = self._shift.visits
        for visit in visits[:2]:
            self._take(darkroom, visit)
        steps = timeline(visits, self._shift.faults)
        first = next((v for v in visits if self._shift.faults.get(v.visit) is not Fault.CANCELLED), None)
        if first is not None:
            darkroom.ready(first)
        zero = time.monotonic() - steps[0].at * self._cadence_s
        delay, exposures, cancelled, complete = 0.0, 0, 0, True
        try:
            for step in steps:
                if stop.wait(max(0.0, zero + step.at * self._cadence_s - time.monotonic())):
                    complete = False
                    break
                exposures += step.action == "end"
                cancelled += step.action == "cancel"
                self._do(step, darkroom)
                late = time.monotonic() - zero - step.at * self._cadence_s
                delay = max(delay, late)
                zero += max(0.0, late - 0.25 * self._cadence_s)
        finally:
            darkroom.close()
        return PlayedNight(
            visits=len(visits),
            cancelled=cancelled,
            exposures=exposures,
            messages=self._sequence,
            largest_delay_s=delay,
            complete=complete,
        )

    def _do(self, step: Step, darkroom: ImageSource) -> None:
        visit = step.visit
        if step.action == "announce":
            for value in self._announcements(visit):
                self._send(NEXT_VISIT, value)
        elif step.action == "cancel":
            self._send(NEXT_VISIT_CANCELED, canceled_record(visit))
        elif step.action == "start":
            for ahead in self._shift.visits[visit.index : visit.index + 2]:
                self._take(darkroom, ahead)
            self._send(START_INTEGRATION, start_integration_record(visit, step.snap))
        else:
            darkroom.deliver(visit, step.snap)
            self._send(END_READOUT, end_readout_record(visit, step.snap))
        _log.info("ocs", action=step.action, visit=visit.visit, snap=step.snap)
        if self._report is not None:
            self._report(step)

    def _take(self, darkroom: ImageSource, visit: PlannedVisit) -> None:
        if self._shift.faults.get(visit.visit) is not Fault.CANCELLED:
            darkroom.take(visit)

    def _announcements(self, visit: PlannedVisit) -> Iterator[dict[str, Any] | bytes]:
        """Yield the announcement of a visit, after those that are wrong on purpose."""
        fault = self._shift.faults.get(visit.visit)
        if fault is Fault.MALFORMED_NEXT_VISIT:
            whole = self._codec.encode(NEXT_VISIT, next_visit_record(visit))
            yield whole[: len(whole) // 2]
            yield next_visit_record(visit, position=[visit.ra, 120.0])
        if fault is Fault.UNKNOWN_INSTRUMENT:
            yield next_visit_record(visit, instrument="NoSuchCamera")
        yield next_visit_record(visit)

    def _send(self, event: SalEvent, value: dict[str, Any] | bytes) -> None:
        if isinstance(value, dict):
            value = self._codec.encode(event, value | self._stamps())
        self._sequence += 1
        self._sink.send(topic_of(self._subname, event), sal_key(event), value)

    def _stamps(self) -> dict[str, Any]:
        now = time.time()
        return {
            "private_sndStamp": now + TAI_MINUS_UTC_S,
            "private_efdStamp": now,
            "private_kafkaStamp": now + TAI_MINUS_UTC_S,
            "private_seqNum": self._sequence + 1,
            "private_identity": self._identity,
            "private_origin": os.getpid(),
        }


def plan_shift(
    visits: Sequence[PlannedVisit],
    *,
    buffer: Path,
    truth: Path,
    detectors: Sequence[int] | None = None,
    faults: Mapping[int, Fault] | None = None,
) -> NightShift:
    """Return the shift that plays planned visits into a buffer."""
    return NightShift(
        camera=visits[0].camera,
        seed=visits[0].seed,
        visits=tuple(visits),
        buffer=buffer,
        truth=truth,
        detectors=None if detectors is None else tuple(detectors),
        faults=dict(faults or {}),
    )
