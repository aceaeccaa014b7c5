"""One CCD of one visit, from raw snaps to DIASources and forced photometry: what every detector job does.

    products = process_detector(DetectorInputs(frames=lambda: ([snap_0, snap_1], masters), ...))

Single frame processing, image differencing and forced photometry one after the other; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors import forced
from processors.differencing import pipeline as differencing
from processors.differencing.completeness import CompletenessCurve, measure_completeness, metrics_of
from processors.differencing.layers import VisitInfo
from processors.differencing.reliability import ReliabilityModel, score_sources
from processors.differencing.snap_consistency import SnapPair
from processors.differencing.templates import Template, TemplateChoice
from processors.single_frame import pipeline as single_frame
from processors.single_frame.frames import Exposure, RawFrame
from processors.single_frame.products import CalibratedImage
from schemas.camera import Camera, Detector
from schemas.raw import MasterCalibrations

__all__ = ["DetectorInputs", "DetectorProducts", "process_detector", "snap_pair"]

Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorInputs:
    """What one CCD of one visit is processed with."""

    frames: Callable[[], tuple[Sequence[RawFrame], MasterCalibrations]]
    """Gives its snaps in order, two or one, and the master calibrations; asked once, and neither is held after the single frame."""
    references: NDArray[np.void]
    """Reference catalogue of the field (`processors.single_frame.references`)."""
    template_for: Callable[[float], tuple[Template, TemplateChoice]]
    """Gives the template for the visit's airmass."""
    camera: Camera
    detector: Detector
    visit: int
    known: NDArray[Any] | None = None
    """Objects to measure at: diaObjectId, ra, dec in degrees."""
    reliability: ReliabilityModel | None = None
    """Scores the DIASources; without it their reliability is null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorProducts:
    """What came of it."""

    image: CalibratedImage
    science: differencing.ScienceImage
    difference: differencing.DifferenceResult
    choice: TemplateChoice
    info: VisitInfo
    completeness: CompletenessCurve
    """Of fakes that were never in any image that is handed on."""
    forced: NDArray[Any] | None
    """Public DIAForcedSource rows at the known objects; None without known objects."""
    metrics: dict[str, float]


def process_detector(inputs: DetectorInputs, *, step: Step | None = None) -> DetectorProducts:
    """Process one CCD of one visit.

    Parameters
    ----------
    inputs
        Frames, calibrations, catalogue, template, known objects.
    step
        Called with the name of each step (read, single_frame, difference, reliability, fakes, forced) and entered around it,
        for clocks and progress.

    Raises
    ------
    SingleFrameError, DifferencingError, MissingInputError
        When the CCD cannot be processed, by its kind: permanent or retriable.
    """
    step = step or (lambda _: nullcontext())
    image, exposures = _calibrated(inputs, step)
    info = _visit_info(inputs, image, exposures)
    science = differencing.ScienceImage(
        image=image.image, variance=image.variance, mask=image.mask, psf=image.psf, wcs=image.wcs
    )
    result, choice, noise_factor = _difference(inputs, science, info, (exposures, image), step)
    if inputs.reliability is not None:
        with step("reliability"):
            result = replace(result, sources=score_sources(inputs.reliability, result, result.sources))
    with step("fakes"):
        curve = measure_completeness(result, visit=inputs.visit, detector=inputs.detector.id)
    with step("forced"):
        rows = None if inputs.known is None else _forced(science, result, inputs.known, info)
    return DetectorProducts(
        image=image,
        science=science,
        difference=result,
        choice=choice,
        info=info,
        completeness=curve,
        forced=rows,
        metrics={
            **image.metrics,
            "psf_fwhm_arcsec": image.metrics["psf_fwhm_pixels"] * inputs.camera.plate_scale,
            **result.metrics,
            "template_airmass": choice.info.airmass,
            "template_airmass_distance": choice.airmass_distance,
            "template_epochs": float(choice.info.n_epochs),
            "template_noise_factor": noise_factor,
            **metrics_of(curve),
        },
    )


def _calibrated(inputs: DetectorInputs, step: Step) -> tuple[CalibratedImage, list[Exposure]]:
    with step("read"):
        raws, masters = inputs.frames()
    with step("single_frame"):
        image = single_frame.calibrate(raws, masters, inputs.references, camera=inputs.camera, detector=inputs.detector)
    return image, [raw.exposure for raw in raws]


def _difference(
    inputs: DetectorInputs,
    science: differencing.ScienceImage,
    info: VisitInfo,
    frames: tuple[list[Exposure], CalibratedImage],
    step: Step,
) -> tuple[differencing.DifferenceResult, TemplateChoice, float]:
    """Return the difference, the template's choice and the factor of its noise; the template is not held while sources are sought."""
    with step("read"):
        template, choice = inputs.template_for(frames[1].airmass)
    with step("difference"):
        subtraction, noise_factor = differencing.subtract(science, template), template.noise_factor
        del template
        result = differencing.detect_and_measure(subtraction, info=info, snaps=snap_pair(*frames))
    return result, choice, noise_factor


def _visit_info(inputs: DetectorInputs, image: CalibratedImage, exposures: Sequence[Exposure]) -> VisitInfo:
    return VisitInfo(
        visit=inputs.visit,
        detector=inputs.detector.id,
        band=image.band,
        midpoint_mjd_tai=image.midpoint_mjd_tai,
        exposure_time=image.exposure_time,
        processed_mjd_tai=max(exposure.end_mjd_tai for exposure in exposures),
    )


def snap_pair(exposures: Sequence[Exposure], image: CalibratedImage) -> SnapPair | None:
    """Return the two snaps of a calibrated visit as differencing reads them; None when there is one.

    Parameters
    ----------
    exposures
        Those of the visit's raw frames.
    image
        What was made of them.
    """
    difference, variance = image.snaps.difference, image.snaps.difference_variance
    if difference is None or variance is None:
        return None
    first, second = sorted(exposures, key=lambda exposure: exposure.snap)
    gap_s = 86400.0 * (second.begin_mjd_tai - first.end_mjd_tai)
    return SnapPair(
        difference=difference, variance=variance, exposure_s=first.exposure_time, gap_s=max(round(gap_s, 3), 0.0)
    )


def _forced(
    science: differencing.ScienceImage, result: differencing.DifferenceResult, known: NDArray[Any], info: VisitInfo
) -> NDArray[Any]:
    image = forced.PhotometryImage(image=science.image, variance=science.variance, mask=science.mask, psf=science.psf)
    return forced.forced_sources(
        result,
        image,
        science.wcs,
        dia_object_id=known["diaObjectId"],
        ra=known["ra"],
        dec=known["dec"],
        info=info,
    )
