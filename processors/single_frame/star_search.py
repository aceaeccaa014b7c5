"""The first look at a visit image: bright sources, the width of a star, and the PSF from well chosen stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.detection import Detections, find_peaks, gaussian_stamp, significance_map
from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.measurement import collect_planes
from processors.single_frame.psf import PsfModel
from processors.single_frame.psf_fit import cut_stamps, fit_psf, stamp_half
from processors.single_frame.references import DOUBTFUL
from processors.single_frame.shapes import measure_shapes
from processors.single_frame.stars import Candidates, select_stars, size_locus
from processors.single_frame.visit_image import VisitImage
from schemas.masks import MaskPlane

__all__ = ["FirstSources", "Stars", "find_first", "fit_stars"]

GUESSED_FWHM = 4.0
"""Pixels; width of the kernel of the first detection, before any star is measured (0.8 arcsec at 0.2 arcsec a pixel)."""

FIRST_THRESHOLD = 8.0
"""Significance of the sources that serve to find the PSF and the pattern."""

PEAK_RADIUS = 3
"""Pixels within which a first source is the highest."""

MOST_MEASURED = 2500
"""Brightest clean sources that are measured: a plate solution and a PSF need no more."""

Stars = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y of the stars of a PSF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSources:
    """What the first look found, brightest first."""

    detections: Detections
    shapes: NDArray[np.float64]
    """Columns of `processors.single_frame.shapes.SHAPE_FIELDS`; NaN for a source that was not measured."""
    clean: NDArray[np.bool_]
    fwhm: float
    """Pixels, of a star."""

    def positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return x, y and error of the clean sources, brightest first."""
        shapes = self.shapes[self.clean]
        return shapes[:, 0], shapes[:, 1], np.hypot(shapes[:, 2], shapes[:, 3]) / np.sqrt(2)


def find_first(visit: VisitImage) -> FirstSources:
    """Detect with a round kernel, measure shapes, and learn the width of a star.

    Raises
    ------
    TooFewStarsError
        When fewer than three clean sources are there.
    """
    image, variance = visit.combined.image, visit.combined.variance
    score = significance_map(image, variance, visit.unusable, gaussian_stamp(GUESSED_FWHM))
    found = find_peaks(score, threshold=FIRST_THRESHOLD, radius=PEAK_RADIUS)
    planes = collect_planes(visit.combined.mask, found.x, found.y, 3)
    tidy = np.flatnonzero((planes & (DOUBTFUL | int(MaskPlane.EDGE))) == 0)[:MOST_MEASURED]
    brightest = tidy[: MOST_MEASURED // 5]
    fwhm = _star_width(visit, found, brightest, GUESSED_FWHM)
    shapes = np.full((len(found), 8), np.nan)
    shapes[:, 0], shapes[:, 1] = found.x, found.y
    shapes[tidy] = measure_shapes(image, variance, (found.x[tidy], found.y[tidy]), fwhm)
    clean = _well_measured(shapes)
    if np.count_nonzero(clean) < 3:
        raise TooFewStarsError(f"Only {np.count_nonzero(clean)} clean sources are on the detector.")
    return FirstSources(
        detections=found, shapes=shapes, clean=clean, fwhm=_locus_width(shapes, found.significance, clean)
    )


def _star_width(visit: VisitImage, found: Detections, rows: NDArray[np.int64], fwhm: float) -> float:
    shapes = measure_shapes(visit.combined.image, visit.combined.variance, (found.x[rows], found.y[rows]), fwhm)
    clean = _well_measured(shapes)
    if np.count_nonzero(clean) < 3:
        raise TooFewStarsError(f"Only {np.count_nonzero(clean)} clean sources are on the detector.")
    return _locus_width(shapes, found.significance[rows], clean)


def _well_measured(shapes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((shapes[:, 7] == 1) & (shapes[:, 4] + shapes[:, 5] > 1.0))


def _locus_width(shapes: NDArray[np.float64], significance: NDArray[np.float64], clean: NDArray[np.bool_]) -> float:
    bright = np.flatnonzero(clean & (significance > 20))[:100]
    if len(bright) < 3:
        bright = np.flatnonzero(clean)
    trace = shapes[bright, 4] + shapes[bright, 5]
    return 2.3548 * float(np.sqrt(size_locus(trace, significance[bright]) / 2))


def fit_stars(visit: VisitImage, first: FirstSources, known: NDArray[np.bool_] | None) -> tuple[PsfModel, Stars]:
    """Choose stars and fit the PSF to them.

    Parameters
    ----------
    visit, first
        The image and its first sources.
    known
        Which of the sources a catalogue knows as stars; None leaves it to their sizes.

    Raises
    ------
    TooFewStarsError
        When fewer than three are isolated.
    """
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
    psf, used = fit_psf(cut_stamps(pixels, (x[chosen], y[chosen]), half), (rows, columns), first.fwhm, rounds=2)
    return psf, (x[chosen][used], y[chosen][used])
