"""Flatten what is left around brilliant stars: their far wings change with seeing and dust beyond any kernel's reach.

Around each star the median of every ring is subtracted, from one and a half PSF widths outwards. A ring's median does not know
the point sources on it, and the star's own change in brightness is nearly all inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processors.differencing.planes import has_plane
from schemas.masks import MaskPlane

__all__ = ["brilliant_stars", "flatten_halos"]

REACH_PIXELS = 48
"""Radius to which rings are drawn."""

RING_PIXELS = 1.5

BRILLIANT_SNR = 600.0
"""Signal-to-noise of a static source whose wings are worth flattening."""

Pixels = NDArray[Any]


def brilliant_stars(template: Pixels, noise: float, mask: NDArray[np.uint16], fwhm: float) -> NDArray[np.float64]:
    """Find saturated and very bright stars.

    Parameters
    ----------
    template
        Matched template, nJy.
    noise
        Typical standard deviation of a pixel of the difference, nJy.
    mask
        Planes of both images.
    fwhm
        Width of the PSF, pixels.

    Returns
    -------
    ndarray
        Columns and rows of the stars, shape (stars, 2), brightest first.
    """
    area = 0.36 * fwhm**2 * np.pi
    saturated = has_plane(mask, MaskPlane.SAT_TEMPLATE)
    rows, columns = np.nonzero((template * np.sqrt(area) / 2 > BRILLIANT_SNR * noise) & ~saturated)
    peak = _is_highest(template, rows, columns, int(np.ceil(fwhm)))
    rows, columns = rows[peak], columns[peak]
    order = np.lexsort((columns, rows, -template[rows, columns]))
    found = [(float(columns[n]), float(rows[n])) for n in order]
    labels, count = ndimage.label(saturated, structure=np.ones((3, 3)))
    centres = ndimage.center_of_mass(saturated, labels, range(1, count + 1)) if count else []
    return np.array([(float(c), float(r)) for r, c in centres] + found).reshape(-1, 2)


def _is_highest(image: Pixels, rows: Pixels, columns: Pixels, reach: int) -> NDArray[np.bool_]:
    """Tell which pixels no other within a square around them exceeds."""
    highest = np.ones(len(rows), dtype=bool)
    for n, (r, c) in enumerate(zip(rows, columns, strict=True)):
        around = image[max(r - reach, 0) : r + reach + 1, max(c - reach, 0) : c + reach + 1]
        highest[n] = image[r, c] >= around.max()
    return highest


def flatten_halos(
    difference: Pixels, usable: NDArray[np.bool_], stars: NDArray[np.float64], inner: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Subtract the median of rings around each star.

    Parameters
    ----------
    difference
        Pixels, nJy.
    usable
        Pixels that count.
    stars
        Result of `brilliant_stars`.
    inner
        Radius from which rings are drawn, pixels.

    Returns
    -------
    tuple of ndarray
        The flattened image, and what was subtracted.
    """
    halo = np.zeros(difference.shape, np.float32)
    for x, y in stars:
        top, left = max(int(y) - REACH_PIXELS, 0), max(int(x) - REACH_PIXELS, 0)
        box = np.s_[top : int(y) + REACH_PIXELS + 1, left : int(x) + REACH_PIXELS + 1]
        good = usable[box]
        rows, columns = np.indices(good.shape)
        radius = np.hypot(columns + left - x, rows + top - y)
        profile_radius, profile = _ring_medians(difference[box] - halo[box], good, radius, inner)
        if len(profile) >= 3:
            value = np.interp(radius, profile_radius, profile, right=0.0)
            halo[box] += np.where(radius >= inner, value, 0).astype(np.float32)
    return (difference - halo).astype(np.float32), halo


def _ring_medians(
    image: Pixels, good: NDArray[np.bool_], radius: Pixels, inner: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = np.arange(inner, REACH_PIXELS + RING_PIXELS, RING_PIXELS)
    index = np.digitize(radius, edges)
    centres, medians = [], []
    for ring in range(1, len(edges)):
        values = image[good & (index == ring)]
        if len(values) >= 20:
            centres.append(edges[ring - 1] + RING_PIXELS / 2)
            medians.append(float(np.median(values)))
    if medians:
        taper = np.clip((REACH_PIXELS - np.array(centres)) / 8, 0, 1)
        return np.array(centres), np.array(medians) * taper
    return np.array(centres), np.array(medians)
