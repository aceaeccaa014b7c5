"""Rows of flashes among sources: found where they are, and hardly ever made by chance."""

from __future__ import annotations

import numpy as np
import pytest

from processors.differencing.glints import find_glint_trains
from processors.differencing.snap_consistency import SnapPresence
from schemas.public import null_rows

SHAPE = (4000, 4072)


def sources(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows = null_rows("diaSource", len(x))
    rows["x"], rows["y"], rows["isNegative"], rows["isDipole"] = x, y, 0, 0
    return rows


def train(rng: np.random.Generator, count: int = 6, *, even: bool = True) -> np.ndarray:
    """Places of flashes on a line, each off by what a faint source is."""
    step = np.full(count, rng.uniform(18, 40)) if even else rng.uniform(12, 50, count)
    angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(400, 3600, 2)
    line = start + np.cumsum(step)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return line + rng.normal(0, 0.3, line.shape)


def nominal(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.column_stack([rng.uniform(0, SHAPE[1], count), rng.uniform(0, SHAPE[0], count)])


@pytest.mark.parametrize(("count", "expected"), [(200, 0.95), (1200, 0.85)])
def test_trains_of_six_are_found_among_the_sources_of_a_ccd_without_snaps(count: int, expected: float) -> None:
    found = wrong = 0
    for seed in range(30):
        rng = np.random.default_rng(700 + seed)
        places = np.concatenate([train(rng, even=seed % 2 == 0), nominal(rng, count)])
        flagged = find_glint_trains(sources(*places.T), SHAPE)
        found, wrong = found + np.count_nonzero(flagged[:6]), wrong + np.count_nonzero(flagged[6:])
    assert found > expected * 30 * 6
    assert wrong <= 0.005 * 30 * count


def test_hardly_a_nominal_source_is_flagged() -> None:
    flagged = [
        np.count_nonzero(find_glint_trains(sources(*nominal(np.random.default_rng(s), 1200).T), SHAPE))
        for s in range(800, 840)
    ]
    assert sum(flagged) <= 0.005 * 40 * 1200


def test_three_flashes_are_a_train_when_the_snaps_tell_them_from_what_lasts() -> None:
    found = wrong = 0
    for seed in range(30):
        rng = np.random.default_rng(900 + seed)
        places = np.concatenate([train(rng, 3), nominal(rng, 20), nominal(rng, 1200)])
        presence = np.full(len(places), SnapPresence.BOTH, np.int8)
        presence[:3] = SnapPresence.FIRST
        presence[3:23] = rng.choice([SnapPresence.FIRST, SnapPresence.SECOND, SnapPresence.UNKNOWN], 20)
        flagged = find_glint_trains(sources(*places.T), SHAPE, presence)
        found, wrong = found + np.count_nonzero(flagged[:3]), wrong + np.count_nonzero(flagged[3:])
    assert found >= 0.85 * 90
    assert wrong <= 4


def test_a_row_that_both_snaps_saw_is_no_train() -> None:
    places = train(np.random.default_rng(5))
    assert find_glint_trains(sources(*places.T), SHAPE).all()
    assert not find_glint_trains(sources(*places.T), SHAPE, np.full(6, SnapPresence.BOTH)).any()


def test_what_is_no_point_of_light_takes_no_part() -> None:
    rows = sources(*train(np.random.default_rng(6)).T)
    for name, value in (("isNegative", 1), ("isDipole", 1), ("trailLength", 3.0)):
        other = rows.copy()
        other[name] = value
        assert not find_glint_trains(other, SHAPE).any()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_sources_are_no_train(count: int) -> None:
    rows = sources(np.arange(count) * 20.0, np.zeros(count))
    assert not find_glint_trains(rows, SHAPE).any()
    rows["x"] = np.nan
    assert find_glint_trains(rows, SHAPE).shape == (count,)
