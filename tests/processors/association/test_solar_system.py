"""Known moving objects take their sources before DIAObjects do."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.association.fold import object_versions
from processors.association.rules import Rules
from processors.association.solar_system import circumstances_of, match_predicted
from processors.association.updates import accepted_rows, moving_updates, object_updates
from schemas.predictions import ss_object_id_of
from schemas.public_avro import decode_record
from tests.support.association_cases import FIRST_MJD, Night, detector_result, source_rows, visit_number
from tests.support.predictions import predicted

Array = np.ndarray[Any, Any]
ARCSEC = 1.0 / 3600.0


def offset(ra: float, dec: float, east: float, north: float) -> tuple[float, float]:
    """Return the position some arcseconds east and north, by astropy."""
    there = SkyCoord(ra, dec, unit="deg").spherical_offsets_by(east * u.arcsec, north * u.arcsec)
    return float(there.ra.deg), float(there.dec.deg)


def test_the_closest_pair_is_taken_first_and_each_source_and_object_once() -> None:
    ra, dec = zip(offset(10.0, 5.0, 0.3, 0.0), offset(10.0, 5.0, 0.7, 0.0), strict=True)
    sources = source_rows(list(ra), list(dec), visit=visit_number(0))
    there = predicted([10.0, offset(10.0, 5.0, 0.5, 0.0)[0]], [5.0, offset(10.0, 5.0, 0.5, 0.0)[1]], mjd=FIRST_MJD)
    matches = match_predicted(sources, there.rows, FIRST_MJD, Rules())
    assert (matches.source.tolist(), matches.predicted.tolist()) in (([0, 1], [1, 0]), ([0, 1], [0, 1]))
    assert len(set(matches.predicted.tolist())) == 2


@pytest.mark.parametrize(("east", "found"), [(0.95, True), (1.05, False)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (359.9999, -30.0), (120.0, 89.9)])
def test_an_exact_prediction_reaches_one_arcsecond(place: tuple[float, float], east: float, found: bool) -> None:
    ra, dec = offset(*place, east, 0.0)
    sources = source_rows([ra % 360.0], [dec], visit=visit_number(0))
    there = predicted([place[0]], [place[1]], mjd=FIRST_MJD)
    assert (len(match_predicted(sources, there.rows, FIRST_MJD, Rules())) == 1) is found


def test_an_uncertain_prediction_reaches_farther_along_its_ellipse_only() -> None:
    ellipse = {"semi_major_arcsec": 1.0, "semi_minor_arcsec": 0.01, "position_angle_deg": 90.0}
    there = predicted([10.0], [0.0], mjd=FIRST_MJD, **ellipse)
    for east, north, found in ((3.5, 0.0, 1), (0.0, 3.5, 0), (4.2, 0.0, 0)):
        ra, dec = offset(10.0, 0.0, east, north)
        sources = source_rows([ra], [dec], visit=visit_number(0))
        assert len(match_predicted(sources, there.rows, FIRST_MJD, Rules())) == found


def test_an_orbit_without_a_covariance_has_the_gate_of_an_exact_one() -> None:
    nothing = dict.fromkeys(("semi_major_arcsec", "semi_minor_arcsec", "position_angle_deg"), np.nan)
    there = predicted([10.0], [0.0], mjd=FIRST_MJD, **nothing)
    for east, found in ((0.9, 1), (1.1, 0)):
        sources = source_rows([offset(10.0, 0.0, east, 0.0)[0]], [0.0], visit=visit_number(0))
        assert len(match_predicted(sources, there.rows, FIRST_MJD, Rules())) == found


def test_a_prediction_moves_to_the_midpoint_of_its_source() -> None:
    late = FIRST_MJD + 10.0 / 1440.0
    there = predicted([10.0], [60.0], mjd=FIRST_MJD, rates=(0.5, -0.3))
    moved = offset(10.0, 60.0, 0.5 * 3600 * (late - FIRST_MJD), -0.3 * 3600 * (late - FIRST_MJD))
    sources = source_rows([moved[0]], [moved[1]], visit=visit_number(0), mjd=late)
    matches = match_predicted(sources, there.rows, FIRST_MJD, Rules())
    assert len(matches) == 1
    row = circumstances_of(sources, there.rows[matches.predicted], FIRST_MJD, matches.rank)[0]
    assert row["ephOffset"] < 0.01


def test_circumstances_say_where_the_source_lies_from_the_prediction() -> None:
    ra, dec = offset(200.0, -40.0, 0.3, -0.4)
    sources = source_rows([ra], [dec], visit=visit_number(0))
    there = predicted([200.0], [-40.0], mjd=FIRST_MJD, rates=(0.6, 0.8))
    row = circumstances_of(sources, there.rows, FIRST_MJD, np.array([1]))[0]
    assert row["ephOffsetRa"] == pytest.approx(0.3, abs=1e-5)
    assert row["ephOffsetDec"] == pytest.approx(-0.4, abs=1e-5)
    assert row["ephOffset"] == pytest.approx(0.5, abs=1e-5)
    assert row["ephOffsetAlongTrack"] == pytest.approx(0.3 * 0.6 - 0.4 * 0.8, abs=1e-5)
    assert row["ephOffsetCrossTrack"] == pytest.approx(-0.3 * 0.8 - 0.4 * 0.6, abs=1e-5)
    seen = SkyCoord(ra, dec, unit="deg")
    ecliptic = seen.transform_to(BarycentricMeanEcliptic(equinox="J2000"))
    assert row["eclLambda"] == pytest.approx(ecliptic.lon.deg, abs=0.2 * ARCSEC)
    assert row["eclBeta"] == pytest.approx(ecliptic.lat.deg, abs=0.2 * ARCSEC)
    assert row["galLon"] == pytest.approx(seen.galactic.l.deg, abs=0.05 * ARCSEC)
    assert row["galLat"] == pytest.approx(seen.galactic.b.deg, abs=0.05 * ARCSEC)
    assert row["diaDistanceRank"] == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=12), st.randoms())
def test_matches_do_not_depend_on_the_order_of_predictions(places: list[tuple[float, float]], random: Any) -> None:
    spots = sorted({(round(x, 2), round(y, 2)) for x, y in places})
    sources = source_rows([10 + x * ARCSEC for x, _ in spots], [y * ARCSEC for _, y in spots], visit=visit_number(0))
    there = predicted([10 + (x + 0.4) * ARCSEC for x, _ in spots], [y * ARCSEC for _, y in spots], mjd=FIRST_MJD)
    order = list(range(len(spots)))
    random.shuffle(order)
    one = match_predicted(sources, there.rows, FIRST_MJD, Rules())
    other = match_predicted(sources, there.rows[order], FIRST_MJD, Rules())
    assert len(set(one.predicted.tolist())) == len(one) == len(set(one.source.tolist()))
    assert sorted(one.source.tolist()) == sorted(other.source.tolist())


def test_a_known_asteroid_founds_no_object_and_its_alert_carries_its_orbit() -> None:
    night, visit = Night(), visit_number(0)
    ra, dec = offset(10.0, 5.0, 0.2, 0.1)
    rows = source_rows([ra, 10.2], [dec, 5.0], visit=visit)
    decision = night.decide(
        visit,
        [detector_result(rows, visit=visit)],
        predicted=predicted([10.0], [5.0], mjd=FIRST_MJD),
        last_readout_sent_unix_s=3.0,
    )
    assert decision.new_objects == (int(rows["diaSourceId"][1]),)
    assert accepted_rows(decision)["diaSourceId"].tolist() == rows["diaSourceId"].tolist()
    (update,) = moving_updates(decision)
    assert update.ss_object_id == ss_object_id_of("K26A00A")
    assert (update.dia_object_id, update.dia_object, update.last_readout_sent_unix_s) == (0, b"", 3.0)
    source = decode_record(update.diasources[0], "diaSource")
    assert (source["diaObjectId"], source["ssObjectId"]) == (None, update.ss_object_id)
    circumstances = decode_record(update.circumstances[0], "ssSource")
    assert circumstances["diaSourceId"] == source["diaSourceId"]
    assert circumstances["ephOffset"] == pytest.approx(np.hypot(0.2, 0.1), abs=1e-3)
    assert decode_record(update.mpc_orbits, "mpc_orbits")["designation"] == "2026 AA0"


def test_an_asteroid_on_a_known_object_leaves_the_object_alone() -> None:
    night, first, second = Night(), visit_number(0), visit_number(1)
    night.decide(first, [detector_result(source_rows([10.0], [5.0], visit=first), visit=first)])
    rows = source_rows([10.0], [5.0], visit=second)
    decision = night.decide(
        second, [detector_result(rows, visit=second)], predicted=predicted([10.0], [5.0], mjd=FIRST_MJD)
    )
    assert decision.new_objects == ()
    assert decision.diasources.rows == 0
    assert decision.moving.rows == 1
    assert list(object_updates(decision, object_versions(night.view, decision))) == []


def test_duplicates_of_an_asteroid_follow_it() -> None:
    night, visit = Night(), visit_number(0)
    ra, dec = offset(10.0, 5.0, 0.05, 0.0)
    results = [
        detector_result(source_rows([10.0], [5.0], visit=visit), visit=visit),
        detector_result(source_rows([ra], [dec], visit=visit, detector=1), visit=visit, detector=1),
    ]
    decision = night.decide(visit, results, predicted=predicted([10.0], [5.0], mjd=FIRST_MJD))
    (update,) = moving_updates(decision)
    assert len(update.diasources) == 2
    assert decision.new_objects == ()


def test_nothing_predicted_or_nothing_seen_is_no_match() -> None:
    visit = visit_number(0)
    sources = source_rows([10.0], [5.0], visit=visit)
    there = predicted([np.nan, 10.0], [5.0, np.nan], mjd=FIRST_MJD)
    assert len(match_predicted(sources, there.rows, FIRST_MJD, Rules())) == 0
    assert len(match_predicted(sources[:0], predicted([10.0], [5.0], mjd=FIRST_MJD).rows, FIRST_MJD, Rules())) == 0
    decision = Night().decide(visit, [detector_result(sources, visit=visit)], predicted=there)
    assert decision.moving.rows == 0
    assert list(moving_updates(decision)) == []
