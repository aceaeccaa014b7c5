"""Closest places of orbits: by brute force, and of asteroids whose distance is published."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.cometary import ELEMENTS, cometary_elements
from processors.moving_objects.moid import EARTH_A_AU, EARTH_E, EARTH_PERIHELION_DEG, earth_moids
from processors.moving_objects.orbit_table import perihelion_states

EPOCH = 51544.5


def elements(a: float, e: float, i: float, node: float, argperi: float) -> np.ndarray:
    rows = np.zeros(1, ELEMENTS)
    rows["q"], rows["e"], rows["i"], rows["node"], rows["argperi"] = a * (1 - e), e, i, node, argperi
    return rows


def place(true: np.ndarray, q: float, e: float, i: float, node: float, argperi: float) -> np.ndarray:
    """Ecliptic positions, angles in degrees."""
    r = q * (1 + e) / (1 + e * np.cos(true))
    u, n, i = true + np.radians(argperi), np.radians(node), np.radians(i)
    return r[:, None] * np.stack(
        [
            np.cos(u) * np.cos(n) - np.sin(u) * np.sin(n) * np.cos(i),
            np.cos(u) * np.sin(n) + np.sin(u) * np.cos(n) * np.cos(i),
            np.sin(u) * np.sin(i),
        ],
        axis=1,
    )


@pytest.mark.parametrize("seed", range(3))
def test_no_pair_of_places_is_nearer(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    turn = np.linspace(-np.pi, np.pi, 1500, endpoint=False)
    earths = place(turn, EARTH_A_AU * (1 - EARTH_E), EARTH_E, 0.0, 0.0, EARTH_PERIHELION_DEG)
    for _ in range(15):
        e = random.choice([random.uniform(0, 0.95), random.uniform(1.0, 2.0)])
        q, i = random.uniform(0.1, 1.6), np.degrees(np.arccos(random.uniform(-1, 1)))
        node, argperi = random.uniform(0, 360, 2)
        rows = np.zeros(1, ELEMENTS)
        rows["q"], rows["e"], rows["i"], rows["node"], rows["argperi"] = q, e, i, node, argperi
        found = earth_moids(rows, np.array([EPOCH]))[0]
        reach = np.pi if e < 1 else np.arccos(-1 / e) * 0.9999
        others = place(np.linspace(-reach, reach, 1500), q, e, i, node, argperi)
        squares = (earths**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * earths @ others.T
        assert found["moid_au"] <= np.sqrt(max(squares.min(), 0.0)) + 1e-7
        here = place(np.radians(found["true_anomaly_deg"])[None], q, e, i, node, argperi)[0]
        earth = place(
            np.radians(found["true_anomaly_earth_deg"])[None],
            EARTH_A_AU * (1 - EARTH_E),
            EARTH_E,
            0,
            0,
            EARTH_PERIHELION_DEG,
        )[0]
        assert np.linalg.norm(here - earth) == pytest.approx(found["moid_au"], abs=1e-9)
        assert np.degrees(np.arctan2(earth[1], earth[0])) % 360 == pytest.approx(
            found["ecliptic_longitude_deg"], abs=1e-8
        )


@pytest.mark.parametrize(
    ("orbit", "published", "tolerance"),
    [
        ((1.4582, 0.2228, 10.828, 304.28, 178.92), 0.1486, 0.003),  # 433 Eros
        ((2.7660, 0.0794, 10.588, 80.25, 73.27), 1.58, 0.02),  # 1 Ceres
        ((1.1264, 0.2037, 6.035, 2.061, 66.22), 0.0032, 0.002),  # 101955 Bennu
        ((0.9227, 0.1911, 3.341, 203.9, 126.7), 0.0003, 0.0015),  # 99942 Apophis
    ],
)
def test_published_distances_come_out(orbit: tuple[float, ...], published: float, tolerance: float) -> None:
    """JPL's small-body database; the osculating elements are rounded, and the Earth's orbit of ours is a mean one."""
    assert earth_moids(elements(*orbit), np.array([61000.0]))["moid_au"][0] == pytest.approx(published, abs=tolerance)


def test_velocities_differ_as_the_states_say() -> None:
    rows = elements(1.8, 0.5, 30.0, 40.0, 200.0)
    found = earth_moids(rows, np.array([EPOCH]))[0]
    true = np.radians(found["true_anomaly_deg"])
    later = np.linspace(-1e-5, 1e-5, 3)
    gm = 0.01720209895**2

    def velocity(at: float, q: float, e: float, i: float, node: float, argperi: float) -> np.ndarray:
        ways = place(at + later, q, e, i, node, argperi)
        r = np.linalg.norm(ways[1])
        return (ways[2] - ways[0]) / 2e-5 * np.sqrt(gm * q * (1 + e)) / r**2

    mine = velocity(true, 0.9, 0.5, 30.0, 40.0, 200.0)
    earths = velocity(
        np.radians(found["true_anomaly_earth_deg"]), EARTH_A_AU * (1 - EARTH_E), EARTH_E, 0, 0, EARTH_PERIHELION_DEG
    )
    expected = np.linalg.norm(mine - earths) * 149597870.7 / 86400
    assert found["delta_v_km_per_s"] == pytest.approx(expected, rel=1e-4)


def test_a_coplanar_circle_keeps_its_distance() -> None:
    found = earth_moids(elements(2.0, 0.0, 0.0, 0.0, 0.0), np.array([EPOCH]))[0]
    assert found["moid_au"] == pytest.approx(2.0 - EARTH_A_AU * (1 + EARTH_E), abs=1e-9)


def test_unknown_orbits_have_no_distance() -> None:
    nothing = cometary_elements(np.full((1, 6), np.nan), np.array([EPOCH]))
    assert np.isnan(earth_moids(nothing, np.array([EPOCH]))[0].tolist()).all()
    assert len(earth_moids(nothing[:0], np.zeros(0))) == 0
    states = perihelion_states(q_au=np.array([0.5]), e=np.array([1.0]), angles=np.zeros((1, 3)), days_since=np.zeros(1))
    # A parabola in the ecliptic crosses the Earth's orbit.
    assert earth_moids(cometary_elements(states, np.array([EPOCH])), np.array([EPOCH]))["moid_au"][0] < 1e-6
