"""Sky of an LSST CCD (4000 x 4072) beside sep and photutils, on a simulated visit with stars, galaxies and a sloping sky."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from photutils.background import Background2D

from processors.single_frame.background import measure_background
from tests.support.calibration_scenes import VisitScene, make_visit_scene
from tests.support.timing import Measured, beside

SEED, SIZE, CUT = 21, (4000, 4072), 1024


def measure() -> Iterator[Measured]:
    """Yield both comparisons; the slow peer on a cut, scaled by area."""
    scene = make_visit_scene("nominal", SEED, SIZE)
    image, mask = scene.combined.image, scene.combined.mask
    bad = mask != 0
    ours = _error(measure_background(image, mask).image, scene)
    for peer, action, share in (
        ("sep, 128 px mesh", lambda: sep.Background(image, mask=bad, bw=128, bh=128).back(), 1.0),
        ("photutils Background2D", lambda: _photutils(image[:CUT, :CUT]), CUT**2 / image.size),
    ):
        theirs = _error(action(), scene)
        row = beside("sky of a 4k CCD", lambda: measure_background(image, mask), peer, action)
        scaled = "" if share == 1 else f"; peer on {CUT} x {CUT}, scaled by area"
        yield Measured(
            what=row.what,
            ours_s=row.ours_s,
            peer=peer,
            peer_s=row.peer_s / share,
            note=f"mean error {ours:+.3f} % of the sky, peer {theirs:+.3f} %; ours masks objects{scaled}",
        )


def _photutils(image: NDArray[np.float32]) -> Any:
    return Background2D(image, 128, filter_size=3).background


def _error(sky: NDArray[Any], scene: VisitScene) -> float:
    true = scene.sky[: sky.shape[0], : sky.shape[1]]
    return float(100 * np.mean((sky - true) / true, dtype=np.float64))
