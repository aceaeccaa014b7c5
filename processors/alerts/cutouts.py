"""FITS stamps around a detection, from header blocks prepared once.

A stamp has four HDUs: PRIMARY (nJy, float32, with a celestial WCS), UNCERT (variance, float32), MASK (uint8) and
PSFIMAGE (float32, sum 1); astropy's CCDData reads all of it. Pixels beyond the edge of the CCD are NaN and masked.
No card depends on the clock, so the same pixels give the same bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.alerts.errors import CutoutError
from schemas.masks import MaskPlane

__all__ = ["MAXIMUM_SIZE", "MINIMUM_SIZE", "STAMP_PLANES", "LocalWcs", "cutout_bytes", "cutout_size", "local_wcs"]

Pixels = npt.NDArray[Any]

MINIMUM_SIZE = 30
"""Side of the smallest stamp in pixels (DMTN-102, section on alert content)."""

MAXIMUM_SIZE = 102
"""Side of the largest stamp in pixels, that of the Rubin packager's configuration."""

_BLOCK = 2880
_STEP_PIXELS = 8.0

STAMP_PLANES: dict[str, MaskPlane] = {
    "BAD": MaskPlane.BAD,
    "SAT": MaskPlane.SAT | MaskPlane.SAT_TEMPLATE,
    "INTRP": MaskPlane.INTRP,
    "CR": MaskPlane.CR,
    "EDGE": MaskPlane.EDGE,
    "NO_DATA": MaskPlane.NO_DATA,
    "SUSPECT": MaskPlane.SUSPECT | MaskPlane.CROSSTALK | MaskPlane.HIGH_VARIANCE,
    "STREAK": MaskPlane.STREAK,
}
"""Planes of a stamp's MASK, lowest bit first, and the image planes that each stands for.

Readers take any bit as "do not use", so what only marks detections (DETECTED, INJECTED) is left out.
"""

_OUTSIDE = (1 << list(STAMP_PLANES).index("NO_DATA")) | (1 << list(STAMP_PLANES).index("EDGE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWcs:
    """The tangent plane of an image at one pixel."""

    x: float
    """Column of the tangent point, pixels, the middle of the first pixel being 0."""
    y: float
    """Row of the tangent point."""
    ra: float
    """ICRS right ascension of the tangent point, degrees."""
    dec: float
    """ICRS declination of the tangent point, degrees."""
    cd: tuple[float, float, float, float]
    """East by column, east by row, north by column, north by row; degrees a pixel."""


def local_wcs(
    pixel_to_sky: Callable[[Pixels, Pixels], tuple[Pixels, Pixels]], x: npt.ArrayLike, y: npt.ArrayLike
) -> list[LocalWcs]:
    """Return the tangent plane at each position, distortion taken in to first order.

    Parameters
    ----------
    pixel_to_sky
        Vectorised map from columns and rows (pixels from 0) to ICRS right ascension and declination in degrees.
    x, y
        Columns and rows, pixels from 0.

    Notes
    -----
    Derivatives are central differences over 16 pixels of the gnomonic projection about each position (Calabretta and
    Greisen 2002, section 5.1.3).
    """
    columns, rows = np.atleast_1d(np.asarray(x, dtype=float)), np.atleast_1d(np.asarray(y, dtype=float))
    step = np.array([0.0, 1.0, -1.0, 0.0, 0.0])[:, None] * _STEP_PIXELS
    ra, dec = pixel_to_sky((columns + step).ravel(), (rows + step[[0, 3, 4, 1, 2]]).ravel())
    ra, dec = np.asarray(ra).reshape(5, -1), np.asarray(dec).reshape(5, -1)
    east, north = _gnomonic(ra[1:], dec[1:], ra[0], dec[0])
    span = 2 * _STEP_PIXELS
    cd = np.stack([east[0] - east[1], east[2] - east[3], north[0] - north[1], north[2] - north[3]], axis=1) / span
    return [
        LocalWcs(x=float(column), y=float(row), ra=float(a) % 360.0, dec=float(d), cd=(m[0], m[1], m[2], m[3]))
        for column, row, a, d, m in zip(columns, rows, ra[0], dec[0], cd.tolist(), strict=True)
    ]


def cutout_size(bbox_size: int) -> int:
    """Return the side of the stamp for a footprint's box: as large as the box, within the limits."""
    return min(max(int(bbox_size), MINIMUM_SIZE), MAXIMUM_SIZE)


def cutout_bytes(image: Pixels, variance: Pixels, mask: Pixels, *, psf: Pixels, wcs: LocalWcs, size: int) -> bytes:
    """Return the FITS file of one stamp, centred to half a pixel on the WCS's tangent point.

    Parameters
    ----------
    image, variance
        Whole CCD, nJy and nJy^2, float, indexed [row, column].
    mask
        Whole CCD, planes of `schemas.masks.MaskPlane`.
    psf
        Square image of the PSF with an odd side; it is scaled to sum 1.
    wcs
        Tangent plane at the source.
    size
        Side of the stamp in pixels.

    Raises
    ------
    CutoutError
        When the arrays differ in shape, the stamp is too small, the WCS is not finite, or the PSF has no finite positive
        sum.
    """
    if not image.shape == variance.shape == mask.shape or image.ndim != 2:
        raise CutoutError(f"Image, variance and mask differ in shape: {image.shape}, {variance.shape}, {mask.shape}.")
    if size < MINIMUM_SIZE:
        raise CutoutError(f"A stamp has at least {MINIMUM_SIZE} pixels a side, not {size}.")
    left, top = _first_pixel(wcs.x, size), _first_pixel(wcs.y, size)
    kernel = _normalised(psf)
    uncert, flags, psf_head = _extension_headers(size, *kernel.shape)
    parts = (
        _primary_header(wcs, left, top, size),
        _padded(_window(image, left, top, size, ">f4", np.nan)),
        uncert,
        _padded(_window(variance, left, top, size, ">f4", np.nan)),
        flags,
        _padded(_mask_window(mask, left, top, size)),
        psf_head,
        _padded(kernel.tobytes()),
    )
    return b"".join(parts)


def _first_pixel(centre: float, size: int) -> int:
    return int(np.floor(centre - (size - 1) / 2 + 0.5))


def _gnomonic(ra: Pixels, dec: Pixels, ra0: Pixels, dec0: Pixels) -> tuple[Pixels, Pixels]:
    a, d, d0 = np.radians(ra - ra0), np.radians(dec), np.radians(dec0)
    cosine = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a)
    east = np.cos(d) * np.sin(a) / cosine
    north = (np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(a)) / cosine
    return np.degrees(east), np.degrees(north)


def _normalised(psf: Pixels) -> npt.NDArray[np.float32]:
    kernel = np.asarray(psf, dtype=np.float64)
    total = kernel.sum()
    if kernel.ndim != 2 or not np.isfinite(total) or total <= 0:
        raise CutoutError("The PSF of a stamp must be an image with a finite, positive sum.")
    return np.asarray(kernel / total, dtype=">f4")


def _window(array: Pixels, left: int, top: int, size: int, dtype: str, fill: float) -> bytes:
    rows, columns = array.shape
    if 0 <= left <= columns - size and 0 <= top <= rows - size:
        return array[top : top + size, left : left + size].astype(dtype).tobytes()
    stamp = np.full((size, size), fill, dtype=dtype)
    y0, y1 = np.clip((top, top + size), 0, rows)
    x0, x1 = np.clip((left, left + size), 0, columns)
    stamp[y0 - top : y1 - top, x0 - left : x1 - left] = array[y0:y1, x0:x1]
    return stamp.tobytes()


def _mask_window(mask: Pixels, left: int, top: int, size: int) -> bytes:
    rows, columns = mask.shape
    y0, y1 = np.clip((top, top + size), 0, rows)
    x0, x1 = np.clip((left, left + size), 0, columns)
    stamp = np.full((size, size), _OUTSIDE, dtype=np.uint8)
    table = _plane_table()
    stamp[y0 - top : y1 - top, x0 - left : x1 - left] = table[mask[y0:y1, x0:x1] & (len(table) - 1)]
    return stamp.tobytes()


@functools.cache
def _plane_table() -> npt.NDArray[np.uint8]:
    """Return the stamp's bits for every value that an image's mask can have."""
    values = np.arange(2 * int(max(MaskPlane)))
    table = np.zeros(len(values), dtype=np.uint8)
    for bit, planes in enumerate(STAMP_PLANES.values()):
        table[(values & int(planes)) != 0] |= np.uint8(1 << bit)
    return table


def _primary_header(wcs: LocalWcs, left: int, top: int, size: int) -> bytes:
    before, after = _primary_frame(size)
    values = (wcs.x - left + 1, wcs.y - top + 1, wcs.ra, wcs.dec, *wcs.cd)
    if not all(map(math.isfinite, values)):
        raise CutoutError("The WCS of a stamp must be finite.")
    own = "".join(f"{card}{value:20.13E}".ljust(80) for card, value in zip(_WCS_CARDS, values, strict=True))
    corner = f"CUTMINX = {left:20d}".ljust(80) + f"CUTMINY = {top:20d}".ljust(80)
    return before + (own + corner).encode("ascii") + after


_WCS_CARDS = tuple(f"{key:8}= " for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"))


@functools.cache
def _primary_frame(size: int) -> tuple[bytes, bytes]:
    """Return what stands before and after the ten cards that differ from stamp to stamp."""
    before = [
        ("SIMPLE", True),
        *_shape_cards(-32, size, size),
        ("EXTEND", True),
        ("BUNIT", "nJy"),
        ("RADESYS", "ICRS"),
        ("WCSAXES", 2),
        ("CTYPE1", "RA---TAN"),
        ("CTYPE2", "DEC--TAN"),
        ("CUNIT1", "deg"),
        ("CUNIT2", "deg"),
    ]
    head = b"".join(_card(key, value) for key, value in before)
    return head, b"END".ljust(_BLOCK - len(head) - 80 * (len(_WCS_CARDS) + 2))


@functools.cache
def _extension_headers(size: int, psf_rows: int, psf_columns: int) -> tuple[bytes, bytes, bytes]:
    planes = [(f"MP_{name}"[:8], bit) for bit, name in enumerate(STAMP_PLANES)]
    return (
        _extension("UNCERT", -32, size, size, [("UTYPE", "VarianceUncertainty"), ("BUNIT", "nJy2")]),
        _extension("MASK", 8, size, size, planes),
        _extension("PSFIMAGE", -32, psf_rows, psf_columns, []),
    )


def _extension(name: str, bitpix: int, rows: int, columns: int, extra: list[tuple[str, Any]]) -> bytes:
    cards = [
        ("XTENSION", "IMAGE"),
        *_shape_cards(bitpix, rows, columns),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("EXTNAME", name),
        *extra,
    ]
    return (b"".join(_card(key, value) for key, value in cards) + b"END").ljust(_BLOCK)


def _shape_cards(bitpix: int, rows: int, columns: int) -> list[tuple[str, Any]]:
    return [("BITPIX", bitpix), ("NAXIS", 2), ("NAXIS1", columns), ("NAXIS2", rows)]


def _card(key: str, value: bool | int | str) -> bytes:
    """Return one card in FITS fixed format (FITS standard 4.0, section 4.2)."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    else:
        text = f"'{value:<8}'"
    return f"{key:<8}= {text}".ljust(80).encode("ascii")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
