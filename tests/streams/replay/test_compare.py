"""Two runs are compared by key and bytes, and a difference is named by its first field."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay.compare import (
    Change,
    Comparison,
    TopicComparison,
    collect,
    compare_topic,
    first_difference,
    latency_shift,
)

LOGS = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 3)), st.binary(max_size=2), max_size=12)


def datum(**values: Any) -> bytes:
    return json.dumps(values).encode()


def compare(first: dict[tuple[int, ...], bytes], second: dict[tuple[int, ...], bytes]) -> TopicComparison:
    return compare_topic("t", collect(first.items()), collect(second.items()), decode=json.loads)


def test_the_same_records_in_another_order_are_identical() -> None:
    records = {(k, 0): datum(value=k) for k in range(5)}
    shuffled = dict(sorted(records.items(), reverse=True))
    assert compare(records, shuffled) == TopicComparison(topic="t", same=5)
    assert compare(records, shuffled).identical


def test_missing_extra_and_changed_are_told_apart() -> None:
    first = {(1,): datum(a=1), (2,): datum(a=1, b=[1, 2]), (3,): datum(a=1)}
    second = {(2,): datum(a=1, b=[1, 5]), (3,): datum(a=1), (4,): datum(a=1)}
    assert compare(first, second) == TopicComparison(
        topic="t",
        same=1,
        missing=((1,),),
        extra=((4,),),
        changed=(Change(key=(2,), field="b[1]", left="2", right="5"),),
    )


def test_bytes_that_mean_the_same_are_still_a_change() -> None:
    changed = compare({(1,): b'{"a":1}'}, {(1,): b'{"a": 1}'}).changed
    assert changed == (Change(key=(1,), field="(encoding)", left="7 bytes", right="8 bytes"),)


def test_a_run_that_contradicts_itself_is_not_identical_to_itself() -> None:
    log = collect([((1,), b"x"), ((1,), b"y"), ((2,), b"z"), ((2,), b"z")])
    assert log.conflicts == ((1,),)
    assert not compare_topic("t", log, log, decode=bytes).identical


def test_newer_versions_of_an_object_are_no_contradiction() -> None:
    log = collect([((1,), b"x"), ((1,), b"y")], versions=True)
    assert (log.values, log.conflicts) == ({(1,): b"y"}, ())


@given(LOGS, LOGS)
def test_every_record_is_counted_once(first: dict[Any, bytes], second: dict[Any, bytes]) -> None:
    found = compare_topic("t", collect(first.items()), collect(second.items()), decode=bytes)
    assert found.same + len(found.changed) + len(found.missing) == len(first)
    assert found.same + len(found.changed) + len(found.extra) == len(second)
    assert found.identical == (first == second)
    back = compare_topic("t", collect(second.items()), collect(first.items()), decode=bytes)
    assert (back.missing, back.extra) == (found.extra, found.missing)


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": math.nan}, {"a": math.nan}, None),
        ({"a": math.nan}, {"a": 0.0}, ".a"),
        ({"a": 1}, {"a": 1.0}, ".a"),
        ({"a": {"b": [0, {"c": "x"}]}}, {"a": {"b": [0, {"c": "y"}]}}, ".a.b[1].c"),
        ({"a": [1]}, {"a": [1, 2]}, ".a.length"),
        ({"a": 1}, {"a": 1, "b": 2}, ".b"),
        (b"x", b"y", ""),
        ("xy", "xz", ""),
    ],
)
def test_the_first_difference_is_named_by_its_path(left: Any, right: Any, found: str | None) -> None:
    difference = first_difference(left, right)
    assert (difference[0] if difference else None) == found


def test_long_values_are_shown_short() -> None:
    (change,) = compare({(1,): datum(a="x" * 500)}, {(1,): datum(a="y")}).changed
    assert len(change.left) == 60


def test_latencies_are_compared_over_the_alerts_that_both_have() -> None:
    shift = latency_shift({1: 10.0, 2: 20.0, 3: 99.0}, {1: 12.0, 2: 15.0, 4: 1.0})
    assert shift is not None
    assert (shift.alerts, shift.first_p50_s, shift.second_p50_s, shift.largest_shift_s) == (2, 15.0, 13.5, -5.0)
    assert latency_shift({1: 1.0}, {2: 1.0}) is None


def test_the_verdict_is_that_of_all_topics() -> None:
    good, bad = TopicComparison(topic="a", same=3), TopicComparison(topic="b", same=1, extra=((1,),))
    assert Comparison(topics=(good,)).identical
    assert not Comparison(topics=(good, bad)).identical
