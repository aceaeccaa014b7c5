"""Wings of a PSF from few faint stars, against the truth and Kolmogorov's profile by GalSim."""

from __future__ import annotations

import galsim
import numpy as np

from processors.single_frame.psf_fit import StarStamps, fit_psf
from processors.single_frame.wings import steady_wings, turbulent_profile

FWHM, HALF, SIDE = 4.0, 14, 1000


def stars(count: int, signal: float, seed: int, sky_error: float = 0.0) -> tuple[StarStamps, np.ndarray]:
    """Stamps of round stars of a significance under a noise of 20, and the true PSF."""
    rng = np.random.default_rng(seed)
    axis = np.arange(-HALF, HALF + 1)
    x, y = rng.uniform(50, SIDE - 50, (2, count))
    dx, dy = x - np.floor(x + 0.5), y - np.floor(y + 0.5)
    radius = np.hypot(axis[:, None] - dy[:, None, None], axis - dx[:, None, None])
    light = turbulent_profile(radius, FWHM)
    true = turbulent_profile(np.hypot(axis[:, None], axis), FWHM)
    true /= true.sum()
    flux = signal * 20 / np.sqrt(np.sum(true**2)) * rng.uniform(0.7, 1.5, count)
    data = flux[:, None, None] * light / light.sum((1, 2))[:, None, None] + rng.normal(sky_error, 20, light.shape)
    good = np.ones(data.shape, bool)
    return StarStamps(data, np.full(data.shape, 400.0), good, x, y), true


def flux_error(stamps: StarStamps, true: np.ndarray) -> float:
    model, _ = fit_psf(stamps, (SIDE, SIDE), FWHM, rounds=2)
    psf = model.at(SIDE / 2, SIDE / 2).astype(float)
    return float((psf * true).sum() / (psf**2).sum() - 1)


def test_the_profile_is_galsims_kolmogorov() -> None:
    radius = np.linspace(0, 4 * FWHM, 60)
    theirs = galsim.Kolmogorov(fwhm=FWHM)
    expected = np.array([theirs.xValue(float(r), 0.0) for r in radius]) / theirs.xValue(0.0, 0.0)
    np.testing.assert_allclose(turbulent_profile(radius, FWHM), expected, atol=5e-4)


def test_a_dozen_faint_stars_give_fluxes_true_to_two_percent() -> None:
    errors = [flux_error(*stars(12, 40.0, seed)) for seed in range(12)]
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.02


def test_an_error_of_the_sky_hardly_reaches_the_wings_of_faint_stars() -> None:
    plain, lifted = (
        np.mean([flux_error(*stars(12, 40.0, seed, sky_error=error)) for seed in range(6)]) for error in (0.0, 0.4)
    )
    assert abs(lifted - plain) < 0.015


def test_bright_stars_keep_their_wings_and_their_shape() -> None:
    axis = np.arange(-HALF, HALF + 1)
    radius = np.hypot(axis[:, None], 1.2 * axis)
    psf = 1 / (1 + (radius / 3) ** 2) ** 2.2
    psf /= psf.sum()
    coefficients = np.stack([psf, 0.02 * psf * (axis / HALF)])
    np.testing.assert_allclose(steady_wings(coefficients, FWHM, (1e-7, 1e-6)), coefficients, rtol=0.02, atol=3e-8)
    faint = steady_wings(coefficients, FWHM, (1e-3, 3e-3))
    wing = np.hypot(axis[:, None], axis) > 2 * FWHM
    assert np.ptp(faint[0][HALF, :3]) < np.ptp(coefficients[0][HALF, :3]) + 1e-5
    assert np.abs(faint[1][wing]).max() < 0.2 * np.abs(coefficients[1][wing]).max()
