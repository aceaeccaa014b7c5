"""Accepted results are found where their reference says, and nothing else passes for one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from schemas import avro
from schemas.events import DetectorOutcome, DetectorResult, OutcomeStatus, ResultRef
from schemas.wire import EventCodec
from streams.association.errors import ResultNotThereError
from streams.association.results import ResultReader
from tests.support.association_cases import detector_result, source_rows, visit_number

VISIT = visit_number(0)


class OneSchemaRegistry:
    """Knows the one schema that these tests write."""

    def register(self, subject: str, schema: str) -> int:
        """Return its id."""
        return 1

    def schema(self, identifier: int) -> str:
        """Return its text."""
        return avro.schema_text(DetectorResult)


class Message:
    """A consumed message."""

    def __init__(self, offset: int, value: bytes) -> None:
        self._offset, self._value = offset, value

    def partition(self) -> int:
        """Return 0."""
        return 0

    def offset(self) -> int:
        """Return where it lies."""
        return self._offset

    def value(self) -> bytes:
        """Return its bytes."""
        return self._value


class ListedReader:
    """A partition that is a dictionary."""

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}
        self.closed = False

    def records(self, first: int, end: int | None = None) -> Iterator[Any]:
        """Give what lies between the offsets."""
        assert end is not None
        return (Message(offset, self.values[offset]) for offset in range(first, end) if offset in self.values)

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.fixture
def partition() -> ListedReader:
    return ListedReader()


@pytest.fixture
def results(partition: ListedReader) -> ResultReader:
    return ResultReader(lambda _: partition, EventCodec(OneSchemaRegistry()), patience_s=0.0)  # type: ignore[arg-type,return-value]


def stored(partition: ListedReader, detector: int, offset: int) -> DetectorOutcome:
    rows = source_rows([0.1 * detector], [0.0], visit=VISIT, detector=detector)
    result = detector_result(rows, visit=VISIT, detector=detector)
    partition.values[offset] = EventCodec(OneSchemaRegistry()).encode("detector-results", result)
    sha256 = hashlib.sha256(avro.encode(result)).hexdigest()
    ref = ResultRef(job_id=result.job_id, epoch=1, sha256=sha256, partition=0, offset=offset)
    return DetectorOutcome(detector=detector, status=OutcomeStatus.SUCCEEDED, result=ref)


def changed(outcome: DetectorOutcome, **fields: Any) -> DetectorOutcome:
    assert outcome.result is not None
    return replace(outcome, result=replace(outcome.result, **fields))


def test_results_come_in_order_of_detectors(partition: ListedReader, results: ResultReader) -> None:
    outcomes = [stored(partition, 3, 10), stored(partition, 1, 14), stored(partition, 2, 12)]
    partition.values[11] = b"of another visit"
    lost = DetectorOutcome(detector=4, status=OutcomeStatus.LOST, reason="no image")
    found, refused = results.fetch([*outcomes, lost], VISIT)
    assert [result.detector for result in found] == [1, 2, 3]
    assert refused == {}
    results.close()
    assert partition.closed


def test_a_visit_without_results_needs_no_log(results: ResultReader) -> None:
    assert results.fetch([], VISIT) == ([], {})


def test_what_is_not_the_accepted_result_is_refused(partition: ListedReader, results: ResultReader) -> None:
    wrong = changed(stored(partition, 1, 10), sha256="0" * 64)
    gone = changed(stored(partition, 2, 11), offset=99)
    swapped = replace(stored(partition, 3, 12), detector=7)
    broken = stored(partition, 4, 13)
    value = partition.values[13][:-3]
    partition.values[13] = value
    broken = changed(broken, sha256=hashlib.sha256(value[5:]).hexdigest())
    unframed = stored(partition, 5, 14)
    partition.values[14] = b"x"
    found, refused = results.fetch([wrong, gone, swapped, broken, unframed], VISIT)
    assert found == []
    assert refused == {
        "detector:1": "the result at its place in the log has another digest",
        "detector:2": "the result is not in the log",
        "detector:4": "the result does not decode",
        "detector:5": "the result does not decode",
        "detector:7": "the result is of another visit or detector",
    }


def test_a_result_that_may_still_come_is_waited_for(partition: ListedReader) -> None:
    results = ResultReader(lambda _: partition, EventCodec(OneSchemaRegistry()), patience_s=60.0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ResultNotThereError) as caught:
        results.fetch([changed(stored(partition, 2, 11), offset=99)], VISIT)
    assert caught.value.retriable
