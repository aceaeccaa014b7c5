"""Trails among detected sources: bodies that moved during the exposure, from a tenth of an arcsecond to a minute of arc."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.chains import Chain
from processors.differencing.layers import Layers
from processors.differencing.psf import adaptive_moments
from processors.differencing.sky import offset_on_sky, sky_jacobian
from processors.differencing.trails import fit_trails, gaussian_mixture

__all__ = ["measure_trails"]

TRAIL_LEAST_RATIO = 1.15
"""A trail is fitted when the longer axis exceeds the PSF's by this factor in second moment, beyond three sigma."""

TRAIL_CHI2 = 16.0
"""By how much a trail's chi squared must better that of a point source on the same pixels (two more parameters, four sigma)."""

TRAIL_SIGMAS = 4.0
"""Least length in units of its error."""

_HALF = 10

Pixels = NDArray[Any]
Rows = NDArray[Any]


def measure_trails(
    layers: Layers, fits: Pixels, rows: Rows, chains: Mapping[int, Chain]
) -> dict[int, tuple[float, float]]:
    """Fit a trail to sources that are significantly elongated and fill their fields; others keep nulls.

    Parameters
    ----------
    layers
        Images and PSFs.
    fits
        Point-source fits.
    rows
        DIASources with signal-to-noise and classification as dipoles, filled in place.
    chains
        For the index of a source that stands for several peaks on a line, that line.

    Returns
    -------
    dict
        For the index of each such source that is a trail, the trail's middle.
    """
    guesses: dict[int, list[float]] = {}
    for n in range(len(rows)):
        guess = _from_chain(fits[n], chains[n], layers) if n in chains else _from_shape(layers, fits[n], rows[n])
        if guess is not None:
            guesses[n] = guess
    if not guesses:
        return {}
    sources = np.array(list(guesses))
    start = np.array(list(guesses.values()))
    mixtures = np.array([_mixture(layers, x, y) for x, y in start[:, :2]])
    values, covariances, chi2, pixels, good, point = fit_trails(
        layers.difference, layers.variance, layers.usable, start, mixtures
    )
    centres = {}
    for k, n in enumerate(sources):
        sure = values[k, 3] > TRAIL_SIGMAS * np.sqrt(np.maximum(covariances[k, 3, 3], 0))
        better = bool(good[k] and sure and chi2[k] < point[k] - TRAIL_CHI2)
        rows["trail_flag"][n] = not better
        if better:
            _fill_trail(layers, rows, int(n), values[k], covariances[k], float(chi2[k]), int(pixels[k]))
            rows["trail_flag_edge"][n] = _leaves(values[k], layers.difference.shape)
            if n in chains:
                centres[int(n)] = (float(values[k, 0]), float(values[k, 1]))
    return centres


def _leaves(values: Pixels, shape: tuple[int, ...]) -> bool:
    """Tell whether an end of a trail lies within a PSF of the image's border."""
    step = 0.5 * values[3] * np.array([math.cos(values[4]), math.sin(values[4])])
    ends = np.array([values[:2] - step, values[:2] + step])
    return bool((ends < _HALF).any() or (ends > np.array([shape[1], shape[0]]) - 1 - _HALF).any())


def _mixture(layers: Layers, x: float, y: float) -> NDArray[np.float64]:
    psf = layers.psf.at(x, y)
    half = float(psf.shape[0] // 2)
    xx, yy, _, _ = adaptive_moments(psf, half, half, 1.5, half)
    return gaussian_mixture(psf, math.sqrt((xx + yy) / 2))


def _from_chain(fit: Pixels, chain: Chain, layers: Layers) -> list[float]:
    """Return a first guess from a line of peaks: each PSF's length of it has the flux of a point source."""
    psf = layers.psf.mean
    own = 1 / (2 * math.sqrt(math.pi) * math.sqrt(float(np.sum(psf**2))))
    flux = float(np.nan_to_num(fit[2])) * max(1.0, chain.length / (2 * math.sqrt(math.pi) * own * math.sqrt(2)))
    return [chain.x, chain.y, flux, max(chain.length, 2.0), chain.angle]


def _from_shape(layers: Layers, fit: Pixels, row: Any) -> list[float] | None:
    """Return a first guess from second moments, None when they are not clearly those of an elongated source."""
    x, y, flux = float(fit[0]), float(fit[1]), float(fit[2])
    if row["isDipole"] == 1 or not np.isfinite(flux):
        return None
    half = _HALF
    ix, iy = math.floor(x + 0.5), math.floor(y + 0.5)
    height, width = layers.difference.shape
    if not (half <= ix < width - half and half <= iy < height - half):
        return None
    cut = np.s_[iy - half : iy + half + 1, ix - half : ix + half + 1]
    image = np.where(layers.usable[cut], layers.difference[cut], 0).astype(np.float64)
    psf = layers.psf.at(x, y)
    middle = float(psf.shape[0] // 2)
    pxx, pyy, _, found = adaptive_moments(psf, middle, middle, 1.5, middle)
    sigma = math.sqrt(max((pxx + pyy) / 2, 0.25))
    xx, yy, xy, shaped = adaptive_moments(image, half + x - ix, half + y - iy, sigma, 0.9 * half)
    if not (found and shaped):
        return None
    long_axis = (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy)
    doubt = 3 * 2.0 / max(float(row["snr"]), 1.0)
    if long_axis < sigma**2 * (TRAIL_LEAST_RATIO + doubt):
        return None
    length = math.sqrt(12 * (long_axis - sigma**2))
    return [x, y, flux, length, 0.5 * math.atan2(2 * xy, xx - yy)]


def _fill_trail(
    layers: Layers, rows: Rows, n: int, values: Pixels, covariance: Pixels, chi2: float, pixels: int
) -> None:
    x, y, flux, length, angle = (float(v) for v in values)
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    rows["trailFlux"][n], rows["trailFluxErr"][n] = flux, error[2]
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
