"""Centroids, moments and fluxes of sources on one calibrated CCD."""

from __future__ import annotations

import numba
import numpy as np
import sep
from numpy.typing import NDArray

from processors.single_frame.local_sky import local_levels
from processors.single_frame.point_sources import deblended_fluxes, place_sources
from processors.single_frame.psf import PsfModel
from processors.single_frame.shapes import SHAPE_FIELDS
from schemas.masks import MaskPlane

__all__ = ["SOURCE_DTYPE", "collect_planes", "enclosed", "measure_apertures", "measure_sources"]

SOURCE_DTYPE = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("x_err", "<f4"),
        ("y_err", "<f4"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("significance", "<f4"),
        ("psf_flux", "<f4"),
        ("psf_flux_err", "<f4"),
        ("psf_chi2", "<f4"),
        ("aperture_flux", "<f4"),
        ("aperture_flux_err", "<f4"),
        ("ixx", "<f4"),
        ("iyy", "<f4"),
        ("ixy", "<f4"),
        ("size_ratio", "<f4"),
        ("footprint_pixels", "<i4"),
        ("mask", "<u2"),
        ("reference", "<i8"),
        ("psf_star", "?"),
    ]
)
"""One row a source: pixels (first pixel's centre at 0, 0), degrees, fluxes in the image's unit, moments in pixels^2,
``size_ratio`` = trace of the moments over the PSF's, ``mask`` = planes set within 3 pixels of the centre, ``reference`` =
id of the matched reference star or 0. A quantity that could not be measured is NaN."""

APERTURE_FWHM = 3.0
"""Radius of the aperture in PSF widths; it holds about 97 % of a star's light."""

MASK_RADIUS = 3
"""Pixels around a source's centre whose mask planes it carries."""


def measure_apertures(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the flux within a circle of that radius in pixels and its error; masked pixels take the mean of the others."""
    x, y = positions
    if len(x) == 0:
        return np.zeros(0), np.zeros(0)
    flux, error, _ = sep.sum_circle(image, x, y, radius, var=variance, mask=bad, subpix=5)
    return np.asarray(flux, np.float64), np.asarray(error, np.float64)


def enclosed(psf: PsfModel, radius: float) -> float:
    """Return the share of the PSF at the CCD's middle within a circle of that radius in pixels."""
    stamp = np.ascontiguousarray(psf.at((psf.width - 1) / 2, (psf.height - 1) / 2), np.float64)
    half = float(psf.size // 2)
    total, *_ = sep.sum_circle(stamp, np.array([half]), np.array([half]), radius, subpix=5)
    return float(total[0])


def measure_sources(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
    unusable: NDArray[np.bool_],
    psf: PsfModel,
    shapes: NDArray[np.float64],
) -> NDArray[np.void]:
    """Measure sources everywhere on the CCD; sky coordinates, references and significance are left for others to fill.

    Parameters
    ----------
    pixels
        Sky-subtracted image, variance and mask planes; DETECTED marks the footprints.
    unusable
        Pixels that no flux may use.
    psf
        Model of the CCD.
    shapes
        Centroids and moments of the detections, from `processors.single_frame.shapes.measure_shapes`.

    Returns
    -------
    ndarray
        One row of `SOURCE_DTYPE` a position, in the same order.
    """
    image, variance, mask = pixels
    rows = np.zeros(len(shapes), SOURCE_DTYPE)
    for name in ("ra", "dec", "significance"):
        rows[name] = np.nan
    if len(rows) == 0:
        return rows
    for column, name in enumerate(SHAPE_FIELDS[:-1]):
        rows[name] = shapes[:, column]
    where = (np.ascontiguousarray(rows["x"]), np.ascontiguousarray(rows["y"]))
    fits, rest = deblended_fluxes(place_sources(psf, where), (image, variance), unusable)
    rows["psf_flux"], rows["psf_flux_err"], rows["psf_chi2"] = fits[:, 0], fits[:, 1], fits[:, 2]
    rows["aperture_flux"], rows["aperture_flux_err"] = _aperture_fluxes(
        (rest, variance, mask), unusable, psf, where, fits[:, 0]
    )
    rows["size_ratio"] = (rows["ixx"] + rows["iyy"]) / (2 * (psf.fwhm / 2.3548) ** 2)
    rows["mask"] = collect_planes(mask, where[0], where[1], MASK_RADIUS)
    return rows


def _aperture_fluxes(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
    unusable: NDArray[np.bool_],
    psf: PsfModel,
    where: tuple[NDArray[np.float64], NDArray[np.float64]],
    flux: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each source alone in its aperture, above the level of the sky around it; errors include that level's.

    ``pixels`` hold the image without any of the sources. Sources too faint to be known lie in the aperture as in the
    ring about it: without the ring they and the error of the sky add a percent at magnitude 21.
    """
    rest, variance, mask = pixels
    radius = APERTURE_FWHM * psf.fwhm
    around, error = measure_apertures(rest, variance, unusable, where, radius)
    left_out = unusable | ((mask & int(MaskPlane.DETECTED)) != 0)
    level, level_error = local_levels(rest, left_out, where, psf.fwhm)
    area = np.pi * radius**2
    total = around + np.nan_to_num(flux) * enclosed(psf, radius) - level * area
    return total, np.hypot(error, level_error * area)


@numba.njit(cache=True)
def collect_planes(
    mask: NDArray[np.uint16], x: NDArray[np.float64], y: NDArray[np.float64], radius: int
) -> NDArray[np.uint16]:
    """Return the union of the mask planes in a square around each position."""
    rows, columns = mask.shape
    out = np.zeros(len(x), np.uint16)
    for k in range(len(x)):
        column, row = int(np.floor(x[k] + 0.5)), int(np.floor(y[k] + 0.5))
        for j in range(max(0, row - radius), min(rows, row + radius + 1)):
            for i in range(max(0, column - radius), min(columns, column + radius + 1)):
                out[k] |= mask[j, i]
    return out
