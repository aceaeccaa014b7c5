"""Phase curves: the law at its knots, and fits that return what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.phase_curves import ASSUMED_G12, fit_phase_curve, hg12_magnitudes


def test_the_law_has_the_tables_values() -> None:
    """Sums of Muinonen et al. 2010, tables 3 and 4, with the parameters of Penttila et al. 2016."""
    assert hg12_magnitudes(np.array([0.0]), 15.0, 0.4)[0] == pytest.approx(15.0)
    at_30 = 0.84293649 * 0.4 * 0.33486016 + 0.53513350 * 0.6 * 0.62884169
    assert hg12_magnitudes(np.array([30.0]), 0.0, 0.4)[0] == pytest.approx(-2.5 * np.log10(at_30), abs=1e-9)
    g1, g2 = 0.84293649 * 0.4, 0.53513350 * 0.6
    at_4 = g1 * (1 - 24 / 180) + g2 * (1 - 9 * 4 / (5 * 180)) + (1 - g1 - g2) * 0.23174230
    assert hg12_magnitudes(np.array([4.0]), 0.0, 0.4)[0] == pytest.approx(-2.5 * np.log10(at_4), abs=1e-9)


@pytest.mark.parametrize("g12", [0.1, 0.5, 0.9])
def test_brightness_falls_with_phase_and_without_a_step(g12: float) -> None:
    phase = np.linspace(0, 140, 5001)
    steps = np.diff(hg12_magnitudes(phase, 0.0, g12))
    assert (steps > 0).all()
    assert steps.max() < 0.03


def test_a_curve_without_noise_comes_back() -> None:
    phase = np.linspace(0.5, 25, 12)
    curve = fit_phase_curve(phase, hg12_magnitudes(phase, 17.3, 0.35), np.full(12, 0.05))
    assert curve.h == pytest.approx(17.3, abs=1e-8)
    assert curve.g12 == pytest.approx(0.35, abs=1e-8)
    assert curve.chi2 == pytest.approx(0.0, abs=1e-10)
    assert (curve.n_used, curve.slope_failed) == (12, False)


def test_errors_and_covariance_are_the_scatter_of_fits() -> None:
    random = np.random.default_rng(21)
    phase = np.linspace(1, 22, 20)
    truth = hg12_magnitudes(phase, 18.0, 0.5)
    fits = [fit_phase_curve(phase, truth + random.normal(0, 0.03, 20), np.full(20, 0.03)) for _ in range(400)]
    h, g12 = (np.array([getattr(fit, name) for fit in fits]) for name in ("h", "g12"))
    assert h.mean() == pytest.approx(18.0, abs=0.01)
    assert fits[0].h_err == pytest.approx(h.std(), rel=0.15)
    assert fits[0].g12_err == pytest.approx(g12.std(), rel=0.15)
    assert fits[0].covariance == pytest.approx(np.cov(h, g12)[0, 1], rel=0.25)
    assert np.mean([fit.chi2 for fit in fits]) == pytest.approx(18, rel=0.1)


@pytest.mark.parametrize(
    ("phase", "g12"),
    [(np.array([10.0, 10.5, 11.0, 11.5]), 0.3), (np.array([5.0, 15.0, 25.0]), 0.3)],
    ids=["narrow", "few"],
)
def test_too_little_to_tell_the_slope_assumes_it(phase: np.ndarray, g12: float) -> None:
    curve = fit_phase_curve(phase, hg12_magnitudes(phase, 17.0, g12), np.full(len(phase), 0.05))
    assert (curve.slope_failed, curve.g12, curve.n_used) == (True, ASSUMED_G12, len(phase))
    assert curve.h == pytest.approx(17.0, abs=0.3)
    assert curve.h_err == pytest.approx(0.05 / np.sqrt(len(phase)))
    assert np.isnan(curve.g12_err)


def test_a_slope_of_no_surface_is_refused() -> None:
    phase = np.linspace(1, 25, 8)
    curve = fit_phase_curve(phase, 17.0 - 0.05 * phase, np.full(8, 0.01))
    assert curve.slope_failed


def test_what_is_no_measurement_is_left_out() -> None:
    phase = np.linspace(1, 25, 8)
    mag, sigma = hg12_magnitudes(phase, 16.0, 0.6), np.full(8, 0.02)
    mag[2], sigma[5], phase[7] = np.nan, 0.0, np.inf
    curve = fit_phase_curve(phase, mag, sigma)
    assert (curve.n_used, curve.slope_failed) == (5, False)
    assert curve.h == pytest.approx(16.0, abs=1e-7)
    nothing = fit_phase_curve(np.zeros(0), np.zeros(0), np.zeros(0))
    assert nothing.n_used == 0
    assert np.isnan(nothing.h)
