"""Elements of states: both ways, against skyfield, with their errors, and on the conics where formulas break."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.cometary import (
    ELEMENTS,
    cometary_elements,
    element_sigmas,
    orbit_types,
    tisserand_jupiter,
    uncertainty_codes,
)
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.orbit_table import perihelion_states

EPOCH = 61000.0


def drawn(e: np.ndarray, days: np.ndarray, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Perihelion distances, angles in radians (inclination, node, argument) and states."""
    random = np.random.default_rng(seed)
    q = random.uniform(0.2, 3.0, len(e))
    angles = np.stack([np.arccos(random.uniform(-1, 1, len(e))), *random.uniform(0, 2 * np.pi, (2, len(e)))], axis=1)
    return q, angles, perihelion_states(q_au=q, e=e, angles=angles, days_since=days)


@pytest.mark.parametrize("kind", ["ellipse", "nearly parabolic", "parabola", "hyperbola"])
def test_elements_come_back_on_every_conic(kind: str) -> None:
    random = np.random.default_rng(9)
    n = 300
    e = {
        "ellipse": random.uniform(1e-4, 0.97, n),
        "nearly parabolic": 1 + random.choice([-1, 1], n) * 10 ** random.uniform(-10, -3, n),
        "parabola": np.ones(n),
        "hyperbola": random.uniform(1.01, 3.5, n),
    }[kind]
    q, angles, _ = drawn(e, np.zeros(n))
    period = 2 * np.pi * np.sqrt((q / np.abs(1 - e)) ** 3 / GM_SUN_AU3_PER_DAY2) if kind == "ellipse" else 4000.0
    days = random.uniform(-0.48, 0.48, n) * period
    found = cometary_elements(perihelion_states(q_au=q, e=e, angles=angles, days_since=days), np.full(n, EPOCH))
    np.testing.assert_allclose(found["q"], q, rtol=1e-9)
    np.testing.assert_allclose(found["e"], e, atol=1e-9)
    for k, name in enumerate(("i", "node", "argperi")):
        away = (np.radians(found[name]) - angles[:, k] + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(away).max() < (1e-7 if name == "argperi" else 1e-10)
    # Where the eccentricity is tiny the perihelion itself is not well known.
    np.testing.assert_allclose(EPOCH - found["peri_time"], days, atol=1e-5 * (1 + np.abs(days).max() / 1000))


def test_elements_agree_with_skyfield() -> None:
    from skyfield.api import load
    from skyfield.data.spice import inertial_frames
    from skyfield.elementslib import OsculatingElements
    from skyfield.units import Distance, Velocity

    random = np.random.default_rng(10)
    e = np.concatenate([random.uniform(0.01, 0.9, 20), random.uniform(1.1, 2.0, 20)])
    *_, states = drawn(e, random.uniform(-200, 200, 40), seed=11)
    found = cometary_elements(states, np.full(40, EPOCH))
    gm = GM_SUN_AU3_PER_DAY2 * 149597870.7**3 / 86400**2
    time = load.timescale(builtin=True).tdb_jd(EPOCH + 2400000.5)
    turn = inertial_frames["ECLIPJ2000"]
    for row, state in zip(found, states, strict=True):
        theirs = OsculatingElements(Distance(turn @ state[:3]), Velocity(turn @ state[3:]), time, gm)
        assert row["q"] == pytest.approx(theirs.periapsis_distance.au, rel=1e-9)
        assert row["e"] == pytest.approx(theirs.eccentricity, abs=1e-9)
        assert row["i"] == pytest.approx(theirs.inclination.degrees, abs=1e-7)
        assert row["node"] == pytest.approx(theirs.longitude_of_ascending_node.degrees, abs=1e-7)
        assert row["argperi"] == pytest.approx(theirs.argument_of_periapsis.degrees, abs=1e-6)
        if row["e"] < 1:
            assert row["mean_anomaly"] == pytest.approx(theirs.mean_anomaly.degrees, abs=1e-6)
            assert row["period"] == pytest.approx(theirs.period_in_days, rel=1e-9)


def test_a_circle_in_the_ecliptic_has_a_node_and_a_perihelion() -> None:
    states = perihelion_states(
        q_au=np.array([2.0]), e=np.array([0.0]), angles=np.zeros((1, 3)), days_since=np.array([100.0])
    )
    row = cometary_elements(states, np.array([EPOCH]))[0]
    assert row["e"] < 1e-12
    assert row["a"] == pytest.approx(2.0, rel=1e-12)
    assert np.isfinite(row.tolist()).all()
    turned = (row["node"] + row["argperi"] + row["mean_anomaly"]) % 360
    assert turned == pytest.approx(np.degrees(np.sqrt(GM_SUN_AU3_PER_DAY2 / 8)) * 100, abs=1e-6)


def test_open_orbits_have_no_period() -> None:
    *_, states = drawn(np.array([1.0, 1.5]), np.array([30.0, 30.0]))
    rows = cometary_elements(states, np.full(2, EPOCH))
    assert np.isnan(rows["a"][0])
    assert rows["a"][1] == pytest.approx(-rows["q"][1] / 0.5)
    for name in ("period", "mean_motion", "mean_anomaly"):
        assert np.isnan(rows[name]).all()


def test_what_is_not_known_stays_unknown() -> None:
    row = cometary_elements(np.full((1, 6), np.nan), np.array([EPOCH]))[0]
    assert np.isnan(row.tolist()).all()
    assert len(cometary_elements(np.zeros((0, 6)), np.zeros(0))) == 0


def test_errors_are_the_scatter_of_the_elements() -> None:
    """Elements of states drawn from the covariance scatter as the errors say; the third stands at aphelion."""
    random = np.random.default_rng(12)
    e, q = np.array([0.2, 1.3, 0.3]), 1.5
    angles = np.radians([[10.0, 359.9999, 0.001], [80.0, 20.0, 300.0], [5.0, 100.0, 40.0]])
    half = np.pi * np.sqrt((q / 0.7) ** 3 / GM_SUN_AU3_PER_DAY2)
    states = perihelion_states(q_au=np.full(3, q), e=e, angles=angles, days_since=np.array([50.0, -80.0, half]))
    covariances = np.empty((3, 6, 6))
    for k in range(3):
        root = random.normal(size=(6, 6)) * np.array([1e-7] * 3 + [1e-9] * 3)[:, None]
        covariances[k] = root @ root.T
    sigmas = element_sigmas(states, np.full(3, EPOCH), covariances)
    for k in range(3):
        cloud = random.multivariate_normal(states[k], covariances[k], 4000, method="cholesky")
        rows = cometary_elements(cloud, np.full(4000, EPOCH))
        middle = cometary_elements(states[k : k + 1], np.array([EPOCH]))[0]
        for name in ELEMENTS.names or ():
            away = rows[name] - middle[name]
            if name in ("node", "argperi", "mean_anomaly"):
                away = (away + 180) % 360 - 180
            if name == "peri_time" and np.isfinite(middle["period"]):
                away -= np.round(away / rows["period"]) * rows["period"]
            if np.isfinite(middle[name]):
                assert sigmas[name][k] == pytest.approx(away.std(), rel=0.08), (k, name)
            else:
                assert np.isnan(sigmas[name][k])


def test_without_a_covariance_there_are_no_errors() -> None:
    *_, states = drawn(np.array([0.1]), np.array([10.0]))
    sigmas = element_sigmas(states, np.array([EPOCH]), np.full((1, 6, 6), np.nan))
    assert np.isnan(sigmas[0].tolist()).all()


@pytest.mark.parametrize(
    ("a", "e", "i", "code"),
    [
        (0.74, 0.32, 25.0, 0),  # 163693 Atira
        (0.922, 0.191, 3.3, 1),  # 99942 Apophis
        (1.471, 0.560, 6.4, 2),  # 1862 Apollo
        (1.919, 0.434, 11.9, 3),  # 1221 Amor
        (2.3, 0.30, 5.0, 10),
        (2.766, 0.079, 10.6, 11),  # 1 Ceres
        (5.21, 0.15, 10.3, 12),  # 588 Achilles
        (3.46, 0.55, 7.0, 20),
        (30.1, 0.03, 1.4, 21),  # 2001 QR322
        (13.6, 0.38, 6.9, 22),  # 2060 Chiron
        (39.4, 0.25, 17.1, 23),  # 134340 Pluto
        (3.95, 0.15, 8.0, 19),
    ],
)
def test_classes_are_the_minor_planet_centers(a: float, e: float, i: float, code: int) -> None:
    rows = np.zeros(1, ELEMENTS)
    rows["a"], rows["e"], rows["i"], rows["q"] = a, e, i, a * (1 - e)
    assert orbit_types(rows).tolist() == [code]


def test_open_and_unknown_orbits_have_their_class() -> None:
    *_, states = drawn(np.array([1.0, 1.5]), np.array([30.0, 30.0]))
    rows = cometary_elements(np.vstack([states, np.full((1, 6), np.nan)]), np.full(3, EPOCH))
    assert orbit_types(rows).tolist() == [31, 30, 99]


def test_tisserand_of_a_comet() -> None:
    """67P/Churyumov-Gerasimenko has 2.75 (JPL)."""
    rows = np.zeros(1, ELEMENTS)
    rows["q"], rows["e"], rows["i"] = 1.2432, 0.6410, 7.04
    assert tisserand_jupiter(rows)[0] == pytest.approx(2.746, abs=0.005)


def test_uncertainty_codes_span_the_scale() -> None:
    rows, sigmas = np.zeros(4, ELEMENTS), np.zeros(4, ELEMENTS)
    rows["period"], rows["e"] = 1500.0, 0.1
    rows["period"][3] = np.nan
    sigmas["period"] = [1e-6, 0.05, 100.0, 1.0]
    assert uncertainty_codes(rows, sigmas).tolist() == [0, 4, 9, -1]
