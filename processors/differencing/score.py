"""The map of signal-to-noise, the scale of its noise, and the errors of subtraction in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.systematics import Systematics

__all__ = ["ScoreMap", "add_systematics", "calibrate_noise"]

_CELL, _LOUD_SNR = 24, 5.0
"""Side of the cells that are left out of the noise where a pixel is louder than this."""

MOST_OWN_NOISE = 0.1
"""Part of a pixel's squared error that may be put down to a change's own light: it matters near the threshold alone."""

BLANK_SNR = 1.5
"""Sky is blank where the template's light under the PSF stays below this many errors."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMap:
    """Point-source flux at every pixel, its errors, and the signal-to-noise made of them."""

    flux: NDArray[np.float32]
    error: NDArray[np.float32]
    """From the variance plane; infinite where too little of the PSF is usable."""
    static_flux: NDArray[np.float32]
    """The same filter applied to the matched template."""
    snr: NDArray[np.float32]
    """Flux over error, systematics included once `add_systematics` was called; 0 where no error is known."""
    noise_scale: float = 1.0


def calibrate_noise(score: ScoreMap, usable: NDArray[np.bool_]) -> ScoreMap:
    """Scale the errors so that the score of empty sky has a standard deviation of 1.

    Parameters
    ----------
    score
        Map of `score_tiles`; its arrays are scaled in place.
    usable
        Pixels that count; those on static sources, and cells of the sky with a bright change, are left out.
    """
    sample = np.asarray(_blank_sample(score.snr, score.error, score.static_flux, usable))
    if len(sample) < 500:
        return score
    scale = float(np.clip(1.4826 * np.median(np.abs(sample - np.median(sample))), 0.5, 2.0))
    np.multiply(score.error, np.float32(scale), out=score.error)
    np.divide(score.snr, np.float32(scale), out=score.snr)
    return replace(score, noise_scale=scale)


@njit(cache=True)
def _blank_sample(snr: Any, error: Any, static: Any, usable: Any) -> Any:
    """Return scores of blank sky, at most every tenth pixel's of a large image."""
    rows, columns = snr.shape
    step = 1 if rows * columns < 100_000 else 3
    out, count = np.empty(rows * columns // (step * step) + rows + columns, np.float32), 0
    for top in range(0, rows, _CELL):
        for left in range(0, columns, _CELL):
            bottom, right = min(top + _CELL, rows), min(left + _CELL, columns)
            quiet = True
            for r in range(top, bottom, 2):
                for c in range(left, right, 2):
                    quiet = quiet and abs(snr[r, c]) < _LOUD_SNR
            if not quiet:
                continue
            for r in range(top, bottom, step):
                for c in range(left, right, step):
                    if usable[r, c] and np.isfinite(error[r, c]) and abs(static[r, c]) < BLANK_SNR * error[r, c]:
                        out[count] = snr[r, c]
                        count += 1
    return out[:count]


def add_systematics(
    score: ScoreMap, systematics: Systematics, saturated: NDArray[np.bool_], own_noise: float = 0.0
) -> ScoreMap:
    """Add to the score's error what an imperfect kernel, PSF and registration leave on static sources.

    The noise of new light is taken from it: what is asked is how often nothing at all would look like this.

    Parameters
    ----------
    score
        Map with errors from noise alone.
    systematics
        Their sizes.
    saturated
        Pixels within the wings of saturated stars.
    own_noise
        Result of `systematics.own_light_noise`; the variance plane counts the light of a change too.
    """
    fractions = (systematics.flux_fraction, systematics.saturated_fraction, systematics.centroid_pixels, own_noise)
    snr = _with_systematics(score.flux, score.error, score.static_flux, saturated, *(np.float32(f) for f in fractions))
    return replace(score, snr=snr)


@njit(cache=True)
def _with_systematics(
    flux: Any, error: Any, static: Any, saturated: Any, fraction: Any, further: Any, centroid: Any, own: Any
) -> Any:
    rows, columns = flux.shape
    snr = np.empty(flux.shape, np.float32)
    zero, most = np.float32(0.0), np.float32(MOST_OWN_NOISE)
    for r in range(rows):
        above, under = max(r - 1, 0), min(r + 1, rows - 1)
        high = np.float32(1.0) / np.float32(max(under - above, 1))
        for c in range(columns):
            before, after = max(c - 1, 0), min(c + 1, columns - 1)
            by_y = (static[under, c] - static[above, c]) * high
            by_x = (static[r, after] - static[r, before]) / np.float32(max(after - before, 1))
            part = fraction + further if saturated[r, c] else fraction
            extra, moved = part * static[r, c], centroid * centroid * (by_x * by_x + by_y * by_y)
            noise = error[r, c] * error[r, c]
            noise -= min(own * max(flux[r, c], zero), most * noise)
            snr[r, c] = flux[r, c] / np.sqrt(noise + extra * extra + moved)
    return snr
