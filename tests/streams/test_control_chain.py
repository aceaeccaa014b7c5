"""Bridge, DMCS, Orchestration Manager and archiver together on the real broker: from SAL messages to closed visits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra import kafka, sal
from infra.registry.client import RegistryClient
from infra.settings import Settings, load_settings
from schemas.camera import load_camera
from schemas.events import DeadLetter, ExposureEvent, OutcomeStatus, VisitClosed, VisitEvent
from schemas.wire import EventCodec
from streams.archiver.build import build as build_archiver
from streams.compose import Wiring
from streams.control_views import UnknownJobError, list_exposures, list_jobs
from streams.dmcs.build import build as build_dmcs
from streams.job_trail import read_trail
from streams.ocs_bridge.build import build as build_bridge
from streams.orchestration.build import build as build_orchestration
from streams.stage import TransactionalStage
from tests.support.camera_files import put_exposure, raw_fits
from tests.support.detector_stub import detector_stub
from tests.support.engine import running_engine
from tests.support.stages import eventually, read_events, running

pytestmark = pytest.mark.broker
CAMERA = load_camera("tiny")
DETECTORS = [d.id for d in CAMERA.detectors]
NIGHT = 20270115


@dataclass
class Observatory:
    """Sends what a night's OCS sends, and writes what its camera writes."""

    settings: Settings
    codec: sal.SalCodec
    producer: Any
    sent: list[str] = field(default_factory=list)

    def announce(self, sequence: int, **changes: Any) -> None:
        record = {
            "salIndex": 1,
            "groupId": sal.group_id_of(NIGHT, sequence),
            "coordinateSystem": 2,
            "position": [0.1, 0.2],
            "startTime": sal.tai_of_mjd(61420.25),
            "rotationSystem": 2,
            "filters": "r",
            "duration": 2.0,
            "nimages": 2,
            "instrument": self.settings.night.instrument,
            "private_efdStamp": time.time(),
        }
        self._send(sal.NEXT_VISIT, record | changes)

    def cancel(self, sequence: int) -> None:
        self._send(sal.NEXT_VISIT_CANCELED, {"groupId": sal.group_id_of(NIGHT, sequence)})

    def expose(self, sequence: int, snap: int, *, files: bool = True) -> None:
        image = {
            "additionalKeys": "groupId",
            "additionalValues": sal.group_id_of(NIGHT, sequence),
            "imagesInSequence": 2,
            "imageIndex": snap + 1,
            "imageDate": str(NIGHT),
            "imageNumber": sequence + snap,
            "timestampAcquisitionStart": sal.tai_of_mjd(61420.25),
            "private_efdStamp": time.time(),
        }
        self._send(sal.START_INTEGRATION, image | {"exposureTime": 1.0})
        exposure = NIGHT * 100_000 + sequence + snap
        if files:
            put_exposure(self.settings.camera_buffer(NIGHT), exposure, {d: raw_fits(exposure, d) for d in DETECTORS})
        self._send(sal.END_READOUT, image | {"timestampEndOfReadout": sal.tai_of_mjd(61420.26)})

    def garbage(self) -> None:
        self.producer.produce(sal.topic_of("sal", sal.NEXT_VISIT), b"garbage")
        self.producer.flush(10)

    def _send(self, event: sal.SalEvent, record: dict[str, Any]) -> None:
        payload = self.codec.encode(event, record)
        self.producer.produce(sal.topic_of("sal", event), payload, key=sal.sal_key(event))
        assert self.producer.flush(10) == 0


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Observatory]:
    """All control stages on a broker of their own."""
    with running_engine(tmp_path / "data") as engine, ExitStack() as stack:
        settings = load_settings(
            **engine.settings.model_dump(exclude={"night", "control", "kafka", "registry", "metrics", "web"}),
            kafka=engine.settings.kafka.model_dump(),
            registry=engine.settings.registry.model_dump(),
            night={"camera": "tiny", "close_after_s": 60.0},
            control={"arrival_wait_s": 1.0, "exposure_grace_s": 10.0, "prediction_wait_s": 0.0},
        )
        wiring = Wiring(settings)
        specs: dict[str, Any] = {
            "archiver": build_archiver(wiring, "archiver", stack),
            "dmcs": build_dmcs(wiring, "dmcs", stack),
            "orchestration": build_orchestration(wiring, "orchestration", stack),
            "ocs-bridge": build_bridge(wiring, "ocs-bridge", stack),
            "stub": detector_stub("stub"),
        }
        for name, spec in specs.items():
            registry = RegistryClient(engine.registry_url)
            stage = TransactionalStage(spec, name=name, bootstrap=engine.bootstrap, registry=registry)
            stack.enter_context(running(stage))
        yield Observatory(
            settings=settings,
            codec=sal.SalCodec(wiring.registry, "sal"),
            producer=kafka.producer(engine.bootstrap, client_id="observatory"),
        )


def closings(observatory: Observatory) -> dict[int, VisitClosed]:
    events = read_events(observatory.settings.bootstrap, "visit-events", VisitEvent)
    return {e.visit % 100_000: e.fact for e in events if isinstance(e.fact, VisitClosed)}


def test_night_with_faults_closes_every_visit_in_order_with_the_right_outcomes(control: Observatory) -> None:
    control.garbage()
    control.announce(90, instrument="LATISS")
    control.announce(1)
    for snap in (0, 1):
        control.expose(1, snap)
        control.expose(1, snap)  # repeated messages change nothing
    control.announce(3)
    control.cancel(3)
    control.announce(5)
    control.expose(5, 0)
    control.expose(5, 1, files=False)
    control.announce(7)
    for snap in (0, 1):
        control.expose(7, snap, files=False)
    eventually(lambda: set(closings(control)) == {1, 3, 5, 7})
    closed = closings(control)
    assert list(closed) == [1, 3, 5, 7]
    statuses = {visit: {o.status for o in fact.outcomes} for visit, fact in closed.items()}
    assert statuses == {
        1: {OutcomeStatus.SUCCEEDED},
        3: {OutcomeStatus.LOST},
        5: {OutcomeStatus.SUCCEEDED},
        7: {OutcomeStatus.LOST},
    }
    assert {visit: fact.reason for visit, fact in closed.items()} == {
        1: "complete",
        3: "cancelled",
        5: "complete",
        7: "complete",
    }
    letters = read_events(control.settings.bootstrap, "dlq.visit-events", DeadLetter)
    assert sorted(x.code for x in letters) == ["undecodable_event", "unknown_instrument"]
    _check_views(control)


def _check_views(control: Observatory) -> None:
    registry = RegistryClient(control.settings.registry_url)
    visit = NIGHT * 100_000 + 1
    jobs = list_jobs(control.settings, registry, visit=visit, kind="detector")
    assert [(j.detectors, j.state, j.attempts) for j in jobs] == [((d,), "succeeded", 1) for d in DETECTORS]
    codec = EventCodec(registry)
    trail = read_trail(control.settings.bootstrap, codec, jobs[0].job_id)
    assert [t.what for t in trail if t.topic == "jobs"] == ["planned", "leased", "started", "succeeded"]
    with pytest.raises(UnknownJobError):
        read_trail(control.settings.bootstrap, codec, "d-0-000")
    events = list_exposures(control.settings, registry)
    available = [e for e in events if isinstance(e, ExposureEvent) and e.visit == visit]
    assert sorted((e.snap, e.detector) for e in available) == [(s, d) for s in (0, 1) for d in DETECTORS]
    assert list(control.settings.outage_dir.glob("*/*.fits")) == []
