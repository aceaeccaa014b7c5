"""Phase curves: the law at its knots, and fits that return what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.phase_curves import ASSUMED_G12, fit_phase_curves
from processors.moving_objects.photometry import SLOPE_G12_STAR, v_magnitudes


def law(phase: np.ndarray, h: float, g12: float) -> np.ndarray:
    """Magnitudes at 1 au from Sun and observer."""
    one = np.ones(len(phase))
    return v_magnitudes(h * one, g12, helio_range_au=one, topo_range_au=one, phase_angle_deg=phase, kind=SLOPE_G12_STAR)


def fitted(phase: np.ndarray, mag: np.ndarray, sigma: np.ndarray) -> np.void:
    return fit_phase_curves(phase, mag, sigma, np.array([0, len(phase)]))[0]


def test_a_curve_without_noise_comes_back() -> None:
    phase = np.linspace(0.5, 25, 12)
    curve = fitted(phase, law(phase, 17.3, 0.35), np.full(12, 0.05))
    assert curve["h"] == pytest.approx(17.3, abs=1e-8)
    assert curve["g12"] == pytest.approx(0.35, abs=1e-8)
    assert curve["chi2"] == pytest.approx(0.0, abs=1e-10)
    assert (curve["n_used"], curve["slope_failed"]) == (12, False)


def test_errors_and_covariance_are_the_scatter_of_fits() -> None:
    random = np.random.default_rng(21)
    phase = np.linspace(1, 22, 20)
    truth = law(phase, 18.0, 0.5)
    fits = [fitted(phase, truth + random.normal(0, 0.03, 20), np.full(20, 0.03)) for _ in range(400)]
    h, g12 = (np.array([fit[name] for fit in fits]) for name in ("h", "g12"))
    assert h.mean() == pytest.approx(18.0, abs=0.01)
    assert fits[0]["h_err"] == pytest.approx(h.std(), rel=0.15)
    assert fits[0]["g12_err"] == pytest.approx(g12.std(), rel=0.15)
    assert fits[0]["covariance"] == pytest.approx(np.cov(h, g12)[0, 1], rel=0.25)
    assert np.mean([fit["chi2"] for fit in fits]) == pytest.approx(18, rel=0.1)


@pytest.mark.parametrize(
    ("phase", "g12"),
    [(np.array([10.0, 10.5, 11.0, 11.5]), 0.3), (np.array([5.0, 15.0, 25.0]), 0.3)],
    ids=["narrow", "few"],
)
def test_too_little_to_tell_the_slope_assumes_it(phase: np.ndarray, g12: float) -> None:
    curve = fitted(phase, law(phase, 17.0, g12), np.full(len(phase), 0.05))
    assert (curve["slope_failed"], curve["n_used"]) == (True, len(phase))
    assert 0 < ASSUMED_G12 < 1
    assert curve["h"] == pytest.approx(17.0, abs=0.3)
    assert curve["h_err"] == pytest.approx(0.05 / np.sqrt(len(phase)))
    assert np.isnan([curve["g12"], curve["g12_err"], curve["covariance"]]).all()


def test_a_slope_of_no_surface_is_refused() -> None:
    phase = np.linspace(1, 25, 8)
    curve = fitted(phase, 17.0 - 0.05 * phase, np.full(8, 0.01))
    assert curve["slope_failed"]


def test_what_is_no_measurement_is_left_out() -> None:
    phase = np.linspace(1, 25, 8)
    mag, sigma = law(phase, 16.0, 0.6), np.full(8, 0.02)
    mag[2], sigma[5], phase[7] = np.nan, 0.0, np.inf
    curve = fitted(phase, mag, sigma)
    assert (curve["n_used"], curve["slope_failed"]) == (5, False)
    assert curve["h"] == pytest.approx(16.0, abs=1e-7)
    nothing = fitted(np.zeros(0), np.zeros(0), np.zeros(0))
    assert nothing["n_used"] == 0
    assert np.isnan(nothing["h"])


def test_groups_are_fitted_each_by_itself() -> None:
    phase = np.linspace(1, 25, 30)
    mag = np.concatenate([law(phase[:10], 15.0, 0.2), law(phase[10:22], 19.0, 0.8), law(phase[22:], 17.0, 0.5)])
    curves = fit_phase_curves(phase, mag, np.full(30, 0.02), np.array([0, 10, 10, 22, 30]))
    np.testing.assert_allclose(curves["h"], [15.0, np.nan, 19.0, 17.0], atol=1e-6)
    assert curves["n_used"].tolist() == [10, 0, 12, 8]
    assert len(fit_phase_curves(phase, mag, mag, np.array([0]))) == 0


def test_the_least_squares_are_the_least() -> None:
    """An independent minimiser finds the same place."""
    from scipy.optimize import least_squares

    random = np.random.default_rng(31)
    phase = np.linspace(1, 28, 15)
    sigma = random.uniform(0.02, 0.1, 15)
    mag = law(phase, 18.0, 0.55) + sigma * random.normal(size=15)
    curve = fitted(phase, mag, sigma)
    found = least_squares(lambda p: (mag - law(phase, p[0], p[1])) / sigma, [18.0, 0.5], xtol=1e-14, ftol=1e-14)
    assert (curve["h"], curve["g12"]) == pytest.approx(tuple(found.x), abs=1e-6)
    assert curve["chi2"] == pytest.approx(2 * found.cost, rel=1e-9)
