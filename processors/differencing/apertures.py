"""Aperture photometry in circles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["aperture_fluxes"]


@njit(cache=True)
def aperture_fluxes(image: Any, variance: Any, usable: Any, x: Any, y: Any, radius: float) -> Any:
    """Sum pixels in a circle; border pixels count by the part of a 5 x 5 raster inside it.

    Returns
    -------
    tuple of ndarray
        Flux, error, and whether the circle left the image.
    """
    count = x.shape[0]
    flux, error, cut = np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.bool_)
    reach = int(radius) + 2
    for n in range(count):
        ix, iy = int(np.floor(x[n] + 0.5)), int(np.floor(y[n] + 0.5))
        total, noise = 0.0, 0.0
        for row in range(iy - reach, iy + reach + 1):
            for column in range(ix - reach, ix + reach + 1):
                distance = np.hypot(column - x[n], row - y[n])
                if distance > radius + 0.75:
                    continue
                weight = 1.0
                if distance > radius - 0.75:
                    inside = 0
                    for q in range(5):
                        for p in range(5):
                            dx, dy = column - x[n] + (p - 2) / 5, row - y[n] + (q - 2) / 5
                            inside += dx * dx + dy * dy <= radius * radius
                    weight = inside / 25
                if weight == 0.0:
                    continue
                if row < 0 or column < 0 or row >= image.shape[0] or column >= image.shape[1]:
                    cut[n] = True
                elif usable[row, column]:
                    total += weight * image[row, column]
                    noise += weight * weight * variance[row, column]
        flux[n], error[n] = total, np.sqrt(noise)
    return flux, error, cut
