"""The survey without pixels: its truth against Horizons, its noise, its losses, its files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import erfa
import numpy as np
import pytest
from typer.testing import CliRunner

from infra.telescope.detections import populations
from infra.telescope.detections.errors import MissingExtraError, SurveyError
from infra.telescope.detections.files import FILES, read_table, write_survey
from infra.telescope.detections.findable import good_nights, night_of
from infra.telescope.detections.focal_plane import bright_stars, in_star_mask, on_silicon, tangent_plane
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.kepler import GM_SUN, TO_EQUATOR, states
from infra.telescope.detections.members import MEMBERS
from infra.telescope.detections.motion import NightPaths, seen_from
from infra.telescope.detections.observing import DETECTION
from infra.telescope.detections.plan import SurveySettings, opposition_longitude, plan_visits
from infra.telescope.detections.solar_system import LIGHT_DAYS_PER_AU, Ephemeris, site, tdb_of
from infra.telescope.detections.survey import Survey, simulate_survey
from processors.moving_objects import detections as contract

pytest.importorskip("heyoka", reason="the survey's truth needs heyoka")

HORIZONS = Path(__file__).parents[1] / "data" / "moving_objects" / "survey" / "horizons_w84_month.csv"


@pytest.fixture(scope="module")
def survey() -> Survey:
    return simulate_survey(SurveySettings(size="S", seed=901, nights=10))


@pytest.fixture(scope="module")
def hard() -> Survey:
    return simulate_survey(SurveySettings(size="S", variant="hard", seed=901, nights=10))


def radec(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.degrees(np.arctan2(line[:, 1], line[:, 0])) % 360, np.degrees(
        np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1]))
    )


def test_the_truth_agrees_with_horizons_over_a_month() -> None:
    away = []
    with Ephemeris() as ephemeris, HORIZONS.open() as file:
        for case in csv.DictReader(file):
            start = np.array([[float(case[k]) for k in ("x", "y", "z", "vx", "vy", "vz")]])
            tai = float(erfa.utctai(2400000.5, float(case["mjdUtc"]))[1])
            tdb = float(tdb_of(tai))
            nodes = tdb - 0.1 + np.array([-0.35, 0.0, 0.35])
            paths = NightPaths.through(integrate(start, float(case["epochMjdTdb"]), nodes, ephemeris), tdb - 0.1)
            observer = ephemeris.observer(site(case["obsCode"]), np.array([tai]))[0]
            ra, dec = radec(seen_from(paths, observer, tdb)[0])
            east = (ra - float(case["ra_deg"])) * np.cos(np.radians(dec))
            away.append(float(np.hypot(east, dec - float(case["dec_deg"]))[0]) * 3.6e6)
    assert len(away) == 6
    assert np.median(away) < 0.5
    # The worst is Aylo'chaxnim at 0.4 au from us and 0.6 au from the Sun, as with every integrator we tried.
    assert max(away) < 10


def test_rows_have_the_columns_of_the_search() -> None:
    assert DETECTION == contract.DETECTION


def test_the_search_accepts_the_rows(survey: Survey) -> None:
    ordered = contract.validated_detections(survey.detections[::-1])
    assert np.array_equal(ordered["detection_id"], survey.detections["detection_id"])
    nights = contract.night_numbers(survey.detections["midpoint_mjd_tai"])
    assert np.array_equal(nights, night_of(survey.detections["midpoint_mjd_tai"]))
    days = {int(v["day_obs"]): contract.day_obs_of(int(night_of(v["midpoint_mjd_tai"]))) for v in survey.visits}
    assert all(day == own for day, own in days.items())
    assert len(days) == 10


def test_positions_scatter_about_the_truth_as_their_errors_say(survey: Survey) -> None:
    """The truth anew, without the nightly paths: every body integrated to when its light left."""
    owned = survey.true_detections["object_id"]
    rows = np.flatnonzero((owned > 0) & (owned % 6 == 1))
    visits = np.unique(survey.detections["visit"][rows])
    deviations = []
    with Ephemeris() as ephemeris:
        bodies = np.unique(owned[rows])
        objects = survey.true_objects[bodies - 1]
        mjd = np.array([survey.visits["midpoint_mjd_tai"][survey.visits["visit"] == v][0] for v in visits])
        observers, tdb = ephemeris.observer(site("X05"), mjd), tdb_of(mjd)
        moved = integrate(objects["state"], float(objects["epoch_mjd_tdb"][0]), tdb, ephemeris)
        for k, visit in enumerate(visits):
            own = rows[survey.detections["visit"][rows] == visit]
            state = moved[k][np.searchsorted(bodies, owned[own])]
            place, sun = state[:, :3], ephemeris.states("Sun", tdb[k])[0, :3]
            for _ in range(4):
                delay = np.linalg.norm(place - observers[k], axis=1)[:, None] * LIGHT_DAYS_PER_AU
                outward = state[:, :3] - sun
                pull = -GM_SUN * outward / np.linalg.norm(outward, axis=1)[:, None] ** 3
                place = state[:, :3] - delay * state[:, 3:] + delay**2 / 2 * pull
            ra, dec = radec(place - observers[k])
            found = survey.detections[own]
            east = (found["ra"] - ra) * np.cos(np.radians(dec)) * 3600 / found["ra_err_arcsec"]
            deviations.append(np.concatenate([east, (found["dec"] - dec) * 3600 / found["dec_err_arcsec"]]))
    deviation = np.concatenate(deviations)
    assert len(deviation) > 1500
    assert abs(deviation.mean()) < 0.1
    assert deviation.std() == pytest.approx(1.0, abs=0.06)
    assert np.abs(deviation).max() < 6


def test_errors_follow_the_signal(survey: Survey) -> None:
    points = survey.detections[survey.detections["trail_length_arcsec"] == 0]
    ratio = 2.5 / np.log(10) / points["mag_err"]
    expected = np.hypot(0.012, 0.7 / ratio)
    slow = np.abs(points["ra_err_arcsec"] / expected - 1) < 0.2
    assert slow.mean() > 0.97
    assert points["ra_err_arcsec"].min() >= 0.012
    depth = survey.visits["depth_mag"][np.searchsorted(survey.visits["visit"], points["visit"])]
    assert (points["mag"] < depth + 0.3).all()


def test_trails_point_along_the_motion(survey: Survey) -> None:
    """A trailed body's pair of visits tells its direction and rate; the trails must agree."""
    owned = survey.true_detections["object_id"]
    trailed = np.flatnonzero((owned > 0) & (survey.detections["trail_length_arcsec"] > 1.5))
    checked = 0
    for row in trailed:
        one = survey.detections[row]
        days = survey.detections["midpoint_mjd_tai"] - one["midpoint_mjd_tai"]
        other = np.flatnonzero((owned == owned[row]) & (np.abs(days) < 0.06) & (days != 0))
        if not len(other):
            continue
        two = survey.detections[other[0]]
        east = (two["ra"] - one["ra"]) * np.cos(np.radians(one["dec"])) * 3600
        north = (two["dec"] - one["dec"]) * 3600
        expected = np.hypot(east, north) / abs(days[other[0]]) * 30 / 86400
        turn = (np.degrees(np.arctan2(east, north)) - one["trail_angle_deg"] + 90) % 180 - 90
        assert abs(turn) < 60
        assert abs(one["trail_length_arcsec"] - expected) < 1.0
        checked += 1
    assert checked >= 3


def test_truth_counts_what_was_detected(survey: Survey) -> None:
    truth, objects = survey.true_detections, survey.true_objects
    assert np.array_equal(truth["detection_id"], survey.detections["detection_id"])
    assert len(np.unique(truth["detection_id"])) == len(truth)
    assert ((truth["object_id"] > 0) == (truth["kind"] == 0)).all()
    assert objects["n_detections"].sum() == (truth["object_id"] > 0).sum()
    groups, counts = good_nights(truth["object_id"], survey.detections)
    assert (objects["findable"][groups - 1] == (counts >= 3)).all()
    assert 100 < objects["findable"].sum() < 1100


def test_names_tell_nothing_of_what_a_detection_is(survey: Survey) -> None:
    """Within a visit the ranks of bodies are spread as those of anything else."""
    rank = survey.detections["detection_id"] % 2**20
    real = survey.true_detections["kind"] == 0
    assert rank[real].mean() == pytest.approx(rank[~real].mean(), rel=0.03)


def test_stationary_residuals_come_back_in_place(survey: Survey) -> None:
    stationary = survey.detections[survey.true_detections["kind"] == 2]
    ra, dec = stationary["ra"], stationary["dec"]
    order = np.argsort(dec)
    steps = np.diff(dec[order]) * 3600
    near = (np.abs(steps) < 0.5) & (np.abs(np.diff(ra[order])) * 3600 < 1.5)
    assert near.mean() > 0.5
    visits = stationary["visit"][order]
    assert (visits[1:] != visits[:-1])[near].all()


def test_the_hard_variant_loses_what_a_camera_loses(survey: Survey, hard: Survey) -> None:
    assert len(np.unique(hard.visits["day_obs"])) == 9
    assert hard.true_objects["findable"].sum() < survey.true_objects["findable"].sum()
    shared = np.intersect1d(hard.visits["visit"], survey.visits["visit"])
    kept = np.isin(hard.detections["visit"], shared).sum() / np.isin(survey.detections["visit"], shared).sum()
    assert 0.75 < kept < 0.95
    for visit in hard.visits[:4]:
        own = hard.detections[hard.detections["visit"] == visit["visit"]]
        east, north = tangent_plane(own["ra"], own["dec"], float(visit["ra"]), float(visit["dec"]))
        assert on_silicon(east, north, float(visit["rotation_deg"])).mean() > 0.998


def test_sensors_cover_what_the_camera_covers() -> None:
    """189 sensors of 13.57 by 13.33 arcminutes are 9.5 square degrees."""
    grid = np.arange(-7500, 7500, 25.0) + 3.0
    east, north = (axis.ravel() for axis in np.meshgrid(grid, grid))
    area = on_silicon(east, north, 30.0).mean() * (15000 / 3600) ** 2
    assert area == pytest.approx(189 * (4072 * 0.2 / 3600) * (4000 * 0.2 / 3600), rel=0.01)
    assert not on_silicon(np.array([0.0]), np.array([6400.0]), 0.0)[0]
    assert on_silicon(np.array([0.0, 0.0]), np.array([0.0, 6300.0]), 0.0).all()


def test_star_masks_hide_what_lies_in_them() -> None:
    stars = bright_stars(5, (10.0, -5.0), 2.0)
    assert len(stars) > 100
    ra, dec, reach = stars[0]
    places = np.array([dec + 0.9 * reach / 3600, dec + 1.02 * reach / 3600])
    alone = stars[:1]
    assert in_star_mask(np.array([ra, ra]), places, alone).tolist() == [True, False]
    assert not in_star_mask(np.zeros(0), np.zeros(0), stars).size
    assert not in_star_mask(np.zeros(3), np.zeros(3), np.zeros((0, 3))).any()


@pytest.mark.parametrize(
    ("name", "a", "h"), [("MBA", (1.8, 4.1), (9, 22.7)), ("JT", (4.9, 5.5), (8, 17.6)), ("TNO", (29, 121), (4, 10.1))]
)
def test_populations_keep_to_their_places(name: str, a: tuple[float, float], h: tuple[float, float]) -> None:
    drawn = populations.draw(name, 20000, 0.3, np.random.default_rng(3))
    assert ((drawn.elements.a_au > a[0]) & (drawn.elements.a_au < a[1])).all()
    assert ((drawn.h > h[0]) & (drawn.h < h[1])).all()
    assert (drawn.elements.e < 1).all()


def test_jupiter_keeps_the_gaps_empty() -> None:
    a = populations.draw("MBA", 100_000, 0.0, np.random.default_rng(4)).elements.a_au
    for centre, half in populations.KIRKWOOD_GAPS[1:4]:
        beside = ((np.abs(a - centre) > half) & (np.abs(a - centre) < 2 * half)).sum()
        assert (np.abs(a - centre) < half).sum() == 0
        assert beside > 500


def test_near_earth_objects_come_near_the_earth() -> None:
    drawn = populations.draw("NEO", 50_000, 0.0, np.random.default_rng(5)).elements
    q = drawn.a_au * (1 - drawn.e)
    assert ((q < 1.3) & (q > 0.05)).all()
    apollos = ((drawn.a_au > 1) & (q < 1.017)).mean()
    assert 0.4 < apollos < 0.75


def test_numbers_grow_with_magnitude_by_the_slope() -> None:
    h = populations.draw("MBA", 200_000, 0.0, np.random.default_rng(6)).h
    counts = [((h > low) & (h < low + 1)).sum() for low in (19.0, 20.0, 21.0)]
    assert np.log10(counts[1] / counts[0]) == pytest.approx(0.30, abs=0.03)
    assert np.log10(counts[2] / counts[1]) == pytest.approx(0.30, abs=0.03)


def test_drawn_states_have_their_elements() -> None:
    drawn = populations.draw("NEO", 500, 0.0, np.random.default_rng(7)).elements
    for dt in (0.0, 40.0):
        state = states(drawn, dt)
        r, v = state[:, :3], state[:, 3:]
        distance = np.linalg.norm(r, axis=1)
        a = 1 / (2 / distance - (v**2).sum(axis=1) / GM_SUN)
        momentum = np.cross(r, v) @ TO_EQUATOR
        np.testing.assert_allclose(a, drawn.a_au, rtol=1e-9)
        cosine = momentum[:, 2] / np.linalg.norm(momentum, axis=1)
        np.testing.assert_allclose(np.arccos(cosine), drawn.i, atol=1e-7)


def test_fields_stand_near_opposition_and_come_in_pairs() -> None:
    settings = SurveySettings(size="M", seed=77)
    with Ephemeris() as ephemeris:
        longitude = opposition_longitude(61311.2, ephemeris)
    visits = plan_visits(settings, longitude)
    assert len(visits) == 14 * 8 * 2
    for day in np.unique(visits["day_obs"]):
        own = visits[visits["day_obs"] == day]
        assert np.array_equal(own["ra"][:8], own["ra"][8:])
        gap = (own["midpoint_mjd_tai"][8:] - own["midpoint_mjd_tai"][:8]) * 1440
        assert (np.abs(gap - 33) < 0.01).all()
    ra, dec = np.radians(visits["ra"]), np.radians(visits["dec"])
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1) @ TO_EQUATOR
    away = np.degrees(np.arctan2(unit[:, 1], unit[:, 0])) - np.degrees(longitude)
    assert (np.abs((away + 180) % 360 - 180) < 20).all()
    assert (np.abs(np.degrees(np.arcsin(unit[:, 2]))) < 6).all()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEMBERS, "S", {"MBA": 100, "TNO": 2})
    settings = SurveySettings(size="S", variant="hard", seed=904, nights=6)
    one, two = (write_survey(simulate_survey(settings), tmp_path / name) for name in ("one", "two"))
    for name in one:
        assert one[name].read_bytes() == two[name].read_bytes(), name


def test_tables_come_back_from_their_files(survey: Survey, tmp_path: Path) -> None:
    write_survey(survey, tmp_path / "one")
    for name, dtype in FILES.items():
        rows = read_table(tmp_path / "one", name)
        assert rows.dtype == dtype
    assert read_table(tmp_path / "one", "detections").tobytes() == survey.detections.tobytes()
    assert np.array_equal(read_table(tmp_path / "one", "truth_objects")["state"], survey.true_objects["state"])
    with pytest.raises(SurveyError):
        read_table(tmp_path / "one", "nothing")


def test_another_seed_has_other_bodies_and_fields() -> None:
    other = plan_visits(SurveySettings(size="S", seed=902), 0.1)
    assert not np.array_equal(other["ra"], plan_visits(SurveySettings(size="S", seed=901), 0.1)["ra"])


@pytest.mark.parametrize(
    "wrong",
    [{"size": "XL"}, {"variant": "soft"}, {"nights": 0}, {"nights": 61}, {"seed": -1}, {"begin_day_obs": 20261399}],
)
def test_settings_that_make_no_survey_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SurveyError):
        SurveySettings(**wrong)  # type: ignore[arg-type]


def test_an_unknown_observatory_is_refused() -> None:
    with pytest.raises(SurveyError, match="ZZZ"):
        site("ZZZ")
    with pytest.raises(SurveyError):
        site("250")  # the Hubble Space Telescope stands nowhere


def test_without_heyoka_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heyoka", None)
    with Ephemeris() as ephemeris, pytest.raises(MissingExtraError, match="survey"):
        integrate(np.ones((1, 6)), 61300.0, np.array([61301.0]), ephemeris)


def test_no_bodies_need_no_integration() -> None:
    with Ephemeris() as ephemeris:
        assert integrate(np.zeros((0, 6)), 61300.0, np.array([61301.0]), ephemeris).shape == (1, 0, 6)


def test_the_command_writes_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.cli.main import build

    monkeypatch.setitem(MEMBERS, "S", {"MBA": 20})
    answer = CliRunner().invoke(
        build(), ["simulate", "detections", "--nights", "2", "--seed", "903", "--output", str(tmp_path), "--json"]
    )
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["visits"] == 8
    assert len(read_table(tmp_path, "detections")) == report["detections"]
    refused = CliRunner().invoke(build(), ["simulate", "detections", "--begin", "123", "--output", str(tmp_path)])
    assert refused.exit_code == 1
