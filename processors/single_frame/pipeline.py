"""Single frame processing of one CCD: raw snaps and master calibrations in, a calibrated visit image out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.astrometry import Astrometry, match, nominal_pointing, solve_astrometry
from processors.single_frame.detection import Detections, detect, gaussian_stamp, significance_map
from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.frames import Exposure, RawFrame
from processors.single_frame.measurement import collect_planes, deblended_fluxes, measure_shapes, measure_sources
from processors.single_frame.photometry import ZeroPoint
from processors.single_frame.products import CalibratedImage, WavefrontImage
from processors.single_frame.psf import PsfModel
from processors.single_frame.psf_fit import cut_stamps, fit_psf, stamp_half
from processors.single_frame.references import (
    DOUBTFUL,
    catalogue_zero_point,
    match_references,
    reference_columns,
)
from processors.single_frame.snaps import SnapData
from processors.single_frame.stars import Candidates, select_stars, size_locus
from processors.single_frame.visit_image import VisitImage, make_visit_image
from schemas.camera import Camera, Detector
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations

__all__ = ["calibrate", "calibrate_wavefront", "measure_psf", "measure_sources_of"]

GUESSED_FWHM = 4.0
"""Pixels; width of the kernel of the first detection, before any star is measured (0.8 arcsec at 0.2 arcsec a pixel)."""

FIRST_THRESHOLD = 8.0
"""Significance of the sources that serve to find the PSF and the pattern."""

FINAL_THRESHOLD = 5.0
"""Significance of the sources that are measured (transSNR, LSE-61)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstSources:
    detections: Detections
    shapes: NDArray[np.float64]
    clean: NDArray[np.bool_]
    fwhm: float


def calibrate(
    raws: Sequence[RawFrame],
    masters: MasterCalibrations,
    references: NDArray[np.void],
    *,
    camera: Camera,
    detector: Detector,
    skip: Set[str] = frozenset(),
) -> CalibratedImage:
    """Calibrate one visit on one science CCD.

    Parameters
    ----------
    raws
        Its one or two snaps.
    masters
        Master calibrations of the detector.
    references
        Reference catalogue with columns ra, dec, pmra, pmdec, epoch_mjd, isStar, id, flux_<band> (nJy), fluxErr_<band>.
    camera, detector
        Descriptions that give the nominal pointing.
    skip
        Steps of `processors.single_frame.isr.STEPS` to leave out.

    Raises
    ------
    SingleFrameError
        For input that cannot be calibrated, by its kind.
    MissingInputError
        When a master calibration or the reference catalogue is missing.
    """
    visit = make_visit_image(raws, masters, skip=skip)
    exposure = visit.exposures[0]
    first = _find_first(visit)
    ra, dec, flux, flux_error = reference_columns(references, exposure)
    astrometry = solve_astrometry(
        _positions(first), (ra, dec, flux), nominal_pointing(exposure, camera, detector), visit.combined.image.shape
    )
    known = np.zeros(len(first.shapes), np.bool_)
    indices = np.flatnonzero(first.clean)[astrometry.sources]
    known[indices] = references["isStar"][astrometry.references]
    psf, stars = _fit_stars(visit, first, known)
    psf, sources = _measure(visit, psf, stars)
    match_references(sources, references, (ra, dec), astrometry.wcs)
    return _assemble(visit, psf, astrometry, sources, (references, flux, flux_error))


def calibrate_wavefront(
    raws: Sequence[RawFrame], masters: MasterCalibrations, *, skip: Set[str] = frozenset()
) -> WavefrontImage:
    """Remove the signature of a wavefront sensor and measure its PSF.

    Parameters are those of `calibrate`. Too few stars give a PSF of None, not an error.

    Raises
    ------
    SingleFrameError, MissingInputError
        As `calibrate` does.
    """
    visit = make_visit_image(raws, masters, skip=skip)
    metrics = _image_metrics(visit)
    psf = None
    try:
        psf, _ = measure_psf(visit)
    except TooFewStarsError:
        metrics |= {"psf_stars": 0.0, "psf_fwhm_pixels": float("nan")}
    else:
        metrics |= _psf_metrics(psf)
    return WavefrontImage(
        instrument=visit.exposures[0].instrument,
        visit=visit.exposures[0].visit,
        detector=visit.exposures[0].detector,
        band=visit.exposures[0].band,
        image=visit.combined.image,
        variance=visit.combined.variance,
        mask=visit.combined.mask,
        psf=psf,
        metrics=metrics,
        midpoint_mjd_tai=_midpoint(visit.exposures),
        exposure_time=sum(e.exposure_time for e in visit.exposures),
    )


def measure_sources_of(visit: VisitImage) -> tuple[NDArray[np.void], dict[str, float]]:
    """Measure the sources of a visit image without a catalogue: fluxes in electrons, no sky coordinates; and its metrics.

    Raises
    ------
    TooFewStarsError
        When fewer than three stars show the PSF.
    """
    psf, stars = measure_psf(visit)
    psf, sources = _measure(visit, psf, stars)
    return sources, {**_image_metrics(visit), **_psf_metrics(psf), "sources": float(len(sources))}


def measure_psf(visit: VisitImage) -> tuple[PsfModel, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Find stars on a visit image by their size alone and fit the PSF; return it and the stars' positions.

    Raises
    ------
    TooFewStarsError
        When there are fewer than three.
    """
    return _fit_stars(visit, _find_first(visit), None)


def _find_first(visit: VisitImage) -> _FirstSources:
    """Detect with a round kernel, measure shapes, and learn the width of a star."""
    image, variance = visit.combined.image, visit.combined.variance
    score = significance_map(image, variance, visit.unusable, gaussian_stamp(GUESSED_FWHM))
    found = detect(score, threshold=FIRST_THRESHOLD)
    planes = collect_planes(visit.combined.mask, found.x, found.y, 3)
    tidy = (planes & (DOUBTFUL | int(MaskPlane.EDGE))) == 0
    fwhm = GUESSED_FWHM
    for _ in range(2):
        shapes = measure_shapes(image, variance, (found.x, found.y), fwhm)
        trace = shapes[:, 4] + shapes[:, 5]
        clean = tidy & (shapes[:, 7] == 1) & (trace > 1.0)
        bright = np.flatnonzero(clean & (found.significance > 20))[:100]
        if len(bright) < 3:
            bright = np.flatnonzero(clean)
        if len(bright) < 3:
            raise TooFewStarsError(f"Only {len(bright)} clean sources are on the detector.")
        fwhm = 2.3548 * np.sqrt(size_locus(trace[bright], found.significance[bright]) / 2)
    return _FirstSources(detections=found, shapes=shapes, clean=clean, fwhm=float(fwhm))


def _positions(first: _FirstSources) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """x, y and error of the clean sources, brightest first."""
    shapes = first.shapes[first.clean]
    return shapes[:, 0], shapes[:, 1], np.hypot(shapes[:, 2], shapes[:, 3]) / np.sqrt(2)


def _fit_stars(
    visit: VisitImage, first: _FirstSources, known: NDArray[np.bool_] | None
) -> tuple[PsfModel, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    shapes = first.shapes
    half = stamp_half(first.fwhm)
    rows, columns = visit.combined.image.shape
    x, y = shapes[:, 0], shapes[:, 1]
    margin = half // 2
    inside = (x > margin) & (y > margin) & (x < columns - 1 - margin) & (y < rows - 1 - margin)
    candidates = Candidates(
        x,
        y,
        significance=first.detections.significance,
        trace=shapes[:, 4] + shapes[:, 5],
        clean=first.clean & inside,
    )
    chosen = select_stars(candidates, isolation=max(half, 3 * first.fwhm), known=known)
    if len(chosen) < 3:
        chosen = select_stars(candidates, isolation=2 * first.fwhm, known=known)
    if len(chosen) < 3:
        raise TooFewStarsError(f"{len(chosen)} isolated stars are too few to measure a PSF.")
    pixels = (visit.combined.image, visit.combined.variance, visit.unusable)
    stamps = cut_stamps(pixels, (x[chosen], y[chosen]), half)
    psf, used = fit_psf(stamps, (rows, columns), first.fwhm, rounds=2)
    return psf, (x[chosen][used], y[chosen][used])


def _measure(
    visit: VisitImage, psf: PsfModel, stars: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[PsfModel, NDArray[np.void]]:
    """Detect with the PSF of the CCD's middle, fit the PSF again without the stars' neighbours, measure every source."""
    combined = visit.combined
    kernel = psf.at((psf.width - 1) / 2, (psf.height - 1) / 2)
    found = detect(
        significance_map(combined.image, combined.variance, visit.unusable, kernel), threshold=FINAL_THRESHOLD
    )
    combined.mask[found.footprints] |= np.uint16(MaskPlane.DETECTED)
    shapes = measure_shapes(combined.image, combined.variance, (found.x, found.y), psf.fwhm)
    places = (shapes[:, 0].copy(), shapes[:, 1].copy())
    psf, stars = _refit(visit, psf, places, stars)
    sources = measure_sources((combined.image, combined.variance, combined.mask), visit.unusable, psf, places)
    sources["significance"] = found.significance
    sources["footprint_pixels"] = found.pixels
    if len(sources):
        mine, _ = match((sources["x"], sources["y"]), stars, 1.0)
        sources["psf_star"][mine] = True
    return psf, sources


def _refit(
    visit: VisitImage,
    psf: PsfModel,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[PsfModel, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Fit the PSF to its stars after every other source is subtracted."""
    image, variance = visit.combined.image, visit.combined.variance
    fits, rest = deblended_fluxes(psf, (image, variance), visit.unusable, places)
    theirs, mine = match(stars, places, 1.0)
    stamps = cut_stamps((rest, variance, visit.unusable), (stars[0][theirs], stars[1][theirs]), psf.size // 2)
    for k, source in enumerate(mine):
        stamp, x0, y0 = psf.render(float(places[0][source]), float(places[1][source]))
        if (x0, y0) == (
            int(np.floor(stamps.x[k] + 0.5)) - psf.size // 2,
            int(np.floor(stamps.y[k] + 0.5)) - psf.size // 2,
        ):
            stamps.data[k] += np.nan_to_num(fits[source, 0]) * stamp * stamps.good[k]
    psf, used = fit_psf(stamps, image.shape, psf.fwhm, rounds=2)
    return psf, (stamps.x[used], stamps.y[used])


def _assemble(
    visit: VisitImage,
    psf: PsfModel,
    astrometry: Astrometry,
    sources: NDArray[np.void],
    catalogue: tuple[NDArray[np.void], NDArray[np.float64], NDArray[np.float64]],
) -> CalibratedImage:
    point, correction = catalogue_zero_point(sources, catalogue)
    scale = np.float32(point.scale)
    for name in ("psf_flux", "psf_flux_err"):
        sources[name] *= scale
    for name in ("aperture_flux", "aperture_flux_err"):
        sources[name] *= np.float32(point.scale * correction)
    combined, exposure = visit.combined, visit.exposures[0]
    metrics = {
        **_image_metrics(visit),
        **_psf_metrics(psf),
        **_solution_metrics(astrometry, point, correction),
        "sources": float(len(sources)),
    }
    return CalibratedImage(
        instrument=exposure.instrument,
        visit=exposure.visit,
        detector=exposure.detector,
        band=exposure.band,
        image=combined.image * scale,
        variance=combined.variance * scale**2,
        mask=combined.mask,
        psf=psf,
        wcs=astrometry.wcs,
        photo_calib=point.scale,
        background=visit.background.image * scale,
        background_level=visit.background.level,
        snaps=_scaled_snaps(combined.snaps, scale),
        sources=sources,
        metrics=metrics,
        midpoint_mjd_tai=_midpoint(visit.exposures),
        exposure_time=sum(e.exposure_time for e in visit.exposures),
        airmass=float(np.mean([e.airmass for e in visit.exposures])),
    )


def _scaled_snaps(snaps: SnapData, scale: np.float32) -> SnapData:
    if snaps.difference is None or snaps.difference_variance is None:
        return snaps
    return dataclasses.replace(
        snaps, difference=snaps.difference * scale, difference_variance=snaps.difference_variance * scale**2
    )


def _midpoint(exposures: Sequence[Exposure]) -> float:
    return 0.5 * (exposures[0].begin_mjd_tai + exposures[-1].end_mjd_tai)


def _image_metrics(visit: VisitImage) -> dict[str, float]:
    return {
        "snaps": float(len(visit.exposures)),
        "background_electrons": visit.background.level,
        "background_rms_electrons": visit.background.rms,
        "read_noise_electrons": visit.read_noise,
        "dead_amplifiers": float(visit.dead_amplifiers),
        "unusable_share": float(visit.unusable.mean()),
        "cosmic_ray_pixels": float(np.count_nonzero(visit.combined.snaps.rejected)),
    }


def _psf_metrics(psf: PsfModel) -> dict[str, float]:
    return {"psf_fwhm_pixels": psf.fwhm, "psf_stars": float(psf.stars), "psf_order": float(psf.order)}


def _solution_metrics(astrometry: Astrometry, point: ZeroPoint, correction: float) -> dict[str, float]:
    return {
        "astrometry_matches": float(len(astrometry.sources)),
        "astrometry_order": float(astrometry.order),
        "astrometry_rms_mas": astrometry.rms_mas,
        "pointing_error_arcsec": astrometry.shift_arcsec,
        "zero_point_mag": 31.4 - 2.5 * float(np.log10(point.scale)) if point.scale > 0 else float("nan"),
        "zero_point_error_mag": 1.0857 * point.error,
        "zero_point_scatter_mag": 1.0857 * point.scatter,
        "zero_point_stars": float(point.stars),
        "aperture_correction": correction,
    }
