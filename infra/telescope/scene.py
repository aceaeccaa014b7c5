"""Paints a part of the sky on a detector or on a template's grid, in electrons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.paint import paint_points, sersic_cloud, stamp_radius
from infra.telescope.profile import FieldPsf, PsfShapes
from infra.telescope.sky import Kind

__all__ = ["Placed", "axes_of_sky", "paint_scene", "turned"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Objects with their places on an image: arrays of n."""

    catalogue: NDArray[Any]
    x: _Floats
    y: _Floats
    u: _Floats
    v: _Floats
    """Places in the focal plane, where the shape of images is decided."""
    electrons: _Floats

    def near(self, width: int, height: int, reach: _Floats) -> NDArray[np.intp]:
        """Return which objects throw light on the image."""
        across = (self.x > -reach) & (self.x < width + reach)
        return np.flatnonzero(across & (self.y > -reach) & (self.y < height + reach) & (self.electrons > 0))


def axes_of_sky(rotation: float, plate_scale: float, quarter_turns: int = 0) -> _Floats:
    """Return the matrix that takes arcseconds east and north into pixels x and y."""
    sine, cosine = np.sin(np.radians(rotation)), np.cos(np.radians(rotation))
    matrix = np.array([[-cosine, sine], [sine, cosine]]) / plate_scale
    for _ in range(quarter_turns % 4):
        matrix = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ matrix
    return matrix


def turned(shapes: PsfShapes, quarter_turns: int) -> PsfShapes:
    """Return shapes as a detector mounted with quarter turns sees them."""
    sign = -1.0 if quarter_turns % 2 else 1.0
    coma_x, coma_y = shapes.coma_x, shapes.coma_y
    for _ in range(quarter_turns % 4):
        coma_x, coma_y = coma_y, -coma_x
    return PsfShapes(shapes.fwhm, sign * shapes.e1, sign * shapes.e2, coma_x, coma_y)


def paint_scene(
    image: NDArray[np.float32], placed: Placed, psf: FieldPsf, axes: _Floats, quarter_turns: int = 0
) -> None:
    """Add every object's light to an image in place.

    Parameters
    ----------
    image
        Electrons, float32 ``[y, x]``.
    placed
        The objects.
    psf
        The exposure's point-spread function.
    axes
        Matrix of `axes_of_sky`.
    """
    height, width = image.shape
    shapes = turned(psf.shapes(placed.u, placed.v), quarter_turns)
    radius = stamp_radius(placed.electrons, shapes.fwhm)
    size = placed.catalogue["half_light_radius"] * float(np.hypot(*axes[0]))
    chosen = placed.near(width, height, radius + 6 * size)
    extended = placed.catalogue["kind"][chosen] == Kind.GALAXY
    points = chosen[~extended]
    paint_points(
        image, placed.x[points], placed.y[points], placed.electrons[points], shapes.take(points), radius[points]
    )
    x, y, light, owner = _clouds(placed, chosen[extended], axes, size)
    if owner.size:
        paint_points(image, x, y, light, shapes.take(owner), radius[owner])


def _clouds(
    placed: Placed, galaxies: NDArray[np.intp], axes: _Floats, size: _Floats
) -> tuple[_Floats, _Floats, _Floats, NDArray[np.intp]]:
    xs, ys, lights, owners = [np.empty(0)], [np.empty(0)], [np.empty(0)], [np.empty(0, np.intp)]
    for index in galaxies:
        row = placed.catalogue[index]
        rings = int(np.clip(np.ceil(2 + 1.5 * size[index]), 3, 14))
        long, short, weight = sersic_cloud(float(row["sersic"]), rings)
        root = np.sqrt(row["axis_ratio"])
        along, across = long * row["half_light_radius"] / root, short * row["half_light_radius"] * root
        sine, cosine = np.sin(np.radians(row["angle"])), np.cos(np.radians(row["angle"]))
        east, north = along * sine + across * cosine, along * cosine - across * sine
        xs.append(placed.x[index] + axes[0, 0] * east + axes[0, 1] * north)
        ys.append(placed.y[index] + axes[1, 0] * east + axes[1, 1] * north)
        lights.append(placed.electrons[index] * weight)
        owners.append(np.full(weight.size, index))
    return np.concatenate(xs), np.concatenate(ys), np.concatenate(lights), np.concatenate(owners)
