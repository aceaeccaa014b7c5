"""Stamps as pictures: read from FITS, stretched alike over a whole history, written as PNG.

Science and template share one stretch, so that a change is seen as a change; differences have one of their own that is
symmetric about zero, so that mid-grey is "no change" in every epoch.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from streams.views.errors import RequestError

__all__ = ["ROLES", "Stamp", "Stretch", "difference_stretch", "direct_stretch", "png", "read_stamp", "stretches"]

Pixels = npt.NDArray[np.float64]

ROLES = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}
"""Name of a stamp in addresses to its field in the packet, in the order of display."""

_WHITE_PERCENTILE = 99.7
"""Share of pixels, in percent, that are darker than white: a stamp is small, and its source must not burn out."""

_NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """One stamp."""

    pixels: Pixels
    """nJy, indexed [row, column] from the bottom; NaN where there are no data."""
    east: tuple[float, float] | None
    """Unit vector to the east, (columns, rows); None where the header has no WCS."""
    north: tuple[float, float] | None
    scale_arcsec: float | None
    """Arcseconds a pixel."""

    @property
    def compass_deg(self) -> float | None:
        """Angle of north on the picture, clockwise from up, degrees; None without a WCS."""
        return None if self.north is None else math.degrees(math.atan2(self.north[0], self.north[1]))

    @property
    def mirrored(self) -> bool:
        """Whether east lies clockwise of north on the picture, the opposite of the sky."""
        if self.east is None or self.north is None:
            return False
        return self.north[0] * self.east[1] - self.north[1] * self.east[0] < 0

    @property
    def north_up(self) -> str | None:
        """CSS transform that turns the picture north up and east left; None without a WCS."""
        if self.east is None or self.north is None:
            return None
        (ex, ey), (nx, ny) = self.east, self.north
        determinant = ex * ny - nx * ey
        # screen rows run down: the picture of (x, y) is (x, -y); solve T e = (-1, 0), T n = (0, -1) there
        a, c = -ny / determinant, -nx / determinant
        b, d = ey / determinant, ex / determinant
        return f"matrix({a:.5f},{b:.5f},{c:.5f},{d:.5f},0,0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """How nJy become grey: asinh between two ends."""

    low: float
    """Black, nJy."""
    high: float
    """White, nJy."""
    soft: float
    """Where the linear part ends, nJy; positive."""
    centre: float
    """Value about which asinh is symmetric, nJy."""

    def encoded(self) -> str:
        """Return the stretch as text for an address."""
        return ",".join(f"{value:.5g}" for value in (self.low, self.high, self.soft, self.centre))

    @classmethod
    def decoded(cls, text: str) -> Stretch:
        """Read the text of `encoded`.

        Raises
        ------
        RequestError
            When it is no stretch.
        """
        try:
            low, high, soft, centre = (float(part) for part in text.split(","))
        except ValueError:
            raise RequestError(f"'{text}' is no stretch: black, white, softening and centre, four numbers.") from None
        if not (math.isfinite(low + high + soft + centre) and high > low and soft > 0):
            raise RequestError(f"'{text}' is no stretch: white lies above black and the softening is positive.")
        return cls(low=low, high=high, soft=soft, centre=centre)

    def apply(self, pixels: Pixels) -> Pixels:
        """Return grey levels from 0 (black) to 1 (white); NaN stays NaN."""
        bent = np.arcsinh((pixels - self.centre) / self.soft)
        black, white = (math.asinh((end - self.centre) / self.soft) for end in (self.low, self.high))
        return np.asarray(np.clip((bent - black) / (white - black), 0.0, 1.0))


def read_stamp(file: bytes) -> Stamp:
    """Read the image and the orientation of a stamp's FITS file.

    Raises
    ------
    RequestError
        When the bytes are no FITS image.
    """
    from astropy.io import fits
    from astropy.io.fits.verify import VerifyWarning

    # other surveys' cards are not always in the standard's fixed format
    quiet = warnings.catch_warnings(action="ignore", category=VerifyWarning)
    try:
        with quiet, fits.open(io.BytesIO(file), memmap=False) as hdus:
            image = next(hdu for hdu in hdus if getattr(hdu, "data", None) is not None)
            pixels = np.asarray(image.data, dtype=np.float64)
            header = hdus[0].header
            matrix = _cd_matrix(header)
    except (OSError, StopIteration, ValueError, TypeError) as error:
        raise RequestError(f"A stamp is no FITS image: {error or 'it holds no pixels'}.") from error
    if pixels.ndim != 2:
        raise RequestError(f"A stamp is an image of two axes; this one has {pixels.ndim}.")
    east, north, scale = _orientation(matrix)
    return Stamp(pixels=pixels, east=east, north=north, scale_arcsec=scale)


def direct_stretch(images: Iterable[Pixels]) -> Stretch:
    """Return one stretch for science images and templates: black two sigma below the sky, white near the brightest."""
    values = _finite(images)
    if not len(values):
        return Stretch(low=0.0, high=1.0, soft=1.0, centre=0.0)
    sky = float(np.median(values))
    sigma = _sigma(values, sky)
    high = max(float(np.percentile(values, _WHITE_PERCENTILE)), sky + 5 * sigma)
    return Stretch(low=sky - 2 * sigma, high=high, soft=3 * sigma, centre=sky)


def difference_stretch(images: Iterable[Pixels]) -> Stretch:
    """Return one stretch for difference images, symmetric about zero."""
    values = _finite(images)
    if not len(values):
        return Stretch(low=-1.0, high=1.0, soft=1.0, centre=0.0)
    sigma = _sigma(values, 0.0)
    high = max(float(np.percentile(np.abs(values), _WHITE_PERCENTILE)), 5 * sigma)
    return Stretch(low=-high, high=high, soft=3 * sigma, centre=0.0)


def stretches(epochs: Sequence[dict[str, Stamp]]) -> dict[str, Stretch]:
    """Return the stretch of each role, common to all epochs."""
    direct = direct_stretch(
        stamps[role].pixels for stamps in epochs for role in ("science", "template") if role in stamps
    )
    difference = difference_stretch(stamps["difference"].pixels for stamps in epochs if "difference" in stamps)
    return {"science": direct, "template": direct, "difference": difference}


def png(pixels: Pixels, stretch: Stretch) -> bytes:
    """Return a picture at one pixel a pixel, first row at the bottom, pixels without data transparent."""
    grey = stretch.apply(pixels)
    holes = ~np.isfinite(grey)
    channels = np.stack([np.where(holes, 0, grey) * 255, np.where(holes, 0, 255)], axis=-1)
    picture = Image.fromarray(np.ascontiguousarray(channels[::-1].round().astype(np.uint8)), mode=None)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _finite(images: Iterable[Pixels]) -> Pixels:
    parts = [image[np.isfinite(image)] for image in images]
    return np.concatenate(parts) if parts else np.zeros(0)


def _sigma(values: Pixels, centre: float) -> float:
    return float(np.median(np.abs(values - centre))) * _NORMAL_MAD or float(np.std(values)) or 1.0


def _cd_matrix(header: Any) -> npt.NDArray[np.float64] | None:
    """Return east and north per pixel in degrees, also from headers that leave CTYPE and CUNIT out."""
    if "CD1_1" in header or "CD2_2" in header:
        cells = [[header.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)]
        return np.array(cells, dtype=float)
    if "CDELT1" not in header or "CDELT2" not in header:
        return None
    turn = [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    steps = np.array([[header["CDELT1"]], [header["CDELT2"]]], dtype=float)
    return np.asarray(steps * np.array(turn, dtype=float))


def _orientation(
    matrix: npt.NDArray[np.float64] | None,
) -> tuple[tuple[float, float] | None, tuple[float, float] | None, float | None]:
    determinant = 0.0 if matrix is None else float(np.linalg.det(matrix))
    if matrix is None or not math.isfinite(determinant) or determinant == 0.0:
        return None, None, None
    inverse = np.linalg.inv(matrix)
    return _direction(inverse[:, 0]), _direction(inverse[:, 1]), math.sqrt(abs(determinant)) * 3600


def _direction(vector: npt.NDArray[Any]) -> tuple[float, float]:
    length = float(np.hypot(*vector))
    return float(vector[0]) / length, float(vector[1]) / length
