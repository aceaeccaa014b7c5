"""Sums under an elliptical Gaussian, from which moments of sources and of PSFs are made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["weighted_sums"]


@njit(cache=True)
def weighted_sums(image: Any, centre: Any, ellipse: Any, reach2: float) -> Any:
    """Return light and its second moments under an elliptical Gaussian; along a row the weight follows by two products a pixel.

    Parameters
    ----------
    image
        Pixels without background.
    centre
        x and y of the weight, pixels.
    ellipse
        xx, yy, xy of the weight, pixels squared; positive definite.
    reach2
        Squared radius, in the weight's own sigmas, to which pixels are summed.

    Returns
    -------
    tuple
        Light, and its xx, yy, xy: sums, not yet divided by the light.
    """
    x, y = centre
    xx, yy, xy = ellipse
    det = xx * yy - xy * xy
    a = yy / det
    q, reach = np.exp(-a), np.sqrt(reach2 * yy)
    total, mxx, myy, mxy = 0.0, 0.0, 0.0, 0.0
    for r in range(max(0, int(np.ceil(y - reach))), min(image.shape[0], int(np.floor(y + reach)) + 1)):
        dy = r - y
        b, c = -2 * xy * dy / det, xx * dy * dy / det
        inside = b * b - 4 * a * (c - reach2)
        if inside <= 0.0:
            continue
        low, high = (-b - np.sqrt(inside)) / (2 * a), (-b + np.sqrt(inside)) / (2 * a)
        first, last = max(0, int(np.ceil(x + low))), min(image.shape[1], int(np.floor(x + high)) + 1)
        if first >= last:
            continue
        dx = first - x
        weight = np.exp(-0.5 * (a * dx * dx + b * dx + c))
        ratio = np.exp(-0.5 * (a * (2 * dx + 1) + b))
        light, by_x, by_xx = 0.0, 0.0, 0.0
        for p in range(first, last):
            dx = p - x
            w = weight * image[r, p]
            weight *= ratio
            ratio *= q
            light += w
            by_x += w * dx
            by_xx += w * dx * dx
        total += light
        mxx += by_xx
        myy += light * dy * dy
        mxy += by_x * dy
    return total, mxx, myy, mxy
