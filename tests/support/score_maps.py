"""Score maps of images that need no whitening."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.fourier import TileGrid
from processors.differencing.psf import ConstantPsf
from processors.differencing.score import ScoreMap
from processors.differencing.score_tiles import TileFilters, score_tiles
from processors.differencing.subtract import Whitening

_POINT = np.pad(np.ones((1, 1)), 2)


def score_white(
    image: NDArray[Any],
    psf: NDArray[Any],
    variance: float,
    *,
    usable: NDArray[np.bool_] | None = None,
    static: NDArray[Any] | None = None,
) -> ScoreMap:
    """Score an image whose noise is white already: the template has no noise and the kernel is a point."""
    shape, half = (image.shape[0], image.shape[1]), psf.shape[0] // 2
    grid = TileGrid(shape, half)
    white = Whitening(kernel=_POINT, smoothing=0.0, noise=(1.0, 0.0))
    filters = TileFilters.of(grid, ConstantPsf(psf), [[white] * grid.columns] * grid.rows, half=half, own=half)
    good = np.ones(shape, bool) if usable is None else usable
    below = np.zeros(shape, np.float32) if static is None else static.astype(np.float32)
    return score_tiles(
        grid,
        image.astype(np.float32),
        variance=np.full(shape, variance, np.float32),
        lost=~good,
        usable=good,
        static=below,
        filters=filters,
    )[1]
