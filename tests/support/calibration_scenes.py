"""Simulated visits of one CCD before calibration, with their truth: for tests and benchmarks of single frame processing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infra.telescope.imaging_scenes import ImagingScene, cached, make_scene
from infra.telescope.sky import Kind
from processors.single_frame.background import UNUSABLE, measure_background
from processors.single_frame.frames import Exposure
from processors.single_frame.snaps import CombinedImage, SnapData
from processors.single_frame.visit_image import VisitImage

__all__ = ["VisitScene", "make_visit_scene"]

READ_NOISE = 7.0
SKY_SLOPE = 0.02
"""Change of the sky across the CCD."""

REFERENCE_MAGS = (15.0, 21.0)
"""Stars of the reference catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitScene:
    """A combined visit in electrons, its sky, its reference catalogue and everything true about it."""

    scene: ImagingScene
    combined: CombinedImage
    """With its sky, which slopes."""
    sky: NDArray[np.float32]
    references: NDArray[np.void]
    exposures: tuple[Exposure, ...]
    scale: float
    """Electrons per nJy of light within the PSF's square, which is what fluxes of the truth mean."""

    def visit(self) -> VisitImage:
        """Return a fresh visit image with its sky measured and subtracted."""
        old = self.combined
        combined = CombinedImage(
            image=old.image.copy(), variance=old.variance.copy(), mask=old.mask.copy(), snaps=old.snaps
        )
        background = measure_background(combined.image, combined.mask)
        image = combined.image
        image -= background.image
        return VisitImage(
            exposures=self.exposures,
            combined=combined,
            background=background,
            unusable=(combined.mask & UNUSABLE) != 0,
            read_noise=READ_NOISE,
            dead_amplifiers=0,
        )

    @property
    def magnitudes(self) -> NDArray[np.float64]:
        """AB magnitudes of the static objects."""
        return np.asarray(31.4 - 2.5 * np.log10(self.scene.truth.static["flux"]))

    def limit_mag(self) -> float:
        """Magnitude of a star of a significance of 5 on blank sky in the middle."""
        science = self.scene.science
        rows, columns = science.image.shape
        psf = science.psf.at(columns / 2, rows / 2).astype(np.float64)
        error = np.sqrt(float(np.median(science.variance[::5, ::5])) / np.sum(psf**2))
        return float(31.4 - 2.5 * np.log10(5 * error))

    def lone_stars(self, share: float = 1.0) -> NDArray[np.int64]:
        """Rows of the static table: stars on the CCD that do not vary, without anything of that share of their flux within 10 pixels."""
        truth, (rows, columns) = self.scene.truth, self.combined.image.shape
        static, changes = truth.static, truth.changes
        x, y = static["x"], static["y"]
        good = (static["kind"] == Kind.STAR) & (x > 25) & (x < columns - 26) & (y > 25) & (y < rows - 26)
        good[changes["host"][changes["host"] >= 0]] = False
        places = np.column_stack([np.append(x, changes["x"]), np.append(y, changes["y"])])
        flux = np.append(static["flux"], np.maximum(changes["flux"], 0))
        pairs = cKDTree(places).query_pairs(10.0, output_type="ndarray")
        for star, near in (pairs.T, pairs.T[::-1]):
            spoiled = star[flux[near] >= share * flux[star]]
            good[spoiled[spoiled < len(good)]] = False
        trails = changes[np.isin(changes["kind"], ["trail", "glint"])]
        for trail in trails:
            good &= np.hypot(x - trail["x"], y - trail["y"]) > trail["length_arcsec"] / 0.4 + 15
        return np.flatnonzero(good)


def make_visit_scene(name: str, seed: int, size: tuple[int, int], *, folder: Path | None = None) -> VisitScene:
    """Draw a scene (`infra.telescope.imaging_scenes`), or take it from a folder, and put a sloping sky back under it."""
    scene = make_scene(name, seed, size=size) if folder is None else cached(name, seed, folder, size=size)
    science, visit = scene.science, scene.studio.visit
    scale = np.float32(science.electrons_per_nanojansky)
    rows, columns = size
    slope = np.linspace(-0.5, 0.5, columns) + 0.5 * np.linspace(-0.5, 0.5, rows)[:, None]
    sky = (science.sky_electrons * (1 + SKY_SLOPE * slope)).astype(np.float32)
    nothing = np.zeros(size, np.uint8)
    combined = CombinedImage(
        image=science.image * scale + sky,
        variance=science.variance * scale**2,
        mask=science.mask,
        snaps=SnapData(count=2, rejected=nothing, difference=None, difference_variance=None),
    )
    exposures = tuple(
        Exposure(
            instrument="scene", visit=1, exposure=1 + snap, snap=snap, detector=0, band="r", exposure_time=15.0,
            begin_mjd_tai=61305.12, end_mjd_tai=61305.1202, ra=visit.ra, dec=visit.dec, rotation=visit.rotation,
            airmass=1.14,
        )
        for snap in (0, 1)
    )  # fmt: skip
    return VisitScene(
        scene=scene,
        combined=combined,
        sky=sky,
        references=_references(scene),
        exposures=exposures,
        scale=float(scale),
    )


def _references(scene: ImagingScene) -> NDArray[np.void]:
    static = scene.truth.static
    magnitude = 31.4 - 2.5 * np.log10(static["flux"])
    stars = static[(static["kind"] == Kind.STAR) & (magnitude > REFERENCE_MAGS[0]) & (magnitude < REFERENCE_MAGS[1])]
    floats = ("ra", "dec", "pmra", "pmdec", "epoch_mjd", "flux_r", "fluxErr_r")
    rows = np.zeros(len(stars), [("id", "<i8"), *((name, "<f8") for name in floats), ("isStar", "?")])
    rows["ra"], rows["dec"], rows["epoch_mjd"] = stars["ra"], stars["dec"], 61305.0
    rows["flux_r"], rows["fluxErr_r"] = stars["flux"], 0.003 * stars["flux"]
    rows["id"], rows["isStar"] = np.arange(1, len(stars) + 1), True
    return rows
