"""What spoils exposures: cosmic rays and satellites."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.camera import Detector

__all__ = ["cosmic_rays", "satellite_track", "trail_distance", "trail_light"]

_Floats = NDArray[np.float64]

RAYS_PER_MEGAPIXEL = 14.0
"""Hits in 15 s on 10 micrometre pixels (1.05 cm^2), about the rate at sea level times four for altitude and thickness."""

TRAIL_ELECTRONS = 180.0
"""Peak of a satellite's trail per pixel."""

TRAIL_WIDTH_PIXELS = 3.4
"""Gaussian width of a trail: a satellite is near and out of focus."""


def cosmic_rays(shape: tuple[int, int], seconds: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the electrons that particles free in an exposure: straight tracks of uneven density."""
    image = np.zeros(shape, np.float32)
    expected = RAYS_PER_MEGAPIXEL * shape[0] * shape[1] / 2**20 * seconds / 15.0
    for _ in range(int(random.poisson(expected))):
        x, y = random.uniform(0, shape[1]), random.uniform(0, shape[0])
        angle, length = random.uniform(0, 2 * np.pi), 1.0 + random.exponential(6.0)
        steps = int(np.ceil(length * 4))
        along = np.linspace(0, length, steps)
        density = random.gamma(2.0, 1.0, steps) * 450.0 * np.exp(random.normal(0.0, 0.6)) * length / steps
        spread = random.normal(0.0, 0.25, (2, steps))
        column = np.floor(x + along * np.cos(angle) + spread[0] + 0.5).astype(np.int64)
        row = np.floor(y + along * np.sin(angle) + spread[1] + 0.5).astype(np.int64)
        inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
        np.add.at(image, (row[inside], column[inside]), density[inside].astype(np.float32))
    return image


def satellite_track(radius: float, random: np.random.Generator) -> tuple[float, float]:
    """Draw a straight line across the focal plane: its direction (radians) and distance from the boresight (pixels)."""
    return float(random.uniform(0, np.pi)), float(random.uniform(-0.4, 0.4) * radius)


def trail_light(detector: Detector, track: tuple[float, float]) -> NDArray[np.float32]:
    """Return the mean electrons that a satellite leaves on a detector."""
    distance = trail_distance(detector, track)
    return np.asarray(TRAIL_ELECTRONS * np.exp(-0.5 * (distance / TRAIL_WIDTH_PIXELS) ** 2), np.float32)


def trail_distance(detector: Detector, track: tuple[float, float]) -> _Floats:
    """Return each pixel's distance from the trail's middle in pixels (detectors not turned)."""
    angle, offset = track
    u = np.arange(detector.width)[None, :] - (detector.width - 1) / 2 + detector.centre[0]
    v = np.arange(detector.height)[:, None] - (detector.height - 1) / 2 + detector.centre[1]
    return np.asarray(-u * np.sin(angle) + v * np.cos(angle) - offset)
