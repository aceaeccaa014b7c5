"""Finding sources on an LSST CCD (4000 x 4072) beside sep and photutils; completeness in the magnitude above the 5 sigma limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from photutils.detection import DAOStarFinder
from scipy.spatial import cKDTree
from scipy.special import ndtr

from processors.single_frame.detection import detect, significance_map, stand_out
from tests.benchmarks._scene import CUT, SIZE, benchmark_scene
from tests.support.calibration_scenes import VisitScene
from tests.support.timing import Measured, attempt, cpu_seconds


def measure() -> Iterator[Measured]:
    """Yield the comparisons in an ordinary and a crowded field; the slow peer on a cut, scaled by area."""
    for name in ("nominal", "crowded"):
        yield from _of_scene(name)


def _of_scene(name: str) -> Iterator[Measured]:
    scene = benchmark_scene(name)
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

    seconds = cpu_seconds(ours)
    for peer, action, size in (("sep.extract, defaults", by_sep, SIZE), ("DAOStarFinder", by_photutils, (CUT, CUT))):
        share = size[0] * size[1] / image.size
        peer_s, problem = attempt(lambda action=action: cpu_seconds(action))
        places = np.zeros((1, 2)) if problem else action()
        mine, theirs = _found(ours(), scene, size), _found(places, scene, size)
        scaled = "" if share == 1 else f"; peer on {CUT} x {CUT}, scaled by area"
        yield Measured(
            what=f"sources of a 4k CCD, {name}",
            ours_s=seconds,
            peer=peer,
            peer_s=float("nan") if problem else peer_s / share,
            error_of="stars lost of the magnitude above 5 sigma, %",
            ours_error=100 * (1 - mine.whole),
            peer_error=float("nan") if problem else 100 * (1 - theirs.whole),
            note=f"found of its brighter half: ours {mine.brighter:.3f}, peer {theirs.brighter:.3f}; noise alone would lose "
            f"{100 * (1 - mine.ideal):.1f} %; places without an object per CCD: ours {mine.false / share:.0f}, "
            f"peer {theirs.false / share:.0f}{scaled} {problem}".strip(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Shares of the lone stars in the magnitude above the limit, and what was found where nothing is."""

    whole: float
    brighter: float
    """Of its brighter half."""
    ideal: float
    """That noise alone would let pass."""
    false: int


def _found(places: NDArray[np.float64], scene: VisitScene, size: tuple[int, int]) -> Found:
    truth, limit = scene.scene.truth, scene.limit_mag()
    rows = scene.lone_stars()
    static, magnitude = truth.static[rows], scene.magnitudes[rows]
    inside = (static["x"] < size[1] - 20) & (static["y"] < size[0] - 20)
    last = inside & (magnitude > limit - 1) & (magnitude <= limit)
    found = cKDTree(places).query(np.column_stack([static["x"], static["y"]]))[0] < 2.5
    signal = 5 * 10 ** (0.4 * (limit - magnitude[last]))
    places = places[(places[:, 0] < size[1]) & (places[:, 1] < size[0])]
    objects = np.concatenate([np.column_stack([t["x"], t["y"]]) for t in (truth.static, truth.changes)])
    false = cKDTree(objects).query(places)[0] > 4
    for trail in truth.changes[np.isin(truth.changes["kind"], ["trail", "glint"])]:
        false &= np.hypot(places[:, 0] - trail["x"], places[:, 1] - trail["y"]) > trail["length_arcsec"] / 0.4 + 8
    middle = ((scene.combined.image.shape[1] - 1) / 2, (scene.combined.image.shape[0] - 1) / 2)
    for streak in truth.streaks:
        away = (places[:, 1] - middle[1]) * np.cos(streak.angle) - (places[:, 0] - middle[0]) * np.sin(streak.angle)
        false &= np.abs(away - streak.offset) > 15
    return Found(
        whole=float(found[last].mean()),
        brighter=float(found[last & (magnitude <= limit - 0.5)].mean()),
        ideal=float(ndtr(signal - 5).mean()),
        false=int(np.count_nonzero(false)),
    )
