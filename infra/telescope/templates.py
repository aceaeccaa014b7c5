"""Templates of the last data release: coadds of four earlier epochs, per detector, band and airmass bin.

Every epoch has its own seeing, transparency, sky, air, point-spread function and noise, and is painted straight onto the
template's tangent-plane grid, which saves the resampling: the coadd's noise is therefore independent from pixel to pixel,
while a real coadd's is slightly correlated; how much is measured and written (``NOISEFAC``). Bleeds, cosmic rays and moving objects are taken as rejected by the release.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.noise import noise_factor
from infra.telescope.optics import Pointing, detector_to_plane, field_radius
from infra.telescope.paint import psf_image
from infra.telescope.profile import FieldPsf, make_field_psf
from infra.telescope.response import FULL_WELL_E
from infra.telescope.scene import Placed, axes_of_sky, paint_scene
from infra.telescope.setup import BANDS, field_setup
from infra.telescope.sky import flux_nanojansky, nominal_pointing, positions
from schemas.camera import Camera, Detector
from schemas.masks import MaskPlane

__all__ = [
    "AIRMASS_BINS",
    "RELEASE_MJD",
    "Epoch",
    "TemplateGrid",
    "airmass_bin",
    "epochs",
    "make_template",
    "template_flux",
]

RELEASE_MJD = 60945.0
"""Middle of the release's epochs (TAI)."""

AIRMASS_BINS = ((1.0, 1.3), (1.3, 1.8))

EPOCHS = 4
EXPOSURE_S = 30.0
READ_NOISE_E = 10.0
"""Of an epoch's two snaps together."""
PSF_HALF = 20

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One earlier visit that goes into a template."""

    mjd: float
    band: str
    zenith_angle: float
    parallactic: float
    seeing_arcsec: float
    transparency: float
    sky_factor: float
    shift: tuple[float, float]
    """Arcseconds by which its registration is off."""
    label: tuple[str | int, ...]

    @property
    def airmass(self) -> float:
        """Secant of the zenith angle."""
        return float(1 / np.cos(np.radians(self.zenith_angle)))

    def electrons_per_nanojansky(self) -> float:
        """Return electrons in the whole epoch per nJy above the air."""
        band = BANDS[self.band]
        return float(
            10 ** (0.4 * (band.zero_point - 31.4 - band.extinction * self.airmass)) * EXPOSURE_S * self.transparency
        )

    def sky_electrons(self, plate_scale: float) -> float:
        """Return electrons of sky per pixel."""
        band = BANDS[self.band]
        rate = 10 ** (0.4 * (band.zero_point - band.sky)) * plate_scale**2
        return float(rate * EXPOSURE_S * self.sky_factor * (0.7 + 0.3 * self.airmass))


def epochs(camera: Camera, seed: int, band: str, which: int) -> list[Epoch]:
    """Return the epochs of a band and airmass bin: the same for all detectors."""
    random = generator(seed, "epochs", camera.name, band, which)
    low, high = AIRMASS_BINS[which]
    made = []
    for number in range(EPOCHS):
        airmass = random.uniform(low + 0.04, high - 0.1)
        angle = random.uniform(-180.0, -130.0)
        made.append(
            Epoch(
                mjd=RELEASE_MJD + random.uniform(-25.0, 25.0),
                band=band,
                zenith_angle=float(np.degrees(np.arccos(1 / airmass))),
                parallactic=float(angle),
                seeing_arcsec=float(random.uniform(0.62, 0.85)),
                transparency=float(random.uniform(0.85, 1.0)),
                sky_factor=float(random.uniform(0.9, 1.2)),
                shift=(float(random.normal(0, 0.004)), float(random.normal(0, 0.004))),
                label=("epoch", band, which, number),
            )
        )
    return made


def airmass_bin(airmass: float) -> int:
    """Return the bin whose range holds the airmass, or is nearest to it."""
    middles = [0.5 * (low + high) for low, high in AIRMASS_BINS]
    inside = [k for k, (low, high) in enumerate(AIRMASS_BINS) if low <= airmass < high]
    return inside[0] if inside else int(np.argmin([abs(airmass - m) for m in middles]))


def template_flux(catalogue: NDArray[Any], camera: Camera, seed: int, band: str, which: int) -> _Floats:
    """Return each entry's flux (nJy) in a template: the mean of its epochs."""
    return np.asarray(
        np.mean([flux_nanojansky(catalogue, band, epoch.mjd) for epoch in epochs(camera, seed, band, which)], axis=0)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateGrid:
    """A tangent-plane grid about a detector, north up, east left, at the camera's plate scale."""

    width: int
    height: int
    ra: float
    dec: float
    plate_scale: float

    @staticmethod
    def around(camera: Camera, detector: Detector) -> TemplateGrid:
        """Return the grid that covers a detector under every dither, pointing error and rotation."""
        ra, dec = _centre(camera, detector)
        reach = float(np.hypot(*np.abs(detector.centre)) + np.hypot(detector.width, detector.height) / 2)
        turn = reach * np.sin(np.radians(2.2))
        margin = int(np.ceil(field_setup(camera).template_margin_arcsec / camera.plate_scale + turn + 16))
        width, height = detector.width, detector.height
        if detector.quarter_turns % 2:
            width, height = height, width
        return TemplateGrid(
            width=width + 2 * margin, height=height + 2 * margin, ra=ra, dec=dec, plate_scale=camera.plate_scale
        )

    def header(self) -> fits.Header:
        """Return the TAN header of the grid."""
        degrees = self.plate_scale / 3600
        return fits.Header(
            [
                ("CTYPE1", "RA---TAN"),
                ("CTYPE2", "DEC--TAN"),
                ("CUNIT1", "deg"),
                ("CUNIT2", "deg"),
                ("CRPIX1", (self.width + 1) / 2),
                ("CRPIX2", (self.height + 1) / 2),
                ("CRVAL1", self.ra),
                ("CRVAL2", self.dec),
                ("CD1_1", -degrees),
                ("CD1_2", 0.0),
                ("CD2_1", 0.0),
                ("CD2_2", degrees),
                ("RADESYS", "ICRS"),
            ]
        )


def _centre(camera: Camera, detector: Detector) -> tuple[float, float]:
    middle = np.array([(detector.width - 1) / 2]), np.array([(detector.height - 1) / 2])
    ra, dec = nominal_pointing(camera).to_sky(*detector_to_plane(detector, *middle))
    return float(ra[0]), float(dec[0])


def make_template(
    camera: Camera, seed: int, catalogue: NDArray[Any], detector: Detector, band: str, which: int
) -> fits.HDUList:
    """Return a template: PRIMARY, IMAGE and VARIANCE (nJy, nJy^2), MASK, PSF (at the middle, sum 1); NOISEFAC is its `noise_factor`."""
    grid = TemplateGrid.around(camera, detector)
    used = epochs(camera, seed, band, which)
    image = np.zeros((grid.height, grid.width), np.float32)
    apart, variance, saturated = np.zeros_like(image), np.zeros_like(image), np.zeros(image.shape, bool)
    psf = np.zeros((2 * PSF_HALF + 1, 2 * PSF_HALF + 1), np.float64)
    for number, epoch in enumerate(used):
        part, noise, full = _expose(camera, seed, catalogue, detector, grid, epoch)
        part /= np.float32(len(used))
        image += part
        apart += part if number % 2 else -part
        variance += noise / np.float32(len(used) ** 2)
        saturated |= full
        shapes = _field_psf(camera, seed, epoch).shapes(*(np.array([c]) for c in detector.centre))
        psf += psf_image(shapes, 0, PSF_HALF) / len(used)
    mask = np.where(saturated, np.uint16(MaskPlane.SAT), np.uint16(0)).astype(np.uint16)
    header = grid.header()
    header.update(
        {
            "BAND": band,
            "BUNIT": "nJy",
            "AIRMASS": float(np.mean([e.airmass for e in used])),
            "AIRMMIN": AIRMASS_BINS[which][0],
            "AIRMMAX": AIRMASS_BINS[which][1],
            "NEPOCHS": len(used),
            "NOISEFAC": round(noise_factor(apart, image, variance, ~saturated), 4),
            "MJDMEAN": float(np.mean([e.mjd for e in used])),
            "DETECTOR": detector.id,
        }
    )
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=fits.Header([("CAMERA", camera.name), ("DETECTOR", detector.id), ("BAND", band)])),
            fits.ImageHDU(image, header=header, name="IMAGE"),
            fits.ImageHDU(variance, header=grid.header(), name="VARIANCE"),
            fits.ImageHDU(mask, header=grid.header(), name="MASK"),
            fits.ImageHDU((psf / psf.sum()).astype(np.float32), name="PSF"),
        ]
    )


@functools.cache
def _field_psf(camera: Camera, seed: int, epoch: Epoch) -> FieldPsf:
    width = epoch.seeing_arcsec * BANDS[epoch.band].seeing_factor * epoch.airmass**0.6 / camera.plate_scale
    return make_field_psf(seed, epoch.label, width, field_radius(camera))


def _expose(
    camera: Camera, seed: int, catalogue: NDArray[Any], detector: Detector, grid: TemplateGrid, epoch: Epoch
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return one epoch on the grid: nJy above the sky, its variance, and where it is saturated."""
    sky, scale = epoch.sky_electrons(camera.plate_scale), epoch.electrons_per_nanojansky()
    image = np.full((grid.height, grid.width), sky, np.float32)
    placed = _place(camera, catalogue, grid, epoch)
    paint_scene(image, placed, _field_psf(camera, seed, epoch), axes_of_sky(0.0, camera.plate_scale))
    full = image > np.float32(2 * 0.97 * FULL_WELL_E)
    saturated = full.copy()
    for shift in (1, 2):
        for axis in (0, 1):
            saturated |= np.roll(full, shift, axis) | np.roll(full, -shift, axis)
    np.minimum(image, np.float32(2 * FULL_WELL_E), out=image)
    noise = image + np.float32(READ_NOISE_E**2)
    random = generator(seed, "template", *epoch.label, detector.id)
    image += np.sqrt(noise) * random.standard_normal(image.shape, np.float32)
    image -= np.float32(sky)
    return image / np.float32(scale), noise / np.float32(scale**2), saturated


def _place(camera: Camera, catalogue: NDArray[Any], grid: TemplateGrid, epoch: Epoch) -> Placed:
    ra, dec = positions(catalogue, epoch.mjd)
    common: dict[str, Any] = {
        "plate_scale": camera.plate_scale,
        "radius": field_radius(camera),
        "zenith_angle": epoch.zenith_angle,
        "parallactic": epoch.parallactic,
        "band": epoch.band,
        "distorted": False,
    }
    here = Pointing(ra=grid.ra, dec=grid.dec, rotation=0.0, **common)
    x, y = here.to_plane(ra + epoch.shift[0] / 3600, dec + epoch.shift[1] / 3600, catalogue["colour"])
    setup = field_setup(camera)
    u, v = Pointing(ra=setup.ra, dec=setup.dec, rotation=0.0, **common).to_plane(ra, dec, catalogue["colour"])
    electrons = flux_nanojansky(catalogue, epoch.band, epoch.mjd) * epoch.electrons_per_nanojansky()
    return Placed(
        catalogue=catalogue,
        x=x + (grid.width - 1) / 2,
        y=y + (grid.height - 1) / 2,
        u=u,
        v=v,
        electrons=electrons,
    )
