"""Scenes on which each shortcut of imaging shows its damage, and the plain steps that prepare an input wrongly on purpose.

A scene is a cut of a thousand pixels of a full CCD with its sixteen amplifiers. What a shortcut does is told by the false detections
it leaves on the score map, by the scatter of that map, or by fluxes against the truth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.spatial import cKDTree

from infra.telescope.imaging_scenes import ImagingScene, RawSnaps, make_scene
from infra.telescope.imaging_scenes.recipes import RECIPES
from processors.differencing.detection import detect_peaks, psf_response
from processors.differencing.layers import ScienceImage
from processors.differencing.pipeline import DifferenceResult
from processors.differencing.planes import DROPPED_CENTRE, has_plane
from processors.differencing.psf import adaptive_moments
from processors.differencing.snap_consistency import SnapPair
from processors.differencing.templates import Template
from processors.single_frame.background import measure_background
from processors.single_frame.frames import parse_raw
from processors.single_frame.isr import correct, interpolate_bad
from processors.single_frame.snaps import CombinedImage, combine
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations

__all__ = [
    "SIZE",
    "TrapScene",
    "blank_sky_sd",
    "false_peaks",
    "fine_mesh",
    "gaussian_profile",
    "masked_mesh",
    "pixel_ratios",
    "point_fluxes",
    "regions_of",
    "science_of",
    "score_fluxes",
    "share_measured",
    "snap_scene",
    "sum_snaps",
    "template_of",
    "trap_scene",
]

SIZE = (1000, 1000)

Pixels = NDArray[Any]
Mesh = Callable[[NDArray[np.float32], NDArray[np.uint16]], Pixels]


@dataclass(frozen=True, eq=False)
class TrapScene:
    """A scene with its raw snaps, taken when they are asked for, and its reduction to a science image."""

    scene: ImagingScene

    @functools.cached_property
    def snaps(self) -> RawSnaps:
        """Both snaps, of a sensor without charge effects."""
        return self.scene.raw_snaps(charge_effects=False)

    def reduced(
        self,
        *,
        masters: MasterCalibrations | None = None,
        skip: Set[str] = frozenset(),
        combination: Callable[..., CombinedImage] = combine,
        mesh: Mesh | None = None,
    ) -> ScienceImage:
        """Reduce the raw snaps with true PSF, coordinates and zero point; each argument replaces one step."""
        return self.reduced_with_snaps(masters=masters, skip=skip, combination=combination, mesh=mesh)[0]

    def reduced_with_snaps(
        self,
        *,
        masters: MasterCalibrations | None = None,
        skip: Set[str] = frozenset(),
        combination: Callable[..., CombinedImage] = combine,
        mesh: Mesh | None = None,
    ) -> tuple[ScienceImage, SnapPair]:
        """Reduce the raw snaps as `reduced` does, and return what the snaps say apart too."""
        frames = [parse_raw(file) for file in self.snaps.files]
        combined = combination([correct(frame, masters or self.snaps.masters, skip=skip) for frame in frames])
        image, mask = combined.image, combined.mask
        interpolate_bad(image, mask, int(MaskPlane.BAD), 8)
        image = image - (mesh or masked_mesh)(image, mask)
        scale = np.float32(self.scene.science.electrons_per_nanojansky * self.snaps.response.throughput)
        science, apart = self.scene.science, combined.snaps
        assert apart.difference is not None
        assert apart.difference_variance is not None
        reduced = ScienceImage(
            image=(image / scale).astype(np.float32),
            variance=(combined.variance / scale**2).astype(np.float32),
            mask=mask | (science.mask & np.uint16(MaskPlane.EDGE)),
            psf=science.psf,
            wcs=science.wcs,
        )
        pair = SnapPair(
            difference=apart.difference / scale,
            variance=apart.difference_variance / scale**2,
            exposure_s=15.0,
            gap_s=3.0,
        )
        return reduced, pair


@functools.cache
def trap_scene(
    name: str, seed: int, *, stars: int, giants: int = 0, transients: int = 40, variables: int = 0
) -> TrapScene:
    """Draw a scene that holds stars, galaxies, transients and variables only, so that every other detection is false."""
    nothing = dict.fromkeys(("vanished", "moving_stars", "trails", "glints", "glint_trains", "streaks"), 0)
    counts = {"stars": stars, "giants": giants, "transients": transients, "variables": variables}
    recipe = replace(RECIPES[name], **nothing, **counts, galaxies=300, brightest_mag=15.0)
    return TrapScene(scene=make_scene(name, seed, size=SIZE, recipe=recipe))


@functools.cache
def snap_scene(seed: int) -> TrapScene:
    """Draw a nominal scene with flashes that one snap shows, rows of them, and moving objects of all lengths."""
    recipe = replace(
        RECIPES["nominal"],
        stars=350,
        galaxies=350,
        transients=60,
        vanished=10,
        variables=20,
        moving_stars=2,
        trails=16,
        glints=16,
        glint_trains=2,
        streaks=0,
    )
    return TrapScene(scene=make_scene("nominal", seed, size=SIZE, recipe=recipe))


def science_of(scene: ImagingScene) -> ScienceImage:
    """Return a scene's calibrated image as the pipeline's type."""
    s = scene.science
    return ScienceImage(image=s.image, variance=s.variance, mask=s.mask, psf=s.psf, wcs=s.wcs)


def template_of(scene: ImagingScene) -> Template:
    """Return a scene's template: it has the attributes of the pipeline's."""
    return cast("Template", scene.template)


@dataclass(frozen=True)
class _Moved:
    """Coordinates and PSF of an image, as a cut of it asks for them."""

    science: ScienceImage
    left: int
    top: int

    def at(self, x: float, y: float) -> Any:
        """Return the PSF at a place of the cut."""
        return self.science.psf.at(x + self.left, y + self.top)

    def all_pix2world(self, x: Pixels, y: Pixels, origin: int, /) -> list[Pixels]:
        """Return the sky's place of pixels of the cut."""
        return list(self.science.wcs.all_pix2world(np.asarray(x) + self.left, np.asarray(y) + self.top, origin))

    def all_world2pix(self, ra: Pixels, dec: Pixels, origin: int, /) -> list[Pixels]:
        """Return pixels of the cut of places on the sky."""
        x, y = self.science.wcs.all_world2pix(ra, dec, origin)
        return [x - self.left, y - self.top]


def regions_of(science: ScienceImage, count: int) -> list[tuple[int, int, ScienceImage]]:
    """Cut an image into ``count`` times ``count`` regions: left column, lower row, and the region as an image of its own."""
    rows, columns = (n // count for n in science.image.shape)
    out = []
    for top in range(0, rows * count, rows):
        for left in range(0, columns * count, columns):
            box, moved = np.s_[top : top + rows, left : left + columns], _Moved(science, left, top)
            planes = {name: getattr(science, name)[box].copy() for name in ("image", "variance", "mask")}
            out.append((left, top, ScienceImage(**planes, psf=moved, wcs=moved)))
    return out


def sum_snaps(frames: Any) -> CombinedImage:
    """Add snaps without looking for cosmic rays."""
    first, second = frames
    kept = combine(frames)
    mask = (first.mask | second.mask) & ~np.uint16(MaskPlane.CR)
    return replace(kept, image=first.image + second.image, variance=first.variance + second.variance, mask=mask)


def masked_mesh(image: NDArray[np.float32], mask: NDArray[np.uint16]) -> Pixels:
    """Return the pipeline's sky."""
    return measure_background(image, mask).image


def fine_mesh(image: NDArray[np.float32], mask: NDArray[np.uint16]) -> Pixels:
    """Return the sky as medians of squares of 16 pixels, objects and all, drawn smooth."""
    cell = 16
    padded = np.pad(image, [(0, -n % cell) for n in image.shape], mode="reflect")
    blocks = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    surface = zoom(np.median(blocks, axis=(1, 3)), cell, order=1, grid_mode=True, mode="nearest")
    return np.asarray(surface[: image.shape[0], : image.shape[1]], np.float32)


def peaks_of(result: DifferenceResult, *, noise_only: bool = False) -> Pixels:
    """Return the detections on the score map, both signs, whose centre may be a source.

    ``noise_only`` asks for the map without the errors of subtraction, which forgive what a poor kernel leaves on stars.
    """
    mean = result.psf.mean
    half = float(mean.shape[0] // 2)
    xx, yy, _, _ = adaptive_moments(mean, half, half, 1.5, half)
    fwhm = 2.3548 * float(np.sqrt((xx + yy) / 2))
    score = result.score
    snr = (score.flux / score.error).astype(np.float32) if noise_only else score.snr
    peaks = detect_peaks(snr, score.error, response=psf_response(mean, 24), fwhm=fwhm)
    return np.asarray(peaks[~has_plane(result.mask[peaks["y"], peaks["x"]], DROPPED_CENTRE)])


def false_peaks(result: DifferenceResult, scene: ImagingScene, *, noise_only: bool = False, reach: float = 6.0) -> int:
    """Count detections that are no change of the scene; ``noise_only`` as for `peaks_of`."""
    peaks, changes = peaks_of(result, noise_only=noise_only), scene.truth.changes
    if len(peaks) == 0:
        return 0
    distance, _ = cKDTree(np.column_stack([changes["x"], changes["y"]])).query(
        np.column_stack([peaks["x"], peaks["y"]])
    )
    return int(np.count_nonzero(distance > reach))


def blank_sky_sd(result: DifferenceResult) -> float:
    """Return the standard deviation (from the quartiles) of the score where no static source is."""
    score = result.score
    blank = np.isfinite(score.error) & (np.abs(score.static_flux) < 5 * score.error)
    low, high = np.percentile(score.snr[blank][::5], [25, 75])
    return float((high - low) / 1.349)


def point_fluxes(
    image: Pixels, profile: Callable[[float, float, float, float], Pixels], x: Pixels, y: Pixels
) -> Pixels:
    """Return fluxes of a model fitted with equal weights at places; ``profile(dx, dy, x, y)`` draws an odd square about a pixel."""
    out = np.full(len(x), np.nan)
    for n in range(len(x)):
        ix, iy = int(np.floor(x[n] + 0.5)), int(np.floor(y[n] + 0.5))
        model = profile(x[n] - ix, y[n] - iy, x[n], y[n])
        half = model.shape[0] // 2
        stamp = image[iy - half : iy + half + 1, ix - half : ix + half + 1]
        if stamp.shape == model.shape:
            out[n] = float(np.sum(stamp * model) / np.sum(model**2))
    return out


def score_fluxes(result: DifferenceResult, x: Pixels, y: Pixels) -> Pixels:
    """Return the score map's fluxes at places; NaN where they lie off the image or nothing is known."""
    columns, rows = np.rint(x).astype(int), np.rint(y).astype(int)
    score = result.score
    inside = (columns >= 0) & (rows >= 0) & (columns < score.flux.shape[1]) & (rows < score.flux.shape[0])
    place = np.where(inside, rows, 0), np.where(inside, columns, 0)
    return np.where(inside & np.isfinite(score.error[place]), score.flux[place], np.nan)


def share_measured(fluxes: Pixels, truth: Pixels) -> float:
    """Return the factor by which measured fluxes follow the true ones."""
    return float(np.sum(fluxes * truth) / np.sum(truth**2))


def gaussian_profile(fwhm: float, half: int = 15) -> Callable[[float, float, float, float], Pixels]:
    """Return what draws a Gaussian of a width (pixels) and sum 1, as `point_fluxes` asks for."""
    step, sigma = np.arange(-half, half + 1), fwhm / 2.3548

    def draw(dx: float, dy: float, x: float, y: float) -> Pixels:
        line = np.exp(-0.5 * ((step - dx) / sigma) ** 2)
        column = np.exp(-0.5 * ((step - dy) / sigma) ** 2)
        image = np.outer(column, line)
        return np.asarray(image / image.sum())

    return draw


def pixel_ratios(science: ScienceImage, trap: TrapScene, low: float, high: float) -> Pixels:
    """Return value over truth of the usable pixels in which so many electrons a snap fell, of the sky's zero point."""
    scene, snaps = trap.scene, trap.snaps
    throughput = np.float32(snaps.response.throughput)
    light = snaps.light[0] + snaps.light[1]
    truth = light - np.float32(scene.science.sky_electrons) * throughput
    truth /= np.float32(scene.science.electrons_per_nanojansky) * throughput
    chosen = (light > 2 * low) & (light < 2 * high)
    chosen &= (science.mask & (MaskPlane.SAT | MaskPlane.BAD | MaskPlane.CR)) == 0
    return np.asarray(science.image[chosen] / truth[chosen], np.float64)
