"""Where orbits were on a past night, and which detections of that night may be theirs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.association.sphere import local_offsets, unit_vectors
from processors.moving_objects.arcs import directions
from processors.moving_objects.constants import ARCSEC_PER_RADIAN
from processors.moving_objects.discoveries import V_LESS_BAND
from processors.moving_objects.orbit_fit import transport
from processors.moving_objects.photometry import v_magnitudes
from processors.moving_objects.solar_system import SolarSystem, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from processors.moving_objects.uncertainties import carry_covariance, sky_ellipses

__all__ = ["Meetings", "PrecoveryRules", "Trials", "meetings", "trials_of"]

Array = np.ndarray[Any, Any]
Floats = NDArray[np.float64]

_DENSITY_DEG = 0.2
"""Radius within which the density of a visit's detections is taken: about a CCD of 4k pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecoveryRules:
    """Limits of the search in past nights."""

    sigmas: float = 3.0
    """Of the predicted place along its major axis: the radius of the search (LSST moving object pipeline design, 2008-2013)."""
    narrowest_deg: float = 0.004
    """Least radius: covariances of short arcs are too small where the motion is not linear (same source)."""
    widest_deg: float = 0.1
    """Largest radius (same source)."""
    two_body_days: float = 2.0
    """Up to here the planets are left out: a main-belt asteroid is off by 1 mas a day then, a near-Earth one by 45 at most."""
    rate_sigmas: float = 3.0
    """How far the motion between detections of a night may be from the orbit's, in sigmas of both."""
    magnitude_sigmas: float = 3.0
    """How far a magnitude may be from the predicted one."""
    magnitude_scatter: float = 0.35
    """One sigma of what no magnitude says: rotation (0.3 mag), colour (0.1) and H (0.15), in quadrature."""
    trail_deg: float = 20.0
    """Largest angle between a trail and the predicted motion."""
    single_chance: float = 0.02
    """A detection without a partner in its night is taken only where fewer others than this are expected in its ellipse."""
    trials: int = 3
    """Groups of detections that are tried for one orbit in one night, most likely first."""
    chance: float = 1e-3
    """True detections whose addition raises chi2 by more are refused this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meetings:
    """Pairs of an orbit and a detection of one night that may be its own, by orbit and detection; offsets are observed less predicted."""

    orbit: NDArray[np.int64]
    detection: NDArray[np.int64]
    """Positions in the night's detections."""
    offset_arcsec: Floats
    """``(n, 2)`` east and north."""
    covariance_arcsec2: Floats
    """``(n, 2, 2)`` of the prediction."""
    rate_sigma: Floats
    """Of the predicted motion, arcsec/day."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.orbit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Groups of detections of one night, each one that an orbit may have; most likely first for each orbit."""

    orbit: NDArray[np.int64]
    members: tuple[tuple[int, ...], ...]
    """Positions in the night's detections, ascending."""
    mahalanobis2: Floats
    """Square of the distance from the prediction in its sigmas and the detections'."""


def meetings(
    states: Floats,
    covariances: Floats,
    epochs_mjd_tdb: Floats,
    h: Floats,
    g: Floats,
    detections: Array,
    observers: Floats,
    *,
    solar_system: SolarSystem,
    rules: PrecoveryRules,
) -> Meetings:
    """Return the detections of a night near the predicted places of orbits, with a magnitude and a trail that agree.

    Parameters
    ----------
    states, covariances, epochs_mjd_tdb
        ``(n, 6)``, ``(n, 6, 6)``, ``(n,)``: heliocentric ICRF, au and au/day; NaN meets nothing.
    h, g
        Absolute magnitude, NaN where unknown, and slope.
    detections, observers
        Rows of ``DETECTION`` of one night, and the observer's heliocentric states ``(m, 6)``.
    solar_system
        Bodies that pull, over the span of epochs and detections.
    rules
        Radii and tolerances.
    """
    times = tdb_from_tai(detections["midpoint_mjd_tai"])
    middle = 0.5 * float(times.min() + times.max())
    at_middle, covariance = _carried(states, covariances, epochs_mjd_tdb, middle, solar_system, rules)
    vectors = unit_vectors(detections["ra"], detections["dec"])
    orbit, detection = _nearby(at_middle, covariance, middle, times, vectors, observers, rules)
    if not len(orbit):
        return _none()
    moved, spread = transport(at_middle[orbit], covariance[orbit], times[detection] - middle)
    seen_from = observers[detection]
    ellipse = sky_ellipses(
        moved, spread, observer=seen_from, sun_velocity=sun_velocities(solar_system, times[detection])
    )
    east, north = local_offsets(
        ellipse.ra_deg, ellipse.dec_deg, unit_vectors(ellipse.ra_deg, ellipse.dec_deg), vectors[detection]
    )
    radius = _radius_arcsec(ellipse.major_arcsec, rules)
    topo = moved - seen_from
    good = np.hypot(east, north) <= radius
    good &= _bright_alike(h[orbit], g[orbit], moved, topo, detections[detection], rules)
    good &= _trail_alike(topo, ellipse.ra_deg, ellipse.dec_deg, detections[detection], rules)
    kept = np.flatnonzero(good)
    kept = kept[np.lexsort((detection[kept], orbit[kept]))]
    return Meetings(
        orbit=orbit[kept],
        detection=detection[kept],
        offset_arcsec=np.stack([east, north], axis=1)[kept],
        covariance_arcsec2=ellipse.covariance_arcsec2[kept],
        rate_sigma=_rate_sigma(spread[kept], topo[kept], ellipse.ra_deg[kept], ellipse.dec_deg[kept]),
    )


def trials_of(found: Meetings, detections: Array, rules: PrecoveryRules) -> Trials:
    """Put the detections that an orbit met into groups that move as it does, at most one of a visit.

    Singles stand only where the error ellipse is so small that hardly another detection of the visit falls into it.

    Parameters
    ----------
    found
        Of `meetings`.
    detections
        The night's.
    """
    orbits, groups, distances = [], [], []
    bounds = np.flatnonzero(np.diff(found.orbit, prepend=-1, append=-1))
    for low, high in pairwise(bounds.tolist()):
        own = np.arange(low, high)
        each = {_group(found, own, seed, detections, rules): None for seed in own.tolist()}
        ranked = sorted((_distance2(found, detections, group), group) for group in each)
        allowed = [(d, group) for d, group in ranked if len(group) > 1 or _is_safe(found, detections, group[0], rules)]
        for distance, group in allowed[: rules.trials]:
            orbits.append(int(found.orbit[low]))
            groups.append(tuple(int(k) for k in found.detection[list(group)]))
            distances.append(distance)
    return Trials(orbit=np.array(orbits, np.int64), members=tuple(groups), mahalanobis2=np.array(distances, np.float64))


def _none() -> Meetings:
    nothing = np.zeros(0, np.int64)
    return Meetings(
        orbit=nothing, detection=nothing, offset_arcsec=np.zeros((0, 2)), covariance_arcsec2=np.zeros((0, 2, 2)),
        rate_sigma=np.zeros(0),
    )  # fmt: skip


def _carried(
    states: Floats, covariances: Floats, epochs: Floats, time: float, solar_system: SolarSystem, rules: PrecoveryRules
) -> tuple[Floats, Floats]:
    """Return states and covariances at a time: two-body over short spans, with all planets over others."""
    out, spread = np.full_like(states, np.nan), np.full_like(covariances, np.nan)
    known = np.isfinite(states).all(axis=1) & np.isfinite(covariances).all(axis=(1, 2)) & np.isfinite(epochs)
    near = np.abs(time - epochs) <= rules.two_body_days
    for rows, bodies in ((known & near, None), (known & ~near, solar_system)):
        if rows.any():
            out[rows], spread[rows] = carry_covariance(
                states[rows], covariances[rows], begin_mjd_tdb=epochs[rows], end_mjd_tdb=time, solar_system=bodies
            )
    return out, spread


def _nearby(
    states: Floats, covariances: Floats, middle: float, times: Floats, vectors: Floats, observers: Floats,
    rules: PrecoveryRules,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Return pairs of orbit and detection that are near enough at the middle of the night for what the orbit moves in it."""
    observer = observers[int(np.argmin(np.abs(times - middle)))]
    topo = states - observer
    distance = np.linalg.norm(topo[:, :3], axis=1)
    usable = np.flatnonzero(np.isfinite(distance) & np.isfinite(covariances).all(axis=(1, 2)) & (distance > 0.0))
    sight = topo[usable, :3] / distance[usable, None]
    speed = np.linalg.norm(topo[usable, 3:], axis=1) / distance[usable]
    # What the Earth's turning adds to the straight line on which the observer goes in the middle of the night.
    since = (times - times[int(np.argmin(np.abs(times - middle)))])[:, None]
    bend = np.linalg.norm(observers[:, :3] - observer[:3] - since * observer[3:], axis=1).max() / distance[usable]
    sigma = np.sqrt(np.trace(covariances[usable, :3, :3], axis1=1, axis2=2)) / distance[usable] * ARCSEC_PER_RADIAN
    reach = _radius_arcsec(sigma, rules) / ARCSEC_PER_RADIAN + speed * np.abs(times - middle).max() + bend
    # Light time moves the place by v/c of the distance: the speed times the light time.
    reach += speed * distance[usable] / 173.0
    lists = cKDTree(vectors).query_ball_point(sight, 2.0 * np.sin(0.5 * np.minimum(reach, np.pi)), return_sorted=True)
    counts = np.array([len(one) for one in lists], np.int64)
    return np.repeat(usable, counts), np.concatenate([np.asarray(one, np.int64) for one in [*lists, []]])


def _radius_arcsec(sigma_arcsec: Floats, rules: PrecoveryRules) -> Floats:
    return np.asarray(np.clip(rules.sigmas * sigma_arcsec, 3600.0 * rules.narrowest_deg, 3600.0 * rules.widest_deg))


def _bright_alike(
    h: Floats, g: Floats, helio: Floats, topo: Floats, detections: Array, rules: PrecoveryRules
) -> NDArray[np.bool_]:
    """Whether magnitudes agree with the predicted ones; what is not known agrees."""
    far, near = np.linalg.norm(helio[:, :3], axis=1), np.linalg.norm(topo[:, :3], axis=1)
    cosine = np.einsum("ij,ij->i", helio[:, :3], topo[:, :3]) / (far * near)
    phase = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    visual = v_magnitudes(h, g, helio_range_au=far, topo_range_au=near, phase_angle_deg=phase)
    expected = visual - np.array(V_LESS_BAND)[detections["band"]]
    error = np.where(np.isfinite(detections["mag_err"]), detections["mag_err"], 0.0)
    off = np.abs(detections["mag"] - expected)
    return np.asarray(~(off > rules.magnitude_sigmas * np.hypot(error, rules.magnitude_scatter)))


def _trail_alike(topo: Floats, ra: Floats, dec: Floats, detections: Array, rules: PrecoveryRules) -> NDArray[np.bool_]:
    """Whether trails lie along the predicted motion; a detection without a trail agrees."""
    _, east, north = directions(ra, dec)
    moving = np.degrees(np.arctan2((topo[:, 3:] * east).sum(axis=1), (topo[:, 3:] * north).sum(axis=1)))
    off = np.abs((detections["trail_angle_deg"] - moving + 90.0) % 180.0 - 90.0)
    return np.asarray(~((detections["trail_length_arcsec"] > 0.0) & (off > rules.trail_deg)))


def _rate_sigma(covariances: Floats, topo: Floats, ra: Floats, dec: Floats) -> Floats:
    """Return one sigma of the predicted motion across the line of sight, arcsec/day, the larger axis bounded by both."""
    _, east, north = directions(ra, dec)
    across = np.stack([east, north], axis=1) / np.linalg.norm(topo[:, :3], axis=1)[:, None, None]
    sky = across @ covariances[:, 3:, 3:] @ across.transpose(0, 2, 1)
    return np.asarray(np.sqrt(np.trace(sky, axis1=1, axis2=2)) * ARCSEC_PER_RADIAN)


def _group(
    found: Meetings, own: NDArray[np.int64], seed: int, detections: Array, rules: PrecoveryRules
) -> tuple[int, ...]:
    """Return the meetings that share the seed's offset within the errors, the nearest one of each visit."""
    rows = detections[found.detection[own]]
    first = detections[found.detection[seed]]
    apart = np.linalg.norm(found.offset_arcsec[own] - found.offset_arcsec[seed], axis=1)
    days = np.abs(rows["midpoint_mjd_tai"] - first["midpoint_mjd_tai"])
    error = np.sqrt(_sigma(rows) ** 2 + _sigma(first) ** 2 + (found.rate_sigma[seed] * days) ** 2)
    chosen: dict[int, int] = {int(first["visit"]): int(seed)}
    for k in np.lexsort((rows["detection_id"], apart / error)):
        if apart[k] <= rules.rate_sigmas * error[k]:
            chosen.setdefault(int(rows["visit"][k]), int(own[k]))
    return tuple(sorted(chosen.values()))


def _sigma(rows: Any) -> Any:
    return np.maximum(rows["ra_err_arcsec"], rows["dec_err_arcsec"]).astype(np.float64)


def _distance2(found: Meetings, detections: Array, group: tuple[int, ...]) -> float:
    """Return the squared Mahalanobis distance of a group's mean offset."""
    at = list(group)
    rows = detections[found.detection[at]]
    noise = np.diag(
        [np.mean(rows[name].astype(np.float64) ** 2) / len(at) for name in ("ra_err_arcsec", "dec_err_arcsec")]
    )
    mean = found.offset_arcsec[at].mean(axis=0)
    return float(mean @ np.linalg.solve(found.covariance_arcsec2[at].mean(axis=0) + noise, mean))


def _is_safe(found: Meetings, detections: Array, single: int, rules: PrecoveryRules) -> bool:
    """Whether fewer strangers than the rules allow are expected in the ellipse of a single detection."""
    place = int(found.detection[single])
    row = detections[place]
    noise = np.diag([float(row["ra_err_arcsec"]) ** 2, float(row["dec_err_arcsec"]) ** 2])
    total = float(np.linalg.det(found.covariance_arcsec2[single] + noise))
    area = np.pi * rules.sigmas**2 * np.sqrt(max(total, 0.0))
    return bool(area * _density_per_arcsec2(detections, place) < rules.single_chance)


def _density_per_arcsec2(detections: Array, place: int) -> float:
    """Return the density of the others of a detection's visit about it; at the edge of a CCD half of the true one."""
    visit = detections[detections["visit"] == detections["visit"][place]]
    here = unit_vectors(detections["ra"][place], detections["dec"][place])
    near = unit_vectors(visit["ra"], visit["dec"]) @ here > np.cos(np.radians(_DENSITY_DEG))
    return float(np.count_nonzero(near)) / (np.pi * (3600.0 * _DENSITY_DEG) ** 2)
