"""The clock by its asteroids: a slip is found, noise and bad orbits are not taken for one, few asteroids say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.clock_check import ClockRules, arcsec_per_s, clock_metrics, clock_offset, well_known

UTC_FOR_TAI_S = 37.0


def residuals(
    count: int, slip_s: float, *, seed: int, sigma_arcsec: float = 0.1, wrong: float = 0.05
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return residuals along and across, and motions, of main-belt asteroids about opposition, some matched to strangers."""
    random = np.random.default_rng(seed)
    rate = random.lognormal(np.log(0.0095), 0.35, count)
    along = rate * slip_s + random.normal(0, sigma_arcsec, count)
    strangers = random.uniform(size=count) < wrong
    along[strangers] = random.uniform(-1, 1, strangers.sum())
    return along, random.normal(0, sigma_arcsec, count), rate


@pytest.mark.parametrize(
    ("count", "sigma", "share"),
    # Ten known to 0.05 arcsec, thirty to 0.1, or 400 to an arcsecond.
    [(10, 0.05, 0.97), (30, 0.1, 1.0), (400, 1.0, 0.97)],
)
def test_utc_taken_for_tai_is_found(count: int, sigma: float, share: float) -> None:
    found = [
        clock_offset(*residuals(count, UTC_FOR_TAI_S, seed=70_000 + k, sigma_arcsec=sigma, wrong=0.0))
        for k in range(200)
    ]
    assert np.mean([one is not None and one.is_slip for one in found]) >= share
    assert np.median([one.offset_s for one in found if one]) == pytest.approx(UTC_FOR_TAI_S, rel=0.03)


def test_ten_asteroids_that_are_known_to_an_arcsecond_cannot_tell_and_say_so() -> None:
    found = [
        clock_offset(*residuals(10, UTC_FOR_TAI_S, seed=71_000 + k, sigma_arcsec=1.0, wrong=0.0)) for k in range(200)
    ]
    # One sigma of ten such asteroids is the whole slip: no estimator does better.
    assert np.median([one.sigma_s for one in found if one]) > 0.8 / 0.0101 / np.sqrt(10)
    assert np.mean([one is not None and one.is_slip for one in found]) < 0.03


def test_an_earlier_clock_has_the_other_sign() -> None:
    along, cross, rate = residuals(100, -UTC_FOR_TAI_S, seed=5)
    found = clock_offset(along, cross, rate)
    assert found is not None
    assert found.is_slip
    assert found.offset_s == pytest.approx(-UTC_FOR_TAI_S, abs=4 * found.sigma_s)


def test_a_tenth_of_a_second_is_no_alarm_in_a_thousand_nights() -> None:
    random = np.random.default_rng(72_000)
    nights = [residuals(int(random.integers(8, 400)), 0.1, seed=73_000 + k) for k in range(1000)]
    assert [one for one in (clock_offset(*night) for night in nights) if one is None or one.is_slip] == []


def test_errors_are_honest() -> None:
    found = [clock_offset(*residuals(60, 2.0, seed=74_000 + k)) for k in range(400)]
    pulls = np.array([(one.offset_s - 2.0) / one.sigma_s for one in found if one])
    assert 0.8 < pulls.std() < 1.1
    assert abs(pulls.mean()) < 0.2


def test_a_third_of_wrong_matches_moves_nothing() -> None:
    along, cross, rate = residuals(90, 0.0, seed=6)
    along[:30] += np.sign(along[:30].mean()) * 0.9
    found = clock_offset(along, cross, rate)
    assert found is not None
    assert not found.is_slip
    assert abs(found.offset_s) < 5.0


@pytest.mark.parametrize("count", [0, 1, 7])
def test_few_asteroids_give_no_verdict(count: int) -> None:
    assert clock_offset(*residuals(count, UTC_FOR_TAI_S, seed=8)) is None
    assert clock_metrics(None) == {}


def test_what_is_unknown_or_stands_still_does_not_count() -> None:
    along, cross, rate = residuals(12, UTC_FOR_TAI_S, seed=9, sigma_arcsec=0.02)
    along[0], cross[1], rate[2], rate[3:5] = np.nan, np.nan, np.nan, 0.0
    assert clock_offset(along, cross, rate) is None
    found = clock_offset(along, cross, rate, ClockRules(asteroids=7))
    assert found is not None
    assert found.asteroids == 7


def test_residuals_without_any_scatter_keep_a_finite_error() -> None:
    rate = np.full(20, 0.01)
    found = clock_offset(rate * 37.0, np.zeros(20), rate)
    assert found is not None
    assert found.is_slip
    assert found.offset_s == pytest.approx(37.0)
    assert found.sigma_s > 0.0
    still = clock_offset(np.zeros(20), np.zeros(20), rate)
    assert still is not None
    assert not still.is_slip


def test_numbered_asteroids_judge_and_our_own_never() -> None:
    numbered = [str(k) for k in range(1, 10)]
    names = np.array([*numbered, "2014 AA3", "NC0aB3xQ", ""])
    assert well_known(names).tolist() == [True] * 9 + [False] * 3
    assert well_known(names[7:]).tolist() == [True, True, True, False, False]
    assert well_known(np.array([], "U8")).tolist() == []


def test_metrics_carry_the_slip_only_where_it_is_one() -> None:
    slipped, steady = (clock_offset(*residuals(100, slip, seed=10)) for slip in (UTC_FOR_TAI_S, 0.0))
    assert slipped is not None
    assert steady is not None
    assert clock_metrics(slipped)["clock_slip_s"] == abs(slipped.offset_s)
    assert clock_metrics(steady)["clock_slip_s"] == 0.0
    assert set(clock_metrics(steady)) == {"clock_offset_s", "clock_offset_sigma_s", "clock_asteroids", "clock_slip_s"}


def test_a_quarter_of_a_degree_a_day_is_a_hundredth_of_an_arcsecond_a_second() -> None:
    assert arcsec_per_s(np.array([0.24])).tolist() == pytest.approx([0.01])
