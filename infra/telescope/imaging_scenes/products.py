"""What a scene is made of: calibrated images with their truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.imaging_scenes.geometry import PixelSky
from infra.telescope.paint import psf_image
from infra.telescope.profile import FieldPsf

__all__ = ["PSF_HALF", "CalibratedImage", "CoaddImage", "SceneTruth", "Streak", "TruePsf"]

PSF_HALF = 20
"""Half size of PSF images, pixels."""

_Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class TruePsf:
    """True point-spread function of an image, as a model that image processing can ask."""

    field: FieldPsf
    width: int
    height: int
    half: int = PSF_HALF

    def at(self, x: float, y: float) -> _Image:
        """Return the PSF at a column and row: odd square of sum 1, centred on its central pixel."""
        u, v = np.array([x - (self.width - 1) / 2]), np.array([y - (self.height - 1) / 2])
        return psf_image(self.field.shapes(u, v), 0, self.half)

    def fwhm(self, x: float, y: float) -> float:
        """Return the profile's full width at half maximum at a place, pixels."""
        u, v = np.array([x - (self.width - 1) / 2]), np.array([y - (self.height - 1) / 2])
        return float(self.field.shapes(u, v).fwhm[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedImage:
    """A calibrated visit image; nJy per pixel, sky removed. The attributes are those of the pipeline's science image."""

    image: _Image
    variance: _Image
    """From the counts, as a pipeline knows it."""
    mask: NDArray[np.uint16]
    psf: TruePsf
    wcs: PixelSky
    electrons_per_nanojansky: float
    """Those within the PSF's image, so that fits of the PSF, whose sum is 1, give the flux of all light."""
    sky_electrons: float
    """Mean electrons of sky per pixel of both snaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaddImage:
    """A template on its own grid; nJy per pixel. The attributes are those of the pipeline's template."""

    image: _Image
    variance: _Image
    """Of each pixel; neighbours are correlated, see ``noise_factor``."""
    mask: NDArray[np.uint16]
    psf: _Image
    """In the middle."""
    true_psf: TruePsf
    wcs: PixelSky
    noise_factor: float
    """Variance of a sum over many pixels divided by the sum of their variances: resampling correlates neighbours."""
    n_epochs: int
    band: str = "r"
    airmass: float = 1.06
    airmass_min: float = 1.0
    airmass_max: float = 1.3
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """A satellite's trail across the whole CCD, in one snap."""

    angle: float
    """Radians from +x towards +y."""
    offset: float
    """Distance of the line from the CCD's middle, pixels."""
    snap: int
    peak: float
    """Electrons per pixel on the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTruth:
    """Everything that is true of a scene."""

    static: NDArray[Any]
    """Rows of ``STATIC_DTYPE``: stars and galaxies."""
    changes: NDArray[Any]
    """Rows of ``CHANGE_DTYPE``."""
    streaks: tuple[Streak, ...]
    saturated: NDArray[np.bool_]
    """Pixels of the visit that reached full well, bleeds included."""
    point_error: float
    """Error (nJy) of a point source's flux in an ideal difference on empty sky."""

    def of_kind(self, *kinds: str) -> NDArray[Any]:
        """Return the changes of some kinds."""
        return self.changes[np.isin(self.changes["kind"], kinds)]

    @property
    def transients(self) -> NDArray[Any]:
        """New point sources."""
        return self.of_kind("transient")

    @property
    def vanished(self) -> NDArray[Any]:
        """Point sources of the template that are gone."""
        return self.of_kind("vanished")

    @property
    def variables(self) -> NDArray[Any]:
        """Stars and nuclei of another brightness."""
        return self.of_kind("variable")

    @property
    def moving_stars(self) -> NDArray[Any]:
        """Stars of large proper motion: dipoles."""
        return self.of_kind("moving_star")

    @property
    def trails(self) -> NDArray[Any]:
        """Moving objects."""
        return self.of_kind("trail")

    @property
    def glints(self) -> NDArray[Any]:
        """Flashes seen in one snap."""
        return self.of_kind("glint")
