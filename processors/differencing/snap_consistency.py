"""What the two snaps of a visit say of a source: which of them saw it, and how far it moved from one to the other.

The snaps are at hand as their difference, first minus second. A source of flux F that both saw is not on it; one that a single snap
saw is there with F or -F; one that moved by a small vector m leaves ``-F/2 m . dP/dx*`` (P the PSF, x* the source's place). Three
amplitudes a source, fitted together, tell these apart. What lasts leaves a little too, since air and pointing change between snaps:
the kernel's stars show how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.layers import Layers
from processors.differencing.psf import PsfGrid, render_psf
from processors.differencing.sky import offsets_on_sky
from schemas.events import SnapPresence
from schemas.masks import MaskPlane

__all__ = [
    "MOTION_SIGMAS",
    "PRESENCE_CHI2",
    "SNAP_DTYPE",
    "SnapFit",
    "SnapPair",
    "SnapPresence",
    "SnapView",
    "fit_snaps",
    "judge_presence",
    "seen_once",
    "snap_metrics",
    "snap_rows",
    "view_snaps",
]

WINDOW_HALF = 8
"""Half size of the windows of the fits, pixels."""

PRESENCE_CHI2 = 9.0
"""By how much chi squared must prefer one answer to all others (three sigma)."""

LEAST_STARS = 8
"""Stars from which the change between the snaps is measured."""

UNMEASURED = (0.05, 0.1)
"""Errors of flux share and motion (pixels) of what lasts, where too few stars show them: snaps differ by a percent in width and by
some hundredths of an arcsecond in pointing."""

LEAST_ERRORS = (0.005, 0.005)
"""Lower bounds of the same where stars show them."""

MOTION_SIGMAS = 4.5
"""Significance of a motion between the snaps from which a source moved (4e-5 by chance)."""

SNAP_DTYPE = np.dtype(
    [
        ("dia_source_id", "i8"),
        ("presence", "i1"),
        ("first_share", "f4"),
        ("first_share_error", "f4"),
        ("motion_arcsec", "f4"),
        ("motion_error_arcsec", "f4"),
        ("motion_angle_deg", "f4"),
        ("motion_snr", "f4"),
    ]
)
"""What the snaps say of a DIASource: value of `SnapPresence`; the part of its flux in the first snap (1/2 when both saw it alike);
how far it moved from the middle of the first snap to that of the second, with the direction from north through east (0 to 360) and
the significance of the motion. NaN where there is nothing to tell by."""

_BLIND = np.uint16(
    int(
        MaskPlane.BAD
        | MaskPlane.SAT
        | MaskPlane.INTRP
        | MaskPlane.NO_DATA
        | MaskPlane.SAT_TEMPLATE
        | MaskPlane.STREAK
        | MaskPlane.CR
    )
)

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapPair:
    """The two snaps of a visit."""

    difference: NDArray[np.float32]
    """First minus second once their sky levels are matched, in the science image's units."""
    variance: NDArray[np.float32]
    exposure_s: float
    """Open shutter of one snap, seconds."""
    gap_s: float
    """From the end of the first to the start of the second, seconds."""

    @property
    def gap_share(self) -> float:
        """Part of the time from first opening to last closing in which the shutter is closed."""
        return self.gap_s / (2 * self.exposure_s + self.gap_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapView:
    """A pair of snaps with what changes between them for everything that lasts."""

    pair: SnapPair
    share: float
    """Flux on the snaps' difference as a part of the visit's: by how much the first snap is the more transparent."""
    shift: tuple[float, float]
    """Pixels from the first to the second snap."""
    share_error: float
    """Scatter of ``share`` among stars."""
    shift_error: float
    """Scatter of ``shift``, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapFit:
    """Amplitudes on the snaps' difference, what lasts taken out: one value, or two for x and y, a source."""

    flux: Pixels
    flux_variance: Pixels
    moment: Pixels
    """Flux times half the motion, shape (sources, 2)."""
    moment_covariance: Pixels
    """Shape (sources, 2, 2)."""
    measured: NDArray[np.bool_]


def view_snaps(pair: SnapPair, layers: Layers, x: Pixels, y: Pixels) -> SnapView:
    """Measure on stars what changes between the snaps.

    Parameters
    ----------
    pair
        The snaps.
    layers
        Images and PSFs.
    x, y
        Stars that last, pixels.
    """
    raw = _raw_fits(pair, layers, np.asarray(x, float), np.asarray(y, float))
    flux = raw[:, 8]
    good = (raw[:, 7] > 0) & (flux > 20 * np.sqrt(np.maximum(raw[:, 3], 0)))
    if np.count_nonzero(good) < LEAST_STARS:
        return SnapView(pair=pair, share=0.0, shift=(0.0, 0.0), share_error=UNMEASURED[0], shift_error=UNMEASURED[1])
    ratios = np.column_stack([raw[good, 0], -2 * raw[good, 1], -2 * raw[good, 2]]) / flux[good, None]
    middle = np.median(ratios, axis=0)
    scatter = 1.4826 * np.median(np.abs(ratios - middle), axis=0)
    return SnapView(
        pair=pair,
        share=float(middle[0]),
        shift=(float(middle[1]), float(middle[2])),
        share_error=max(float(scatter[0]), LEAST_ERRORS[0]),
        shift_error=max(float(np.hypot(*scatter[1:]) / math.sqrt(2)), LEAST_ERRORS[1]),
    )


def fit_snaps(view: SnapView, layers: Layers, x: Pixels, y: Pixels) -> SnapFit:
    """Fit the snaps' difference at places.

    Parameters
    ----------
    view
        Result of `view_snaps`.
    layers
        Images and PSFs.
    x, y
        Places, pixels.

    Returns
    -------
    SnapFit
        Not measured, and NaN, where more than half of the PSF's window cannot be used.
    """
    raw = _raw_fits(view.pair, layers, np.asarray(x, float), np.asarray(y, float))
    light = np.nan_to_num(raw[:, 8])
    moment = -raw[:, 1:3] - 0.5 * light[:, None] * np.array(view.shift)
    covariance = np.empty((len(raw), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = raw[:, 4], raw[:, 5]
    covariance[:, 0, 1] = covariance[:, 1, 0] = raw[:, 6]
    covariance += (0.5 * view.shift_error * light[:, None, None]) ** 2 * np.eye(2)
    return SnapFit(
        flux=raw[:, 0] - view.share * light,
        flux_variance=raw[:, 3] + (view.share_error * light) ** 2,
        moment=moment,
        moment_covariance=covariance,
        measured=raw[:, 7] > 0,
    )


def judge_presence(fit: SnapFit, flux: Pixels, flux_variance: Pixels) -> NDArray[np.int8]:
    """Tell which snaps saw point sources.

    Parameters
    ----------
    fit
        Amplitudes on the snaps' difference.
    flux, flux_variance
        Of the sources on the difference from the template.

    Returns
    -------
    ndarray
        Values of `SnapPresence`; UNKNOWN where no answer is better than the others by `PRESENCE_CHI2`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        both = fit.flux**2 / fit.flux_variance
        single = [(fit.flux - sign * flux) ** 2 / (fit.flux_variance + flux_variance) for sign in (1.0, -1.0)]
    chi2 = np.nan_to_num(np.stack([*single, both]), nan=np.inf)
    order = np.sort(chi2, axis=0)
    with np.errstate(invalid="ignore"):
        sure = fit.measured & (order[1] - order[0] > PRESENCE_CHI2)
    answers = np.array([SnapPresence.FIRST, SnapPresence.SECOND, SnapPresence.BOTH], np.int8)
    return np.where(sure, answers[np.argmin(chi2, axis=0)], np.int8(SnapPresence.UNKNOWN)).astype(np.int8)


def snap_rows(layers: Layers, fit: SnapFit, places: Pixels, flux: Pixels, flux_variance: Pixels) -> NDArray[np.void]:
    """Write what the snaps say of point sources as rows of `SNAP_DTYPE`, identifiers left 0.

    Parameters
    ----------
    layers
        Images.
    fit
        Amplitudes at the places.
    places
        Shape (sources, 2), pixels.
    flux, flux_variance
        Of the sources on the difference from the template.
    """
    rows = np.zeros(len(places), SNAP_DTYPE)
    for name in SNAP_DTYPE.names or ():
        if SNAP_DTYPE[name].kind == "f":
            rows[name] = np.nan
    rows["presence"] = judge_presence(fit, flux, flux_variance)
    good = fit.measured & np.isfinite(flux) & (flux != 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fit.flux / flux
        error = np.sqrt(fit.flux_variance + ratio**2 * flux_variance) / np.abs(flux)
        rows["first_share"], rows["first_share_error"] = np.where(good, 0.5 + 0.5 * ratio, np.nan), 0.5 * error
    both = np.flatnonzero(good & (rows["presence"] != SnapPresence.FIRST) & (rows["presence"] != SnapPresence.SECOND))
    if len(both):
        _fill_motions(layers, fit, both, places, flux, rows)
    return rows


def _fill_motions(
    layers: Layers, fit: SnapFit, some: NDArray[np.int64], places: Pixels, flux: Pixels, rows: NDArray[np.void]
) -> None:
    """Fill how far some sources moved between the snaps, and how surely."""
    moved = 2 * fit.moment[some] / flux[some, None]
    spread = 4 * fit.moment_covariance[some] / flux[some, None, None] ** 2
    rows["motion_arcsec"][some], rows["motion_angle_deg"][some] = offsets_on_sky(layers.wcs, places[some], moved)
    along = moved / np.maximum(np.hypot(moved[:, 0], moved[:, 1]), 1e-12)[:, None]
    rows["motion_error_arcsec"][some] = layers.pixel_scale * np.sqrt(np.einsum("ni,nij,nj->n", along, spread, along))
    chi2 = np.einsum("ni,ni->n", moved, np.linalg.solve(spread, moved[..., None])[..., 0])
    rows["motion_snr"][some] = np.sqrt(np.maximum(chi2, 0.0))


def seen_once(rows: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Tell which sources one snap alone saw; None without snaps."""
    return None if rows is None else np.isin(rows["presence"], [SnapPresence.FIRST, SnapPresence.SECOND])


def snap_metrics(rows: NDArray[Any] | None) -> dict[str, float]:
    """Return how many sources one snap alone saw, how many both, and how many moved between them; nothing without snaps."""
    once = seen_once(rows)
    if rows is None or once is None:
        return {}
    return {
        "n_one_snap": float(np.count_nonzero(once)),
        "n_both_snaps": float(np.count_nonzero(rows["presence"] == SnapPresence.BOTH)),
        "n_moved_between_snaps": float(np.count_nonzero(rows["motion_snr"] > MOTION_SIGMAS)),
    }


def _grid(psf: PsfGrid) -> tuple[Pixels, Pixels, Pixels]:
    return psf.x_nodes, psf.y_nodes, psf.coefficients


def _raw_fits(pair: SnapPair, layers: Layers, x: Pixels, y: Pixels) -> Pixels:
    planes = (pair.difference, pair.variance, layers.mask, layers.science)
    return np.asarray(_fit(planes, _grid(layers.science_psf), x, y, WINDOW_HALF))


@njit(cache=True)
def _fit(planes: Any, grid: Any, x: Any, y: Any, half: int) -> Any:
    """Return, a source, amplitudes of PSF and slopes, their variances, the covariance of the slopes', pixels, and the PSF flux
    on the science image."""
    image, variance, mask, science = planes
    out = np.full((x.shape[0], 9), np.nan)
    size = 2 * half + 1
    stamp, normal, right = np.empty((3, size, size)), np.empty((3, 3)), np.empty(3)
    for n in range(x.shape[0]):
        out[n, 7] = 0.0
        if not (-0.5 <= x[n] < image.shape[1] - 0.5 and -0.5 <= y[n] < image.shape[0] - 0.5):
            continue
        ix, iy = render_psf(grid[0], grid[1], grid[2], x[n], y[n], stamp)
        normal[:], right[:] = 0.0, 0.0
        used, power, light, whole = 0, 0.0, 0.0, np.sum(stamp[0] * stamp[0])
        for r in range(max(0, half - iy), min(size, image.shape[0] - iy + half)):
            for c in range(max(0, half - ix), min(size, image.shape[1] - ix + half)):
                row, column = iy + r - half, ix + c - half
                v = float(variance[row, column])
                if (mask[row, column] & _BLIND) != 0 or v <= 0:
                    continue
                used += 1
                p = stamp[0, r, c]
                power += p * p
                light += p * science[row, column]
                for i in range(3):
                    right[i] += stamp[i, r, c] * image[row, column] / v
                    for j in range(3):
                        normal[i, j] += stamp[i, r, c] * stamp[j, r, c] / v
        if power < 0.5 * whole:
            continue
        inverse = np.linalg.inv(normal)
        for i in range(3):
            out[n, i] = inverse[i, 0] * right[0] + inverse[i, 1] * right[1] + inverse[i, 2] * right[2]
            out[n, 3 + i] = inverse[i, i]
        out[n, 6], out[n, 7], out[n, 8] = inverse[1, 2], used, light / power
    return out
