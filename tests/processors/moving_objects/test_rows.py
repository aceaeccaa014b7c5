"""Public records of moving objects: every column of the schema, encoded by Avro."""

from __future__ import annotations

import io

import fastavro
import numpy as np
import pytest

from processors.moving_objects.detections import DETECTION
from processors.moving_objects.orbit_table import perihelion_states
from processors.moving_objects.photometry import SLOPE_G12_STAR, v_magnitudes
from processors.moving_objects.rows import MismatchedRowsError, encoded_mpc_orbits, mpc_orbit_records, ss_object_rows
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from schemas.public import null_rows, record_schema, to_public_records
from schemas.public_avro import encode_record

EPOCH = 61000.0


def orbits() -> np.ndarray:
    """Ceres with a covariance, a hyperbola with nothing known, and a Trojan."""
    rows = orbit_rows(3)
    rows["designation"], rows["packed"] = ["1", "A/2017 U1", "2026 RA1"], ["00001", "AK17U01", "K26R01A"]
    rows["ss_object_id"], rows["epoch_mjd_tdb"] = [11, 12, 13], EPOCH
    angles = np.radians([[10.588, 80.25, 73.3], [122.7, 24.6, 241.8], [8.0, 100.0, 50.0]])
    q, e = np.array([2.766 * 0.9206, 0.2556, 5.2 * 0.95]), np.array([0.0794, 1.2011, 0.05])
    states = perihelion_states(q_au=q, e=e, angles=angles, days_since=np.array([500.0, 40.0, -500.0]))
    for k, name in enumerate(STATE_COLUMNS):
        rows[name] = states[:, k]
    covariances = np.full((3, 6, 6), np.nan)
    covariances[0] = np.diag([1e-7] * 3 + [1e-9] * 3) ** 2
    set_covariances(rows, covariances)
    rows["h"], rows["n_observations"], rows["n_oppositions"] = [3.34, np.nan, 14.2], [7330, -1, 9], [125, -1, 1]
    rows["arc_days"], rows["rms_arcsec"] = [81450.0, np.nan, 12.1], [0.8, np.nan, 0.02]
    return rows


def encoded(record: dict[str, object], name: str) -> dict[str, object]:
    schema, out = fastavro.parse_schema(dict(record_schema(name))), io.BytesIO()
    fastavro.schemaless_writer(out, schema, record, strict=True)
    out.seek(0)
    return fastavro.schemaless_reader(out, schema, None)


def test_mpc_orbits_have_every_column() -> None:
    records = mpc_orbit_records(orbits(), fitted_at_us=1_790_000_000_000_000)
    assert [record["id"] for record in records] == [1, 2, 3]
    for record in records:
        assert list(record) == [field["name"] for field in record_schema("mpc_orbits")["fields"]]
        encoded(record, "mpc_orbits")
    ceres = records[0]
    assert ceres["designation"] == "1"
    assert ceres["packed_primary_provisional_designation"] == "00001"
    assert ceres["a"] == pytest.approx(2.766, abs=1e-3)
    assert (ceres["q"], ceres["e"]) == (pytest.approx(2.766 * 0.9206), pytest.approx(0.0794))
    assert (ceres["i"], ceres["node"], ceres["argperi"]) == pytest.approx((10.588, 80.25, 73.3))
    assert ceres["peri_time"] == pytest.approx(EPOCH - 500, abs=1e-5)
    assert ceres["mean_motion"] == pytest.approx(360 / ceres["period"])
    assert ceres["mean_anomaly"] == pytest.approx(500 * ceres["mean_motion"])
    assert (ceres["h"], ceres["g"], ceres["not_normalized_rms"]) == (3.34, 0.15, 0.8)
    assert (ceres["nobs_total"], ceres["nopp"], ceres["arc_length_total"]) == (7330, 125, 81450.0)
    assert (ceres["orbit_type_int"], ceres["epoch_mjd"]) == (11, EPOCH)
    assert ceres["earth_moid"] == pytest.approx(1.58, abs=0.03)
    assert 1e-8 < ceres["a_unc"] < 1e-4
    assert 0 <= ceres["u_param"] <= 9
    for name in ("yarkovsky", "srp", "a1", "a2", "a3", "dt", "mpc_orb_jsonb", "yarkovsky_unc", "normalized_rms"):
        assert ceres[name] is None


def test_records_made_together_are_those_made_one_by_one() -> None:
    some = orbits()
    some["packed"], some["rms_arcsec"] = ["00001", "K14\u00dc01", ""], [0.81234567, np.nan, 1e-9]
    records = [record | {"id": number} for record, number in zip(mpc_orbit_records(some), (9, 70_000, 8), strict=True)]
    expected = [encode_record(record, "mpc_orbits") for record in records]
    assert encoded_mpc_orbits(some, np.array([9, 70_000, 8])) == expected
    assert encoded_mpc_orbits(some[:0], np.zeros(0, np.int64)) == []


def test_what_is_not_known_of_an_orbit_is_null() -> None:
    record = mpc_orbit_records(orbits())[1]
    assert record["orbit_type_int"] == 30
    unknown = ("h", "nopp", "nobs_total", "arc_length_total", "not_normalized_rms", "u_param", "period", "mean_anomaly")
    for name in (*unknown, "mean_motion", "a_unc", "peri_time_unc", "created_at", "fitting_datetime"):
        assert record[name] is None, name
    assert record["a"] == pytest.approx(-0.2556 / 0.2011, rel=1e-6)
    assert mpc_orbit_records(orbits(), with_moid=False)[0]["earth_moid"] is None


def test_our_own_fits_tell_what_they_used() -> None:
    records = mpc_orbit_records(
        orbits(), normalized_rms=[0.9, np.nan, 1.1], used=[100, 5, 8], selected_arc_days=[20.0, 3.0, np.nan]
    )
    assert [record["normalized_rms"] for record in records] == [0.9, None, 1.1]
    assert [record["nobs_total_sel"] for record in records] == [100, 5, 8]
    assert [record["arc_length_sel"] for record in records] == [20.0, 3.0, None]
    with pytest.raises(MismatchedRowsError):
        mpc_orbit_records(orbits(), used=[1])
    assert mpc_orbit_records(orbits()[:0]) == []


def observed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve detections of Ceres in g and r, none of the hyperbola, one of the Trojan."""
    detections, circumstances = np.zeros(13, DETECTION), null_rows("ssSource", 13)
    detections["midpoint_mjd_tai"] = [*(EPOCH + np.arange(12)), EPOCH + 3]
    detections["band"] = [1, 2] * 6 + [4]
    circumstances["phaseAngle"] = [*np.linspace(2, 20, 12), 5.0]
    circumstances["helioRange"], circumstances["topoRange"] = [2.5] * 12 + [5.2], [1.6] * 12 + [4.3]
    detections["mag"] = v_magnitudes(
        np.where(detections["band"] == 1, 3.9, 3.3),
        0.4,
        helio_range_au=circumstances["helioRange"],
        topo_range_au=circumstances["topoRange"],
        phase_angle_deg=circumstances["phaseAngle"],
        kind=SLOPE_G12_STAR,
    )
    detections["mag_err"] = 0.02
    return detections, circumstances, np.array([0, 12, 12, 13])


def test_ss_objects_have_every_column() -> None:
    rows = ss_object_rows(orbits(), *observed(), extendedness=np.array([*np.linspace(0, 1, 12), np.nan]))
    for record in to_public_records(rows, "ssObject"):
        encoded(record, "ssObject")
    ceres = rows[0]
    assert (ceres["ssObjectId"], ceres["designation"], ceres["nObs"]) == (11, "1", 12)
    assert (ceres["arc"], ceres["firstObservationMjdTai"]) == (11.0, EPOCH)
    assert (ceres["extendednessMin"], ceres["extendednessMax"]) == (0.0, 1.0)
    assert ceres["extendednessMedian"] == pytest.approx(0.5)
    assert (ceres["g_nObs"], ceres["r_nObs"], ceres["i_nObs"]) == (6, 6, 0)
    assert ceres["g_H"] == pytest.approx(3.9, abs=1e-3)
    assert ceres["r_H"] == pytest.approx(3.3, abs=1e-3)
    assert ceres["g_G12"] == pytest.approx(0.4, abs=5e-3)
    assert (ceres["g_nObsUsed"], ceres["g_slope_fit_failed"]) == (6, 0)
    assert ceres["g_phaseAngleMin"] == pytest.approx(2.0)
    assert ceres["r_phaseAngleMax"] == pytest.approx(20.0)
    assert ceres["g_H_g_G12_Cov"] > 0
    assert ceres["MOIDEarth"] == pytest.approx(1.58, abs=0.03)
    assert ceres["tisserand_J"] == pytest.approx(3.31, abs=0.02)
    assert 0 < ceres["MOIDEarthDeltaV"] < 20


def test_what_was_not_observed_is_null() -> None:
    rows = to_public_records(ss_object_rows(orbits(), *observed()), "ssObject")
    unseen, trojan = rows[1], rows[2]
    assert (unseen["nObs"], unseen["arc"], unseen["firstObservationMjdTai"], unseen["g_nObs"]) == (0, 0.0, None, 0)
    assert unseen["g_H"] is None
    assert unseen["g_slope_fit_failed"] is None
    assert unseen["extendednessMedian"] is None
    assert unseen["MOIDEarth"] is not None
    assert (trojan["z_nObs"], trojan["z_slope_fit_failed"], trojan["z_G12"]) == (1, True, None)
    assert trojan["z_H"] == pytest.approx(3.3, abs=0.2)
    assert trojan["z_HErr"] == pytest.approx(0.02)


def test_lengths_that_do_not_fit_are_refused() -> None:
    detections, circumstances, offsets = observed()
    with pytest.raises(MismatchedRowsError):
        ss_object_rows(orbits(), detections[:-1], circumstances, offsets)
    with pytest.raises(MismatchedRowsError):
        ss_object_rows(orbits(), detections, circumstances, offsets[:-1])
