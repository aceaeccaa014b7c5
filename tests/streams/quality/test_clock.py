"""The clock as visits are associated: asteroids of a visit or, where they are few, of the night; a slip is a bad visit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas import avro, events
from schemas.public import record_dtype
from schemas.tables import NO_ROWS, Table
from streams.quality.clock import NightClock, checked
from streams.quality.stage import QualityState, fold

NIGHT = 20270115


def decision(number: int, names: list[str], *, slip_s: float = 37.0, sequence: int = 0, **changes: Any) -> Any:
    random = np.random.default_rng(number)
    rows = np.zeros(len(names), record_dtype("ssSource"))
    rows["designation"] = names
    rows["ephRateRa"], rows["ephRateDec"] = -0.2, 0.1
    rate = np.hypot(0.2, 0.1) * 3600 / 86400
    rows["ephOffsetAlongTrack"] = rate * slip_s + random.normal(0, 0.03, len(names))
    rows["ephOffsetCrossTrack"] = random.normal(0, 0.03, len(names))
    given: dict[str, Any] = {
        "instrument": "i", "visit": NIGHT * 100_000 + number, "sequence": sequence, "day_obs": NIGHT, "band": "r",
        "processed_mjd_tai": 61400.0, "diasources": NO_ROWS, "forced": NO_ROWS, "new_objects": (), "quarantined": {},
        "cutouts": {}, "details": {}, "circumstances": Table.from_array(rows),
    }  # fmt: skip
    return events.AssociationDecision(**(given | changes))


def names(first: int, count: int) -> list[str]:
    return [str(first + k) for k in range(count)]


def test_a_visit_with_a_slipped_clock_is_bad_and_says_why() -> None:
    _, (out,) = fold(QualityState(), decision(1, names(1, 20)), "i")
    assert out.topic == "quality-metrics"
    assert out.record.verdict == "bad"
    assert out.record.values["clock_offset_s"] == pytest.approx(37.0, abs=3.0)
    assert "ahead or all behind in time" in out.record.reasons[0]


def test_a_steady_clock_leaves_the_verdict_alone_and_its_offset_is_exported() -> None:
    _, (out,) = fold(QualityState(), decision(2, names(1, 20), slip_s=0.0), "i")
    assert out.record.verdict == "good"
    assert out.record.values["clock_slip_s"] == 0.0
    assert out.record.values["clock_asteroids"] == 20


def test_small_fields_judge_together_each_asteroid_once() -> None:
    clock, metrics = NightClock(), {}
    for number in range(3):
        clock, metrics = checked(clock, decision(number, names(1, 4)))
        assert metrics == {}
    clock, metrics = checked(clock, decision(4, names(5, 4)))
    assert metrics["clock_asteroids"] == 8
    assert metrics["clock_slip_s"] == pytest.approx(37.0, abs=5.0)


def test_a_new_night_forgets_and_a_second_delivery_adds_nothing() -> None:
    clock, _ = checked(NightClock(), decision(1, names(1, 4)))
    again, metrics = checked(clock, decision(1, names(1, 4)))
    assert (again, metrics) == (clock, {})
    tomorrow, _ = checked(clock, decision(1, names(1, 4), day_obs=NIGHT + 1, visit=(NIGHT + 1) * 100_000))
    assert tomorrow.day_obs == NIGHT + 1
    assert {one.count for one in tomorrow.residuals.values()} == {1}


def test_corrections_and_visits_without_known_objects_say_nothing() -> None:
    correction = events.Correction(released=NO_ROWS, closed=NO_ROWS, verdicts=NO_ROWS, orbits={})
    for silent in (decision(1, names(1, 20), correction=correction), decision(2, [], circumstances=NO_ROWS)):
        state, out = fold(QualityState(), silent, "i")
        assert (state, out) == (QualityState(), [])


def test_own_discoveries_do_not_judge() -> None:
    assert checked(NightClock(), decision(1, [f"NC{k:06d}" for k in range(20)]))[1] == {}


def test_the_night_keeps_so_many_asteroids_and_no_more() -> None:
    clock, _ = checked(NightClock(), decision(1, names(1, 500)))
    assert len(clock.residuals) == 300


def test_the_state_comes_back_from_its_snapshot() -> None:
    state, _ = fold(QualityState(), decision(1, names(1, 20)), "i")
    assert avro.decode(QualityState, avro.encode(state)) == state
