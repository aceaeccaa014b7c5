"""Single frame processing of one CCD: raw snaps and master calibrations in, a calibrated visit image out."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.single_frame.astrometry import Astrometry, match, nominal_pointing, solve_astrometry
from processors.single_frame.detection import detect, significance_map, stand_out
from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.frames import Exposure, RawFrame
from processors.single_frame.measurement import measure_sources
from processors.single_frame.photometry import ZeroPoint
from processors.single_frame.point_sources import deblended_fluxes, place_sources
from processors.single_frame.products import CalibratedImage, WavefrontImage
from processors.single_frame.psf import PsfModel
from processors.single_frame.psf_fit import cut_stamps, fit_psf
from processors.single_frame.references import catalogue_zero_point, match_references, reference_columns
from processors.single_frame.shapes import measure_shapes
from processors.single_frame.snaps import SnapData
from processors.single_frame.star_search import Stars, find_first, fit_stars
from processors.single_frame.visit_image import VisitImage, make_visit_image
from schemas.camera import Camera, Detector
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations

__all__ = ["calibrate", "calibrate_visit", "calibrate_wavefront", "measure_psf", "measure_sources_of"]

FINAL_THRESHOLD = 5.0
"""Significance of the sources that are measured (transSNR, LSE-61)."""


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
    return calibrate_visit(make_visit_image(raws, masters, skip=skip), references, camera=camera, detector=detector)


def calibrate_visit(
    visit: VisitImage, references: NDArray[np.void], *, camera: Camera, detector: Detector
) -> CalibratedImage:
    """Find stars, PSF, sources, world coordinates and zero point on a sky-subtracted image, whose pixels are used up.

    Parameters and errors are those of `calibrate`; the visit's arrays are changed in place and belong to the result.
    """
    exposure = visit.exposures[0]
    first = find_first(visit)
    ra, dec, flux, flux_error = reference_columns(references, exposure)
    pointing = nominal_pointing(exposure, camera, detector)
    astrometry = solve_astrometry(first.positions(), (ra, dec, flux), pointing, visit.combined.image.shape)
    known = np.zeros(len(first.shapes), np.bool_)
    known[np.flatnonzero(first.clean)[astrometry.sources]] = references["isStar"][astrometry.references]
    psf, stars = fit_stars(visit, first, known)
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


def measure_psf(visit: VisitImage) -> tuple[PsfModel, Stars]:
    """Find stars on a visit image by their size alone and fit the PSF; return it and the stars' positions.

    Raises
    ------
    TooFewStarsError
        When there are fewer than three.
    """
    return fit_stars(visit, find_first(visit), None)


def _measure(visit: VisitImage, psf: PsfModel, stars: Stars) -> tuple[PsfModel, NDArray[np.void]]:
    """Detect with the PSF of the CCD's middle, fit the PSF again without the stars' neighbours, measure every source."""
    combined = visit.combined
    kernel = psf.at((psf.width - 1) / 2, (psf.height - 1) / 2)
    score = significance_map(combined.image, combined.variance, visit.unusable, kernel)
    found = stand_out(score, detect(score, threshold=FINAL_THRESHOLD), psf.fwhm, FINAL_THRESHOLD)
    del score
    combined.mask[found.footprints] |= np.uint16(MaskPlane.DETECTED)
    shapes = measure_shapes(combined.image, combined.variance, (found.x, found.y), psf.fwhm)
    places = (shapes[:, 0].copy(), shapes[:, 1].copy())
    psf, stars = _refit(visit, psf, places, stars)
    sources = measure_sources((combined.image, combined.variance, combined.mask), visit.unusable, psf, shapes)
    sources["significance"] = found.significance
    sources["footprint_pixels"] = found.pixels
    if len(sources):
        mine, _ = match((sources["x"], sources["y"]), stars, 1.0)
        sources["psf_star"][mine] = True
    return psf, sources


def _refit(visit: VisitImage, psf: PsfModel, places: Stars, stars: Stars) -> tuple[PsfModel, Stars]:
    """Fit the PSF to its stars after every other source near them is subtracted."""
    image, variance = visit.combined.image, visit.combined.variance
    near = np.isfinite(
        cKDTree(np.column_stack(stars)).query(np.column_stack(places), distance_upper_bound=2 * psf.size)[0]
    )
    places = (places[0][near], places[1][near])
    placed = place_sources(psf, places)
    fits, rest = deblended_fluxes(placed, (image, variance), visit.unusable)
    theirs, mine = match(stars, places, 1.0)
    stamps = cut_stamps((rest, variance, visit.unusable), (stars[0][theirs], stars[1][theirs]), psf.size // 2)
    middles = (np.floor(stamps.x + 0.5), np.floor(stamps.y + 0.5))
    same = (middles[0] == placed.column[mine]) & (middles[1] == placed.row[mine])
    own = np.where(same, np.nan_to_num(fits[mine, 0]), 0.0)
    stamps.data[...] += own[:, None, None] * placed.stamps[mine] * stamps.good
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
    snaps = _scale_pixels(visit, scale)
    return CalibratedImage(
        instrument=exposure.instrument,
        visit=exposure.visit,
        detector=exposure.detector,
        band=exposure.band,
        image=combined.image,
        variance=combined.variance,
        mask=combined.mask,
        psf=psf,
        wcs=astrometry.wcs,
        photo_calib=point.scale,
        background=visit.background.image,
        background_level=visit.background.level,
        snaps=snaps,
        sources=sources,
        metrics=metrics,
        midpoint_mjd_tai=_midpoint(visit.exposures),
        exposure_time=sum(e.exposure_time for e in visit.exposures),
        airmass=float(np.mean([e.airmass for e in visit.exposures])),
    )


def _scale_pixels(visit: VisitImage, scale: np.float32) -> SnapData:
    """Bring every plane to nJy in place and return the snaps' data."""
    combined, snaps = visit.combined, visit.combined.snaps
    for plane in (combined.image, visit.background.image, snaps.difference):
        if plane is not None:
            np.multiply(plane, scale, out=plane)
    for plane in (combined.variance, snaps.difference_variance):
        if plane is not None:
            np.multiply(plane, scale**2, out=plane)
    return snaps


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
