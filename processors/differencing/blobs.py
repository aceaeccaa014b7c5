"""Connected regions of few pixels in a large image, found without a label for every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["region_boxes", "region_centres"]


def region_centres(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the centres of the connected regions (corners touch too) of a plane.

    Parameters
    ----------
    plane
        Shape (rows, columns).

    Returns
    -------
    ndarray
        Columns and rows, shape (regions, 2), in the order of the regions' first pixels.
    """
    return np.asarray(_centres(np.ascontiguousarray(plane)))


def region_boxes(
    image: NDArray[Any], x: NDArray[np.int64], y: NDArray[np.int64], sign: NDArray[np.int64], level: float
) -> NDArray[np.int64]:
    """Return the boxes of the regions of one sign above a level that hold given pixels.

    Parameters
    ----------
    image
        Pixels, shape (rows, columns).
    x, y
        Pixels.
    sign
        1 or -1 for each: the sign of its region.
    level
        Regions are where ``sign * image`` exceeds it; pixels touch along their sides.

    Returns
    -------
    ndarray
        Smallest and largest column, smallest and largest row, shape (pixels, 4); -1 where the pixel is below the level.
    """
    return np.asarray(_boxes(np.ascontiguousarray(image), x, y, sign, level))


@njit(cache=True)
def _centres(plane: Any) -> Any:
    rows, columns = plane.shape
    seen = np.zeros((rows, columns), dtype=np.bool_)
    out = [(0.0, 0.0)][:0]
    stack = [(0, 0)][:0]
    for r in range(rows):
        for c in range(columns):
            if not plane[r, c] or seen[r, c]:
                continue
            stack.append((r, c))
            seen[r, c] = True
            sum_r, sum_c, count = 0.0, 0.0, 0
            while len(stack) > 0:
                q, p = stack.pop()
                sum_r, sum_c, count = sum_r + q, sum_c + p, count + 1
                for b in range(max(q - 1, 0), min(q + 2, rows)):
                    for a in range(max(p - 1, 0), min(p + 2, columns)):
                        if plane[b, a] and not seen[b, a]:
                            seen[b, a] = True
                            stack.append((b, a))
            out.append((sum_c / count, sum_r / count))
    table = np.empty((len(out), 2))
    for n in range(len(out)):
        table[n, 0], table[n, 1] = out[n]
    return table


@njit(cache=True)
def _boxes(image: Any, x: Any, y: Any, sign: Any, level: float) -> Any:
    rows, columns = image.shape
    region = np.zeros((rows, columns), dtype=np.int32)
    boxes = np.full((x.shape[0], 4), -1, dtype=np.int64)
    stack = [(0, 0)][:0]
    for n in range(x.shape[0]):
        if not sign[n] * image[y[n], x[n]] > level:
            continue
        if region[y[n], x[n]] > 0:
            boxes[n] = boxes[region[y[n], x[n]] - 1]
            continue
        stack.append((y[n], x[n]))
        region[y[n], x[n]] = n + 1
        left, right, low, high = x[n], x[n], y[n], y[n]
        while len(stack) > 0:
            q, p = stack.pop()
            left, right, low, high = min(left, p), max(right, p), min(low, q), max(high, q)
            for k in range(4):
                b, a = q + (k == 0) - (k == 1), p + (k == 2) - (k == 3)
                inside = 0 <= b < rows and 0 <= a < columns
                if inside and region[b, a] == 0 and sign[n] * image[b, a] > level:
                    region[b, a] = n + 1
                    stack.append((b, a))
        boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = left, right, low, high
    return boxes
