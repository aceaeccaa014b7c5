"""Sky of an LSST CCD (4000 x 4072) beside sep and photutils, on a simulated visit with stars, galaxies and a sloping sky."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from photutils.background import Background2D

from processors.single_frame.background import measure_background
from tests.benchmarks._scene import CUT, benchmark_scene
from tests.support.calibration_scenes import VisitScene
from tests.support.timing import Measured, attempt, cpu_seconds


def measure() -> Iterator[Measured]:
    """Yield the comparisons in an ordinary and a crowded field; the slow peer on a cut, scaled by area."""
    for name in ("nominal", "crowded"):
        yield from _of_scene(name)


def _of_scene(name: str) -> Iterator[Measured]:
    scene = benchmark_scene(name)
    image, mask = scene.combined.image, scene.combined.mask
    bad = mask != 0
    ours = _error(measure_background(image, mask).image, scene)
    seconds = cpu_seconds(lambda: measure_background(image, mask))
    for peer, action, share in (
        ("sep, 128 px mesh", lambda: sep.Background(image, mask=bad, bw=128, bh=128).back(), 1.0),
        ("photutils Background2D", lambda: _photutils(image[:CUT, :CUT]), CUT**2 / image.size),
    ):
        theirs, problem = attempt(lambda action=action: (cpu_seconds(action), _error(action(), scene)))
        scaled = "" if share == 1 else f"; peer on {CUT} x {CUT}, scaled by area"
        yield Measured(
            what=f"sky of a 4k CCD, {name}",
            ours_s=seconds,
            peer=peer,
            peer_s=theirs[0] / share if theirs else float("nan"),
            error_of="mean sky, %",
            ours_error=abs(ours),
            peer_error=abs(theirs[1]) if theirs else float("nan"),
            note=f"ours masks objects{scaled} {problem}".strip(),
        )


def _photutils(image: NDArray[np.float32]) -> Any:
    return Background2D(image, 128, filter_size=3).background


def _error(sky: NDArray[Any], scene: VisitScene) -> float:
    true = scene.sky[: sky.shape[0], : sky.shape[1]]
    return float(100 * np.mean((sky - true) / true, dtype=np.float64))
