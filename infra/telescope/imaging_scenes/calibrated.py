"""Makes the calibrated pair of a scene directly: the light, its noise, saturation and masks, without raw frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.telescope.electronics import spill
from infra.telescope.imaging_scenes.coadd import coadd_noise
from infra.telescope.imaging_scenes.light import View
from infra.telescope.imaging_scenes.products import CalibratedImage, CoaddImage, TruePsf
from infra.telescope.response import FULL_WELL_E, SATURATION_SHARE, read_out_view
from schemas.camera import Detector
from schemas.masks import MaskPlane

__all__ = [
    "expose_template",
    "expose_visit",
    "frame_coadd",
    "frame_visit",
    "ideal_point_error",
    "read_noise_map",
    "saturates",
]

EDGE_PIXELS = 5
"""Border marked EDGE, as the pipeline marks it."""

SATURATION_GROWTH = 2
"""Pixels by which saturated areas grow, as the removal of the instrumental signature grows them."""

TEMPLATE_READ_NOISE_E = 10.0

_Image = NDArray[np.float32]


def read_noise_map(detector: Detector, random: np.random.Generator) -> _Image:
    """Return the read noise (electrons) of two snaps together at every pixel: each amplifier has its own."""
    image = np.zeros((detector.height, detector.width), np.float32)
    for amplifier in detector.amplifiers:
        read_out_view(image, amplifier)[...] = np.sqrt(2.0) * random.uniform(6.0, 8.5)
    return image


def saturates(light: _Image) -> NDArray[np.bool_]:
    """Tell which pixels of a visit fill up, grown as masks are; where their charge bleeds to is not told."""
    return _grown(light > np.float32(2 * SATURATION_SHARE * FULL_WELL_E), SATURATION_GROWTH)


def expose_visit(
    light: _Image, read_noise: _Image, detector: Detector, view: View, sky: float, random: np.random.Generator
) -> tuple[CalibratedImage, NDArray[np.bool_]]:
    """Return the calibrated image that a perfect reduction of both snaps would give, and where it is saturated.

    Parameters
    ----------
    light
        Mean electrons of both snaps, sky included; changed in place.
    sky
        Mean electrons of sky.
    """
    counts = random.poisson(light).astype(np.float32)
    for amplifier in detector.amplifiers:
        spill(read_out_view(counts, amplifier), np.float32(2 * FULL_WELL_E))
    saturated = _grown(counts > np.float32(2 * SATURATION_SHARE * FULL_WELL_E), SATURATION_GROWTH)
    variance = counts + read_noise**2
    counts += read_noise * random.standard_normal(counts.shape, np.float32)
    counts -= np.float32(sky)
    mask = np.where(saturated, np.uint16(MaskPlane.SAT), np.uint16(0)).astype(np.uint16)
    mask[:EDGE_PIXELS] |= np.uint16(MaskPlane.EDGE)
    mask[-EDGE_PIXELS:] |= np.uint16(MaskPlane.EDGE)
    mask[:, :EDGE_PIXELS] |= np.uint16(MaskPlane.EDGE)
    mask[:, -EDGE_PIXELS:] |= np.uint16(MaskPlane.EDGE)
    scale = np.float32(view.calibration)
    return frame_visit(counts / scale, variance / scale**2, mask, view, sky), saturated


def expose_template(light: _Image, view: View, sky: float, epochs: int, random: np.random.Generator) -> CoaddImage:
    """Return the coadd: mean of some visits, with correlated noise.

    Parameters
    ----------
    light
        Mean electrons of one visit, sky included; changed in place.
    sky
        Mean electrons of sky.
    """
    full = light > np.float32(2 * SATURATION_SHARE * FULL_WELL_E)
    saturated = _grown(full, SATURATION_GROWTH)
    np.minimum(light, np.float32(2 * FULL_WELL_E), out=light)
    drawn = coadd_noise((light.shape[0], light.shape[1]), epochs, random)
    power = light + np.float32(TEMPLATE_READ_NOISE_E**2)
    light += np.sqrt(power) * drawn.noise
    light -= np.float32(sky)
    scale = np.float32(view.calibration)
    mask = np.where(saturated, np.uint16(MaskPlane.SAT), np.uint16(0)).astype(np.uint16)
    return frame_coadd(light / scale, power * drawn.variance / scale**2, mask, view, drawn.factor, epochs)


def frame_visit(image: _Image, variance: _Image, mask: NDArray[np.uint16], view: View, sky: float) -> CalibratedImage:
    """Return a visit's pixels with what is true of them."""
    return CalibratedImage(
        image=image,
        variance=variance,
        mask=mask,
        psf=TruePsf(field=view.psf, width=view.sky.width, height=view.sky.height),
        wcs=view.sky,
        electrons_per_nanojansky=view.calibration,
        sky_electrons=sky,
    )


def frame_coadd(
    image: _Image, variance: _Image, mask: NDArray[np.uint16], view: View, noise_factor: float, epochs: int
) -> CoaddImage:
    """Return a template's pixels with what is true of them."""
    psf = TruePsf(field=view.psf, width=view.sky.width, height=view.sky.height)
    return CoaddImage(
        image=image,
        variance=variance,
        mask=mask,
        psf=psf.at((view.sky.width - 1) / 2, (view.sky.height - 1) / 2),
        true_psf=psf,
        wcs=view.sky,
        noise_factor=noise_factor,
        n_epochs=epochs,
    )


def ideal_point_error(science: _Image, template: _Image, science_noise: float, template_noise: float) -> float:
    """Return the error of a point source's flux in the best possible difference of two images.

    Parameters
    ----------
    science, template
        Their PSFs, squares of one size and sum 1.
    science_noise, template_noise
        Variance per pixel, of noise without correlation.

    Notes
    -----
    Zackay, Ofek & Gal-Yam (2016), equation 12 and the text below: the information is the integral over frequencies of
    ``|Ps|^2 |Pt|^2 / (vs |Pt|^2 + vt |Ps|^2)``.
    """
    size = 4 * science.shape[0]
    first, second = (np.abs(np.fft.fft2(p.astype(np.float64), s=(size, size))) ** 2 for p in (science, template))
    noise = science_noise * second + template_noise * first
    return float(1 / np.sqrt(np.mean(first * second / np.maximum(noise, 1e-300))))


def _grown(plane: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Widen a plane by squares; few pixels are set, so each is painted."""
    out = plane.copy()
    rows, columns = np.nonzero(plane)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            out[np.clip(rows + dy, 0, plane.shape[0] - 1), np.clip(columns + dx, 0, plane.shape[1] - 1)] = True
    return out
