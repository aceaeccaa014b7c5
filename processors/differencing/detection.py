"""Find the peaks of a score map, both polarities, and decide which of them are sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.blobs import region_boxes
from processors.differencing.planes import set_plane
from schemas.masks import MaskPlane

__all__ = ["PEAK_DTYPE", "detect_peaks", "footprint_sizes", "mark_detections", "psf_response"]

PEAK_DTYPE = np.dtype(
    [("x", "<i4"), ("y", "<i4"), ("snr", "<f8"), ("partner_x", "<i4"), ("partner_y", "<i4"), ("partner_snr", "<f8")]
)
"""A peak: its pixel, its score, and the pixel and score of the opposite lobe (score 0 when there is none)."""

THRESHOLD = 5.0
"""Signal-to-noise of a DIASource (LSE-61, transSNR)."""

SIDELOBE_TOLERANCE = 0.04
"""How far, as a part of a brighter peak, its response may differ from the PSF's before its skirts count as sources."""

_PIXEL_SHARE = 0.93
"""Least part of a peak's height that its highest pixel has: half a pixel off in both directions, with a PSF of 3 pixels."""

FOOTPRINT_LEVEL = 3.0
"""Score down to which a footprint reaches."""

Pixels = NDArray[Any]


def psf_response(psf: Pixels, half: int) -> NDArray[np.float64]:
    """Return how a point source of score 1 appears in the score map: the PSF's autocorrelation, 1 at its centre.

    Parameters
    ----------
    psf
        PSF of the difference, odd square.
    half
        Half size of the response wanted, pixels.
    """
    size = 2 * half + psf.shape[0]
    spectrum = np.fft.rfft2(psf, s=(size, size))
    response = np.roll(np.fft.irfft2(np.abs(spectrum) ** 2, s=(size, size)), (half, half), axis=(0, 1))
    cut = response[: 2 * half + 1, : 2 * half + 1]
    return np.asarray(cut / cut[half, half])


def detect_peaks(
    snr: Pixels,
    error: Pixels,
    *,
    response: Pixels,
    fwhm: float,
    threshold: float = THRESHOLD,
) -> NDArray[Any]:
    """Find sources in a score map.

    Parameters
    ----------
    snr, error
        Score and error of the flux at every pixel.
    response
        Result of `psf_response`.
    fwhm
        Width of the PSF, pixels.
    threshold
        Least absolute score.

    Returns
    -------
    ndarray
        Peaks (`PEAK_DTYPE`), strongest first. A peak may lie on an unusable pixel when most of its PSF does not.
    """
    rows, columns, score = _local_extremes(np.ascontiguousarray(snr, dtype=np.float32), threshold)
    order = np.lexsort((columns, rows, -np.abs(score)))
    rows, columns, score = rows[order], columns[order], score[order]
    keep = _independent(columns, rows, score, error[rows, columns].astype(np.float64), response, fwhm, threshold)
    rows, columns, score = rows[keep], columns[keep], score[keep]
    return _pair_lobes(columns, rows, score, fwhm)


@njit(cache=True)
def _local_extremes(snr: Any, threshold: float) -> Any:
    """Return rows, columns and heights of peaks whose height between the pixels passes the threshold."""
    rows, columns, heights = [0][:0], [0][:0], [0.0][:0]
    for r in range(1, snr.shape[0] - 1):
        for c in range(1, snr.shape[1] - 1):
            value = snr[r, c]
            if abs(value) < _PIXEL_SHARE * threshold:
                continue
            sign = 1.0 if value > 0 else -1.0
            best = True
            for q in range(-1, 2):
                for p in range(-1, 2):
                    other = sign * snr[r + q, c + p]
                    if other > sign * value or (other == sign * value and (q < 0 or (q == 0 and p < 0))):
                        best = False
            if not best:
                continue
            height = value
            for before, after in ((snr[r, c - 1], snr[r, c + 1]), (snr[r - 1, c], snr[r + 1, c])):
                slope, bend = 0.5 * (after - before), after - 2.0 * value + before
                if sign * bend < 0:
                    height -= 0.5 * slope * slope / bend
            # A parabola is trusted for no more than what lies between two pixels of a well-sampled peak.
            height = sign * min(abs(height), abs(value) / _PIXEL_SHARE)
            if abs(height) >= threshold:
                rows.append(r)
                columns.append(c)
                heights.append(height)
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), np.array(heights, dtype=np.float64)


@njit(cache=True)
def _independent(x: Any, y: Any, score: Any, error: Any, response: Any, fwhm: float, threshold: float) -> Any:
    """Keep peaks that stand out of the skirts of the stronger ones already kept."""
    keep = np.zeros(x.shape[0], dtype=np.bool_)
    half = response.shape[0] // 2
    for n in range(x.shape[0]):
        expected, doubt, merged = 0.0, 0.0, False
        for m in range(n):
            dx, dy = x[n] - x[m], y[n] - y[m]
            if not keep[m] or abs(dx) > half or abs(dy) > half:
                continue
            distance = np.hypot(dx, dy)
            strength = score[m] * error[m] / error[n]
            expected += strength * response[half + dy, half + dx]
            doubt += SIDELOBE_TOLERANCE * abs(strength) * np.exp(-0.5 * (distance / fwhm) ** 2)
            merged = merged or (score[m] * score[n] > 0 and distance < 0.8 * fwhm)
        left = score[n] - expected
        keep[n] = not merged and left * score[n] > 0 and abs(left) > threshold + doubt and abs(score[n]) > doubt
    return keep


def _pair_lobes(x: Pixels, y: Pixels, score: Pixels, fwhm: float) -> NDArray[Any]:
    """Join a peak with the nearest opposite one close by; the stronger lobe gives the peak."""
    taken = np.zeros(len(x), dtype=bool)
    peaks = []
    for n in range(len(x)):
        if taken[n]:
            continue
        distance = np.hypot(x - x[n], y - y[n])
        rival = ~taken & (score * score[n] < 0) & (distance < 2.0 * fwhm) & (np.abs(score) > 0.2 * abs(score[n]))
        taken[n] = True
        if not rival.any():
            peaks.append((x[n], y[n], score[n], -1, -1, 0.0))
            continue
        m = int(np.flatnonzero(rival)[np.argmin(distance[rival])])
        taken[m] = True
        peaks.append((x[n], y[n], score[n], x[m], y[m], score[m]))
    return np.array(peaks, dtype=PEAK_DTYPE)


def footprint_sizes(snr: Pixels, peaks: NDArray[Any]) -> NDArray[np.int32]:
    """Return the side of the square around each peak that holds its footprint, grown by 2 pixels on each side.

    A footprint is the connected region of one sign above `FOOTPRINT_LEVEL`.
    """
    x, y = (peaks[name].astype(np.int64) for name in ("x", "y"))
    boxes = region_boxes(snr, x, y, np.sign(peaks["snr"]).astype(np.int64), level=FOOTPRINT_LEVEL)
    sides = np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]) + 1
    return np.where(boxes[:, 0] >= 0, sides + 4, 5).astype(np.int32)


def mark_detections(mask: NDArray[np.uint16], snr: Pixels) -> NDArray[np.uint16]:
    """Return the mask with DETECTED and DETECTED_NEGATIVE set where the score passes the threshold."""
    marked = mask.copy()
    set_plane(marked, snr > THRESHOLD, MaskPlane.DETECTED)
    set_plane(marked, snr < -THRESHOLD, MaskPlane.DETECTED_NEGATIVE)
    return marked
