"""Mask planes as image differencing reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.masks import MaskPlane

__all__ = [
    "DROPPED_CENTRE",
    "UNUSABLE",
    "all_finite",
    "any_plane",
    "combine_masks",
    "grow",
    "has_plane",
    "is_lost",
    "judge_pixels",
    "set_plane",
]

UNUSABLE = int(
    MaskPlane.BAD | MaskPlane.SAT | MaskPlane.INTRP | MaskPlane.NO_DATA | MaskPlane.SAT_TEMPLATE | MaskPlane.STREAK
)
"""Pixels whose value says nothing about the sky: they get no weight."""

_UNUSABLE_BITS = np.uint16(UNUSABLE)
_INTERPOLATED = np.uint16(MaskPlane.INTRP)
_BEYOND_REPAIR = np.uint16(MaskPlane.SAT | MaskPlane.NO_DATA | MaskPlane.SAT_TEMPLATE)

DROPPED_CENTRE = int(UNUSABLE | MaskPlane.EDGE)
"""A source whose centre has one of these is not a DIASource."""


def has_plane(mask: NDArray[np.uint16], planes: int) -> NDArray[np.bool_]:
    """Tell where any of some planes is set."""
    bits = np.uint16(int(planes))
    if np.ndim(mask) != 2:
        return np.asarray((mask & bits) != 0)
    found = np.empty(mask.shape, dtype=np.bool_)
    _has(mask, bits, found)
    return found


def set_plane(mask: NDArray[np.uint16], where: Any, planes: int) -> None:
    """Set planes, in place, where an index or a boolean array says."""
    mask[where] |= np.uint16(int(planes))


def is_lost(mask: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Tell which unusable pixels have not even an interpolated value."""
    return judge_pixels(np.atleast_2d(mask))[1].reshape(mask.shape)


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
        The science image's planes; the template's SAT as SAT_TEMPLATE, its unusable pixels as NO_DATA, HIGH_VARIANCE as it is.
    """
    combined = science.copy()
    if any_plane(science, MaskPlane.SAT):
        set_plane(combined, grow(has_plane(science, MaskPlane.SAT), science_growth), MaskPlane.SAT)
    inner = np.s_[pad : pad + science.shape[0], pad : pad + science.shape[1]]
    for planes, joined in (
        (MaskPlane.SAT | MaskPlane.SAT_TEMPLATE, MaskPlane.SAT_TEMPLATE),
        (MaskPlane.BAD | MaskPlane.NO_DATA, MaskPlane.NO_DATA),
        (MaskPlane.HIGH_VARIANCE, MaskPlane.HIGH_VARIANCE),
    ):
        if any_plane(template, planes):
            set_plane(combined, grow(has_plane(template, planes), template_growth)[inner], joined)
    return combined


def any_plane(mask: NDArray[np.uint16], planes: int) -> bool:
    """Tell whether any pixel has any of some planes."""
    return bool(_any_plane(mask, np.uint16(int(planes))))


def judge_pixels(mask: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels are usable, and which are lost as `is_lost` tells."""
    usable, lost = np.empty(mask.shape, dtype=np.bool_), np.empty(mask.shape, dtype=np.bool_)
    _judge(mask, usable, lost)
    return usable, lost


def all_finite(image: NDArray[Any]) -> bool:
    """Tell whether no pixel is NaN or infinite."""
    return bool(_all_finite(np.ascontiguousarray(image)))


@njit(cache=True)
def _has(mask: Any, planes: Any, found: Any) -> None:
    for r in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            found[r, c] = (mask[r, c] & planes) != 0


@njit(cache=True)
def _any_plane(mask: Any, planes: Any) -> bool:
    for r in range(mask.shape[0]):
        found = np.uint16(0)
        for c in range(mask.shape[1]):
            found |= mask[r, c]
        if found & planes:
            return True
    return False


@njit(cache=True)
def _judge(mask: Any, usable: Any, lost: Any) -> None:
    for r in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            bits = mask[r, c]
            bad = (bits & _UNUSABLE_BITS) != 0
            usable[r, c] = not bad
            lost[r, c] = bad and ((bits & _INTERPOLATED) == 0 or (bits & _BEYOND_REPAIR) != 0)


@njit(cache=True)
def _all_finite(image: Any) -> bool:
    for r in range(image.shape[0]):
        good = True
        for c in range(image.shape[1]):
            good &= np.isfinite(image[r, c])
        if not good:
            return False
    return True
