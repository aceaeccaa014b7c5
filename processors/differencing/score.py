"""The map of signal-to-noise: a matched filter that knows masks, variance and the errors of the model.

At every pixel the flux of a point source is fitted with equal weights over the usable pixels of the PSF. Equal weights keep
fluxes unbiased: a variance plane made from the same counts as the image would favour pixels that fluctuated low.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.fourier import FourierFrame

__all__ = ["ScoreMap", "Systematics", "add_systematics", "calibrate_noise", "matched_filter"]

LEAST_COVERAGE = 0.5
"""Part of the PSF's squared sum that must lie on usable pixels for a score to be given."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Systematics:
    """Errors of subtraction that grow with what was subtracted."""

    flux_fraction: float = 0.003
    """Error of the flux as a part of the static flux under it."""
    centroid_pixels: float = 0.05
    """Error of relative position, pixels; refraction in the air moves red and blue stars apart by as much."""
    saturated_fraction: float = 0.02
    """Further part of the static flux within reach of a saturated star, whose wings are not those of its kernel."""


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


def matched_filter(
    frame: FourierFrame,
    difference: Pixels,
    variance: Pixels,
    usable: NDArray[np.bool_],
    *,
    psf: Pixels,
    static: Pixels,
) -> ScoreMap:
    """Fit a point source at every pixel.

    Parameters
    ----------
    frame
        The image's frame; its margin must hold half the PSF.
    difference, variance
        White difference and its variance, nJy and nJy^2.
    usable
        Pixels that count.
    psf
        PSF of the difference, odd square.
    static
        Matched template.
    """
    weight = usable.astype(np.float32)
    shape = np.conj(frame.kernel(psf))
    square = np.conj(frame.kernel(np.asarray(psf) ** 2))
    norm = frame.back(frame.forward(weight) * square)
    power = frame.back(frame.forward(np.where(usable, variance, 0)) * square)
    flux = frame.back(frame.forward(np.where(usable, difference, 0)) * shape)
    static_flux = frame.back(frame.forward(np.where(usable, static, 0)) * shape)
    known = (norm > LEAST_COVERAGE * float(np.sum(np.asarray(psf) ** 2))) & (power > 0)
    norm = np.where(known, norm, 1)
    error = np.where(known, np.sqrt(np.maximum(power, 0)) / norm, np.inf).astype(np.float32)
    flux = np.where(known, flux / norm, 0).astype(np.float32)
    return ScoreMap(
        flux=flux,
        error=error,
        static_flux=np.where(known, static_flux / norm, 0).astype(np.float32),
        snr=(flux / error).astype(np.float32),
    )


def calibrate_noise(score: ScoreMap, usable: NDArray[np.bool_]) -> ScoreMap:
    """Scale the errors so that the score of empty sky has a standard deviation of 1.

    Parameters
    ----------
    score
        Map of `matched_filter`.
    usable
        Pixels that count; of these, pixels on bright static sources are left out.
    """
    empty = usable & np.isfinite(score.error) & (np.abs(score.static_flux) < 5 * score.error)
    sample = score.snr[empty][::7]
    if len(sample) < 500:
        return score
    scale = float(np.clip(1.4826 * np.median(np.abs(sample - np.median(sample))), 0.5, 2.0))
    return replace(
        score,
        error=(score.error * np.float32(scale)).astype(np.float32),
        snr=(score.snr / np.float32(scale)).astype(np.float32),
        noise_scale=scale,
    )


def add_systematics(score: ScoreMap, systematics: Systematics, saturated: NDArray[np.bool_]) -> ScoreMap:
    """Add to the score's error what an imperfect kernel, PSF and registration leave on static sources.

    Parameters
    ----------
    score
        Map with errors from noise alone.
    systematics
        Their sizes.
    saturated
        Pixels within the wings of saturated stars.
    """
    by_y, by_x = np.gradient(score.static_flux)
    fraction = np.where(
        saturated, systematics.flux_fraction + systematics.saturated_fraction, systematics.flux_fraction
    )
    extra = fraction.astype(np.float32) * np.abs(score.static_flux)
    moved = np.float32(systematics.centroid_pixels) * np.hypot(by_x, by_y)
    error = np.sqrt(score.error**2 + extra**2 + moved**2)
    return replace(score, snr=(score.flux / error).astype(np.float32))
