"""Fake sources and empty sky: what the detection of one CCD would have found, measured beside the night's work.

A fake is the difference's own PSF at some place, times a flux chosen in units of the error there. It is added to a copy of a small
window of the score map, after the kernel was fitted; the published images, the masks and the DIASources never hold one, so none
can become an alert. A point source adds ``F sum(w P p) / sum(w p^2)`` to the filtered flux, ``p`` being the filter, ``P`` the source
on its sub-pixel place and ``w`` the usable pixels, and leaves the error as it is: the window is scored again exactly, without a
second look at the rest of the CCD. Noise of the fake's own light is left out: below a signal-to-noise of 12 it is a few percent of the sky's.

Places follow a sequence of low discrepancy whose start depends on visit and detector: every run of a visit, on any worker, has the
same fakes, and they cover the CCD evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.apertures import aperture_fluxes
from processors.differencing.detection import THRESHOLD, detect_peaks, psf_response
from processors.differencing.planes import DROPPED_CENTRE, UNUSABLE, has_plane
from processors.differencing.psf import PsfGrid, adaptive_moments, render_psf

if TYPE_CHECKING:
    from processors.differencing.pipeline import DifferenceResult

__all__ = ["FAKE_DTYPE", "FAKE_LEVELS", "SKY_DTYPE", "inject_fakes", "measure_sky"]

FAKE_LEVELS = (*(3.0 + 0.5 * k for k in range(11) for _ in range(4)), 9.0, 9.0, 10.0, 10.0, 12.0, 12.0)
"""Signal-to-noise of the fakes of a CCD: four at each of 3, 3.5, ... 8, two at 9, 10 and 12; fifty in all."""

SKY_PLACES = 200
"""Places of empty sky that are measured."""

MATCH_PIXELS = 2.5
"""Distance within which a peak is the fake's: 0.5 arcseconds on LSST's pixels, the field's radius for injected sources."""

SKY_APERTURE = 6.0
"""Radius in pixels of the apertures on empty sky: wide enough for correlated noise to show."""

REACH = 12
"""Pixels about a fake in which its light changes the score."""

WINDOW = 20
"""Half size in pixels of the window in which peaks are looked for again."""

SPENT = 40
"""Places tried for every one that is wanted, before a crowded CCD is given up."""

FAKE_DTYPE = np.dtype(
    [("x", "<f8"), ("y", "<f8"), ("level", "<f8"), ("flux", "<f8"), ("found", "?"), ("snr", "<f8"), ("measured", "<f8")]
)
"""A fake: place (pixels), wanted signal-to-noise, its flux (nJy), whether it was detected, the signal-to-noise of its peak (0 when
not found) and its filtered flux, made up for its distance from the pixel's centre."""

SKY_DTYPE = np.dtype([("x", "<f8"), ("y", "<f8"), ("psf_pull", "<f8"), ("aperture_pull", "<f8")])
"""A place of empty sky: PSF flux and aperture flux in units of their errors."""

Pixels = NDArray[Any]

_PLASTIC = 1.32471795724474602596
"""Real root of x^3 = x + 1: its inverse powers give the two-dimensional sequence of lowest known discrepancy (Roberts 2018)."""


def inject_fakes(result: DifferenceResult, *, visit: int = 0, detector: int = 0) -> NDArray[Any]:
    """Inject fakes beside a finished difference and look for them.

    Parameters
    ----------
    result
        The difference; nothing in it is changed.
    visit, detector
        They choose the places.

    Returns
    -------
    ndarray
        Rows of `FAKE_DTYPE`, at most one for each of `FAKE_LEVELS`; fewer, or none, where the CCD has no free places.
    """
    places = _free_places(result, len(FAKE_LEVELS), _key(visit, detector))
    rows = np.zeros(len(places), FAKE_DTYPE)
    rows["x"], rows["y"] = places[:, 0], places[:, 1]
    stride = 7  # coprime to the number of levels: neighbours in the sequence differ in level
    start = _key(visit, detector) % len(FAKE_LEVELS)
    rows["level"] = [FAKE_LEVELS[(start + stride * k) % len(FAKE_LEVELS)] for k in range(len(rows))]
    mean = result.psf.mean
    response, fwhm = psf_response(mean, 24), _fwhm(mean)
    for row in rows:
        _judge(row, result, response, fwhm)
    return rows


def measure_sky(result: DifferenceResult, *, visit: int = 0, detector: int = 0) -> NDArray[Any]:
    """Measure the PSF flux and the aperture flux of empty sky, in units of their errors.

    Parameters are those of `inject_fakes`. Places are free of detections, of masked pixels and of static sources.

    Returns
    -------
    ndarray
        Rows of `SKY_DTYPE`.
    """
    places = _free_places(result, SKY_PLACES, _key(visit, detector) ^ 0x5BD1, empty=True)
    rows = np.zeros(len(places), SKY_DTYPE)
    rows["x"], rows["y"] = places[:, 0], places[:, 1]
    x, y = _pixel(places[:, 0]), _pixel(places[:, 1])
    rows["psf_pull"] = result.score.flux[y, x] / result.score.error[y, x]
    usable = ~has_plane(result.mask, UNUSABLE)
    flux, error, _ = aperture_fluxes(result.image, result.variance, usable, places[:, 0], places[:, 1], SKY_APERTURE)
    rows["aperture_pull"] = flux / np.maximum(error, 1e-30)
    return rows


def _key(visit: int, detector: int) -> int:
    """Mix visit and detector into 32 bits (the finaliser of SplitMix64)."""
    value = (visit * 0x9E3779B97F4A7C15 + detector + 1) & 0xFFFFFFFFFFFFFFFF
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & 0xFFFFFFFFFFFFFFFF
    return (value ^ (value >> 31)) >> 32


def _free_places(result: DifferenceResult, count: int, key: int, *, empty: bool = False) -> NDArray[np.float64]:
    """Return up to ``count`` places in the order of the sequence where a source could be found and none is.

    ``empty`` asks for empty sky: no static source brighter than five times the error.
    """
    rows, columns = result.image.shape
    border = WINDOW + 2
    if columns <= 2 * border + 1 or rows <= 2 * border + 1:
        return np.empty((0, 2))
    step = np.arange(1, SPENT * count + 1)[:, None] * np.array([1 / _PLASTIC, 1 / _PLASTIC**2])
    start = np.array([(key & 0xFFFF) / 65536, (key >> 16) / 65536])
    share = np.mod(start + step, 1.0)
    places = border + share * (np.array([columns, rows]) - 1 - 2 * border)
    x, y = _pixel(places[:, 0]), _pixel(places[:, 1])
    score = result.score
    free = ~has_plane(result.mask[y, x], DROPPED_CENTRE) & np.isfinite(score.error[y, x])
    if empty:
        free &= np.abs(score.static_flux[y, x]) < 5 * score.error[y, x]
    places, x, y = places[free], x[free], y[free]
    reach = round(1.5 * _fwhm(result.psf.mean))
    good = _quiet(score.snr, x, y, reach, np.float32(THRESHOLD), count)
    return np.asarray(places[good])


@njit(cache=True)
def _quiet(snr: Any, x: Any, y: Any, reach: int, limit: Any, count: int) -> Any:
    """Return the first places without a detection within reach."""
    kept = np.empty(count, np.int64)
    found = 0
    for n in range(x.shape[0]):
        if found == count:
            break
        quiet = True
        for r in range(y[n] - reach, y[n] + reach + 1):
            for c in range(x[n] - reach, x[n] + reach + 1):
                if abs(snr[r, c]) > limit:
                    quiet = False
        if quiet:
            kept[found] = n
            found += 1
    return kept[:found]


def _pixel(place: Pixels) -> NDArray[np.int64]:
    return np.floor(np.asarray(place) + 0.5).astype(np.int64)


def _fwhm(psf: Pixels) -> float:
    half = psf.shape[0] // 2
    xx, yy, _, _ = adaptive_moments(np.asarray(psf, np.float64), float(half), float(half), 1.5, float(half))
    return 2.3548 * float(np.sqrt((xx + yy) / 2))


def _judge(row: Any, result: DifferenceResult, response: Pixels, fwhm: float) -> None:
    """Score the window of one fake again, look for its peak, and fill its row."""
    score, psf = result.score, result.psf
    x, y = float(row["x"]), float(row["y"])
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    box = np.s_[iy - WINDOW : iy + WINDOW + 1, ix - WINDOW : ix + WINDOW + 1]
    flux, error = score.flux[box].astype(np.float64), score.error[box].astype(np.float64)
    snr = score.snr[box].astype(np.float64)
    # The map's S/N holds systematic errors too; a fake does not change them.
    whole = np.where(snr != 0, np.abs(flux) / np.maximum(np.abs(snr), 1e-30), error)
    row["flux"] = row["level"] * whole[WINDOW, WINDOW]
    gain = _added(psf, result.mask, x, y)
    inner = np.s_[WINDOW - REACH : WINDOW + REACH + 1, WINDOW - REACH : WINDOW + REACH + 1]
    flux[inner] += row["flux"] * gain
    known = np.isfinite(whole) & (whole > 0)
    changed = np.where(known, flux / np.where(known, whole, 1.0), 0.0).astype(np.float32)
    row["measured"] = flux[WINDOW, WINDOW] / gain[REACH, REACH]
    peaks = detect_peaks(changed, whole.astype(np.float32), response=response, fwhm=fwhm)
    distance = np.hypot(peaks["x"] + ix - WINDOW - x, peaks["y"] + iy - WINDOW - y)
    near = (distance < MATCH_PIXELS) & (peaks["snr"] > 0)
    if near.any():
        row["found"], row["snr"] = True, float(peaks["snr"][near].max())


def _added(psf: PsfGrid, mask: NDArray[np.uint16], x: float, y: float) -> NDArray[np.float64]:
    """Return what a fake of flux 1 adds to the filtered flux about it, of shape ``2 REACH + 1`` square."""
    half = min(REACH, psf.half)
    drawn = np.empty((3, 2 * half + 1, 2 * half + 1))
    ix, iy = render_psf(psf.x_nodes, psf.y_nodes, psf.coefficients, x, y, drawn)
    middle = psf.half
    filtering = psf.at(x, y)[middle - half : middle + half + 1, middle - half : middle + half + 1]
    out = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    _correlate(drawn[0], np.ascontiguousarray(filtering), mask, UNUSABLE, ix, iy, out)
    return out


@njit(cache=True)
def _correlate(source: Any, filtering: Any, mask: Any, planes: int, ix: int, iy: int, out: Any) -> None:
    half, reach = source.shape[0] // 2, out.shape[0] // 2
    rows, columns = mask.shape
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            total, norm = 0.0, 0.0
            for q in range(-half, half + 1):
                r = iy + dy + q
                if r < 0 or r >= rows:
                    continue
                for p in range(-half, half + 1):
                    c = ix + dx + p
                    if c < 0 or c >= columns or (mask[r, c] & planes) != 0:
                        continue
                    weight = filtering[half + q, half + p]
                    norm += weight * weight
                    if abs(dy + q) <= half and abs(dx + p) <= half:
                        total += weight * source[half + dy + q, half + dx + p]
            out[reach + dy, reach + dx] = total / norm if norm > 0 else 0.0
