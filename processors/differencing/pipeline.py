"""Difference one calibrated CCD against its template and measure what changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.artefacts import is_sharper_than_psf, streak_pixels
from processors.differencing.chains import find_chains, join_chains
from processors.differencing.detection import detect_peaks, footprint_sizes, mark_detections, psf_response
from processors.differencing.faint_trails import find_faint_trails
from processors.differencing.glints import find_glint_trains
from processors.differencing.kernel import Kernel
from processors.differencing.layers import Layers, ScienceImage, VisitInfo
from processors.differencing.measurement import measure_sources
from processors.differencing.planes import DROPPED_CENTRE, grow, has_plane, set_plane
from processors.differencing.psf import PsfGrid, resize_psf
from processors.differencing.score import ScoreMap, add_systematics, calibrate_noise
from processors.differencing.score_tiles import score_again
from processors.differencing.snap_consistency import SnapPair, seen_once, snap_metrics, view_snaps
from processors.differencing.subtract import Matching
from processors.differencing.subtraction import Subtraction, checked_science, psf_sigma, subtract_template, whitened
from processors.differencing.systematics import (
    Systematics,
    bounded_systematics,
    measure_scatter,
    own_light_noise,
)
from processors.differencing.templates import Template
from schemas.ids import pack_dia_source_id
from schemas.masks import MaskPlane

__all__ = ["DifferenceResult", "ScienceImage", "detect_and_measure", "difference", "subtract"]

LEAST_SYSTEMATICS = Systematics(flux_fraction=0.001, centroid_pixels=0.01, saturated_fraction=0.02)
"""Lower bounds of the errors of subtraction."""

WING_PIXELS = 40
"""Reach of a saturated star's wings, pixels."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceResult:
    """A difference image and the sources found on it; all images have the science image's shape."""

    image: NDArray[np.float32]
    """White difference, nJy per pixel."""
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    """Planes of both images, detections marked."""
    psf: PsfGrid
    """PSF of ``image``: science PSF smoothed and whitened."""
    template: NDArray[np.float32]
    """Template warped and matched to the science image, nJy per pixel."""
    template_variance: NDArray[np.float32]
    """Its variance as seen at the scale of the PSF."""
    template_psf: PsfGrid
    science_psf: PsfGrid
    score: ScoreMap
    kernel: Kernel
    matching: Matching
    sources: NDArray[Any]
    """Rows of ``dia_source_dtype()`` in canonical order: by y, then x, rounded to a thousandth of a pixel."""
    snaps: NDArray[Any] | None = None
    """What the visit's snaps say of each source, rows of `SNAP_DTYPE` in the same order; None for one snap."""
    metrics: dict[str, float] = field(default_factory=dict)


def difference(
    science: ScienceImage,
    template: Template,
    *,
    info: VisitInfo | None = None,
    systematics: Systematics | None = None,
    largest_order: int = 2,
    snaps: SnapPair | None = None,
) -> DifferenceResult:
    """Subtract a template from a science image, detect and measure.

    Parameters
    ----------
    science
        Calibrated image. NaN pixels are treated as NO_DATA.
    template
        Template in its own pixels, any rotation and offset.
    info
        The visit; rows and identifiers are made from it. Without it identifiers are 0.
    systematics
        Lower bounds of the errors of subtraction; `LEAST_SYSTEMATICS` if not given. What the kernel stars show is used where it is larger.
    largest_order
        Bound on the kernel's spatial order.
    snaps
        The visit's two snaps; None when there is one.

    Raises
    ------
    InvalidImageError
        When shapes differ or no pixel can be used.
    TemplateCoverageError
        When the template covers less than a tenth of the detector.
    TooFewKernelStarsError
        When the kernel cannot be fitted.
    HopelessDifferenceError
        When the kernel stars' residuals are too large for sources to mean anything.
    """
    subtraction = subtract(science, template, largest_order)
    return detect_and_measure(subtraction, info=info, systematics=systematics, snaps=snaps)


def subtract(science: ScienceImage, template: Template, largest_order: int = 2) -> Subtraction:
    """Subtract a template from a science image; parameters and errors are those of `difference`."""
    return subtract_template(checked_science(science), template, largest_order)


def detect_and_measure(
    subtraction: Subtraction,
    *,
    info: VisitInfo | None = None,
    systematics: Systematics | None = None,
    snaps: SnapPair | None = None,
) -> DifferenceResult:
    """Whiten a difference, find and measure its sources. Parameters are those of `difference`.

    Parameters
    ----------
    subtraction
        Result of `subtract`, whose arrays are used up.
    """
    matching, kernel = subtraction.matching, subtraction.kernel
    layers, score, grid, filters = whitened(subtraction)
    fwhm = 2.3548 * psf_sigma(layers.psf.mean)
    score = calibrate_noise(score, layers.usable)
    np.multiply(layers.variance, np.float32(score.noise_scale**2), out=layers.variance)
    wings = grow(has_plane(layers.mask, MaskPlane.SAT_TEMPLATE), WING_PIXELS)
    scatter = _scatter(subtraction, layers)
    errors = bounded_systematics(scatter, systematics or LEAST_SYSTEMATICS)
    own = _own_noise(subtraction, layers)
    judged = add_systematics(score, errors, wings, own)
    streaks = streak_pixels(judged.snr, has_plane(layers.mask, MaskPlane.CR), fwhm) & layers.usable
    if streaks.any():
        layers = _without(layers, streaks)
        images = layers.difference, layers.variance, layers.template
        score_again(grid, score, images, layers.usable, filters=filters, where=streaks)
        judged = add_systematics(score, errors, wings, own)
    score = judged
    response = psf_response(layers.psf.mean, 24)
    peaks = detect_peaks(score.snr, score.error, response=response, fwhm=fwhm)
    lines = find_chains(score.snr, peaks, fwhm)
    peaks, lines, n_faint = find_faint_trails(score.snr, peaks, lines, response=response, fwhm=fwhm)
    peaks, chains = join_chains(peaks, lines)
    view = None if snaps is None else view_snaps(snaps, layers, kernel.stamp_x, kernel.stamp_y)
    sizes = footprint_sizes(score.snr, peaks)
    rows, fits, told, pieces = measure_sources(layers, peaks, sizes, info or VisitInfo(), chains, view)
    spoiled = _centre_spoiled(layers.mask, rows)
    sharp = is_sharper_than_psf(
        layers.difference, layers.variance, layers.usable, layers.psf, fits=fits, one_snap=seen_once(told)
    )
    sharp &= (rows["isDipole"] != 1) & np.isnan(rows["trailLength"]) & ~spoiled
    keep = ~sharp & ~spoiled
    keep[pieces] = False
    # What is above the threshold as a trail alone, and is none, is nothing.
    keep[len(rows) - n_faint :] &= np.isfinite(rows["trailLength"][len(rows) - n_faint :])
    sources, told = _canonical(rows, told, keep, info)
    sources["glint_trail"] = find_glint_trains(sources, layers.mask.shape, None if told is None else told["presence"])
    metrics = _metrics(subtraction, layers, score, sources, fwhm) | snap_metrics(told)
    metrics |= _metrics_of_stars(scatter, errors)
    metrics |= {
        "peaks_on_bad_pixels": float(np.count_nonzero(spoiled)),
        "cosmic_rays": float(np.count_nonzero(sharp)),
    }
    return DifferenceResult(
        image=layers.difference,
        variance=layers.variance,
        mask=mark_detections(layers.mask, score.snr),
        psf=layers.psf,
        template=layers.template,
        template_variance=layers.template_variance,
        template_psf=layers.template_psf,
        science_psf=layers.science_psf,
        score=score,
        kernel=kernel,
        matching=matching,
        sources=sources,
        snaps=told,
        metrics=metrics,
    )


def _centre_spoiled(mask: NDArray[np.uint16], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell whose centre lies off the image or on a pixel that says nothing of the sky."""
    height, width = mask.shape
    x, y = (np.floor(rows[name].astype(float) + 0.5).astype(int) for name in ("x", "y"))
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    centre = mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.asarray(outside | has_plane(centre, DROPPED_CENTRE))


def _without(layers: Layers, streaks: NDArray[np.bool_]) -> Layers:
    mask = layers.mask.copy()
    set_plane(mask, streaks, MaskPlane.STREAK)
    return replace(layers, mask=mask, usable=layers.usable & ~streaks)


def _scatter(subtraction: Subtraction, layers: Layers) -> Systematics | None:
    kernel, matched = subtraction.kernel, subtraction.matched
    return measure_scatter(matched.raw, matched.template, layers.variance, x=kernel.stamp_x, y=kernel.stamp_y)


def _own_noise(subtraction: Subtraction, layers: Layers) -> float:
    science, stars = subtraction.science, (subtraction.kernel.stamp_x, subtraction.kernel.stamp_y)
    half = min(layers.psf.half, layers.science_psf.half)
    psf, own = (resize_psf(grid.mean, half) for grid in (layers.psf, layers.science_psf))
    return own_light_noise(science.image, science.variance, stars, psf, own)


def _metrics_of_stars(scatter: Systematics | None, errors: Systematics) -> dict[str, float]:
    """Return the errors of subtraction in use, and what the kernel's stars show if they are enough."""
    metrics = {"systematic_flux_fraction": errors.flux_fraction, "systematic_centroid_pixels": errors.centroid_pixels}
    if scatter is not None:
        metrics["kernel_flux_scatter"] = scatter.flux_fraction
        metrics["kernel_centroid_scatter_pixels"] = scatter.centroid_pixels
    return metrics


def _canonical(
    rows: NDArray[Any], told: NDArray[Any] | None, keep: NDArray[np.bool_], info: VisitInfo | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the rows kept, and what the snaps say of them, in canonical order with their identifiers."""
    kept = np.flatnonzero(keep)
    x, y = (np.round(rows[name][kept].astype(float), 3) for name in ("x", "y"))
    kept = kept[np.lexsort((x, y))]
    rows, told = rows[kept], None if told is None else told[kept]
    if info is not None:
        rows["diaSourceId"] = [pack_dia_source_id(info.visit, info.detector, rank) for rank in range(len(rows))]
    if told is not None:
        told["dia_source_id"] = rows["diaSourceId"]
    return rows, told


def _metrics(
    subtraction: Subtraction, layers: Layers, score: ScoreMap, sources: NDArray[Any], fwhm: float
) -> dict[str, float]:
    kernel, matching = subtraction.kernel, subtraction.matching
    return {
        "n_sources": float(len(sources)),
        "n_dipoles": float(np.count_nonzero(sources["isDipole"] == 1)),
        "n_trails": float(np.count_nonzero(np.isfinite(sources["trailLength"]))),
        "n_glints": float(np.count_nonzero(sources["glint_trail"] == 1)),
        "kernel_sum": kernel.sum,
        "kernel_order": float(kernel.order),
        "kernel_members": float(len(kernel.members)),
        "kernel_stamps": float(kernel.stamps_used),
        "kernel_stamps_offered": float(kernel.stamps_offered),
        "kernel_star_chi2": subtraction.stamp_chi2,
        "residual_ratio": subtraction.residual_ratio,
        "background_correction": subtraction.background,
        "template_coverage": subtraction.coverage,
        "template_shallow_fraction": float(np.mean(has_plane(layers.mask, MaskPlane.HIGH_VARIANCE))),
        "smoothing_sigma_pixels": matching.smoothing_sigma,
        "science_sigma_pixels": matching.science_sigma,
        "template_sigma_pixels": matching.template_sigma,
        "difference_fwhm_pixels": fwhm,
        "template_noise_correlation": subtraction.noise_correlation,
        "noise_scale": score.noise_scale,
        "usable_fraction": float(np.mean(layers.usable)),
    }
