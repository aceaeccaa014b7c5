"""What the observatory says, as facts about visits; and every way in which it can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from infra import sal
from infra.errors import RegistryUnavailableError
from schemas.camera import load_camera
from schemas.errors import NightcastError
from schemas.events import Announced, Cancelled, IntegrationStarted, ReadoutEnded, VisitEvent
from streams.ocs_bridge.stage import bridge_spec
from streams.ocs_bridge.translation import BridgeRules, translate
from streams.stage import Incoming
from tests.support.stages import LocalRegistry

CAMERA = load_camera("tiny")
RULES = BridgeRules(instrument="NightcastSim", camera=CAMERA, stale_after_s=300.0)
NOW = 1_800_000_000.0
START_MJD = 61420.25
VISIT = 2027011500012
GROUP = "20270115-00012"

ANNOUNCEMENT: dict[str, Any] = {
    "salIndex": 1,
    "groupId": GROUP,
    "coordinateSystem": 2,
    "position": [359.9, -3.5],
    "startTime": sal.tai_of_mjd(START_MJD),
    "rotationSystem": 2,
    "cameraAngle": 33.0,
    "filters": "r",
    "dome": 2,
    "duration": 12.0,
    "nimages": 2,
    "instrument": "NightcastSim",
    "survey": "s",
    "private_efdStamp": NOW - 1,
}
IMAGE: dict[str, Any] = {
    "additionalKeys": "imageType:groupId",
    "additionalValues": f"OBJECT:{GROUP}",
    "imagesInSequence": 2,
    "imageIndex": 2,
    "imageDate": "20270115",
    "imageNumber": 13,
    "timestampAcquisitionStart": sal.tai_of_mjd(START_MJD),
    "timestampEndOfReadout": sal.tai_of_mjd(START_MJD),
    "exposureTime": 3.0,
    "requestedExposureTime": 3.0,
    "private_efdStamp": NOW - 2,
}


def through_the_wire(event: sal.SalEvent, record: dict[str, Any]) -> dict[str, Any]:
    """Encode and decode, so that fields left out have their defaults."""
    codec = sal.SalCodec(LocalRegistry(), "test")
    public = {name for name, _, _ in event.fields} | {"salIndex", "private_efdStamp"}
    return codec.decode(event, codec.encode(event, {k: v for k, v in record.items() if k in public}))


def fact_of(event: sal.SalEvent, record: dict[str, Any], now: float = NOW) -> VisitEvent:
    return translate(event, through_the_wire(event, record), now, RULES)


def test_announcement() -> None:
    expected = Announced(
        group_id=GROUP,
        day_obs=20270115,
        n_snaps=2,
        band="r",
        ra=359.9,
        dec=-3.5,
        rotation=33.0,
        exposure_time=6.0,
        start_mjd_tai=pytest.approx(START_MJD, abs=1e-9),
        duration=12.0,
        camera="tiny",
        detectors=tuple(d.id for d in CAMERA.detectors),
        survey="s",
    )
    event = fact_of(sal.NEXT_VISIT, ANNOUNCEMENT)
    assert event == VisitEvent(instrument="NightcastSim", visit=VISIT, fact=expected)


def test_other_messages() -> None:
    events = [
        fact_of(sal.NEXT_VISIT_CANCELED, {"groupId": GROUP}).fact,
        fact_of(sal.START_INTEGRATION, IMAGE).fact,
        fact_of(sal.END_READOUT, IMAGE).fact,
    ]
    start = pytest.approx(START_MJD, abs=1e-9)
    assert events == [
        Cancelled(reason="the script queue took it back"),
        IntegrationStarted(exposure=VISIT + 1, snap=1, start_mjd_tai=start),
        ReadoutEnded(exposure=VISIT + 1, snap=1, end_mjd_tai=start, sent_unix_s=NOW - 2),
    ]


def test_filter_names_begin_with_their_band() -> None:
    event = fact_of(sal.NEXT_VISIT, ANNOUNCEMENT | {"filters": "i_39"})
    assert isinstance(event.fact, Announced)
    assert event.fact.band == "i"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"instrument": "LATISS"}, "unknown_instrument"),
        ({"instrument": ""}, "sal_message"),
        ({"private_efdStamp": NOW - 301}, "stale_message"),
        ({"private_efdStamp": 0.0}, "stale_message"),
        ({"groupId": "no group"}, "sal_message"),
        ({"groupId": "20279999-00012"}, "invalid_id"),
        ({"position": [1.0]}, "sal_message"),
        ({"position": [float("nan"), 0.0]}, "sal_message"),
        ({"position": [1.0, 91.0]}, "sal_message"),
        ({"coordinateSystem": 3}, "sal_message"),
        ({"rotationSystem": 4}, "sal_message"),
        ({"cameraAngle": float("nan")}, "sal_message"),
        ({"filters": ""}, "sal_message"),
        ({"filters": "r,i"}, "sal_message"),
        ({"filters": "white"}, "malformed_message"),
        ({"nimages": 0}, "sal_message"),
        ({"nimages": 500}, "malformed_message"),
        ({"duration": -1.0}, "sal_message"),
        ({"startTime": float("inf")}, "sal_message"),
    ],
)
def test_wrong_announcements_are_refused_with_the_reason(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(NightcastError) as caught:
        fact_of(sal.NEXT_VISIT, ANNOUNCEMENT | changes)
    assert (caught.value.code, caught.value.retriable) == (code, False)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"imageNumber": 20}, "malformed_message"),
        ({"imageNumber": 0}, "sal_message"),
        ({"imageDate": ""}, "sal_message"),
        ({"imageIndex": 3}, "sal_message"),
        ({"additionalKeys": ""}, "sal_message"),
    ],
)
@pytest.mark.parametrize("kind", [sal.START_INTEGRATION, sal.END_READOUT], ids=lambda event: str(event.name))
def test_wrong_image_messages_are_refused_with_the_reason(
    kind: sal.SalEvent, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(NightcastError) as caught:
        fact_of(kind, IMAGE | changes)
    assert caught.value.code == code


def test_stage_decodes_the_observatorys_topics_and_refuses_to_the_log_of_visits() -> None:
    registry = LocalRegistry()
    spec = bridge_spec(RULES, registry, "test")
    name = "lsst.test.ScriptQueue.logevent_nextVisit"
    assert name in spec.topics
    assert spec.refused_to(name) == "dlq.visit-events"
    payload = sal.SalCodec(registry, "test").encode(sal.NEXT_VISIT, ANNOUNCEMENT)
    assert spec.decode is not None
    incoming = Incoming(topic=name, partition=0, offset=0, key=None, record=spec.decode(name, payload), timestamp_s=NOW)
    _, (outgoing,) = spec.handle(None, incoming, NOW)
    assert (outgoing.topic, outgoing.key, outgoing.record.visit) == ("visit-events", "NightcastSim", VISIT)


@pytest.mark.parametrize("payload", [b"", b"\x01abc", b"\x00\x00\x00\x00\x01short"])
def test_bytes_that_are_no_message_are_refused(payload: bytes) -> None:
    registry = LocalRegistry()
    spec = bridge_spec(RULES, registry, "test")
    sal.SalCodec(registry, "test").encode(sal.NEXT_VISIT, ANNOUNCEMENT)
    assert spec.decode is not None
    with pytest.raises(NightcastError) as caught:
        spec.decode("lsst.test.ScriptQueue.logevent_nextVisit", payload)
    assert not isinstance(caught.value, RegistryUnavailableError)
    assert caught.value.code == "undecodable_event"
