"""Mask planes as image differencing reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.masks import MaskPlane

__all__ = ["DROPPED_CENTRE", "UNUSABLE", "combine_masks", "grow", "has_plane", "is_lost", "set_plane"]

UNUSABLE = int(
    MaskPlane.BAD | MaskPlane.SAT | MaskPlane.INTRP | MaskPlane.NO_DATA | MaskPlane.SAT_TEMPLATE | MaskPlane.STREAK
)
"""Pixels whose value says nothing about the sky: they get no weight."""

DROPPED_CENTRE = int(UNUSABLE | MaskPlane.EDGE)
"""A source whose centre has one of these is not a DIASource."""


def has_plane(mask: NDArray[np.uint16], planes: int) -> NDArray[np.bool_]:
    """Tell where any of some planes is set."""
    return np.asarray((mask & np.uint16(int(planes))) != 0)


def set_plane(mask: NDArray[np.uint16], where: Any, planes: int) -> None:
    """Set planes, in place, where an index or a boolean array says."""
    mask[where] |= np.uint16(int(planes))


def is_lost(mask: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Tell which unusable pixels have not even an interpolated value."""
    return has_plane(mask, UNUSABLE) & (
        ~has_plane(mask, MaskPlane.INTRP) | has_plane(mask, MaskPlane.SAT | MaskPlane.NO_DATA | MaskPlane.SAT_TEMPLATE)
    )


def grow(plane: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Widen a plane by a disc of ``radius`` pixels (none when it is empty or the radius is 0)."""
    if radius <= 0 or not plane.any():
        return plane
    return np.asarray(_grown(np.ascontiguousarray(plane), int(radius)))


@njit(cache=True)
def _grown(plane: Any, radius: int) -> Any:
    """Paint a disc around every pixel of a plane that has a neighbour outside it."""
    rows, columns = plane.shape
    out = plane.copy()
    for r in range(rows):
        for c in range(columns):
            if not plane[r, c]:
                continue
            inside = 0 < r < rows - 1 and 0 < c < columns - 1
            if inside and plane[r - 1, c] and plane[r + 1, c] and plane[r, c - 1] and plane[r, c + 1]:
                continue
            for q in range(max(r - radius, 0), min(r + radius + 1, rows)):
                for p in range(max(c - radius, 0), min(c + radius + 1, columns)):
                    if (q - r) * (q - r) + (p - c) * (p - c) <= radius * radius:
                        out[q, p] = True
    return out


def combine_masks(
    science: NDArray[np.uint16],
    template: NDArray[np.uint16],
    *,
    science_growth: int,
    template_growth: int,
    pad: int = 0,
) -> NDArray[np.uint16]:
    """Join the masks of a science image and of a template on the same pixels.

    Parameters
    ----------
    science, template
        Planes; the template's has ``pad`` more pixels on each side.
    science_growth
        Pixels by which the science image's saturation is widened.
    template_growth
        Pixels by which what is unusable in the template is widened, since the kernel spreads it.
    pad
        Margin of the template's mask.

    Returns
    -------
    ndarray
        The science image's planes; the template's SAT as SAT_TEMPLATE, its unusable pixels as NO_DATA.
    """
    combined = science.copy()
    saturated = grow(has_plane(science, MaskPlane.SAT), science_growth)
    set_plane(combined, saturated, MaskPlane.SAT)
    inner = np.s_[pad : pad + science.shape[0], pad : pad + science.shape[1]]
    template_saturated = has_plane(template, MaskPlane.SAT | MaskPlane.SAT_TEMPLATE)
    set_plane(combined, grow(template_saturated, template_growth)[inner], MaskPlane.SAT_TEMPLATE)
    absent = has_plane(template, MaskPlane.BAD | MaskPlane.NO_DATA)
    set_plane(combined, grow(absent, template_growth)[inner], MaskPlane.NO_DATA)
    return combined
