"""What a reliability model reads of each DIASource: nineteen numbers from its stamps, most in units of the noise.

===================== ==============================================================================================
snr                   Score at the source's pixel, positive for both polarities.
chi2                  Chi squared per pixel of the point-source fit over 9 x 9 pixels.
explained             Part of the chi squared of 9 x 9 pixels without a model that the point source takes away.
core_residual         Root mean square of the residuals of the central 3 x 3 pixels, sigma.
ring_residual         The same from 3 to 6 pixels.
sharpness             Highest residual pixel of 5 x 5, sigma, over the signal-to-noise: cosmic rays.
asymmetry             Mean square of what differs from the stamp turned by half a circle, over that of the stamp.
opposite              Deepest score of the other sign within 8 pixels, over the source's score: dipoles, rings.
opposite_area         Part of 9 x 9 pixels more than 2 sigma on the other side.
width                 Second moment over the PSF's, of adaptive weights; 0 where it could not be measured.
elongation            Difference over sum of the principal moments.
score_scatter         Standard deviation of the score from 9 to 16 pixels: residuals all around.
static                Logarithm (base 10) of 1 + template's signal-to-noise as a point source here.
static_slope          Largest step of that flux to a neighbouring pixel, in errors, as its logarithm: wrong registration.
brightest             Logarithm of 1 + signal-to-noise of the template's brightest pixel within 16 pixels.
brightest_distance    Distance to that pixel, pixels.
masked                Part of 15 x 15 pixels that are not usable.
score_level           Mean of the score from 9 to 16 pixels, in the source's own direction: halos.
saturated_distance    Distance to the nearest saturated pixel of either image, pixels; 65 when none is within 64 in both axes.
===================== ==============================================================================================
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.planes import UNUSABLE
from processors.differencing.psf import PsfGrid, adaptive_moments, render_psf
from processors.differencing.score import ScoreMap
from schemas.masks import MaskPlane

__all__ = ["FEATURE_NAMES", "Difference", "reliability_features"]

FEATURE_NAMES = (
    "snr",
    "chi2",
    "explained",
    "core_residual",
    "ring_residual",
    "sharpness",
    "asymmetry",
    "opposite",
    "opposite_area",
    "width",
    "elongation",
    "score_scatter",
    "static",
    "static_slope",
    "brightest",
    "brightest_distance",
    "masked",
    "score_level",
    "saturated_distance",
)
"""Fields of the result, in order."""

_HALF = 10
_CORE = 4
_REACH = 16
_FAR = 64
_COUNT = len(FEATURE_NAMES)
_SATURATED = np.uint16(MaskPlane.SAT | MaskPlane.SAT_TEMPLATE)


class Difference(Protocol):
    """What features are taken from; a `DifferenceResult` is one."""

    @property
    def image(self) -> NDArray[np.float32]:
        """White difference."""

    @property
    def variance(self) -> NDArray[np.float32]:
        """Its variance."""

    @property
    def mask(self) -> NDArray[np.uint16]:
        """Planes of both images."""

    @property
    def psf(self) -> PsfGrid:
        """PSF of the difference."""

    @property
    def template(self) -> NDArray[np.float32]:
        """Matched template."""

    @property
    def score(self) -> ScoreMap:
        """Score map."""


def reliability_features(difference: Difference, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Return the features of sources.

    Parameters
    ----------
    difference
        Images and score of one CCD.
    x, y
        Positions of the sources, pixels.

    Returns
    -------
    ndarray
        Structured, a float32 field for each of `FEATURE_NAMES`; a tenth of a millisecond a source. All are NaN for a position
        that is not finite or not on the image, or with no usable pixel within 6 of it, and finite otherwise.
    """
    score, psf = difference.score, difference.psf
    table = _features(
        (difference.image, difference.variance, difference.mask, difference.template),
        (score.snr, score.error, score.static_flux),
        (psf.x_nodes, psf.y_nodes, psf.coefficients),
        np.asarray(x, dtype=np.float64),
        np.asarray(y, dtype=np.float64),
        np.uint16(UNUSABLE),
    )
    out = np.zeros(len(table), dtype=[(name, np.float32) for name in FEATURE_NAMES])
    for k, name in enumerate(FEATURE_NAMES):
        out[name] = np.clip(table[:, k], -1e6, 1e6)
    return out


@njit(cache=True)
def _features(images: Any, scores: Any, grid: Any, x: Any, y: Any, unusable: Any) -> Any:
    image, variance, mask, template = images
    snr, error, static = scores
    out = np.full((x.shape[0], _COUNT), np.nan)
    size = 2 * _HALF + 1
    psf, stamp, noise = np.empty((3, size, size)), np.empty((size, size)), np.empty((size, size))
    for n in range(x.shape[0]):
        if not (np.isfinite(x[n]) and np.isfinite(y[n])):
            continue
        ix, iy = int(np.floor(x[n] + 0.5)), int(np.floor(y[n] + 0.5))
        if not (0 <= ix < image.shape[1] and 0 <= iy < image.shape[0]):
            continue
        render_psf(grid[0], grid[1], grid[2], x[n], y[n], psf)
        _cut(image, variance, mask, unusable, ix, iy, stamp, noise)
        if not noise[_HALF - 6 : _HALF + 7, _HALF - 6 : _HALF + 7].any():
            continue
        out[n] = 0.0
        peak = snr[iy, ix]
        sign = -1.0 if peak < 0 else 1.0
        out[n, 0] = abs(peak)
        _stamp_features(stamp, noise, psf[0], sign, max(abs(peak), 1.0), out[n])
        _shape_features(stamp, psf[0], _HALF + x[n] - ix, _HALF + y[n] - iy, out[n])
        _score_features(snr, error, static, ix, iy, sign, max(abs(peak), 1.0), out[n])
        _template_features(template, variance, mask, unusable, ix, iy, out[n])
        out[n, 18] = _saturated_distance(mask, ix, iy)
    return out


@njit(cache=True)
def _cut(image: Any, variance: Any, mask: Any, unusable: Any, ix: int, iy: int, stamp: Any, noise: Any) -> None:
    """Fill pixels and their standard deviations around a place; 0 and 0 where a pixel does not count."""
    for r in range(stamp.shape[0]):
        for c in range(stamp.shape[1]):
            row, column = iy + r - _HALF, ix + c - _HALF
            stamp[r, c], noise[r, c] = 0.0, 0.0
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1] and not mask[row, column] & unusable:
                stamp[r, c], noise[r, c] = image[row, column], np.sqrt(max(variance[row, column], 1e-30))


@njit(cache=True)
def _stamp_features(stamp: Any, noise: Any, psf: Any, sign: float, snr: float, out: Any) -> None:
    """Fill what compares the stamp with a point source and with itself turned by half a circle."""
    product, square = 0.0, 0.0
    low, high = _HALF - 6, _HALF + 7
    for r in range(low, high):
        for c in range(low, high):
            if noise[r, c] > 0:
                product += stamp[r, c] * psf[r, c]
                square += psf[r, c] * psf[r, c]
    flux = product / square if square > 0 else 0.0
    chi2, empty, pixels, opposite, highest = 0.0, 0.0, 0, 0, 0.0
    core, core_pixels, ring, ring_pixels, turned, power = 0.0, 0, 0.0, 0, 0.0, 0.0
    for r in range(low, high):
        for c in range(low, high):
            if noise[r, c] <= 0:
                continue
            dr, dc = r - _HALF, c - _HALF
            left = (stamp[r, c] - flux * psf[r, c]) / noise[r, c]
            if abs(dr) <= 1 and abs(dc) <= 1:
                core, core_pixels = core + left * left, core_pixels + 1
            if 9 <= dr * dr + dc * dc <= 36:
                ring, ring_pixels = ring + left * left, ring_pixels + 1
            if abs(dr) <= 2 and abs(dc) <= 2:
                highest = max(highest, sign * left)
            if abs(dr) > _CORE or abs(dc) > _CORE:
                continue
            value = stamp[r, c] / noise[r, c]
            chi2, empty, pixels = chi2 + left * left, empty + value * value, pixels + 1
            opposite += sign * value < -2.0
            mirror = stamp[2 * _HALF - r, 2 * _HALF - c] / noise[r, c]
            turned, power = turned + (value - mirror) ** 2, power + value * value
    out[1] = chi2 / max(pixels, 1)
    out[2] = 1.0 - chi2 / empty if empty > 0 else 0.0
    out[3] = np.sqrt(core / max(core_pixels, 1))
    out[4] = np.sqrt(ring / max(ring_pixels, 1))
    out[5] = highest / snr
    out[6] = turned / power if power > 0 else 0.0
    out[8] = opposite / max(pixels, 1)


@njit(cache=True)
def _shape_features(stamp: Any, psf: Any, cx: float, cy: float, out: Any) -> None:
    pxx, pyy, _, known = adaptive_moments(psf, cx, cy, 1.5, float(_HALF))
    xx, yy, xy, found = adaptive_moments(stamp, cx, cy, np.sqrt(max(0.5 * (pxx + pyy), 0.25)), 0.8 * _HALF)
    if known and found:
        out[9] = (xx + yy) / (pxx + pyy)
        out[10] = np.hypot(xx - yy, 2 * xy) / (xx + yy)


@njit(cache=True)
def _score_features(snr: Any, error: Any, static: Any, ix: int, iy: int, sign: float, peak: float, out: Any) -> None:
    """Fill what the score map shows around a source, and the template's light beneath it."""
    deepest, total, square, count = 0.0, 0.0, 0.0, 0
    for r in range(max(iy - _REACH, 0), min(iy + _REACH + 1, snr.shape[0])):
        for c in range(max(ix - _REACH, 0), min(ix + _REACH + 1, snr.shape[1])):
            radius2 = (r - iy) ** 2 + (c - ix) ** 2
            if radius2 <= 64:
                deepest = min(deepest, sign * snr[r, c])
            elif 81 <= radius2 <= _REACH * _REACH:
                total, square, count = total + snr[r, c], square + snr[r, c] ** 2, count + 1
    out[7] = -deepest / peak
    if count > 1:
        out[11] = np.sqrt(max(square / count - (total / count) ** 2, 0.0))
        out[17] = sign * total / count
    if not np.isfinite(error[iy, ix]):
        return
    out[12] = np.log10(1.0 + max(static[iy, ix] / error[iy, ix], 0.0))
    step = 0.0
    for k in range(4):
        r, c = iy + (k == 0) - (k == 1), ix + (k == 2) - (k == 3)
        if 0 <= r < snr.shape[0] and 0 <= c < snr.shape[1]:
            step = max(step, abs(static[r, c] - static[iy, ix]))
    out[13] = np.log10(1.0 + step / error[iy, ix])


@njit(cache=True)
def _template_features(template: Any, variance: Any, mask: Any, unusable: Any, ix: int, iy: int, out: Any) -> None:
    highest, distance2, masked, pixels = 0.0, 0, 0, 0
    for r in range(max(iy - _REACH, 0), min(iy + _REACH + 1, mask.shape[0])):
        for c in range(max(ix - _REACH, 0), min(ix + _REACH + 1, mask.shape[1])):
            if template[r, c] > highest:
                highest, distance2 = template[r, c], (r - iy) ** 2 + (c - ix) ** 2
            if abs(r - iy) <= 7 and abs(c - ix) <= 7:
                pixels += 1
                masked += (mask[r, c] & unusable) != 0
    out[14] = np.log10(1.0 + highest / np.sqrt(max(variance[iy, ix], 1e-30)))
    out[15] = np.sqrt(distance2)
    out[16] = masked / max(pixels, 1)


@njit(cache=True)
def _saturated_distance(mask: Any, ix: int, iy: int) -> float:
    """Look at every second pixel: saturated areas are grown by 2 and more."""
    nearest2 = (_FAR + 1) ** 2
    for r in range(max(iy - _FAR, 0), min(iy + _FAR + 1, mask.shape[0]), 2):
        for c in range(max(ix - _FAR, 0), min(ix + _FAR + 1, mask.shape[1]), 2):
            if mask[r, c] & _SATURATED:
                nearest2 = min(nearest2, (r - iy) ** 2 + (c - ix) ** 2)
    return float(np.sqrt(nearest2))
