"""Times that people give."""

from __future__ import annotations

import datetime as dt

import pytest
from astropy.time import Time

from streams.moving_objects.moments import MOST_MOMENTS, grid, parse_step, parse_utc, tai_of, utc_text
from streams.views.errors import RequestError

BEGIN = dt.datetime(2026, 9, 21, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-09-21", "2026-09-21T00:00:00Z"),
        ("2026-09-21T04:30", "2026-09-21T04:30:00Z"),
        (" 2026-09-21 04:30:15.25Z ", "2026-09-21T04:30:15.250000Z"),
        ("2026-09-21T04:30:00+02:00", "2026-09-21T02:30:00Z"),
        ("20260921T043000", "2026-09-21T04:30:00Z"),
    ],
)
def test_moments_are_utc(text: str, said: str) -> None:
    assert utc_text(parse_utc(text)) == said


@pytest.mark.parametrize("text", ["", "now", "61304.5", "2026-13-01", "2016-12-31T23:59:60", "0001-01-01T00:00+05:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no ISO time"):
        parse_utc(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1d", 86400), ("1.5h", 5400), (" 10 M", 600), ("30s", 30), (".5s", 0.5), ("2.d", 172800)]
)
def test_steps(text: str, seconds: float) -> None:
    assert parse_step(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "d", "1", "0h", "-1d", "1w", "1e3s", "0.0001s", "9" * 30 + "d", "9" * 400 + "d"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no step"):
        parse_step(text)


def test_a_grid_has_its_ends() -> None:
    hour = dt.timedelta(hours=1)
    assert grid(BEGIN, BEGIN, hour) == [BEGIN]
    assert grid(BEGIN, BEGIN + 3 * hour, hour) == [BEGIN + k * hour for k in range(4)]
    assert grid(BEGIN, BEGIN + 3 * hour - dt.timedelta(seconds=1), hour)[-1] == BEGIN + 2 * hour


def test_a_grid_is_neither_reversed_nor_endless() -> None:
    second = dt.timedelta(seconds=1)
    assert len(grid(BEGIN, BEGIN + (MOST_MOMENTS - 1) * second, second)) == MOST_MOMENTS
    with pytest.raises(RequestError, match=f"{MOST_MOMENTS} are the most"):
        grid(BEGIN, BEGIN + MOST_MOMENTS * second, second)
    with pytest.raises(RequestError, match="before it begins"):
        grid(BEGIN, BEGIN - second, second)


def test_tai_is_that_of_astropy_on_both_sides_of_a_leap_second() -> None:
    moments = [dt.datetime(2016, 12, 31, 12, tzinfo=dt.UTC) + dt.timedelta(hours=6 * k) for k in range(5)]
    moments += [dt.datetime(1972, 1, 1, tzinfo=dt.UTC), BEGIN + dt.timedelta(seconds=12.345)]
    expected = [Time(moment.replace(tzinfo=None), scale="utc").tai.mjd for moment in moments]
    differences = [86400 * (ours - theirs) for ours, theirs in zip(tai_of(moments), expected, strict=True)]
    assert differences == pytest.approx([0.0] * 7, abs=2e-6)
    assert len(tai_of([])) == 0
