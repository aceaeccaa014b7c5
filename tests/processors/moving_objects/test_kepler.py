"""Two-body motion against closed forms, against itself backwards, and its partials against differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2 as MU
from processors.moving_objects.kepler import two_body, two_body_with_partials

CIRCLE = np.array([1.0, 0, 0, 0, np.sqrt(MU), 0])
PARABOLA = np.array([1.0, 0, 0, 0, np.sqrt(2 * MU), 0])
HYPERBOLA = np.array([0.3, 0.1, 0, -0.06, 0.05, 0.02])
GRAZER = np.array([1.0, 0, 0, -0.024, 0.0001, 0])
BELT = np.array([2.5, 0.1, 0.2, 0.001, 0.01, 0.001])
ALL = np.stack([CIRCLE, PARABOLA, HYPERBOLA, GRAZER, BELT])


@pytest.mark.parametrize("dt", [-1e5, -3.7, 1e-4, 12.5, 366.0, 1e5])
def test_a_circle_is_a_circle(dt: float) -> None:
    angle = np.sqrt(MU) * dt
    expected = [np.cos(angle), np.sin(angle), 0, -np.sqrt(MU) * np.sin(angle), np.sqrt(MU) * np.cos(angle), 0]
    np.testing.assert_allclose(two_body(CIRCLE, dt)[0], expected, atol=3e-15 * max(1, abs(angle)))


@pytest.mark.parametrize("dt", [-4000.0, -20.0, 5.0, 100.0, 30000.0])
def test_a_parabola_follows_barkers_equation(dt: float) -> None:
    a = 1.5 * np.sqrt(MU / 2) * dt
    b = np.cbrt(a + np.sqrt(a * a + 1))
    half = b - 1 / b
    x, y = 1 - half**2, 2 * half
    np.testing.assert_allclose(two_body(PARABOLA, dt)[0, :2], [x, y], rtol=1e-12)


@pytest.mark.parametrize("dt", [-20000.0, -30.0, 0.01, 50.0, 20000.0])
def test_forth_and_back_is_where_it_was_and_energy_stays(dt: float) -> None:
    there = two_body(ALL, dt)
    np.testing.assert_allclose(two_body(there, -dt), ALL, atol=3e-10)
    before, after = ((s[:, 3:] ** 2).sum(1) / 2 - MU / np.linalg.norm(s[:, :3], axis=1) for s in (ALL, there))
    np.testing.assert_allclose(after, before, atol=1e-13)


@settings(max_examples=150, deadline=None)
@given(
    q=st.floats(0.05, 40),
    e=st.floats(0, 3),
    turn=st.floats(0, 6.28),
    tilt=st.floats(0, 3.14),
    dt=st.floats(-4000, 4000),
)
def test_any_conic_comes_back_and_keeps_its_plane(q: float, e: float, turn: float, tilt: float, dt: float) -> None:
    speed = np.sqrt(MU * (1 + e) / q)
    c, s = np.cos(turn), np.sin(turn)
    ct, sn = np.cos(tilt), np.sin(tilt)
    state = np.array([q * c, q * s * ct, q * s * sn, -speed * s, speed * c * ct, speed * c * sn])
    there = two_body(state, dt)[0]
    back = two_body(there, -dt)[0]
    # What rounding of the state there means here grows with how far it went.
    slack = 1e-11 * max(1.0, np.linalg.norm(there[:3]) / q) ** 2
    np.testing.assert_allclose(back[:3], state[:3], atol=slack * max(q, 1))
    np.testing.assert_allclose(
        np.cross(there[:3], there[3:]),
        np.cross(state[:3], state[3:]),
        atol=1e-11 * np.linalg.norm(np.cross(state[:3], state[3:])) + 1e-14,
    )


@pytest.mark.parametrize("dt", [-900.0, 0.3, 14.0, 4000.0])
def test_partials_are_those_of_differences_and_keep_the_volume(dt: float) -> None:
    states = np.stack([CIRCLE, PARABOLA, HYPERBOLA, BELT])
    there, phi = two_body_with_partials(states, dt)
    np.testing.assert_allclose(there, two_body(states, dt), atol=1e-11)
    numeric = np.empty_like(phi)
    for k in range(6):
        shift = np.zeros(6)
        shift[k] = 1e-6 if k < 3 else 1e-8
        numeric[:, :, k] = (two_body(states + shift, dt) - two_body(states - shift, dt)) / (2 * shift[k])
    scale = np.abs(phi).max(axis=(1, 2), keepdims=True)
    assert (np.abs(numeric - phi) / scale).max() < 2e-6
    j = np.block([[np.zeros((3, 3)), np.eye(3)], [-np.eye(3), np.zeros((3, 3))]])
    symplectic = phi.transpose(0, 2, 1) @ j @ phi - j
    assert (np.abs(symplectic) / scale**2).max() < 1e-12


def test_nothing_in_nothing_out_and_nan_stays_with_its_row() -> None:
    assert two_body(np.empty((0, 6)), 3.0).shape == (0, 6)
    rows = np.stack([BELT, np.full(6, np.nan)])
    out = two_body(rows, 1.0)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).any()
    with pytest.raises(ValueError, match="spans of time"):
        two_body(np.stack([BELT] * 3), np.array([1.0, 2.0]))


def test_half_the_way_twice_is_the_whole_way() -> None:
    halves = two_body(two_body(ALL, 17.3), np.full(len(ALL), 17.3))
    np.testing.assert_allclose(halves, two_body(ALL, 34.6), atol=1e-12)


@pytest.mark.parametrize("dt", [1e-3, -0.2, 0.49])
def test_a_short_step_by_the_series_is_that_of_the_equation(dt: float) -> None:
    """Below the limit a series is used, above it Kepler's equation: many short steps arrive where a long one does."""
    random = np.random.default_rng(771)
    states = np.hstack([random.normal(size=(200, 3)) * 3.0, random.normal(size=(200, 3)) * 0.006])
    states = states[np.linalg.norm(states[:, :3], axis=1) > 1.0]
    steps = 2048
    walked = states
    for _ in range(steps):
        walked = two_body(walked, dt)
    np.testing.assert_allclose(walked, two_body(states, steps * dt), rtol=1e-10, atol=1e-11)
