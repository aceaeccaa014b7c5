"""Elements of every conic, there and back, and known inclinations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2 as MU
from processors.moving_objects.elements import (
    ELEMENTS,
    elements_of,
    perihelion_time_from_mean_anomaly,
    states_of,
    to_ecliptic,
    to_equatorial,
)
from processors.moving_objects.errors import InvalidOrbitsError
from tests.support.solar_system import population


def test_states_come_back_from_their_elements() -> None:
    states = population(2000, 12, epoch_mjd_tdb=61000.0).states
    rows = elements_of(states, 61000.0)
    back = states_of(rows)
    assert (np.linalg.norm((back - states)[:, :3], axis=1) / np.linalg.norm(states[:, :3], axis=1)).max() < 1e-11
    assert (np.linalg.norm((back - states)[:, 3:], axis=1) / np.linalg.norm(states[:, 3:], axis=1)).max() < 1e-11
    np.testing.assert_allclose(rows["a_au"] * (1 - rows["e"]), rows["q_au"], rtol=1e-9)
    again = perihelion_time_from_mean_anomaly(rows["epoch_mjd_tdb"], rows["a_au"], rows["mean_anomaly_deg"])
    turns = (again - rows["peri_mjd_tdb"]) / rows["period_days"]
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    q=st.floats(0.02, 45),
    e=st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 3), st.floats(0.99999, 1.00001)),
    i=st.one_of(st.just(0.0), st.just(180.0), st.floats(0, 180)),
    node=st.floats(0, 359.9),
    argperi=st.floats(0, 359.9),
    since=st.floats(-3000, 3000),
)
def test_any_conic_is_found_again(q: float, e: float, i: float, node: float, argperi: float, since: float) -> None:
    rows = np.zeros(1, ELEMENTS)
    for name, value in zip(
        ("epoch_mjd_tdb", "q_au", "e", "i_deg", "node_deg", "argperi_deg", "peri_mjd_tdb"),
        (61000.0, q, e, i, node, argperi, 61000.0 - since),
        strict=True,
    ):
        rows[name] = value
    states = states_of(rows)
    found = elements_of(states, 61000.0)
    # What rounding of a far and slow state means at perihelion grows with the distance.
    far = 1.0 + np.linalg.norm(states[0, :3]) / q
    assert found["q_au"][0] == pytest.approx(q, rel=1e-11 * far**2)
    assert found["e"][0] == pytest.approx(e, abs=1e-11 * far)
    assert found["i_deg"][0] == pytest.approx(i, abs=1e-5)
    if far < 100.0:
        np.testing.assert_allclose(states_of(found), states, rtol=0, atol=1e-8 * np.linalg.norm(states[0, :3]))


def test_the_parabola_and_the_hyperbola_have_no_period() -> None:
    states = np.array([[1.0, 0, 0, 0, np.sqrt(2 * MU), 0], [1.0, 0, 0, 0, np.sqrt(4 * MU), 0.0]])
    rows = elements_of(states, 61000.0)
    assert np.isnan(rows["period_days"][1])
    assert rows["a_au"][1] == pytest.approx(-0.5)
    np.testing.assert_allclose(rows["e"], [1.0, 3.0], atol=1e-14)
    np.testing.assert_allclose(rows["peri_mjd_tdb"], 61000.0, atol=1e-9)


def test_pallas_is_inclined_by_35_degrees() -> None:
    """State of (2) Pallas at MJD 60000 as JPL gives it; its inclination is in every table."""
    from processors.moving_objects.asteroids import ASTEROID_STATES

    rows = elements_of(ASTEROID_STATES, 60000.0)
    np.testing.assert_allclose(rows["i_deg"][:4], [10.59, 34.93, 12.99, 7.14], atol=0.02)
    np.testing.assert_allclose(rows["a_au"][:4], [2.767, 2.770, 2.669, 2.362], atol=0.004)


def test_turning_there_and_back_and_refusals() -> None:
    states = population(10, 1, epoch_mjd_tdb=61000.0).states
    np.testing.assert_allclose(to_equatorial(to_ecliptic(states)), states, atol=1e-15)
    rows = elements_of(states, 61000.0)
    rows["q_au"][3] = -1.0
    with pytest.raises(InvalidOrbitsError):
        states_of(rows)
    assert len(elements_of(np.empty((0, 6)), 61000.0)) == 0
    assert np.isnan(elements_of(np.full((1, 6), np.nan), 61000.0)["q_au"]).all()
