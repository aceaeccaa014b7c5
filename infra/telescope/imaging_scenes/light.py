"""Paints a scene's light in electrons: what lasts with the simulator's painter, what changes point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.artefacts import TRAIL_ELECTRONS, trail_light
from infra.telescope.imaging_scenes.geometry import PixelSky
from infra.telescope.imaging_scenes.objects import Static, place
from infra.telescope.imaging_scenes.products import PSF_HALF, Streak
from infra.telescope.optics import NEUTRAL_COLOUR
from infra.telescope.paint import paint_points, stamp_radius
from infra.telescope.profile import FieldPsf, PsfShapes
from infra.telescope.scene import Placed, axes_of_sky, paint_scene
from infra.telescope.schedule import SNAP_GAP_S
from infra.telescope.sky import Kind
from schemas.camera import Detector

__all__ = [
    "View",
    "enclosed",
    "paint_static",
    "paint_streaks",
    "paint_template_changes",
    "paint_visit_changes",
    "trail_points",
]

TRAIL_STEP = 0.5
"""Pixels between the points that make up a trail: far below the PSF's width."""

SNAP_SECONDS = 15.0

_Floats = NDArray[np.float64]
_Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How an image sees the sky: its pixels, its PSF, its electrons per nJy."""

    sky: PixelSky
    psf: FieldPsf
    throughput: float
    """Electrons that a source of 1 nJy leaves in all."""

    @property
    def calibration(self) -> float:
        """Electrons per nJy of a calibrated image: those within the PSF's image, whose sum is 1, so that fits of it give fluxes."""
        return self.throughput * enclosed(self, PSF_HALF)

    def shapes(self, x: _Floats, y: _Floats) -> PsfShapes:
        """Return the PSF's shapes at pixels."""
        return self.psf.shapes(x - (self.sky.width - 1) / 2, y - (self.sky.height - 1) / 2)

    def pixels(self, ra: _Floats, dec: _Floats) -> tuple[_Floats, _Floats]:
        """Return pixels of objects of neutral colour."""
        return place(self.sky, ra, dec, np.full(np.shape(ra), NEUTRAL_COLOUR))

    def blank(self, level: float = 0.0) -> _Image:
        """Return an image of the view's size with one value."""
        return np.full((self.sky.height, self.sky.width), level, np.float32)


def enclosed(view: View, half: int) -> float:
    """Return the share of a point's light that an image of the PSF of ``2 half + 1`` pixels holds, in the view's middle."""
    image = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    centre = np.array([float(half)])
    middle = view.shapes(np.array([(view.sky.width - 1) / 2]), np.array([(view.sky.height - 1) / 2]))
    paint_points(image, centre, centre, np.array([1.0]), middle, np.array([half + 1]))
    return float(image.sum(dtype=np.float64))


def paint_static(image: _Image, view: View, static: Static, flux: _Floats) -> None:
    """Add stars and galaxies of given fluxes (nJy) to an image of electrons in place."""
    table = static.table
    x, y = place(view.sky, table["ra"], table["dec"], table["colour"])
    placed = Placed(
        catalogue=static.catalogue,
        x=x,
        y=y,
        u=x - (view.sky.width - 1) / 2,
        v=y - (view.sky.height - 1) / 2,
        electrons=flux * view.throughput,
    )
    paint_scene(image, placed, view.psf, axes_of_sky(view.sky.pointing.rotation, view.sky.pointing.plate_scale))


def paint_visit_changes(
    image: _Image, view: View, changes: NDArray[Any], static: Static, *, snap: int | None = None
) -> None:
    """Add what changed to an image that holds the lasting objects, in place.

    Parameters
    ----------
    image
        Electrons of the whole visit, or of one snap.
    view
        How the image sees the sky; its throughput is that of the whole visit, or of one snap.
    snap
        The snap; None stands for both.
    """
    points = changes[np.isin(changes["kind"], ["transient", "variable", "moving_star"])]
    flux = points["flux"].copy()
    on_star = _vary_as_stars(points, static)
    flux[on_star] = points["difference_flux"][on_star]
    _add(image, view, *view.pixels(points["ra"], points["dec"]), flux)
    glints = changes[changes["kind"] == "glint"]
    seen = glints if snap is None else glints[glints["snap"] == snap]
    # A snap holds half the exposure: a flash that is in one snap alone is twice as bright there.
    _add(image, view, *view.pixels(seen["ra"], seen["dec"]), seen["flux"] * (1 if snap is None else 2))
    for trail in changes[changes["kind"] == "trail"]:
        x, y, share = trail_points(trail, view.sky.pointing.plate_scale, snap)
        _add(image, view, x, y, trail["flux"] * share)


def paint_template_changes(image: _Image, view: View, changes: NDArray[Any], static: Static, visit: PixelSky) -> None:
    """Add to a template what the visit no longer shows there, in place; ``visit`` maps the visit's pixels."""
    gone = changes[changes["template_flux"] > 0]
    gone = gone[~_vary_as_stars(gone, static)]
    step = np.where(gone["kind"] == "moving_star", gone["length_arcsec"] / visit.pointing.plate_scale, 0.0)
    angle = np.radians(gone["angle_deg"])
    x, y = gone["x"] - step * np.cos(angle), gone["y"] - step * np.sin(angle)
    ra, dec = visit.all_pix2world(x, y, 0)
    _add(image, view, *view.pixels(ra, dec), gone["template_flux"])


def paint_streaks(image: _Image, detector: Detector, streaks: tuple[Streak, ...], snap: int | None = None) -> None:
    """Add satellites' trails to an image of electrons in place."""
    for streak in streaks:
        if snap is None or streak.snap == snap:
            light = trail_light(detector, (streak.angle, streak.offset))
            image += light * np.float32(streak.peak / TRAIL_ELECTRONS)


def trail_points(trail: Any, plate_scale: float, snap: int | None) -> tuple[_Floats, _Floats, _Floats]:
    """Return points along a trail and their shares of the flux of the exposure seen.

    The shutter is closed between the snaps, so a trail has a gap there; its length is from end to end.
    """
    total = 2 * SNAP_SECONDS + SNAP_GAP_S
    length = float(trail["length_arcsec"]) / plate_scale
    count = max(2, int(np.ceil(length * SNAP_SECONDS / total / TRAIL_STEP)))
    within = (np.arange(count) + 0.5) / count * SNAP_SECONDS
    starts = [s * (SNAP_SECONDS + SNAP_GAP_S) for s in ((0, 1) if snap is None else (snap,))]
    along = length * (np.concatenate([start + within for start in starts]) / total - 0.5)
    angle = np.radians(float(trail["angle_deg"]))
    share = np.full(along.size, 1 / along.size)
    return trail["x"] + along * np.cos(angle), trail["y"] + along * np.sin(angle), share


def _vary_as_stars(changes: NDArray[Any], static: Static) -> NDArray[np.bool_]:
    """Tell which changes are of stars that last, whose light is painted with them, and not of something added to a galaxy."""
    found = changes["kind"] == "variable"
    found[found] = static.table["kind"][changes["host"][found]] == Kind.STAR
    return np.asarray(found)


def _add(image: _Image, view: View, x: _Floats, y: _Floats, flux: _Floats) -> None:
    electrons = np.asarray(flux * view.throughput, np.float64)
    shapes = view.shapes(x, y)
    whole = np.full(electrons.size, np.abs(electrons).sum() if electrons.size > 1 else 0.0)
    # The points of a trail are faint one by one: their stamps reach as far as those of a source a hundred times brighter.
    reach = np.minimum(100 * np.abs(electrons), np.maximum(whole, np.abs(electrons)))
    paint_points(image, x, y, electrons, shapes, stamp_radius(reach, shapes.fwhm))
