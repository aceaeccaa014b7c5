"""What one detector does to light: the constants of its amplifiers, and its bias, dark and flat structure.

All of it is drawn once from the seed: the same detector answers alike every night. The release's masters are noisy measures
of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.optics import detector_to_plane, field_radius
from schemas.camera import Amplifier, Camera, Detector

__all__ = ["AmplifierConstants", "DetectorResponse", "make_response", "measured_adu", "read_out_view"]

_Floats = NDArray[np.float64]
_Image = NDArray[np.float32]

FULL_WELL_E = 92_000.0
VIGNETTING = 0.12
"""Light lost at the field's edge, as a share of the centre's."""
HOT_DARK_E_PER_S = 2.0
"""Pixels with more dark current are called defects."""
SATURATION_SHARE = 0.97
"""Of the full well, above which a pixel is called saturated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmplifierConstants:
    """Constants of a detector's amplifiers: arrays in the order of its amplifiers."""

    gain: _Floats
    """Electrons per ADU."""
    read_noise: _Floats
    """Electrons."""
    pedestal: _Floats
    """ADU."""
    full_well: _Floats
    """Electrons."""
    lin1: _Floats
    lin2: _Floats
    """True ADU = adu (1 + lin1 adu + lin2 adu^2)."""
    crosstalk: _Floats
    """Row: victim, column: source; share of the source's ADU."""

    @property
    def saturation(self) -> _Floats:
        """ADU above the overscan at which a pixel counts as saturated."""
        return measured_adu(SATURATION_SHARE * self.full_well / self.gain, self.lin1, self.lin2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorResponse:
    """One detector's answer to light; images are float32 of the trimmed CCD."""

    detector: Detector
    amplifiers: AmplifierConstants
    bias: _Image
    """ADU above the overscan."""
    dark: _Image
    """Electrons a second."""
    pixel_flat: _Image
    """Relative response in the middle of the spectrum, mean 1 over good pixels."""
    colour_flat: _Image
    """How it changes with band: exponent 1 in y, -1 in u."""
    defects: NDArray[np.bool_]
    throughput: float
    """Of the whole detector relative to the camera's mean."""

    def flat(self, band: str) -> _Image:
        """Return the relative response in a band, mean 1 over good pixels."""
        exponent = (0.0 if band not in "ugrizy" else "ugrizy".index(band) - 2.5) / 2.5
        image = self.pixel_flat * (1 + np.float32(exponent) * self.colour_flat)
        return np.asarray(image / image[~self.defects].mean(dtype=np.float64), np.float32)


def measured_adu(true: _Floats, lin1: _Floats | float, lin2: _Floats | float) -> _Floats:
    """Return the ADU that an amplifier of that nonlinearity reports for a true signal in ADU."""
    adu = true
    for _ in range(6):
        adu = true / (1 + lin1 * adu + lin2 * adu * adu)
    return adu


def read_out_view(image: NDArray[Any], amplifier: Amplifier) -> NDArray[Any]:
    """Return the amplifier's part of a trimmed image in read-out order, as a view."""
    x0, y0, x1, y1 = amplifier.box
    part = image[y0:y1, x0:x1]
    return part[:: -1 if amplifier.flip_y else 1, :: -1 if amplifier.flip_x else 1]


def make_response(camera: Camera, seed: int, detector: Detector) -> DetectorResponse:
    """Draw a detector."""
    random = generator(seed, "response", camera.name, detector.id)
    amplifiers = _draw_constants(random, detector.amplifiers)
    bias = np.zeros((detector.height, detector.width), np.float32)
    gains = np.ones_like(bias)
    for amplifier in detector.amplifiers:
        read_out_view(bias, amplifier)[...] = _bias_structure(random, amplifier.height, amplifier.width)
        read_out_view(gains, amplifier)[...] = random.normal(1.0, 0.008)
    dark, hot = _dark_structure(random, detector)
    flat = gains * _illumination(camera, detector) * _pixel_response(random, bias.shape)
    dead = _dead_pixels(random, bias.shape)
    flat[dead] *= 0.1
    defects = hot | dead
    flat /= flat[~defects].mean(dtype=np.float64)
    return DetectorResponse(
        detector=detector,
        amplifiers=amplifiers,
        bias=bias,
        dark=dark,
        pixel_flat=flat,
        colour_flat=_colour_structure(random, bias.shape),
        defects=defects,
        throughput=float(random.normal(1.0, 0.02)),
    )


def _draw_constants(random: np.random.Generator, amplifiers: Sequence[Amplifier]) -> AmplifierConstants:
    count = len(amplifiers)
    rows = np.array([a.box[1] for a in amplifiers])
    place = np.arange(count)
    apart = np.abs(place[:, None] - place[None, :])
    same_row = rows[:, None] == rows[None, :]
    strength = np.where(same_row & (apart == 1), random.uniform(3e-4, 1e-3, (count, count)), 0.0)
    strength = np.where(strength == 0, random.uniform(1e-5, 1e-4, (count, count)), strength)
    np.fill_diagonal(strength, 0.0)
    return AmplifierConstants(
        gain=random.uniform(1.46, 1.62, count),
        read_noise=random.uniform(6.0, 8.5, count),
        pedestal=random.uniform(900.0, 1300.0, count),
        full_well=FULL_WELL_E * random.normal(1.0, 0.01, count),
        lin1=random.uniform(1.0e-7, 3.0e-7, count),
        lin2=random.uniform(0.5e-12, 2.0e-12, count),
        crosstalk=strength,
    )


def _bias_structure(random: np.random.Generator, height: int, width: int) -> _Floats:
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    corner = random.uniform(2.0, 6.0) * np.exp(-x / 25.0) + random.uniform(1.0, 3.0) * np.exp(-y / 60.0)
    ripple = 0.6 * np.sin(2 * np.pi * (x / random.uniform(40, 90) + y / random.uniform(60, 200)))
    return np.asarray(corner + ripple + random.normal(0.0, 0.4, width)[None, :])


def _dark_structure(random: np.random.Generator, detector: Detector) -> tuple[_Image, NDArray[np.bool_]]:
    shape = detector.height, detector.width
    dark = random.uniform(0.01, 0.04, shape).astype(np.float32)
    pixels = detector.height * detector.width
    hot = random.integers(0, pixels, max(3, round(4e-5 * pixels)))
    dark.reshape(-1)[hot] += np.exp(random.uniform(np.log(1.0), np.log(200.0), hot.size)).astype(np.float32)
    for _ in range(max(1, round(2e-6 * pixels))):
        amplifier = detector.amplifiers[int(random.integers(len(detector.amplifiers)))]
        start = int(random.integers(amplifier.height // 3, amplifier.height - 8))
        column = read_out_view(dark, amplifier)[start:, int(random.integers(amplifier.width))]
        column += random.uniform(30.0, 120.0)
    return dark, dark > HOT_DARK_E_PER_S


def _dead_pixels(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    dead = np.zeros(shape, bool)
    pixels = shape[0] * shape[1]
    dead.reshape(-1)[random.integers(0, pixels, max(3, round(5e-5 * pixels)))] = True
    for _ in range(max(0, round(1e-6 * pixels))):
        start = int(random.integers(0, shape[0] // 2))
        dead[start : start + shape[0] // 8, int(random.integers(shape[1]))] = True
    return dead


def _illumination(camera: Camera, detector: Detector) -> _Image:
    x, y = np.arange(detector.width, dtype=np.float64)[None, :], np.arange(detector.height, dtype=np.float64)[:, None]
    u, v = detector_to_plane(detector, *np.broadcast_arrays(x, y))
    return np.asarray(1 - VIGNETTING * (u * u + v * v) / field_radius(camera) ** 2, np.float32)


def _pixel_response(random: np.random.Generator, shape: tuple[int, int]) -> _Image:
    x, y = np.arange(shape[1])[None, :], np.arange(shape[0])[:, None]
    rings = 0.003 * np.sin(np.hypot(x + 200.0, y + 300.0) / 9.0)
    return np.asarray(1 + rings + random.normal(0.0, 0.005, shape), np.float32)


def _colour_structure(random: np.random.Generator, shape: tuple[int, int]) -> _Image:
    x, y = np.linspace(-1, 1, shape[1])[None, :], np.linspace(-1, 1, shape[0])[:, None]
    a, b, c = random.normal(0.0, 0.006, 3)
    return np.asarray(a * x + b * y + c * (x * x - y * y), np.float32)
