"""SAL events: schemas as SAL lays them out, framing, keys, and what makes a message unusable."""

from __future__ import annotations

import json

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import sal
from infra.telescope import plan_night
from infra.telescope.ocs_messages import end_readout_record, next_visit_record, start_integration_record
from schemas.camera import load_camera
from schemas.errors import UndecodableEventError, UnknownSchemaError

VISIT = plan_night(load_camera("tiny"), 1, n_visits=2)[1]


class ListRegistry:
    """Keeps schemas in a list; the id is the place in it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.subjects: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        self.subjects.append(subject)
        self.texts.append(schema)
        return len(self.texts)

    def schema(self, identifier: int) -> str:
        try:
            return self.texts[identifier - 1]
        except IndexError:
            raise UnknownSchemaError(f"no {identifier}") from None


@pytest.fixture
def codec() -> sal.SalCodec:
    return sal.SalCodec(ListRegistry(), "test")


def test_schemas_have_sals_shape():
    for event in sal.EVENTS:
        schema = json.loads(event.schema_text())
        assert schema["namespace"] == f"lsst.sal.{event.component}"
        assert schema["name"] == event.name
        names = [field["name"] for field in schema["fields"]]
        assert "private_sndStamp" in names
        assert "private_origin" in names
        assert ("salIndex" in names) == (event.component == "ScriptQueue")
        assert all("default" in field for field in schema["fields"])
        fastavro.parse_schema(schema)


def test_topics_and_keys_are_sals():
    assert sal.topic_of("sal", sal.NEXT_VISIT) == "lsst.sal.ScriptQueue.logevent_nextVisit"
    assert sal.topic_of("x", sal.END_READOUT) == "lsst.x.MTCamera.logevent_endReadout"
    key = json.loads(sal.sal_key(sal.NEXT_VISIT))
    assert key == {"component": "ScriptQueue", "index": 1, "topic": "logevent_nextVisit"}
    assert "index" not in json.loads(sal.sal_key(sal.END_READOUT))
    assert [row.name for row in sal.sal_topics("x")] == [sal.topic_of("x", event) for event in sal.EVENTS]


def test_announcement_goes_round(codec):
    message = codec.encode(sal.NEXT_VISIT, next_visit_record(VISIT, private_efdStamp=5.0))
    assert message[0] == 0
    told = sal.NextVisit.from_record(codec.decode(sal.NEXT_VISIT, message))
    assert told == sal.NextVisit(
        instrument="NightcastSim",
        group_id=VISIT.group_id,
        ra=VISIT.ra,
        dec=VISIT.dec,
        rotation=VISIT.rotation,
        band=VISIT.band,
        start_mjd_tai=pytest.approx(VISIT.start_mjd_tai, abs=1e-9),
        duration_s=VISIT.duration_s,
        n_snaps=2,
        survey="nightcast-simulation",
        sent_unix_s=5.0,
    )
    assert sal.parse_group_id(told.group_id) == (VISIT.day_obs, VISIT.sequence)


def test_image_events_name_their_exposure(codec):
    for event, record, mjd in (
        (sal.START_INTEGRATION, start_integration_record(VISIT, 1), VISIT.begin_mjd_tai(1)),
        (sal.END_READOUT, end_readout_record(VISIT, 1), VISIT.readout_end_mjd_tai(1)),
    ):
        told = sal.ImageEvent.from_record(codec.decode(event, codec.encode(event, record)))
        assert (told.exposure, told.snap, told.n_snaps) == (VISIT.exposure(1), 1, 2)
        assert told.group_id == VISIT.group_id
        assert told.exposure_time == 15.0
        assert told.mjd_tai == pytest.approx(mjd, abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"position": [1.0]},
        {"position": [400.0, 0.0]},
        {"position": [1.0, float("nan")]},
        {"filters": "r,i"},
        {"filters": ""},
        {"instrument": ""},
        {"nimages": 0},
        {"coordinateSystem": 3},
        {"rotationSystem": 4},
        {"groupId": "whatever"},
        {"duration": -1.0},
        {"startTime": float("inf")},
        {"cameraAngle": float("nan")},
    ],
)
def test_unusable_announcements_are_refused(codec, changes):
    record = codec.decode(sal.NEXT_VISIT, codec.encode(sal.NEXT_VISIT, next_visit_record(VISIT, **changes)))
    with pytest.raises(sal.SalMessageError):
        sal.NextVisit.from_record(record)


@pytest.mark.parametrize(
    "changes",
    [
        {"additionalKeys": ""},
        {"imageDate": "tonight"},
        {"imageDate": "20261399"},
        {"imageIndex": 3},
        {"imageNumber": 0},
    ],
)
def test_unusable_image_events_are_refused(changes):
    with pytest.raises(sal.SalMessageError):
        sal.ImageEvent.from_record(end_readout_record(VISIT, 0) | {"private_efdStamp": 0.0} | changes)


def test_message_of_an_older_schema_is_read_with_defaults(codec):
    registry = ListRegistry()
    old = json.loads(sal.NEXT_VISIT_CANCELED.schema_text())
    old["fields"] = [field for field in old["fields"] if field["name"] != "scriptSalIndex"]
    writer = sal.SalCodec(registry, "test")
    older = sal.SalEvent(
        component="ScriptQueue",
        name="logevent_nextVisitCanceled",
        index=1,
        fields=tuple(f for f in sal.NEXT_VISIT_CANCELED.fields if f[0] != "scriptSalIndex"),
    )
    message = writer.encode(older, {"groupId": VISIT.group_id})
    record = sal.SalCodec(registry, "test").decode(sal.NEXT_VISIT_CANCELED, message)
    assert record["scriptSalIndex"] == 0
    assert sal.NextVisitCanceled.from_record(record).group_id == VISIT.group_id


@given(st.integers(0, 200))
def test_truncated_messages_are_undecodable(length):
    codec = sal.SalCodec(ListRegistry(), "test")
    message = codec.encode(sal.NEXT_VISIT, next_visit_record(VISIT))
    if length >= len(message):
        return
    with pytest.raises(UndecodableEventError):
        codec.decode(sal.NEXT_VISIT, message[:length])


def test_unknown_schema_and_trailing_bytes_are_refused(codec):
    message = codec.encode(sal.END_READOUT, end_readout_record(VISIT, 0))
    with pytest.raises(UnknownSchemaError):
        codec.decode(sal.END_READOUT, b"\x00\x00\x00\x00\x63" + message[5:])
    with pytest.raises(UndecodableEventError):
        codec.decode(sal.END_READOUT, message + b"x")


def test_tai_goes_round():
    assert sal.mjd_of_tai(sal.tai_of_mjd(61305.25)) == pytest.approx(61305.25, abs=1e-10)
