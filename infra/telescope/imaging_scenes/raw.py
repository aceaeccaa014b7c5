"""The raw path of a scene: two snaps exposed and read out by the simulated sensor, with masters and reference catalogue."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.fits_io import read_masters, read_raw
from infra.telescope.artefacts import cosmic_rays
from infra.telescope.chance import generator
from infra.telescope.charge import ChargeEffects, draw_charge_effects
from infra.telescope.charge_masters import measured_effects
from infra.telescope.electronics import collect, read_out
from infra.telescope.imaging_scenes.geometry import PixelSky
from infra.telescope.imaging_scenes.light import View, paint_static, paint_streaks, paint_visit_changes
from infra.telescope.imaging_scenes.studio import Studio
from infra.telescope.raw_files import encode_raw
from infra.telescope.release import master_calibrations, reference_catalogue
from infra.telescope.response import SATURATION_SHARE, DetectorResponse, make_response, read_out_view
from schemas.camera import Camera, Detector
from schemas.raw import MasterCalibrations, RawFile

__all__ = ["RawSnaps", "snap_light", "take_snaps", "with_charge_masters"]

_Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSnaps:
    """Two raw snaps of one CCD with what calibrates them and what is true of them; images are of the trimmed CCD."""

    files: tuple[RawFile, RawFile]
    masters: MasterCalibrations
    encoded_files: tuple[bytes, bytes]
    """The same raw files as FITS."""
    encoded_masters: bytes
    """Without the brighter-fatter kernel and the constants of charge transfer, which ``masters`` has."""
    references: NDArray[Any]
    """Reference catalogue of the field."""
    camera: Camera
    detector: Detector
    light: tuple[_Image, _Image]
    """Mean electrons of each snap that an ideal pixel gathers: sky included, without flat, dark current and noise."""
    rays: tuple[_Image, _Image]
    """Electrons that particles freed in each snap."""
    saturated: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """Pixels that count as saturated in each snap, bleeds included, not grown."""
    response: DetectorResponse
    """The true sensor."""
    effects: ChargeEffects
    """Its true charge effects; both None when they were switched off."""


def take_snaps(studio: Studio, changes: NDArray[Any], *, charge_effects: bool) -> RawSnaps:
    """Expose both snaps of a scene and read them out.

    Parameters
    ----------
    studio, changes
        The scene.
    charge_effects
        Whether the sensor shows the brighter-fatter effect and deferred charge.
    """
    detector, seed = studio.detector, studio.seed
    response = make_response(studio.camera, seed, detector)
    effects = draw_charge_effects(seed, detector) if charge_effects else ChargeEffects()
    taken = [_take(studio, changes, snap, response, effects) for snap in (0, 1)]
    buffer = io.BytesIO()
    master_calibrations(seed, response, [studio.visit.band]).writeto(buffer)
    files, masters = (taken[0].file, taken[1].file), buffer.getvalue()
    return RawSnaps(
        files=(read_raw(files[0]), read_raw(files[1])),
        masters=with_charge_masters(read_masters(masters), effects, seed),
        encoded_files=files,
        encoded_masters=masters,
        references=reference_catalogue(seed, studio.static.catalogue, [studio.visit.band]),
        camera=studio.camera,
        detector=detector,
        light=(taken[0].light, taken[1].light),
        rays=(taken[0].rays, taken[1].rays),
        saturated=(taken[0].saturated, taken[1].saturated),
        response=response,
        effects=effects,
    )


def with_charge_masters(masters: MasterCalibrations, effects: ChargeEffects, seed: int) -> MasterCalibrations:
    """Return masters with what measuring the charge effects gives: the truth to a percent; nothing where they are off."""
    kernel, transfer = measured_effects(effects, generator(seed, "imaging", "charge masters"))
    return replace(masters, brighter_fatter=kernel, charge_transfer=transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snap:
    file: bytes
    light: _Image
    rays: _Image
    saturated: NDArray[np.bool_]


def _take(
    studio: Studio, changes: NDArray[Any], snap: int, response: DetectorResponse, effects: ChargeEffects
) -> _Snap:
    visit = studio.visit
    light = snap_light(studio, changes, snap, response.throughput)
    expected = light * response.flat(visit.band) + response.dark * np.float32(visit.exposure_time)
    rays = cosmic_rays(light.shape, visit.exposure_time, generator(studio.seed, "imaging", "rays", snap))
    random = generator(studio.seed, "imaging", "exposure", snap)
    electrons = collect(expected, rays, response, random, effects=effects)
    frames = read_out(electrons, response, random, effects=effects)
    return _Snap(
        file=encode_raw(visit, snap, response, frames),
        light=light,
        rays=rays,
        saturated=_saturated(electrons, response),
    )


def snap_light(studio: Studio, changes: NDArray[Any], snap: int, throughput: float = 1.0) -> _Image:
    """Return the mean electrons of one snap: sky, lasting objects, changes and streaks.

    Parameters
    ----------
    throughput
        Of the detector, relative to the camera's mean.
    """
    visit = studio.visit
    sky = PixelSky(pointing=visit.true_pointing(snap), width=studio.science.sky.width, height=studio.science.sky.height)
    view = View(sky=sky, psf=visit.field_psf(snap), throughput=visit.throughput() * throughput)
    image = view.blank(visit.sky_electrons() * throughput)
    paint_static(image, view, studio.static, studio.static.table["flux"])
    paint_visit_changes(image, view, changes, studio.static, snap=snap)
    paint_streaks(image, studio.detector, studio.streaks, snap)
    return image


def _saturated(electrons: _Image, response: DetectorResponse) -> NDArray[np.bool_]:
    out = np.zeros(electrons.shape, bool)
    for amplifier, well in zip(response.detector.amplifiers, response.amplifiers.full_well, strict=True):
        read_out_view(out, amplifier)[...] = read_out_view(electrons, amplifier) > SATURATION_SHARE * well
    return out
