"""Measure detected peaks and write them as DIASources of the public schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.apertures import aperture_fluxes
from processors.differencing.chains import Chain
from processors.differencing.fitting import fit_point_sources, forced_fluxes
from processors.differencing.layers import Layers, VisitInfo
from processors.differencing.motion import measure_dipoles
from processors.differencing.planes import UNUSABLE, has_plane
from processors.differencing.psf import PsfGrid, adaptive_moments, render_psf
from processors.differencing.sky import sky_jacobian
from processors.differencing.snap_consistency import SnapView, fit_snaps, snap_rows
from processors.differencing.trail_sources import measure_trails
from schemas.masks import MaskPlane
from schemas.public import null_rows

__all__ = ["measure_sources"]

APERTURE_RADIUS = 12.0
"""Pixels, fixed by the public schema's apFlux."""

WINDOW_HALF = 10
"""Half size of the windows of all fits, pixels; the light outside it is allowed for by the PSF's own sum there."""

EDGE_PART = 0.95
"""A PSF flux is flagged when less than this part of the PSF's squared sum lies on the image."""

Pixels = NDArray[Any]
Rows = NDArray[Any]

_FLAG_PLANES = {
    "bad": MaskPlane.BAD,
    "cr": MaskPlane.CR,
    "edge": MaskPlane.EDGE,
    "nodata": MaskPlane.NO_DATA,
    "interpolated": MaskPlane.INTRP,
    "saturated": MaskPlane.SAT | MaskPlane.SAT_TEMPLATE,
    "suspect": MaskPlane.SUSPECT | MaskPlane.HIGH_VARIANCE,
    "streak": MaskPlane.STREAK,
    "injected": MaskPlane.INJECTED,
}
_CENTRE_FLAGS = ("cr", "nodata", "interpolated", "saturated", "suspect", "streak", "injected")


def measure_sources(
    layers: Layers,
    peaks: Rows,
    sizes: NDArray[np.int32],
    info: VisitInfo,
    chains: Mapping[int, Chain] | None = None,
    snaps: SnapView | None = None,
) -> tuple[Rows, Rows, Rows | None, list[int]]:
    """Measure peaks.

    Parameters
    ----------
    layers
        Images and PSFs.
    peaks
        Result of `detect_peaks`.
    sizes
        Result of `footprint_sizes`.
    info
        The visit.
    chains
        For the index of a peak that stands for several on a line, that line.
    snaps
        The visit's two snaps; None when there is one.

    Returns
    -------
    tuple of ndarray
        Rows of ``dia_source_dtype()`` in the order of the peaks, ids not filled, the raw point-source fits
        (columns of `fit_point_sources`), what the snaps say (rows of `SNAP_DTYPE`; None without snaps), and the indices of the
        rows that are pieces of another row's trail. What cannot be measured is null and flagged.
    """
    rows = null_rows("diaSource", len(peaks))
    _fill_visit(rows, info)
    fits = np.asarray(_fit_points(layers, peaks))
    rows["snr"] = np.abs(peaks["snr"])
    rows["isNegative"] = peaks["snr"] < 0
    rows["bboxSize"] = sizes
    dipoles = measure_dipoles(layers, peaks, fits, rows)
    asked = None if snaps is None else (snaps, _ask_snaps(layers, snaps, fits))
    shapes = _shapes(layers, fits[:, 0], fits[:, 1])
    trails = measure_trails(layers, fits, rows, chains or {}, asked, shapes=shapes)
    _refit_at(layers, fits, dipoles | trails.centres)
    for n, spread in trails.variances.items():
        fits[n, [3, 4, 6]], fits[n, 10] = spread, 1.0
    moved = np.array(sorted(dipoles | trails.centres), dtype=np.int64)
    shapes[moved] = _shapes(layers, fits[moved, 0], fits[moved, 1])
    _fill_point_fit(rows, fits)
    _fill_apertures(layers, rows)
    _fill_forced(layers, rows)
    _fill_shapes(layers, rows, shapes)
    _fill_sky(layers, fits, rows)
    _fill_flags(layers, rows)
    return rows, fits, None if asked is None else asked[1], trails.pieces


def _ask_snaps(layers: Layers, snaps: SnapView, fits: Pixels) -> Rows:
    return snap_rows(layers, fit_snaps(snaps, layers, fits[:, 0], fits[:, 1]), fits[:, :2], fits[:, 2], fits[:, 5])


def _fill_visit(rows: Rows, info: VisitInfo) -> None:
    rows["visit"], rows["detector"], rows["band"] = info.visit, info.detector, info.band
    rows["midpointMjdTai"], rows["exposureTime"] = info.midpoint_mjd_tai, info.exposure_time
    rows["timeProcessedMjdTai"] = info.processed_mjd_tai
    rows["glint_trail"] = 0


def _grid(psf: PsfGrid) -> tuple[Pixels, Pixels, Pixels]:
    return psf.x_nodes, psf.y_nodes, psf.coefficients


def _fit_points(layers: Layers, peaks: Rows) -> Pixels:
    x, y = peaks["x"].astype(float), peaks["y"].astype(float)
    return np.asarray(
        fit_point_sources(layers.difference, layers.variance, layers.usable, *_grid(layers.psf), x, y, WINDOW_HALF)
    )


def _refit_at(layers: Layers, fits: Pixels, places: dict[int, tuple[float, float]]) -> None:
    """Put a dipole's position between its lobes, a long trail's in its middle, and measure the point-source flux there."""
    for n, (x, y) in places.items():
        flux, error, pixels, _ = forced_fluxes(
            layers.difference,
            layers.variance,
            layers.usable,
            *_grid(layers.psf),
            np.array([x]),
            np.array([y]),
            WINDOW_HALF,
        )
        fits[n, 0], fits[n, 1], fits[n, 2], fits[n, 5], fits[n, 9] = x, y, flux[0], error[0] ** 2, pixels[0]


def _fill_point_fit(rows: Rows, fits: Pixels) -> None:
    rows["x"], rows["y"] = fits[:, 0], fits[:, 1]
    rows["xErr"], rows["yErr"] = np.sqrt(fits[:, 3]), np.sqrt(fits[:, 4])
    rows["centroid_flag"] = fits[:, 10] < 1
    rows["psfFlux"], rows["psfFluxErr"] = fits[:, 2], np.sqrt(fits[:, 5])
    rows["psfLnL"], rows["psfChi2"], rows["psfNdata"] = fits[:, 8], fits[:, 7], fits[:, 9]
    failed = ~np.isfinite(fits[:, 2])
    rows["psfFlux_flag"] = failed
    rows["psfFlux_flag_noGoodPixels"] = failed
    rows["psfFlux_flag_edge"] = 0


def _fill_apertures(layers: Layers, rows: Rows) -> None:
    flux, error, cut = aperture_fluxes(
        layers.difference,
        layers.variance,
        layers.usable,
        rows["x"].astype(float),
        rows["y"].astype(float),
        APERTURE_RADIUS,
    )
    rows["apFlux"], rows["apFluxErr"] = flux, error
    rows["apFlux_flag"], rows["apFlux_flag_apertureTruncated"] = cut, cut


def _fill_forced(layers: Layers, rows: Rows) -> None:
    x, y = rows["x"].astype(float), rows["y"].astype(float)
    usable = layers.usable
    flux, error, _, part = forced_fluxes(
        layers.science, layers.science_variance, usable, *_grid(layers.science_psf), x, y, WINDOW_HALF
    )
    rows["scienceFlux"], rows["scienceFluxErr"] = flux, error
    failed = ~np.isfinite(flux)
    rows["forced_PsfFlux_flag"], rows["forced_PsfFlux_flag_noGoodPixels"] = failed, failed
    rows["forced_PsfFlux_flag_edge"] = part < EDGE_PART
    rows["psfFlux_flag_edge"] = _cut_by_edge(x, y, layers.difference.shape)
    flux, error, _, _ = forced_fluxes(
        layers.template, layers.template_variance, usable, *_grid(layers.template_psf), x, y, WINDOW_HALF
    )
    rows["templateFlux"], rows["templateFluxErr"] = flux, error


def _cut_by_edge(x: Pixels, y: Pixels, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    near = np.minimum(np.minimum(x, y), np.minimum(shape[1] - 1 - x, shape[0] - 1 - y))
    return np.asarray(near < WINDOW_HALF // 2)


def _shapes(layers: Layers, x: Pixels, y: Pixels) -> Pixels:
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    return np.asarray(_moments(layers.difference, layers.usable, *_grid(layers.psf), x, y, WINDOW_HALF))


def _fill_shapes(layers: Layers, rows: Rows, moments: Pixels) -> None:
    """Fill adaptive second moments of source and PSF, and the extendedness made of them."""
    scale2 = layers.pixel_scale**2
    found = moments[:, 6] > 0
    for k, name in enumerate(("ixxPSF", "iyyPSF", "ixyPSF", "ixx", "iyy", "ixy")):
        rows[name] = np.where(found | (k < 3), moments[:, k] * scale2, np.nan)
    for name in ("no_pixels", "not_contained", "parent_source"):
        rows[f"shape_flag_{name}"] = 0
    rows["shape_flag"] = ~found
    ratio = (moments[:, 3] + moments[:, 4]) / (moments[:, 0] + moments[:, 1])
    for n in np.flatnonzero(found):
        rows["extendedness"][n] = _extendedness(float(ratio[n]), float(rows["snr"][n]))


@njit(cache=True)
def _moments(image: Any, usable: Any, x_nodes: Any, y_nodes: Any, coefficients: Any, x: Any, y: Any, half: int) -> Any:
    """Return adaptive moments xx, yy, xy of the PSF and of the source at each place, and whether the latter converged."""
    size = 2 * half + 1
    out = np.full((x.shape[0], 7), np.nan)
    stamp, cut = np.empty((3, size, size)), np.empty((size, size))
    for n in range(x.shape[0]):
        ix, iy = render_psf(x_nodes, y_nodes, coefficients, x[n], y[n], stamp)
        cx, cy = half + x[n] - ix, half + y[n] - iy
        xx, yy, xy, _ = adaptive_moments(stamp[0], cx, cy, 1.5, float(half))
        out[n, 0], out[n, 1], out[n, 2], out[n, 6] = xx, yy, xy, 0.0
        if not (0 <= ix < image.shape[1] and 0 <= iy < image.shape[0]):
            continue
        for r in range(size):
            for c in range(size):
                row, column = iy + r - half, ix + c - half
                inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
                cut[r, c] = image[row, column] if inside and usable[row, column] else 0.0
        start = np.sqrt(max(0.5 * (xx + yy), 0.25))
        sxx, syy, sxy, found = adaptive_moments(cut, cx, cy, start, 0.8 * half)
        out[n, 3], out[n, 4], out[n, 5], out[n, 6] = sxx, syy, sxy, 1.0 if found else 0.0
    return out


def _extendedness(ratio: float, snr: float) -> float:
    """Return how surely a source is wider than the PSF (0 to 1); 5 % of the PSF's second moment count as nothing."""
    sigma = math.hypot(0.03, 2.0 * ratio / max(snr, 1.0))
    return 0.5 * math.erfc(-(ratio - 1.05) / (sigma * math.sqrt(2.0)))


def _fill_sky(layers: Layers, fits: Pixels, rows: Rows) -> None:
    """Fill positions and their covariance, carried through the local Jacobian of the WCS."""
    x, y = fits[:, 0], fits[:, 1]
    if len(rows) == 0:
        return
    ra, dec = layers.wcs.all_pix2world(x, y, 0)
    rows["ra"], rows["dec"] = np.mod(ra, 360.0), dec
    jacobian = sky_jacobian(layers.wcs, x, y)
    covariance = np.empty((len(rows), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = fits[:, 3], fits[:, 4]
    covariance[:, 0, 1] = covariance[:, 1, 0] = fits[:, 6]
    on_sky = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    with np.errstate(invalid="ignore"):
        rows["raErr"], rows["decErr"] = np.sqrt(on_sky[:, 0, 0]), np.sqrt(on_sky[:, 1, 1])
    rows["ra_dec_Cov"] = on_sky[:, 0, 1]


def _fill_flags(layers: Layers, rows: Rows) -> None:
    """Fill the pixel flags from the mask: anywhere in the footprint's square, and in the central 3 x 3 pixels."""
    for name in rows.dtype.names or ():
        if name.startswith("pixelFlags"):
            rows[name] = 0
    height, width = layers.mask.shape
    x, y = (np.floor(rows[name].astype(float) + 0.5).astype(np.int64) for name in ("x", "y"))
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    rows["pixelFlags_offimage"] = outside
    reach = rows["bboxSize"].astype(np.int64) // 2
    around, middle = (np.asarray(_planes_near(layers.mask, x, y, side)) for side in (reach, np.ones_like(reach)))
    for name, plane in _FLAG_PLANES.items():
        rows[f"pixelFlags_{name}"] = has_plane(around, plane)
        if name in _CENTRE_FLAGS:
            rows[f"pixelFlags_{name}Center"] = has_plane(middle, plane)
    rows["pixelFlags_edge"] |= outside
    rows["pixelFlags"] = has_plane(around, UNUSABLE)


@njit(cache=True)
def _planes_near(mask: Any, x: Any, y: Any, reach: Any) -> Any:
    """Return all planes set in the squares around pixels; none around a pixel outside the image."""
    out = np.zeros(x.shape[0], dtype=np.uint16)
    for n in range(x.shape[0]):
        if not (0 <= x[n] < mask.shape[1] and 0 <= y[n] < mask.shape[0]):
            continue
        for r in range(max(y[n] - reach[n], 0), min(y[n] + reach[n] + 1, mask.shape[0])):
            for c in range(max(x[n] - reach[n], 0), min(x[n] + reach[n] + 1, mask.shape[1])):
                out[n] |= mask[r, c]
    return out
