"""Trails among detected sources: bodies that moved during the exposure, from a tenth of an arcsecond to a minute of arc."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import erf

from processors.differencing.chains import Chain
from processors.differencing.layers import Layers
from processors.differencing.psf import PsfGrid, adaptive_moments
from processors.differencing.sky import offset_on_sky, sky_jacobian
from processors.differencing.snap_consistency import MOTION_SIGMAS, SnapPresence, SnapView
from processors.differencing.snap_trails import trail_presence
from processors.differencing.trail_model import SHORTEST, TrailPsf, trail_psf
from processors.differencing.trails import SnapPlanes, TrailFits, fit_trails

__all__ = ["TrailPlaces", "measure_trails"]

TRAIL_LEAST_RATIO = 1.15
"""A trail is fitted when the longer axis exceeds the PSF's by this factor in second moment, beyond three sigma (of 2 over S/N each)."""

TRAIL_CHI2 = 16.0
"""By how much a trail's chi squared must better that of a point source on the same pixels (two more parameters, four sigma)."""

LEFT_SIGMAS = 6.0
"""Excess of chi squared over the pixels, in its own scatter, from which something else than a trail is there if a trail takes away less."""

TRAIL_SIGMAS = 4.0
"""Least length in units of its error."""

MOST_PASSES = 3

GROWTH_PIXELS = 3.0
"""By how much a trail must exceed its guess to be fitted again."""

SHARE_LEFT, SIGMAS_LEFT = 0.5, 3.0
"""A source on a trail is a piece of it when less than this part of the trail's light there, or of so many errors, is left of it."""

_HALF = 10

Pixels = NDArray[Any]
Rows = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPlaces:
    """What trails say of sources besides the columns of their rows."""

    centres: dict[int, tuple[float, float]]
    """For the index of each source whose trail is longer than the PSF is wide, or that stands for several peaks, the trail's middle."""
    variances: dict[int, tuple[float, float, float]]
    """Of x and of y of these middles, and their covariance, pixels squared."""
    pieces: list[int]
    """Indices of the sources that are pieces of another's trail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    source: int
    start: list[float]
    long: bool
    """A point's answer to which snaps saw it does not hold."""


def measure_trails(
    layers: Layers,
    fits: Pixels,
    rows: Rows,
    chains: Mapping[int, Chain],
    snaps: tuple[SnapView, NDArray[np.void]] | None = None,
    *,
    shapes: Pixels,
) -> TrailPlaces:
    """Fit a trail to sources that are significantly elongated, or that moved between the snaps; others keep nulls.

    Parameters
    ----------
    layers
        Images and PSFs.
    fits
        Point-source fits.
    rows
        DIASources with signal-to-noise and classification as dipoles, filled in place.
    chains
        For the index of a source that stands for several peaks on a line, that line.
    snaps
        The snaps and what they say of each source (rows of `SNAP_DTYPE`), whose motion is replaced by that of the fitted trail.
    shapes
        Adaptive moments xx, yy, xy of the PSF and of each source, pixels squared, and whether the latter are known (1 or 0).

    Returns
    -------
    TrailPlaces
        Where the sources are that stand for several peaks, and which sources belong to the trail of another.
    """
    guesses = _guesses(
        layers, fits, rows, chains, snaps, _from_shapes(layers.difference.shape, fits, rows["snr"], shapes)
    )
    if not guesses:
        return TrailPlaces(centres={}, variances={}, pieces=[])
    start = np.array([g.start for g in guesses])
    read = _readable(layers, guesses, start, snaps)
    found = _fit(layers, start, None if snaps is None else snaps[0], read)
    accepted = _accepted(found, np.array([g.source in chains for g in guesses]))
    order = sorted(np.flatnonzero(accepted).tolist(), key=lambda k: _rank(guesses[k].source, chains, rows))
    width, sources = _psf_width(layers), [g.source for g in guesses]
    owners = _owners(found, [(k, sources[k]) for k in order], fits, width, frozenset(chains))
    apart = (found.length > 2.3548 * width) | ~(fits[sources, 10] > 0)
    several = {*chains, *owners.values(), *np.array(sources)[apart].tolist()}
    places = TrailPlaces(centres={}, variances={}, pieces=sorted(owners))
    for k, guess in enumerate(guesses):
        n = guess.source
        rows["trail_flag"][n] = not accepted[k]
        if accepted[k]:
            _fill_trail(layers, rows, n, found, k)
            if snaps is not None and read[k]:
                _fill_motion(layers, snaps, n, found, k)
            if n in several:
                spread = found.covariances[k]
                places.centres[n] = (float(found.values[k, 0]), float(found.values[k, 1]))
                places.variances[n] = (float(spread[0, 0]), float(spread[1, 1]), float(spread[0, 1]))
    return places


def _rank(source: int, chains: Mapping[int, Chain], rows: Rows) -> tuple[bool, float, int]:
    """Order in which sources claim others on their trails: lines of peaks first, then the most significant."""
    return source not in chains, -float(rows["snr"][source]), source


def _owners(
    found: TrailFits, trails: list[tuple[int, int]], fits: Pixels, width: float, lines: frozenset[int]
) -> dict[int, int]:
    """Return, for sources whose light is that of another's trail, whose: a trail a few PSFs long may show a peak at each end.

    ``trails`` are fits and their sources, in the order of their claims; what stands for a line of peaks is nobody's piece.
    """
    owners: dict[int, int] = {}
    for k, n in trails:
        if n in owners:
            continue
        light = _point_fluxes(found.values[k], fits, width)
        sign = math.copysign(1.0, float(found.values[k, 2]))
        with np.errstate(invalid="ignore"):
            left = sign * (fits[:, 2] - light)
            own = left < np.maximum(SHARE_LEFT * sign * light, SIGMAS_LEFT * np.sqrt(fits[:, 5]))
            own &= (sign * fits[:, 2] > 0) & (sign * light > SHARE_LEFT * sign * fits[:, 2])
        owners |= {m: n for m in np.flatnonzero(own).tolist() if m != n and m not in owners and m not in lines}
    return owners


def _point_fluxes(trail: Pixels, fits: Pixels, width: float) -> NDArray[np.float64]:
    """Return what a trail gives to fits of a point source at places; ``width`` is the PSF's standard deviation, pixels."""
    x, y, flux, dx, dy = (float(v) for v in trail)
    length = max(math.hypot(dx, dy), SHORTEST)
    px, py = fits[:, 0] - x, fits[:, 1] - y
    along, across = (px * dx + py * dy) / length, (py * dx - px * dy) / length
    ends = erf((along + 0.5 * length) / (2 * width)) - erf((along - 0.5 * length) / (2 * width))
    return np.asarray(flux / length * math.sqrt(math.pi) * width * ends * np.exp(-((across / (2 * width)) ** 2)))


def _psf_width(layers: Layers) -> float:
    """Standard deviation, pixels, of the Gaussian as sharp as the PSF."""
    return 1 / (2 * math.sqrt(math.pi) * math.sqrt(float(np.sum(layers.psf.mean**2))))


def _fit(layers: Layers, start: Pixels, view: SnapView | None, read: NDArray[np.bool_]) -> TrailFits:
    """Fit trails; one that turns out longer than its guess is fitted again, since the pixels read reach as far as the guess does."""
    psfs, own = (_psfs(grid, start) for grid in (layers.psf, layers.science_psf))
    planes = (layers.difference, layers.variance, layers.usable)

    def fit(guess: Pixels, some: NDArray[np.int64]) -> TrailFits:
        pair = None if view is None else (_planes(view), [own[k] for k in some], read[some])
        return fit_trails(planes, guess[some], [psfs[k] for k in some], pair, enough=TRAIL_CHI2)

    found, before = fit(start, np.arange(len(start))), np.hypot(start[:, 3], start[:, 4])
    for _ in range(MOST_PASSES):
        grown = np.flatnonzero(found.converged & (found.length > before + GROWTH_PIXELS))
        if len(grown) == 0:
            break
        before = found.length
        again = fit(found.values, grown)
        for field in fields(TrailFits):
            getattr(found, field.name)[grown] = getattr(again, field.name)
    return found


def _accepted(found: TrailFits, lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which fits are trails; what lies on a line of peaks may cross something else, whose light is left over."""
    with np.errstate(invalid="ignore"):
        sure = found.length > TRAIL_SIGMAS * found.errors[0]
        left = found.chi2 - found.pixels
        other = (left > found.point_chi2 - found.chi2) & (left > LEFT_SIGMAS * np.sqrt(2.0 * found.pixels)) & ~lines
        return np.asarray(found.converged & sure & (found.chi2 < found.point_chi2 - TRAIL_CHI2) & ~other)


def _readable(
    layers: Layers, guesses: list[_Guess], start: Pixels, snaps: tuple[SnapView, NDArray[np.void]] | None
) -> NDArray[np.bool_]:
    """Tell for which trails the snaps are read: not for what one snap alone saw. Fills the presence of long ones."""
    if snaps is None:
        return np.zeros(len(guesses), dtype=bool)
    view, told = snaps
    long = np.array([g.long for g in guesses])
    sources = np.array([g.source for g in guesses])
    told["presence"][sources[long]] = trail_presence(
        view.pair, (layers.difference, layers.variance, layers.usable), start[long]
    )
    return np.isin(told["presence"][sources], [SnapPresence.BOTH, SnapPresence.UNKNOWN])


def _guesses(
    layers: Layers,
    fits: Pixels,
    rows: Rows,
    chains: Mapping[int, Chain],
    snaps: tuple[SnapView, NDArray[np.void]] | None,
    shapes: Mapping[int, list[float]],
) -> list[_Guess]:
    """Return where the fits of trails begin: on lines of peaks, along motions between snaps, or by the shapes; none for points."""
    moved = [] if snaps is None else np.flatnonzero(snaps[1]["motion_snr"] > MOTION_SIGMAS).tolist()
    out = []
    for n in sorted(({*shapes, *moved} - _beside_others(fits, snaps, shapes)) | {*chains}):
        shape = shapes.get(n)
        if n in chains:
            out.append(_Guess(source=n, start=_from_chain(fits[n], chains[n], layers), long=True))
        elif rows["isDipole"][n] == 1 or not np.isfinite(fits[n, 2]):
            continue
        elif snaps is not None and snaps[1]["motion_snr"][n] > MOTION_SIGMAS:
            start = _from_motion(layers, fits[n], snaps[0], snaps[1][n], shape)
            out.append(_Guess(source=n, start=start, long=shape is not None))
        elif shape is not None:
            out.append(_Guess(source=n, start=shape, long=True))
    return out


def _beside_others(
    fits: Pixels, snaps: tuple[SnapView, NDArray[np.void]] | None, shapes: Mapping[int, list[float]]
) -> set[int]:
    """Return the elongated sources beside one of their sign of which one snap alone saw one: they are two sources.

    Where one snap saw an end and the other snap the other end, they are the ends of a trail.
    """
    if snaps is None or not shapes:
        return set()
    presence, sign = snaps[1]["presence"], np.sign(fits[:, 2])
    tree, once, out = cKDTree(fits[:, :2]), {SnapPresence.FIRST, SnapPresence.SECOND}, set()
    for n, start in shapes.items():
        near = tree.query_ball_point(fits[n, :2], 0.5 * math.hypot(*start[3:]))
        seen = {int(presence[m]) for m in near if sign[m] == sign[n]}
        alone = seen & once
        if len(alone) == 1 and SnapPresence.BOTH in seen:
            out.add(n)
    return out


def _from_motion(layers: Layers, fit: Pixels, view: SnapView, told: Any, shape: list[float] | None) -> list[float]:
    """Return a first guess of the direction in which a source moved between the snaps, of the length that it or the shape gives."""
    seconds, gap = view.pair.exposure_s, view.pair.gap_s
    moved = float(told["motion_arcsec"]) / layers.pixel_scale * (2 * seconds + gap) / (seconds + gap)
    length = max(moved, math.hypot(*shape[3:]) if shape else 0.0)
    inverse = np.linalg.inv(sky_jacobian(layers.wcs, fit[:1], fit[1:2])[0])
    dec = math.radians(float(np.asarray(layers.wcs.all_pix2world(fit[:1], fit[1:2], 0)[1])[0]))
    bearing = math.radians(float(told["motion_angle_deg"]))
    step = inverse @ np.array([math.sin(bearing) / math.cos(dec), math.cos(bearing)])
    step *= length / max(float(np.hypot(*step)), 1e-30)
    return [float(fit[0]), float(fit[1]), float(fit[2]), float(step[0]), float(step[1])]


def _planes(view: SnapView) -> SnapPlanes:
    pair = view.pair
    return SnapPlanes(
        image=pair.difference, variance=pair.variance, gap_share=pair.gap_share, share=view.share, shift=view.shift
    )


def _psfs(grid: PsfGrid, start: Pixels) -> list[TrailPsf]:
    out = []
    for x, y in start[:, :2]:
        psf = grid.at(float(x), float(y))
        half = float(psf.shape[0] // 2)
        xx, yy, xy, _ = adaptive_moments(psf, half, half, 1.5, half)
        out.append(trail_psf(psf, (xx, yy, xy)))
    return out


def _leaves(values: Pixels, shape: tuple[int, ...]) -> bool:
    """Tell whether an end of a trail lies within a PSF of the image's border."""
    ends = np.array([values[:2] - 0.5 * values[3:], values[:2] + 0.5 * values[3:]])
    return bool((ends < _HALF).any() or (ends > np.array([shape[1], shape[0]]) - 1 - _HALF).any())


def _from_chain(fit: Pixels, chain: Chain, layers: Layers) -> list[float]:
    """Return a first guess from a line of peaks: each PSF's length of it has the flux of a point source."""
    own = 2 * math.sqrt(math.pi) * _psf_width(layers)
    flux = float(np.nan_to_num(fit[2])) * max(1.0, chain.length / (own * math.sqrt(2)))
    length = max(chain.length, 2.0)
    return [chain.x, chain.y, flux, length * math.cos(chain.angle), length * math.sin(chain.angle)]


def _from_shapes(shape: tuple[int, ...], fits: Pixels, snr: Pixels, shapes: Pixels) -> dict[int, list[float]]:
    """Return first guesses from second moments, by source, for those clearly elongated."""
    pxx, pyy, _, xx, yy, xy, found = shapes.T
    middle = np.floor(fits[:, :2] + 0.5)
    inside = (middle >= _HALF).all(axis=1) & (middle < np.array([shape[1], shape[0]]) - _HALF).all(axis=1)
    own = np.maximum((pxx + pyy) / 2, 0.25)
    with np.errstate(invalid="ignore"):
        long_axis = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
        elongated = long_axis >= own * (TRAIL_LEAST_RATIO + 6.0 / np.maximum(snr.astype(float), 1.0))
    out = {}
    for n in np.flatnonzero(inside & (found > 0) & elongated).tolist():
        length, angle = math.sqrt(12 * (long_axis[n] - own[n])), 0.5 * math.atan2(2 * xy[n], xx[n] - yy[n])
        out[n] = [*map(float, fits[n, :3]), length * math.cos(angle), length * math.sin(angle)]
    return out


def _fill_trail(layers: Layers, rows: Rows, n: int, found: TrailFits, k: int) -> None:
    x, y, flux, dx, dy = (float(v) for v in found.values[k])
    covariance = found.covariances[k]
    rows["trailFlux"][n], rows["trailFluxErr"][n] = flux, math.sqrt(max(float(covariance[2, 2]), 0.0))
    ra, dec = layers.wcs.all_pix2world(np.array([x]), np.array([y]), 0)
    rows["trailRa"][n], rows["trailDec"][n] = float(ra[0]) % 360.0, float(dec[0])
    jacobian = sky_jacobian(layers.wcs, np.array([x]), np.array([y]))[0]
    on_sky = jacobian @ covariance[:2, :2] @ jacobian.T
    rows["trailRaErr"][n], rows["trailDecErr"][n] = np.sqrt(np.maximum(np.diag(on_sky), 0))
    rows["trailLength"][n], bearing = offset_on_sky(layers.wcs, x, y, dx, dy)
    rows["trailAngle"][n] = bearing % 180.0
    length_error, angle_error = found.errors
    rows["trailLengthErr"][n] = length_error[k] * layers.pixel_scale
    rows["trailAngleErr"][n] = math.degrees(angle_error[k])
    rows["trailChi2"][n], rows["trailNdata"][n] = found.chi2[k], found.pixels[k]
    rows["trail_flag_edge"][n] = _leaves(found.values[k], layers.difference.shape)


def _fill_motion(layers: Layers, snaps: tuple[SnapView, NDArray[np.void]], n: int, found: TrailFits, k: int) -> None:
    """Say by the fitted trail how far a source moved between the snaps; its direction is as sure as the snaps make it."""
    view, rows = snaps
    part = 0.5 * (1 + view.pair.gap_share)
    x, y, _, dx, dy = (float(v) for v in found.values[k])
    rows["motion_arcsec"][n], rows["motion_angle_deg"][n] = offset_on_sky(layers.wcs, x, y, part * dx, part * dy)
    rows["motion_error_arcsec"][n] = part * found.errors[0][k] * layers.pixel_scale
    sure = max(float(found.turned_chi2[k] - found.chi2[k]), 0.0)
    rows["motion_snr"][n] = math.sqrt(sure) / 2
    if rows["presence"][n] == SnapPresence.UNKNOWN and rows["motion_snr"][n] > MOTION_SIGMAS:
        rows["presence"][n] = SnapPresence.BOTH
