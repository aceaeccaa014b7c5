"""Differencing a cut of 1024 x 1024 pixels, from calibrated image to measured DIASources, beside SFFT and, where it is installed, ois."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infra.telescope.imaging_scenes import FULL_SIZE, ImagingScene, make_scene
from processors.differencing.detection import detect_peaks, psf_response
from processors.differencing.layers import ScienceImage
from processors.differencing.pipeline import difference
from processors.differencing.planes import UNUSABLE, grow, has_plane
from processors.differencing.templates import Template
from processors.differencing.warp import WarpedTemplate, warp_template
from tests.support.score_maps import score_white
from tests.support.timing import Measured, attempt, cpu_seconds

SIDE, SEED = 1024, 31
WHOLE = FULL_SIZE[0] * FULL_SIZE[1] / SIDE**2
"""A CCD's pixels in those of the cut."""

FAINTEST = 6.0
"""Ideal signal-to-noise from which a change should be found."""

NEAR_PIXELS = 3.0

NOTE = (
    "both times the ratio of areas; ours with warp, score, peaks and measurements, theirs the first call of the subtraction alone, on our "
    "warped template and with our matched filter"
)

Places = tuple[NDArray[Any], NDArray[Any]]


def measure() -> Iterator[Measured]:
    """Yield false positives, and changes missed; seconds are those of a whole CCD, the cut's times the ratio of areas."""
    scene = make_scene("nominal", SEED, size=(SIDE, SIDE))
    science, template = as_inputs(scene)
    found = difference(science, template).sources
    seconds = WHOLE * cpu_seconds(lambda: difference(science, template))
    warped = warp_template(template, science.wcs, (SIDE, SIDE), 0)
    for peer, (package, subtract) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            continue
        start = time.process_time()
        theirs, problem = attempt(lambda subtract=subtract: subtract(science, warped))
        row = Measured(
            what="difference of a 4k CCD, scaled from a cut of 1k",
            ours_s=seconds,
            peer=peer,
            peer_s=float("nan") if problem else WHOLE * (time.process_time() - start),
            note=f"{NOTE}; peer {problem}" if problem else NOTE,
        )
        yield from _judged(row, scene, (found["x"], found["y"]), None if problem else peaks(theirs, science, warped))


def _judged(row: Measured, scene: ImagingScene, ours: Places, others: Places | None) -> Iterator[Measured]:
    """The row once for each kind of error."""
    for name, count in (
        ("false positives on the cut", false_positives),
        (f"of changes above {FAINTEST:g} missed", missed),
    ):
        yield dataclasses.replace(
            row,
            error_of=name,
            ours_error=count(scene, ours),
            peer_error=float("nan") if others is None else count(scene, others),
        )


def as_inputs(scene: ImagingScene) -> tuple[ScienceImage, Template]:
    """Return a scene's images as differencing takes them."""
    image, coadd = scene.science, scene.template
    names = sorted(field.name for field in dataclasses.fields(Template) if hasattr(coadd, field.name))
    template = Template(**{name: getattr(coadd, name) for name in names})
    science = ScienceImage(image=image.image, variance=image.variance, mask=image.mask, psf=image.psf, wcs=image.wcs)
    return science, template


def by_sfft(science: ScienceImage, warped: WarpedTemplate) -> NDArray[Any]:
    """Return SFFT's difference: a kernel of free pixels, fitted where neither image is masked."""
    from sfft.sfftcore.SFFTConfigure import SingleSFFTConfigure_Numpy  # type: ignore[import-untyped]
    from sfft.sfftcore.SFFTSubtract import GeneralSFFTSubtract  # type: ignore[import-untyped]

    bad = masked(science, warped)
    images = [np.asarray(image, np.float64).T for image in (warped.image, science.image)]
    clean = [np.where(bad.T, 0.0, image) for image in images]
    config = SingleSFFTConfigure_Numpy.SSCN(NX=SIDE, NY=SIDE, KerHW=8, NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0)
    found = GeneralSFFTSubtract.GSS(
        *images, *clean, config, BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0
    )
    return np.asarray(found[1]).T


def by_ois(science: ScienceImage, warped: WarpedTemplate) -> NDArray[Any]:
    """Return ois' difference after Bramich (2008): a kernel of free pixels in each of 16 cells."""
    from ois import optimal_system  # type: ignore[import-not-found]

    bad = masked(science, warped)
    images = [np.ma.array(np.asarray(image, np.float64), mask=bad) for image in (science.image, warped.image)]
    found = optimal_system(*images, kernelshape=(11, 11), bkgdegree=1, method="Bramich", gridshape=(4, 4))
    return np.asarray(np.ma.filled(found[0], 0.0))


PEERS: dict[str, tuple[str, Callable[[ScienceImage, WarpedTemplate], NDArray[Any]]]] = {
    "SFFT, numpy, 17 x 17, order 2": ("sfft", by_sfft),
    "ois, Bramich, 11 x 11, 4 x 4 cells": ("ois", by_ois),
}
"""Packages that subtract, with the name to import. ois 0.2 can only be installed without build isolation, so it is measured where it is;
properimage 0.7.2 needs a package that does not build."""


def masked(science: ScienceImage, warped: WarpedTemplate) -> NDArray[np.bool_]:
    """Return the pixels that are unusable in either image, widened as ours are."""
    return grow(has_plane(science.mask | warped.mask, UNUSABLE), 4)


def peaks(image: NDArray[Any], science: ScienceImage, warped: WarpedTemplate) -> Places:
    """Return places at which a difference passes 5 sigma under our matched filter, by the noise that the variances predict."""
    psf = np.asarray(science.psf.at(SIDE / 2, SIDE / 2), np.float64)
    noise = science.variance + warped.variance
    usable = ~masked(science, warped)
    typical = float(np.median(noise[usable]))
    flat = np.where(usable, image * np.sqrt(typical / np.maximum(noise, 1e-30)), 0.0)
    score = score_white(flat, psf, typical, usable=usable)
    found = detect_peaks(score.snr, score.error, response=psf_response(psf, 20), fwhm=4.0)
    return found["x"], found["y"]


def false_positives(scene: ImagingScene, places: Places) -> float:
    """Count places that are near no change, trail or streak."""
    x, y = (np.asarray(axis, float) for axis in places)
    if len(x) == 0:
        return 0.0
    free = ~on_streaks(scene, x, y)
    changes = scene.truth.changes
    reach = 5.0 + changes["length_arcsec"] / 0.4
    tree = cKDTree(np.column_stack([x, y]))
    for near in tree.query_ball_point(np.column_stack([changes["x"], changes["y"]]), reach):
        free[near] = False
    return float(free.sum())


def missed(scene: ImagingScene, places: Places) -> float:
    """Return the part of new and vanished point sources at which there is no place."""
    changes = scene.truth.of_kind("transient", "vanished")
    changes = changes[(changes["snr"] > FAINTEST) & ~on_streaks(scene, changes["x"], changes["y"])]
    if len(places[0]) == 0:
        return 1.0
    distance = cKDTree(np.column_stack(places)).query(np.column_stack([changes["x"], changes["y"]]))[0]
    return float(np.mean(distance > NEAR_PIXELS))


def on_streaks(scene: ImagingScene, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which places lie on a satellite's trail."""
    u, v = x - (SIDE - 1) / 2, y - (SIDE - 1) / 2
    out = np.zeros(len(x), bool)
    for streak in scene.truth.streaks:
        out |= np.abs(-u * np.sin(streak.angle) + v * np.cos(streak.angle) - streak.offset) < 25
    return out
