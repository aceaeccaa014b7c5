"""A small night for the association and alert assembly processes, and what it must give, computed without Kafka."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infra.kafka import producer
from infra.reading import place_of, read_to_end
from infra.registry import RegistryClient
from infra.settings import Settings
from infra.supervisor.child import Child
from processors.alerts.assembly import apply_update, assembled_alerts, block_key, months_of
from processors.association.fold import object_versions
from processors.association.known_objects import field_radius, known_objects
from processors.association.updates import dia_object_versions, dia_source_events, object_updates
from schemas import avro
from schemas.camera import load_camera
from schemas.events import (
    Announced,
    AssociationDecision,
    DetectorOutcome,
    DetectorResult,
    ObjectUpdate,
    OutcomeStatus,
    ResultRef,
    VisitClosed,
    VisitEvent,
)
from schemas.wire import EventCodec, unframe
from streams.processes import stage_processes
from tests.support.association_cases import (
    FIRST_MJD,
    Night,
    detector_result,
    forced_rows,
    midpoint_of,
    source_rows,
    visit_number,
)
from tests.support.waiting import eventually

INSTRUMENT = "TestCam"
DETECTORS = (0, 1)
CAMERA = "tiny"
FIELD = (359.999, 0.0)
MOST_DEATHS = 8
"""A stage that has died so often will not recover: each crash point fires once, and no test arms as many."""


@dataclass(kw_only=True)
class Expected:
    """What must be in the topics, by identifier."""

    log: list[bytes] = field(default_factory=list)
    updates: dict[tuple[int, int], bytes] = field(default_factory=dict)
    sources: dict[int, bytes] = field(default_factory=dict)
    objects: dict[tuple[int, int], bytes] = field(default_factory=dict)
    alerts: dict[int, bytes] = field(default_factory=dict)
    known: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)


@dataclass(kw_only=True)
class PlannedVisit:
    """One visit: its results and its closing."""

    visit: int
    announced: Announced
    results: list[DetectorResult]
    readout_mjd_tai: float
    sent_unix_s: float


def plan_night(visits: int = 5, objects: int = 24, seed: int = 3) -> tuple[list[PlannedVisit], Expected]:
    """Return a night over right ascension 0 whose forced photometry follows from its own association, and its truth."""
    rng = np.random.default_rng(seed)
    ra = (FIELD[0] + rng.uniform(-40, 40, objects) / 3600.0) % 360.0
    dec = FIELD[1] + rng.uniform(-40, 40, objects) / 3600.0
    night, planned, expected, table = Night(), [], Expected(), {}
    for index in range(visits):
        visit = visit_number(index)
        known = (
            _known(night, index) if index >= 2 else np.zeros(0, [("diaObjectId", "i8"), ("ra", "f8"), ("dec", "f8")])
        )
        expected.known[visit] = known
        plan = PlannedVisit(
            visit=visit,
            announced=announcement(index),
            results=list(_results(index, (ra, dec), known, rng)),
            readout_mjd_tai=FIRST_MJD + 1.0,
            sent_unix_s=1.8e9 + index,
        )
        decision = night.decide(visit, plan.results, band="r", last_readout_sent_unix_s=plan.sent_unix_s)
        _expect(expected, night, decision, table)
        planned.append(plan)
    return planned, expected


@functools.cache
def _night_updates() -> tuple[bytes, ...]:
    _, expected = plan_night()
    return tuple(expected.updates.values())


def plan_night_updates() -> list[ObjectUpdate]:
    """Return the updates of the planned night in the order of the log."""
    return [avro.decode(ObjectUpdate, datum) for datum in _night_updates()]


def announcement(index: int) -> Announced:
    """Return what is announced of a visit."""
    return Announced(
        group_id=str(index),
        day_obs=20270115,
        n_snaps=2,
        band="r",
        ra=FIELD[0],
        dec=FIELD[1],
        rotation=0.0,
        exposure_time=15.0,
        start_mjd_tai=midpoint_of(index),
        duration=34.0,
        camera=CAMERA,
        detectors=DETECTORS,
        survey="test",
    )


def _known(night: Night, index: int) -> np.ndarray[Any, Any]:
    radius = field_radius(load_camera(CAMERA))
    as_of = visit_number(index - 2), midpoint_of(index)
    return known_objects(night.view, FIELD, radius, as_of=as_of, rules=night.rules)


def _results(
    index: int, sky: tuple[Any, Any], known: np.ndarray[Any, Any], rng: np.random.Generator
) -> Iterator[DetectorResult]:
    visit, mjd = visit_number(index), midpoint_of(index)
    ra, dec = sky
    for detector in DETECTORS:
        mine = np.flatnonzero((np.arange(len(ra)) % 2 == detector) & (rng.random(len(ra)) < 0.7))
        shift = rng.normal(0.0, 0.05 / 3600.0, (2, len(mine)))
        sources = source_rows(
            (ra[mine] + shift[0]) % 360.0,
            dec[mine] + shift[1],
            visit=visit,
            detector=detector,
            mjd=mjd,
            flux=rng.normal(2000.0, 300.0, len(mine)),
        )
        own = known[known["diaObjectId"] % 2 == detector]
        forced = forced_rows(own["diaObjectId"], own["ra"], own["dec"], visit=visit, detector=detector, mjd=mjd)
        yield detector_result(sources, forced, visit=visit, detector=detector, mjd=mjd)


def _expect(expected: Expected, night: Night, decision: AssociationDecision, table: dict[bytes, bytes]) -> None:
    expected.log.append(avro.encode(decision))
    versions = object_versions(night.view, decision)
    updates = list(object_updates(decision, versions))
    for update in updates:
        expected.updates[update.dia_object_id, update.visit] = avro.encode(update)
        months = months_of(update)
        key = block_key(update.dia_object_id, months[-1])
        table[key], applied_at = apply_update(update, len(expected.updates), table.get(key))
        blocks = [table.get(block_key(update.dia_object_id, month)) for month in months]
        for alert in assembled_alerts(update, applied_at, blocks):
            expected.alerts[alert.alert_id] = avro.encode(alert)
    for source in dia_source_events(updates):
        expected.sources[source.dia_source_id] = avro.encode(source)
    for version in dia_object_versions(updates):
        expected.objects[version.dia_object_id, version.visit] = avro.encode(version)


class Telescope:
    """Puts a planned night into the topics, as the stages before association would."""

    def __init__(self, settings: Settings) -> None:
        self._producer = producer(settings.bootstrap, client_id="test-night")
        self._codec = EventCodec(RegistryClient(settings.registry_url))

    def announce(self, plan: PlannedVisit) -> None:
        """Put the announcement."""
        self.put("visit-events", VisitEvent(instrument=INSTRUMENT, visit=plan.visit, fact=plan.announced))

    def close(self, plan: PlannedVisit, *, times: int = 1) -> None:
        """Put the results and the closing, the latter more than once if asked."""
        outcomes = [self.outcome(result) for result in plan.results]
        closed = VisitClosed(
            outcomes=tuple(outcomes),
            last_readout_mjd_tai=plan.readout_mjd_tai,
            last_readout_sent_unix_s=plan.sent_unix_s,
            reason="complete",
        )
        for _ in range(times):
            self.put("visit-events", VisitEvent(instrument=INSTRUMENT, visit=plan.visit, fact=closed))

    def outcome(self, result: DetectorResult) -> DetectorOutcome:
        """Put a result and return the outcome that names it."""
        sha256 = hashlib.sha256(avro.encode(result)).hexdigest()
        partition, offset = self.put("detector-results", result)
        ref = ResultRef(job_id=result.job_id, epoch=1, sha256=sha256, partition=partition, offset=offset)
        return DetectorOutcome(detector=result.detector, status=OutcomeStatus.SUCCEEDED, result=ref)

    def put(self, topic: str, event: Any) -> tuple[int, int]:
        """Write one event and return where it lies."""
        value = event if isinstance(event, bytes) else self._codec.encode(topic, event)
        places: list[tuple[int, int]] = []
        self._producer.produce(
            topic, key=INSTRUMENT.encode(), value=value, on_delivery=lambda error, m: places.append(place_of(m))
        )
        assert self._producer.flush(20) == 0
        return places[0]


def contents(settings: Settings, topic: str, event: type[Any]) -> list[tuple[Any, bytes]]:
    """Return every event of a topic with its bare datum."""
    values = [message.value() for message in read_to_end(settings.bootstrap, topic)]
    data = [unframe(value)[1] for value in values if value is not None]
    return [(avro.decode(event, datum), datum) for datum in data]


def by_name(found: Iterable[tuple[Any, bytes]], name: Callable[[Any], Any]) -> dict[Any, set[bytes]]:
    """Return the different data that each name has: one, where all repetitions are alike."""
    named: dict[Any, set[bytes]] = defaultdict(set)
    for event, datum in found:
        named[name(event)].add(datum)
    return dict(named)


@contextmanager
def stages(
    settings: Settings, names: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> Iterator[Keeper]:
    """Run stages as processes that are started again when they die."""
    specs = {spec.name: spec for spec in stage_processes(settings)}
    children = {name: Child(specs[name], logs_dir=settings.logs_dir, run_dir=settings.run_dir) for name in names}
    for child in children.values():
        child._env.update(environment or {})
    keeper = Keeper(children)
    try:
        for child in children.values():
            child.start()
        yield keeper
    finally:
        for child in children.values():
            child.stop()


class Keeper:
    """Keeps children alive and counts their deaths."""

    def __init__(self, children: Mapping[str, Child]) -> None:
        self.children = children
        self.deaths: dict[str, list[int]] = defaultdict(list)

    def wait(self, done: Callable[[], object], *, for_s: float = 240.0) -> None:
        """Wait for a condition, starting again what has died meanwhile; what dies again and again ends the wait."""
        eventually(done, within_s=for_s, look=self._start_again, said=self._last_words, pause_s=0.2)

    def _start_again(self) -> None:
        for name, child in self.children.items():
            if child.exit_code is not None:
                self.deaths[name].append(child.exit_code)
                assert len(self.deaths[name]) < MOST_DEATHS, child.log_tail(3000)
                child.start()

    def _last_words(self) -> str:
        return "\n".join(f"{name}: {child.log_tail(3000)}" for name, child in self.children.items())
