"""Dipoles and trails among detected sources: stars that moved between epochs, bodies that moved during the exposure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.fitting import fit_dipoles, forced_fluxes
from processors.differencing.layers import Layers
from processors.differencing.psf import PsfGrid, adaptive_moments, render_psf
from processors.differencing.sky import offset_on_sky, sky_jacobian
from processors.differencing.trails import fit_trails

__all__ = ["measure_dipoles", "measure_trails"]

DIPOLE_SNR = 5 * math.sqrt(2)
"""Least score of the two lobes in quadrature (ip_diffim's classification)."""

DIPOLE_SHARE = 0.65
"""Largest part of the flux that one lobe may have (ip_diffim)."""

DIPOLE_SEPARATION = 5.0
"""Largest distance of the lobes in standard deviations of the PSF (ip_diffim)."""

PRIOR_FRACTION = 0.1
"""Looseness of the hold that the fluxes before subtraction have on the lobes."""

TRAIL_LEAST_RATIO = 1.3
"""A trail is fitted when the longer axis exceeds the PSF's by this factor in second moment, beyond three sigma."""

_HALF = 10

Pixels = NDArray[Any]
Rows = NDArray[Any]


def _grid(psf: PsfGrid) -> tuple[Pixels, Pixels, Pixels]:
    return psf.x_nodes, psf.y_nodes, psf.coefficients


def measure_dipoles(layers: Layers, peaks: Rows, fits: Pixels, rows: Rows) -> dict[int, tuple[float, float]]:
    """Fit dipoles to peaks that have an opposite lobe and fill their fields.

    Parameters
    ----------
    layers
        Images and PSFs.
    peaks
        Result of `detect_peaks`.
    fits
        Point-source fits of the same peaks; their chi squared is what a dipole must better.
    rows
        DIASources, filled in place.

    Returns
    -------
    dict
        For the index of each source classified as a dipole, the point between its lobes.
    """
    rows["dipoleFitAttempted"] = peaks["partner_snr"] != 0
    rows["isDipole"] = 0
    chosen = np.flatnonzero(peaks["partner_snr"] != 0)
    if len(chosen) == 0:
        return {}
    start, prior = _dipole_start(layers, peaks[chosen])
    values, covariances, chi2, pixels, good = fit_dipoles(
        layers.difference, layers.variance, layers.usable, *_grid(layers.psf), start, prior, _HALF
    )
    centres = {}
    for k, n in enumerate(chosen):
        if not good[k]:
            continue
        _fill_dipole(layers, rows, int(n), values[k], covariances[k], float(chi2[k]), int(pixels[k]))
        if _is_dipole(layers, peaks[n], values[k], float(chi2[k]), float(fits[n, 7])):
            rows["isDipole"][n] = 1
            centres[int(n)] = (float(values[k, 0] + values[k, 2]) / 2, float(values[k, 1] + values[k, 3]) / 2)
    return centres


def _dipole_start(layers: Layers, peaks: Rows) -> tuple[Pixels, Pixels]:
    """Guess lobes near the middle of the two peaks, with the fluxes of the images before subtraction."""
    positive = peaks["snr"] > 0
    x_plus = np.where(positive, peaks["x"], peaks["partner_x"]).astype(float)
    y_plus = np.where(positive, peaks["y"], peaks["partner_y"]).astype(float)
    x_minus = np.where(positive, peaks["partner_x"], peaks["x"]).astype(float)
    y_minus = np.where(positive, peaks["partner_y"], peaks["y"]).astype(float)
    x, y = (x_plus + x_minus) / 2, (y_plus + y_minus) / 2
    science, science_error, _, _ = forced_fluxes(
        layers.science, layers.science_variance, layers.usable, *_grid(layers.science_psf), x, y, _HALF
    )
    template, template_error, _, _ = forced_fluxes(
        layers.template, layers.template_variance, layers.usable, *_grid(layers.template_psf), x, y, _HALF
    )
    science, template = np.nan_to_num(science), np.nan_to_num(template)
    share = 0.25
    start = np.stack(
        [
            x + share * (x_plus - x_minus) / 2,
            y + share * (y_plus - y_minus) / 2,
            x - share * (x_plus - x_minus) / 2,
            y - share * (y_plus - y_minus) / 2,
            np.maximum(science, 0),
            np.maximum(template, 0),
        ],
        axis=1,
    )
    sigma = [
        np.hypot(PRIOR_FRACTION * np.abs(flux), np.nan_to_num(error, nan=1e30)) + 1e-12
        for flux, error in ((science, science_error), (template, template_error))
    ]
    return np.ascontiguousarray(start), np.stack([science, sigma[0], template, sigma[1]], axis=1)


def _is_dipole(layers: Layers, peak: Any, values: Pixels, chi2: float, point_chi2: float) -> bool:
    plus, minus = float(values[4]), float(values[5])
    if min(plus, minus) <= 0:
        return False
    separation = math.hypot(values[0] - values[2], values[1] - values[3])
    psf = layers.psf.mean
    half = psf.shape[0] // 2
    xx, yy, _, _ = adaptive_moments(psf, float(half), float(half), 1.5, float(half))
    return bool(
        math.hypot(peak["snr"], peak["partner_snr"]) > DIPOLE_SNR
        and max(plus, minus) / (plus + minus) < DIPOLE_SHARE
        and separation < DIPOLE_SEPARATION * math.sqrt((xx + yy) / 2)
        and chi2 < point_chi2 - 10
    )


def _fill_dipole(
    layers: Layers, rows: Rows, n: int, values: Pixels, covariance: Pixels, chi2: float, pixels: int
) -> None:
    plus, minus = values[4], values[5]
    rows["dipoleMeanFlux"][n] = (plus + minus) / 2
    rows["dipoleFluxDiff"][n] = plus - minus
    with np.errstate(invalid="ignore"):
        together = covariance[4, 4] + covariance[5, 5]
        rows["dipoleMeanFluxErr"][n] = np.sqrt(together + 2 * covariance[4, 5]) / 2
        rows["dipoleFluxDiffErr"][n] = np.sqrt(together - 2 * covariance[4, 5])
    x, y = (values[0] + values[2]) / 2, (values[1] + values[3]) / 2
    length, angle = offset_on_sky(layers.wcs, x, y, values[0] - values[2], values[1] - values[3])
    rows["dipoleLength"][n], rows["dipoleAngle"][n] = length, angle
    rows["dipoleChi2"][n], rows["dipoleNdata"][n] = chi2, pixels


def measure_trails(layers: Layers, fits: Pixels, rows: Rows) -> None:
    """Fit a trail to sources that are significantly elongated and fill their fields; others keep nulls.

    Parameters
    ----------
    layers
        Images and PSFs.
    fits
        Point-source fits.
    rows
        DIASources with position and flux, filled in place.
    """
    start, sigmas, sources, ratios = [], [], [], []
    for n in range(len(rows)):
        guess = _trail_start(layers, rows[n])
        if guess is not None:
            start.append(guess[0])
            sigmas.append(guess[1])
            ratios.append(guess[2])
            sources.append(n)
    if not sources:
        return
    first = np.array(start)
    half = np.minimum(_HALF + np.ceil(first[:, 3]).astype(np.int64), 40)
    values, covariances, chi2, pixels, good = fit_trails(
        layers.difference, layers.variance, layers.usable, first, np.array(sigmas), half
    )
    for k, n in enumerate(sources):
        better = good[k] and chi2[k] < fits[n, 7] + (pixels[k] - fits[n, 9]) - 10
        rows["trail_flag"][n] = not better
        if better:
            _fill_trail(layers, rows, n, values[k], covariances[k], float(chi2[k]), int(pixels[k]), ratios[k])
            reach = half[k]
            height, width = layers.difference.shape
            x, y = values[k, 0], values[k, 1]
            rows["trail_flag_edge"][n] = not (reach <= x < width - reach and reach <= y < height - reach)


def _trail_start(layers: Layers, row: Any) -> tuple[list[float], float, float] | None:
    """Return a first guess, the PSF's width, and the flux a Gaussian of that width has when fitted to the PSF."""
    if row["isDipole"] == 1 or not np.isfinite(row["psfFlux"]):
        return None
    half = _HALF
    x, y = float(row["x"]), float(row["y"])
    stamp = np.empty((3, 2 * half + 1, 2 * half + 1))
    ix, iy = render_psf(*_grid(layers.psf), x, y, stamp)
    height, width = layers.difference.shape
    if not (half <= ix < width - half and half <= iy < height - half):
        return None
    centre = half + x - ix, half + y - iy
    pxx, pyy, _, found = adaptive_moments(stamp[0], *centre, 1.5, float(half))
    cut = np.s_[iy - half : iy + half + 1, ix - half : ix + half + 1]
    image = np.where(layers.usable[cut], layers.difference[cut], 0).astype(np.float64)
    sigma = math.sqrt(max((pxx + pyy) / 2, 0.25))
    xx, yy, xy, shaped = adaptive_moments(image, *centre, sigma, 0.9 * half)
    if not (found and shaped):
        return None
    long_axis = (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy)
    doubt = 3 * 2.0 / max(float(row["snr"]), 1.0)
    if long_axis < sigma**2 * (TRAIL_LEAST_RATIO + doubt):
        return None
    length = math.sqrt(12 * (long_axis - sigma**2))
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    gaussian = np.exp(-0.5 * ((columns - (x - ix)) ** 2 + (rows - (y - iy)) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    ratio = float(np.sum(stamp[0] * gaussian) / np.sum(gaussian**2))
    return [x, y, float(row["psfFlux"]), length, angle], sigma, ratio


def _fill_trail(
    layers: Layers,
    rows: Rows,
    n: int,
    values: Pixels,
    covariance: Pixels,
    chi2: float,
    pixels: int,
    ratio: float,
) -> None:
    x, y, flux, length, angle = (float(v) for v in values)
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    rows["trailFlux"][n], rows["trailFluxErr"][n] = flux / ratio, error[2] / ratio
    ra, dec = layers.wcs.all_pix2world(np.array([x]), np.array([y]), 0)
    rows["trailRa"][n], rows["trailDec"][n] = float(ra[0]) % 360.0, float(dec[0])
    jacobian = sky_jacobian(layers.wcs, np.array([x]), np.array([y]))[0]
    on_sky = jacobian @ covariance[:2, :2] @ jacobian.T
    rows["trailRaErr"][n], rows["trailDecErr"][n] = np.sqrt(np.maximum(np.diag(on_sky), 0))
    dx, dy = length * math.cos(angle), length * math.sin(angle)
    rows["trailLength"][n], bearing = offset_on_sky(layers.wcs, x, y, dx, dy)
    rows["trailAngle"][n] = bearing % 180.0
    rows["trailLengthErr"][n] = error[3] * layers.pixel_scale
    rows["trailAngleErr"][n] = math.degrees(error[4])
    rows["trailChi2"][n], rows["trailNdata"][n] = chi2, pixels
