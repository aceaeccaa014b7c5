"""Finding sources on an LSST CCD (4000 x 4072) beside sep and photutils; completeness in the magnitude above the 5 sigma limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from photutils.detection import DAOStarFinder
from scipy.spatial import cKDTree

from processors.single_frame.detection import detect, significance_map, stand_out
from tests.support.calibration_scenes import VisitScene, make_visit_scene
from tests.support.timing import Measured, cpu_seconds

SEED, SIZE, CUT = 21, (4000, 4072), 1024


def measure() -> Iterator[Measured]:
    """Yield both comparisons; the slow peer on a cut, scaled by area."""
    scene = make_visit_scene("nominal", SEED, SIZE)
    science = scene.scene.science
    image, variance, bad = science.image, science.variance, science.mask & 2 != 0
    psf = science.psf.at(SIZE[1] / 2, SIZE[0] / 2)
    noise = float(np.sqrt(np.median(variance)))

    def ours() -> NDArray[np.float64]:
        score = significance_map(image, variance, bad, psf)
        found = stand_out(score, detect(score, threshold=5.0), 4.0, 5.0)
        return np.column_stack([found.x, found.y])

    def by_sep() -> NDArray[np.float64]:
        found = sep.extract(image, 1.5, err=noise)
        return np.column_stack([found["x"], found["y"]])

    def by_photutils() -> NDArray[np.float64]:
        found: Any = DAOStarFinder(1.5 * noise, fwhm=4.0)(image[:CUT, :CUT])
        return np.column_stack([found["x_centroid"], found["y_centroid"]])

    mine, seconds = _completeness(ours(), scene, SIZE), cpu_seconds(ours)
    for peer, action, size in (("sep.extract, defaults", by_sep, SIZE), ("DAOStarFinder", by_photutils, (CUT, CUT))):
        places = action()
        share = size[0] * size[1] / image.size
        scaled = "" if share == 1 else f"; peer on {CUT} x {CUT}, scaled by area"
        yield Measured(
            what="sources of a 4k CCD",
            ours_s=seconds,
            peer=peer,
            peer_s=cpu_seconds(action) / share,
            note=f"complete {mine[0]:.3f}, {mine[1]:.3f} in the two half magnitudes above 5 sigma; peer "
            f"{_text(_completeness(places, scene, size))}, {len(places) / share:.0f} detections{scaled}",
        )


def _text(values: tuple[float, float]) -> str:
    return f"{values[0]:.3f}, {values[1]:.3f}"


def _completeness(places: NDArray[np.float64], scene: VisitScene, size: tuple[int, int]) -> tuple[float, float]:
    rows = scene.lone_stars()
    static, magnitude, limit = scene.scene.truth.static[rows], scene.magnitudes[rows], scene.limit_mag()
    found = cKDTree(places).query(np.column_stack([static["x"], static["y"]]))[0] < 2.5
    inside = (static["x"] < size[1] - 20) & (static["y"] < size[0] - 20)
    halves = [inside & (magnitude > limit - far) & (magnitude <= limit - far + 0.5) for far in (1.0, 0.5)]
    return float(found[halves[0]].mean()), float(found[halves[1]].mean())
