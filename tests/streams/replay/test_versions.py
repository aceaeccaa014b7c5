"""Records written with an older version of their schema are compared by what they say."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pytest

from schemas import avro, public
from schemas.errors import UndecodableEventError
from schemas.events import DetectorResult
from schemas.tables import Table
from schemas.wire import frame
from streams.replay.compare import TopicComparison, collect, compare_topic
from streams.replay.readable import readable
from streams.replay.versions import Versions

NEW, OLD = 7, 3


def schema_without(*names: str) -> dict[str, Any]:
    """Return the schema of results as it was before some fields came."""
    schema: dict[str, Any] = json.loads(avro.schema_text(DetectorResult))
    return schema | {"fields": [field for field in schema["fields"] if field["name"] not in names]}


def written(schema: dict[str, Any], event: DetectorResult) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), avro.to_record(event))
    return buffer.getvalue()


def result(*, rows: int = 1, snaps: Table | None = None) -> DetectorResult:
    return DetectorResult(
        instrument="i", visit=1, detector=0, job_id="d", band="r", midpoint_mjd_tai=61400.0, exposure_time=30.0,
        diasources=Table.from_array(public.null_rows("diaSource", rows)),
        forced=Table.from_array(public.null_rows("diaForcedSource", 0)), metrics={"a": 1.0}, cutouts=None,
        calibrated=None, inputs={}, notes=(), snaps=snaps,
    )  # fmt: skip


BEFORE_SNAPS = schema_without("snaps")
VERSIONS = Versions({NEW: avro.schema_text(DetectorResult), OLD: json.dumps(BEFORE_SNAPS)})


def compared(first: bytes, second: bytes) -> TopicComparison:
    runs = (collect([((1, 0), VERSIONS.datum(DetectorResult, message))]) for message in (first, second))
    return compare_topic("detector-results", *runs, decode=lambda datum: readable("detector-results", datum))


def test_a_result_from_before_a_field_came_cannot_be_read_as_one_of_today() -> None:
    """The reason for all this: without its own schema such a result is undecodable, and was taken for one that is not there."""
    old = written(BEFORE_SNAPS, result())
    with pytest.raises(UndecodableEventError):
        avro.decode(DetectorResult, old)
    assert VERSIONS.event(DetectorResult, frame(OLD, old)) == result()


def test_an_older_result_that_says_the_same_is_the_same() -> None:
    old, new = frame(OLD, written(BEFORE_SNAPS, result())), frame(NEW, avro.encode(result()))
    assert compared(old, new).identical
    assert compared(old, old).identical


def test_what_an_older_result_could_not_say_is_named() -> None:
    snaps = Table.from_array(np.zeros(1, [("dia_source_id", "<i8"), ("first_share", "<f4")]))
    old, new = frame(OLD, written(BEFORE_SNAPS, result())), frame(NEW, avro.encode(result(snaps=snaps)))
    (change,) = compared(old, new).changed
    assert (change.key, change.field, change.left) == ((1, 0), "snaps", "None")


def test_an_older_result_that_differs_is_named_by_its_field() -> None:
    old = frame(OLD, written(BEFORE_SNAPS, replace(result(), band="i")))
    (change,) = compared(old, frame(NEW, avro.encode(result()))).changed
    assert (change.field, change.left, change.right) == ("band", "'i'", "'r'")


def test_records_of_today_keep_their_bytes() -> None:
    message = frame(NEW, avro.encode(result()))
    assert VERSIONS.datum(DetectorResult, message) == message[5:]
    assert Versions({}).datum(DetectorResult, message) == message[5:]


def test_a_schema_that_is_none_makes_its_records_undecodable() -> None:
    versions = Versions({NEW: '{"type": "nothing of the kind"}'})
    with pytest.raises(UndecodableEventError, match="cannot be read"):
        versions.event(DetectorResult, frame(NEW, avro.encode(result())))
