"""Paths of conics: each point lies on the orbit, ellipses close, hyperbolas end where one stops looking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from processors.moving_objects.cometary import cometary_elements
from processors.moving_objects.conic_path import conic_path
from processors.moving_objects.elements import to_ecliptic
from processors.moving_objects.kepler import two_body
from processors.moving_objects.orbit_table import perihelion_states


def state(q: float, e: float) -> Any:
    angles = np.radians([[12.0, 80.0, 200.0]])
    return perihelion_states(q_au=np.array([q]), e=np.array([e]), angles=angles, days_since=np.array([30.0]))


@pytest.mark.parametrize(("q", "e"), [(2.4, 0.1), (0.3, 0.95), (1.5, 0.0)])
def test_an_ellipse_closes_and_holds_the_body_at_all_times(q: float, e: float) -> None:
    elements = cometary_elements(state(q, e), np.array([61000.0]))[0]
    path = conic_path(elements, farthest_au=100.0, points=2001)
    np.testing.assert_allclose(path[0], path[-1], atol=1e-9)
    days = np.linspace(0.0, 0.9 * float(elements["period"]), 15)
    places = to_ecliptic(np.asarray(two_body(np.repeat(state(q, e), 15, axis=0), days)))[:, :3]
    apart = np.linalg.norm(places[:, None] - path[None], axis=2).min(axis=1)
    assert apart.max() < 0.005 * q / (1 - e)


@pytest.mark.parametrize("e", [1.0, 1.4, 0.999])
def test_an_open_or_long_orbit_ends_where_one_stops_looking(e: float) -> None:
    elements = cometary_elements(state(1.2, e), np.array([61000.0]))[0]
    path = conic_path(elements, farthest_au=8.0)
    distance = np.linalg.norm(path, axis=1)
    assert distance.max() == pytest.approx(8.0, rel=1e-6)
    assert distance.min() == pytest.approx(1.2, rel=1e-3)
    assert distance[0] == pytest.approx(distance[-1])


def test_what_is_unknown_or_too_far_has_no_path() -> None:
    elements = cometary_elements(state(5.0, 0.1), np.array([61000.0]))
    assert conic_path(elements[0], farthest_au=4.0).shape == (0, 3)
    elements["node"] = np.nan
    assert conic_path(elements[0], farthest_au=40.0).shape == (0, 3)
