"""The codec gives back what it was given, and its schema files are those of the dataclasses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fastavro
import numpy as np
import pytest

from infra.registry.compatibility import Level, incompatibilities, parse
from schemas import avro, events
from schemas.errors import SchemaError, UndecodableEventError
from schemas.tables import Claim, Table
from schemas.topics import TOPICS
from schemas.wire import EventCodec, frame, unframe

CLOSED = events.VisitEvent(
    instrument="LSSTSim",
    visit=2026112900001,
    fact=events.VisitClosed(
        outcomes=(
            events.DetectorOutcome(
                detector=1,
                status=events.OutcomeStatus.SUCCEEDED,
                result=events.ResultRef(job_id="j", epoch=2, sha256="ab", partition=0, offset=7),
            ),
            events.DetectorOutcome(detector=2, status=events.OutcomeStatus.FAILED, reason="no stars"),
        ),
        last_readout_mjd_tai=61373.25,
        last_readout_sent_unix_s=1.5e9,
        reason="complete",
    ),
)


class Registry:
    """Remembers schemas and numbers them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        self.texts.append(schema)
        return len(self.texts)

    def schema(self, identifier: int) -> str:
        return self.texts[identifier - 1]


def test_an_event_comes_back_whole_from_a_union_of_records() -> None:
    assert avro.decode(events.VisitEvent, avro.encode(CLOSED)) == CLOSED


def test_a_map_is_written_in_order_of_its_keys() -> None:
    planned = {"b": "2", "a": "1"}

    def job(inputs: dict[str, str]) -> events.JobEvent:
        fact = events.Planned(inputs=inputs, exposures=(1,), priority=0, parameters={})
        return events.JobEvent(
            job_id="x", kind=events.JobKind.DETECTOR, instrument="i", visit=1, detectors=(1,), fact=fact
        )

    assert avro.encode(job(planned)) == avro.encode(job(dict(reversed(planned.items()))))
    assert avro.decode(events.JobEvent, avro.encode(job(planned))) == job({"a": "1", "b": "2"})


@pytest.mark.parametrize("event", sorted({t.event for t in TOPICS if t.event}, key=lambda e: e.__name__))
def test_the_schema_file_is_the_one_of_the_dataclass(event: type) -> None:
    file = Path(avro.__file__).parent / "avro" / "internal" / f"{event.__name__}.avsc"
    assert json.loads(file.read_text()) == avro.schema_of(event)
    fastavro.parse_schema(json.loads(file.read_text()))


def test_a_table_gives_back_the_array_byte_for_byte() -> None:
    array = np.zeros(3, dtype=[("id", "i8"), ("ra", "f8"), ("flag", "i1"), ("band", "U4")])
    array["id"], array["ra"], array["band"] = [2**62 + 1, 2, 3], [0.1, np.nan, 359.9], ["r", "", "i"]
    back = Table.from_array(array).to_array()
    assert back.dtype.names == array.dtype.names
    assert all(back[name].tobytes() == array[name].tobytes() for name in array.dtype.names)


def test_a_table_refuses_columns_of_another_length() -> None:
    table = Table.from_array(np.zeros(3, dtype=[("a", "f4")]))
    with pytest.raises(SchemaError, match="holds 3 values"):
        Table(rows=2, columns=table.columns).to_array()


def test_the_wire_header_is_confluents() -> None:
    assert frame(1101, b"x") == b"\x00\x00\x00\x04\x4dx"
    assert unframe(frame(1101, b"x")) == (1101, b"x")


@pytest.mark.parametrize("message", [b"", b"\x00\x00", b"\x01\x00\x00\x00\x01x"])
def test_what_is_not_framed_is_refused(message: bytes) -> None:
    with pytest.raises(UndecodableEventError):
        unframe(message)


def test_the_codec_registers_once_and_reads_back() -> None:
    registry = Registry()
    codec = EventCodec(registry)
    messages = [codec.encode("visit-events", CLOSED) for _ in range(2)]
    assert len(registry.texts) == 1
    assert codec.decode(events.VisitEvent, messages[0]) == CLOSED


def test_broken_bytes_are_a_typed_error() -> None:
    with pytest.raises(UndecodableEventError, match="no VisitEvent"):
        avro.decode(events.VisitEvent, avro.encode(CLOSED)[:-9])


def test_a_value_of_the_wrong_type_is_a_typed_error() -> None:
    wrong = events.ExposureEvent(
        instrument="i",
        visit=1,
        exposure=1,
        snap=0,
        detector=1,
        fact=events.AvailableExposure(raw=Claim(uri="u", sha256=5, size=1), header={}),  # type: ignore[arg-type]
    )
    with pytest.raises(SchemaError, match="does not fit"):
        avro.encode(wrong)


def detector_result(**changes: object) -> events.DetectorResult:
    rows = Table.from_array(np.zeros(1, [("diaSourceId", "i8")]))
    values = {
        "instrument": "i", "visit": 1, "detector": 2, "job_id": "j", "band": "r", "midpoint_mjd_tai": 61373.0,
        "exposure_time": 30.0, "diasources": rows, "forced": rows, "metrics": {}, "cutouts": None, "calibrated": None,
        "inputs": {}, "notes": (),
    }  # fmt: skip
    return events.DetectorResult(**(values | changes))  # type: ignore[arg-type]


def test_a_result_written_before_there_were_snap_rows_is_read_and_newer_ones_by_old_readers() -> None:
    current = avro.schema_of(events.DetectorResult)
    older = current | {"fields": [f for f in current["fields"] if f["name"] not in ("snaps", "corners")]}
    new, old = parse(json.dumps(current)), parse(json.dumps(older))
    assert incompatibilities(new, [old], Level("FULL")) == []
    told = detector_result(snaps=Table.from_array(np.ones(1, [("dia_source_id", "i8"), ("presence", "i1")])))
    written = io.BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(older), avro.to_record(detector_result()))
    registry = Registry()
    registry.register("detector-results-value", json.dumps(older))
    assert EventCodec(registry).decode(events.DetectorResult, frame(1, written.getvalue())) == detector_result()
    assert avro.decode(events.DetectorResult, avro.encode(told)) == told


def test_an_event_of_an_older_schema_is_read_with_its_writer() -> None:
    newer = avro.schema_of(events.StageState)
    assert "version" in [f["name"] for f in newer["fields"]]
    registry = Registry()
    registry.register("s", json.dumps(avro.schema_of(events.StageState)).replace("The state of a stage", "Old words"))
    state = events.StageState(stage="dmcs", payload=b"1")
    assert EventCodec(registry).decode(events.StageState, frame(1, avro.encode(state))) == state
