"""Tracklets: which pairs are formed, chains on one line, trails, the truth of what is measured."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.detections import DETECTION, no_detections, validated_detections
from processors.moving_objects.linking_extend import index_visits
from processors.moving_objects.linking_fit import rows_of
from processors.moving_objects.tracklet_pruning import plausible_tracklets, stationary_detections
from processors.moving_objects.tracklets import TrackletRules, Tracklets, form_tracklets, joined
from tests.support.small_survey import small_survey

NIGHT = 61304.7


def mover(
    ra: float, dec: float, rate: float, times: list[float], *, trail: float = 0.0, angle: float = 90.0
) -> np.ndarray:
    """Detections of something that moves east at a rate in degrees a day."""
    table = np.zeros(len(times), DETECTION)
    days = np.array(times)
    table["midpoint_mjd_tai"] = NIGHT + days
    table["visit"] = np.round(days * 1e5)
    table["ra"] = (ra + rate * days / np.cos(np.radians(dec))) % 360.0
    table["dec"] = dec
    table["ra_err_arcsec"] = table["dec_err_arcsec"] = 0.1
    table["mag"], table["mag_err"], table["band"] = 21.0, 0.05, 2
    table["trail_length_arcsec"], table["trail_angle_deg"] = trail, angle if trail else 0.0
    return table


def numbered(*parts: np.ndarray) -> np.ndarray:
    table = np.concatenate(parts)
    table["detection_id"] = np.arange(len(table))
    return validated_detections(table)


def formed(table: np.ndarray, rules: TrackletRules | None = None) -> Tracklets:
    return form_tracklets(table, np.tile([1.0, 0, 0, 0, 0.017, 0], (len(table), 1)), rules)


def sets(table: np.ndarray, tracklets: Tracklets) -> set[tuple[int, ...]]:
    ids = table["detection_id"][tracklets.members]
    return {tuple(sorted(p)) for p in np.split(ids, tracklets.offsets[1:-1])} if len(tracklets) else set()


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.0), (359.9999, -20.0), (0.0001, 66.0), (120.0, -88.0)])
def test_a_pair_is_found_everywhere_on_the_sky_and_its_rate_measured(ra: float, dec: float) -> None:
    table = numbered(mover(ra, dec, 0.2, [0.0, 0.02]))
    pair = formed(table)
    assert sets(table, pair) == {(0, 1)}
    assert np.degrees(np.linalg.norm(pair.rate[0])) == pytest.approx(0.2, rel=2e-3)
    assert abs(pair.rate[0] @ pair.vector[0]) < 1e-15


@pytest.mark.parametrize(
    ("rate", "gap", "expected"),
    [(0.2, 0.02, 1), (2.5, 0.02, 0), (0.01, 0.02, 0), (0.2, 0.07, 0), (1.2, 0.02, 1), (1.6, 0.02, 0)],
    ids=["slow", "too fast", "too short an arc", "too long apart", "fast", "fast without the trail that it would draw"],
)
def test_the_limits_of_a_pair(rate: float, gap: float, expected: int) -> None:
    assert len(formed(numbered(mover(30.0, 5.0, rate, [0.0, gap])))) == expected


@pytest.mark.parametrize(("angle", "expected"), [(90.0, 1), (20.0, 0)])
def test_a_trail_admits_faster_motion_along_itself_only(angle: float, expected: int) -> None:
    length = 5.0 * 3600 * 30 / 86400
    table = numbered(mover(30.0, 5.0, 5.0, [0.0, 0.02], trail=length, angle=angle))
    assert len(formed(table)) == expected


def test_a_trail_of_another_length_is_no_part_of_the_pair() -> None:
    assert len(formed(numbered(mover(30.0, 5.0, 0.2, [0.0, 0.02], trail=4.0)))) == 0


def test_detections_on_one_line_are_one_tracklet() -> None:
    table = numbered(mover(30.0, 5.0, 0.3, [0.0, 0.01, 0.02, 0.035]))
    assert sets(table, formed(table)) == {(0, 1, 2, 3)}


def test_a_visit_gives_a_tracklet_one_detection() -> None:
    one, other = mover(30.0, 5.0, 0.3, [0.0, 0.02]), mover(30.0001, 5.0, 0.3, [0.02])
    table = numbered(one, other)
    visits = table["visit"][formed(table).members].reshape(-1, 2)
    assert (visits[:, 0] != visits[:, 1]).all()


def test_every_pair_of_the_brute_force_is_found() -> None:
    survey = small_survey(seed=71, false_per_visit=400, nights=(0,))
    table = validated_detections(survey.detections)
    tracklets = form_tracklets(table, survey.observers, TrackletRules(line_arcsec=-100.0))
    ra, dec, time = np.radians(table["ra"]), np.radians(table["dec"]), table["midpoint_mjd_tai"]
    cosine = np.sin(dec[:, None]) * np.sin(dec) + np.cos(dec[:, None]) * np.cos(dec) * np.cos(ra[:, None] - ra)
    gap, way = time - time[:, None], np.degrees(np.arccos(np.minimum(cosine, 1.0))) * 3600
    still = table["trail_length_arcsec"] == 0
    drawn = way / np.where(gap > 0, gap, 1.0) * 30 / 86400
    wanted = (gap > 0) & (way >= 1.0) & (drawn <= 1.6) & still[:, None] & still
    ids = table["detection_id"]
    expected = {(int(ids[i]), int(ids[j])) for i, j in zip(*np.nonzero(wanted), strict=True)}
    found = {s for s in sets(table, tracklets) if set(s) <= set(ids[still].tolist())}
    assert found == {tuple(sorted(p)) for p in expected}


def test_an_empty_field_has_none_and_joins_with_others() -> None:
    empty = form_tracklets(no_detections(), np.zeros((0, 6)))
    assert len(empty) == 0
    assert empty.untouched(np.zeros(0, bool)).shape == (0,)
    pair = formed(numbered(mover(10.0, 0.0, 0.2, [0.0, 0.02])))
    both = joined([empty, pair, pair], [0, 0, 2])
    assert both.members.tolist() == [0, 1, 2, 3]
    assert both.where(np.array([False, True])).members.tolist() == [2, 3]


def test_what_stands_still_on_several_nights_is_marked_and_a_mover_is_not() -> None:
    still = mover(50.0, -10.0, 0.0, [0.0, 0.02, 3.0, 6.0])
    twice = mover(51.0, -10.0, 0.0, [0.0, 3.0])
    moving = mover(52.0, -10.0, 0.2, [0.0, 0.02, 3.0, 3.02])
    tonight = mover(53.0, -10.0, 0.0, [0.0, 0.01, 0.02])
    table = numbered(still, twice, moving, tonight)
    marked = set(table["detection_id"][stationary_detections(table)].tolist())
    assert marked == {0, 1, 2, 3}


def test_a_pair_that_changes_its_brightness_by_magnitudes_is_pruned_and_an_unknown_one_kept() -> None:
    steady, other, unknown = (mover(ra, 0.0, 0.2, [0.0, 0.02]) for ra in (10.0, 11.0, 12.0))
    other["mag"][1] += 3.0
    unknown["mag"] = np.nan
    table = numbered(steady, other, unknown)
    tracklets = formed(table)
    index = index_visits(table["visit"], rows_of(table, np.zeros((len(table), 6))))
    kept = tracklets.where(plausible_tracklets(table, tracklets, index))
    assert sets(table, kept) == {(0, 1), (4, 5)}


def test_a_bright_pair_that_two_further_visits_do_not_see_is_pruned() -> None:
    field = [
        mover(20.0 + dx, dy, 0.0, [0.0, 0.01, 0.02, 0.03])
        for dx in np.arange(-0.3, 0.31, 0.1)
        for dy in np.arange(-0.3, 0.31, 0.1)
    ]
    for still in field:
        still["mag"] = 24.0
    seen_twice, seen_always = mover(20.05, 0.05, 0.2, [0.0, 0.01]), mover(20.15, -0.05, 0.2, [0.0, 0.01, 0.02, 0.03])
    table = numbered(*field, seen_twice, seen_always)
    tracklets = formed(table)
    index = index_visits(table["visit"], rows_of(table, np.zeros((len(table), 6))))
    kept = sets(table, tracklets.where(plausible_tracklets(table, tracklets, index)))
    first = sum(len(f) for f in field)
    assert (first, first + 1) in sets(table, tracklets)
    assert kept == {tuple(range(first + 2, first + 6))}
