"""The world coordinates of one CCD, found from the pattern of its stars against a reference catalogue.

A histogram of shifts at a few trial rotations finds the pattern; matching and fitting then alternate, from a plane to the
polynomial that the matches can bear. The result is a TAN-SIP `astropy.wcs.WCS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.single_frame.errors import AstrometryError, MissingReferenceError
from processors.single_frame.frames import Exposure
from processors.single_frame.plate import RADIAL_CLIP_STARS, PlateFit, choose_fit, fit_plate, fit_radial
from processors.single_frame.projection import deproject, project
from processors.single_frame.shift_histogram import BIN_PIXELS, shift_peaks
from processors.single_frame.sip import plate_to_wcs
from schemas.camera import Camera, Detector

__all__ = ["Astrometry", "Pointing", "nominal_pointing", "propagate", "solve_astrometry", "match"]

SEARCH_ARCSEC = 40.0
"""Largest shift looked for: 20" of pointing, and 0.1 degree of rotation seen at the edge of the field of view."""

ROTATIONS_DEGREES = tuple(0.05 * k for k in (0, -1, 1, -2, 2, -3, 3))
"""Trial errors of the rotation, likeliest first."""

PATTERN_STARS = 150
"""Brightest detections used to find the pattern."""

FEW_REFERENCES = 40
"""Reference stars below which every one must be found: more sources are then compared, and distortions are tried."""

PATTERN_PAIRS = 40_000
"""Pairs of sources and few reference stars that are compared."""

BOWS_PIXELS = tuple(6.0 * k for k in (0, 1, -1, 2, -2, 3, -3))
"""Trial distortions: radial displacement at the CCD's corner farthest from the optical axis."""

WORTH_TRYING = 0.6
MOST_PATTERNS = 6
"""Peaks with at least this share of the highest one's votes are tried, so many at most: with few stars chance ties."""

LEAST_SHARE = 0.3
"""Share of the stars that could match which must match: chance alone brings about a tenth."""

LEAST_MATCHES = 5
"""Fewest sources and reference stars with which a solution is tried."""

LEAST_PAIRS = 4
"""Fewest matches that make a solution."""

TIGHT_PIXELS = 0.15
"""Scatter of so few matches, beyond the camera's nominal plane: four wrong ones come as close once in a million fields."""

MATCH_RADII = (10.0, 6.0, 4.0, 3.0, 2.0, 2.0)
"""Radius in pixels within which stars match, iteration after iteration."""

CENTROID_FLOOR_PIXELS = 0.03
"""Error of a position besides photon noise: catalogue and atmosphere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """Where a CCD is thought to look: how its pixels map on the plane tangent at the boresight (arcseconds)."""

    ra: float
    dec: float
    centre: tuple[float, float]
    """Pixel of the CCD whose offset from the boresight is ``offset``."""
    offset: tuple[float, float]
    """Focal-plane x and y in pixels."""
    quarter_turns: int
    rotation: float
    """Position angle in degrees of the focal plane's +y, east of north."""
    plate_scale: float

    @property
    def axis(self) -> tuple[float, float]:
        """Pixel at which the boresight falls, on the CCD or off it."""
        x, y = self.to_pixels(np.zeros(1), np.zeros(1))
        return float(x[0]), float(y[0])

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Arcseconds east and north for a pixel along x and y, shape (2, 2)."""
        xi, eta = self.to_plane(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
        return np.array([[xi[1] - xi[0], xi[2] - xi[0]], [eta[1] - eta[0], eta[2] - eta[0]]])

    @property
    def reach(self) -> float:
        """Pixels from the boresight to the farthest corner of a CCD whose middle is ``centre``."""
        x, y = self.axis
        return float(np.hypot(self.centre[0] + abs(x - self.centre[0]), self.centre[1] + abs(y - self.centre[1])))

    def to_plane(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return xi (east) and eta (north) of pixels."""
        a, b = x - self.centre[0], y - self.centre[1]
        for _ in range(self.quarter_turns % 4):
            a, b = -b, a
        a, b = a + self.offset[0], b + self.offset[1]
        sine, cosine = np.sin(np.radians(self.rotation)), np.cos(np.radians(self.rotation))
        return (-a * cosine + b * sine) * self.plate_scale, (a * sine + b * cosine) * self.plate_scale

    def to_pixels(self, xi: NDArray[np.float64], eta: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return the pixels of plane coordinates, the inverse of `to_plane`."""
        sine, cosine = np.sin(np.radians(self.rotation)), np.cos(np.radians(self.rotation))
        a = (-xi * cosine + eta * sine) / self.plate_scale - self.offset[0]
        b = (xi * sine + eta * cosine) / self.plate_scale - self.offset[1]
        for _ in range(self.quarter_turns % 4):
            a, b = b, -a
        return a + self.centre[0], b + self.centre[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Astrometry:
    """A solution and how good it is."""

    wcs: WCS
    sources: NDArray[np.int64]
    """Indices of matched sources."""
    references: NDArray[np.int64]
    """Indices of the reference stars they match, in the same order."""
    order: int
    rms_mas: float
    """Scatter of a matched star about the solution, per axis."""
    shift_arcsec: float
    """How far the CCD's centre lay from where the header put it."""


def nominal_pointing(exposure: Exposure, camera: Camera, detector: Detector) -> Pointing:
    """Return where the header and the camera's description put a CCD."""
    return Pointing(
        ra=exposure.ra,
        dec=exposure.dec,
        centre=((detector.width - 1) / 2, (detector.height - 1) / 2),
        offset=detector.centre,
        quarter_turns=detector.quarter_turns,
        rotation=exposure.rotation,
        plate_scale=camera.plate_scale,
    )


def propagate(references: NDArray[np.void], mjd: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ra and dec (degrees) of catalogue stars moved by their proper motions to an epoch.

    Missing motions (NaN) count as none. Linear motion on the tangent plane: good to 1 mas over decades for all but the
    few fastest stars near a pole.
    """
    years = (mjd - np.asarray(references["epoch_mjd"], np.float64)) / 365.25
    dec = np.asarray(references["dec"], np.float64)
    east = np.nan_to_num(np.asarray(references["pmra"], np.float64)) * years / 3.6e6
    north = np.nan_to_num(np.asarray(references["pmdec"], np.float64)) * years / 3.6e6
    ra = np.asarray(references["ra"], np.float64) + east / np.maximum(np.cos(np.radians(dec)), 1e-9)
    return np.mod(ra, 360.0), dec + north


def solve_astrometry(
    sources: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    stars: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    pointing: Pointing,
    shape: tuple[int, int],
) -> Astrometry:
    """Find the world coordinates of a CCD.

    Parameters
    ----------
    sources
        x, y and position error (pixels) of unsaturated sources, brightest first.
    stars
        ra, dec (degrees, at the epoch) and flux of reference stars; more than the CCD's field does no harm.
    pointing
        The nominal pointing, wrong by up to 20" and 0.1 degree.
    shape
        Rows and columns of the CCD.

    Raises
    ------
    MissingReferenceError
        When fewer than five reference stars lie near the CCD.
    AstrometryError
        When the pattern is not found.
    """
    ra, dec, flux = stars
    xi, eta, ahead = project(ra, dec, pointing.ra, pointing.dec)
    px, py = pointing.to_pixels(xi, eta)
    margin = SEARCH_ARCSEC / pointing.plate_scale
    near = ahead & (px > -margin) & (px < shape[1] + margin) & (py > -margin) & (py < shape[0] + margin)
    index = np.flatnonzero(near & np.isfinite(flux))
    if len(index) < LEAST_MATCHES:
        raise MissingReferenceError(f"Only {len(index)} reference stars lie near the detector.")
    if len(sources[0]) < LEAST_MATCHES:
        raise AstrometryError(f"{len(sources[0])} sources are too few to find the pattern of stars.")
    index = index[np.argsort(-flux[index], kind="stable")]
    guesses = _find_patterns(sources, (px[index], py[index]), pointing, shape, margin)
    fit, pairs = _best_match(sources, (xi[index], eta[index], px[index], py[index]), guesses, pointing)
    return _finish(fit, pairs, sources, (ra, dec, index), pointing, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    """How reference stars move from their nominal pixels onto sources: turned about the middle, shifted, bent."""

    rotation: float
    """Degrees."""
    bow: float
    shift: tuple[float, float] = (0.0, 0.0)
    votes: float = 0.0

    def differs(self, other: _Guess) -> bool:
        """Tell a guess of another bow, or shifted by more than a peak of the histogram is wide."""
        away = np.hypot(self.shift[0] - other.shift[0], self.shift[1] - other.shift[1])
        return self.bow != other.bow or bool(away > 3 * BIN_PIXELS)

    def apply(
        self, x: NDArray[np.float64], y: NDArray[np.float64], pointing: Pointing
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        middle = pointing.centre
        rx, ry = _rotate(x - middle[0], y - middle[1], self.rotation)
        dx, dy = rx + middle[0] - pointing.axis[0], ry + middle[1] - pointing.axis[1]
        stretch = 1 + self.bow * (dx**2 + dy**2) / pointing.reach**3
        shift_x, shift_y = self.shift
        return dx * stretch + pointing.axis[0] + shift_x, dy * stretch + pointing.axis[1] + shift_y


def _find_patterns(
    sources: tuple[NDArray[np.float64], ...],
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
    pointing: Pointing,
    shape: tuple[int, int],
    margin: float,
) -> list[_Guess]:
    """Return turns about the CCD's centre, bows and shifts that bring many stars onto sources, best first."""
    few = len(stars[0]) < FEW_REFERENCES
    most = max(PATTERN_STARS, PATTERN_PAIRS // max(1, len(stars[0]))) if few else PATTERN_STARS
    x, y = sources[0][:most], sources[1][:most]
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin) / (shape[0] * shape[1])
    count = int(min(len(stars[0]), 1.5 * len(x) * area + 20, 1200))
    sx, sy = stars[0][:count], stars[1][:count]
    found: list[_Guess] = []
    for rotation in ROTATIONS_DEGREES:
        for bow in BOWS_PIXELS if few else BOWS_PIXELS[:1]:
            rx, ry = _Guess(rotation=rotation, bow=bow).apply(sx, sy, pointing)
            peaks = shift_peaks((x[:, None] - rx).ravel(), (y[:, None] - ry).ravel(), margin)
            found += [_Guess(rotation=rotation, bow=bow, shift=(a, b), votes=n) for n, a, b in peaks]
    found.sort(key=lambda guess: -guess.votes)
    most_tried = MOST_PATTERNS * (4 if few else 1)
    chosen: list[_Guess] = []
    for guess in found:
        apart = all(guess.differs(other) for other in chosen)
        if guess.votes >= WORTH_TRYING * found[0].votes and apart and len(chosen) < most_tried:
            chosen.append(guess)
    return chosen


def _rotate(x: NDArray[np.float64], y: NDArray[np.float64], degrees: float) -> tuple[NDArray[np.float64], ...]:
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return x * cosine - y * sine, x * sine + y * cosine


def match(
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    others: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return index pairs of points that are each other's nearest within a radius."""
    a, b = np.column_stack(places), np.column_stack(others)
    distance, there = cKDTree(b).query(a, distance_upper_bound=radius)
    _, back = cKDTree(a).query(b)
    there, back = np.asarray(there, np.int64), np.asarray(back, np.int64)
    mine = np.flatnonzero(np.isfinite(distance))
    mine = mine[back[there[mine]] == mine]
    return mine, there[mine]


def _best_match(
    sources: tuple[NDArray[np.float64], ...],
    stars: tuple[NDArray[np.float64], ...],
    guesses: list[_Guess],
    pointing: Pointing,
) -> tuple[PlateFit, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Refine every guess and return the one that matches most stars, of equals the one that matches them best."""
    best = None
    problem = AstrometryError("No shift brings stars of the reference catalogue onto sources.")
    for guess in guesses:
        try:
            fit, pairs = _refine(sources, stars, guess, pointing)
        except AstrometryError as error:
            problem = error
            continue
        if best is None or (len(pairs[0]), -fit.rms) > (len(best[1][0]), -best[0].rms):
            best = fit, pairs
    if best is None:
        raise problem
    return best


def _refine(
    sources: tuple[NDArray[np.float64], ...],
    stars: tuple[NDArray[np.float64], ...],
    guess: _Guess,
    pointing: Pointing,
) -> tuple[PlateFit, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Match and fit in turn; predictions are compared in pixels through the plane fit's inverse scale."""
    x, y, error = sources
    xi, eta, px, py = stars
    predicted = guess.apply(px, py, pointing)
    mine, theirs = match((x, y), predicted, MATCH_RADII[0])
    weight_all = 1 / (error**2 + CENTROID_FLOOR_PIXELS**2)
    scale = pointing.plate_scale
    fit = None
    for step, radius in enumerate(MATCH_RADII[1:]):
        if len(mine) < LEAST_PAIRS:
            raise AstrometryError(f"Only {len(mine)} stars match the reference catalogue.")
        highest = min(1 + step, 3)
        fit = _fit_pairs((x[mine], y[mine]), (xi[theirs], eta[theirs]), weight_all[mine], highest, pointing)
        u, v = fit.to_plane(x, y)
        mine, theirs = match((u / scale, v / scale), (xi / scale, eta / scale), radius)
    if fit is None or len(mine) < LEAST_PAIRS:
        raise AstrometryError(f"Only {len(mine)} stars match the reference catalogue.")
    fit = _fit_pairs((x[mine], y[mine]), (xi[theirs], eta[theirs]), weight_all[mine], 3, pointing)
    return fit, (mine[fit.used], theirs[fit.used])


def _fit_pairs(
    pixels: tuple[NDArray[np.float64], NDArray[np.float64]],
    plane: tuple[NDArray[np.float64], NDArray[np.float64]],
    weight: NDArray[np.float64],
    highest: int,
    pointing: Pointing,
) -> PlateFit:
    if len(weight) < LEAST_MATCHES:
        return fit_radial(pixels, plane, weight, pointing.centre, pointing.axis, nominal=pointing.matrix)
    return choose_fit(pixels, plane, weight, highest, pointing.centre, axis=pointing.axis, nominal=pointing.matrix)


def _finish(
    fit: PlateFit,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    sources: tuple[NDArray[np.float64], ...],
    stars: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    pointing: Pointing,
    shape: tuple[int, int],
) -> Astrometry:
    """Check the match, move the tangent point to the CCD's centre, fit again and write the WCS."""
    mine, theirs = pairs
    ra, dec, index = stars
    scale = pointing.plate_scale
    margin = SEARCH_ARCSEC / scale
    expected = len(index) * shape[0] * shape[1] / ((shape[0] + 2 * margin) * (shape[1] + 2 * margin))
    reachable = min(len(sources[0]), expected)
    loosest = TIGHT_PIXELS if len(mine) < LEAST_MATCHES else 0.5
    if len(mine) < max(LEAST_PAIRS, LEAST_SHARE * reachable) or fit.rms > loosest * scale:
        raise AstrometryError(
            f"{len(mine)} matches with a scatter of {fit.rms:.2f} arcsec, where {reachable:.0f} could match, are no solution."
        )
    u, v = fit.to_plane(np.array([pointing.centre[0]]), np.array([pointing.centre[1]]))
    centre = deproject(u, v, pointing.ra, pointing.dec)
    ra0, dec0 = float(centre[0][0]), float(centre[1][0])
    xi, eta, _ = project(ra[index[theirs]], dec[index[theirs]], ra0, dec0)
    x, y, error = (column[mine] for column in sources)
    weight = 1 / (error**2 + CENTROID_FLOOR_PIXELS**2)
    if fit.axis is None:
        final = fit_plate((x, y), (xi, eta), weight, fit.order, pointing.centre)
    else:
        nominal = pointing.matrix if len(x) < RADIAL_CLIP_STARS else None
        final = fit_radial((x, y), (xi, eta), weight, pointing.centre, fit.axis, nominal=nominal)
    thought = pointing.to_plane(np.array([pointing.centre[0]]), np.array([pointing.centre[1]]))
    return Astrometry(
        wcs=plate_to_wcs(final, (ra0, dec0), shape),
        sources=mine,
        references=index[theirs],
        order=final.order,
        rms_mas=1000 * final.rms,
        shift_arcsec=float(np.hypot(u[0] - thought[0][0], v[0] - thought[1][0])),
    )
