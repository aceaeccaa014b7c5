"""Which known objects a visit sees, and where: exact at the moment of the visit, no interpolation.

Each candidate is carried along its conic from the middle of the night, with half the perturbing acceleration times the time
squared, then seen from the telescope with light time: some microseconds each, a few thousand candidates.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.apparent import retarded
from processors.moving_objects.constants import LIGHT_DAYS_PER_AU
from processors.moving_objects.errors import OutsideEphemerisError
from processors.moving_objects.nightly import FAST_MARGIN_RAD, FAST_NSIDE, MARGIN_RAD, NightCatalogue
from processors.moving_objects.nightly_cells import cells_within
from processors.moving_objects.nightly_rows import PREDICTION, describe, inside, seen, straight_light_time
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import carry_one
from processors.moving_objects.solar_system import Observatory, SolarSystem, gms, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai

__all__ = [
    "PREDICTION",
    "objects_around",
    "opposition_of",
    "predict_all",
    "predict_visit",
    "predict_visit_rows",
    "warm_up",
]

_NEAR_LIGHT_DAYS = 0.1 * LIGHT_DAYS_PER_AU
"""Light time of the distance below which an object is integrated for the moment asked: its acceleration changes by the hour."""

_LARGEST_ROOM = 200_000
"""Rows up to which room is kept: 35 MB, of which is taken what was once filled."""

_RING_RADII_RAD = tuple(np.radians(np.arange(3.0, 49.0, 3.0)).tolist())
"""Outer edges of the rings of `objects_around`: a ring takes some milliseconds for a million objects."""

Floats = NDArray[np.float64]
Rows = np.ndarray[Any, Any]


def predict_visit(
    catalogue: NightCatalogue,
    solar_system: SolarSystem,
    observatory: Observatory,
    *,
    ra_deg: float,
    dec_deg: float,
    radius_deg: float,
    mjd_tai: float,
) -> Rows:
    """Return the known objects whose predicted place lies within a circle at a moment.

    Parameters
    ----------
    catalogue
        Of the night the moment belongs to.
    solar_system, observatory
        Earth and Sun, and where the observer stands on the Earth.
    ra_deg, dec_deg, radius_deg
        The circle, ICRS; the radius is the field's and the margin wanted.
    mjd_tai
        Middle of the exposure.

    Returns
    -------
    Rows
        dtype `PREDICTION`, sorted by ssObjectId; empty if there are none.

    Raises
    ------
    OutsideEphemerisError
        If the moment lies outside the catalogue's night.
    """
    return predict_visit_rows(
        catalogue,
        solar_system,
        observatory,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        radius_deg=radius_deg,
        mjd_tai=mjd_tai,
    )[0]


def predict_visit_rows(
    catalogue: NightCatalogue,
    solar_system: SolarSystem,
    observatory: Observatory,
    *,
    ra_deg: float,
    dec_deg: float,
    radius_deg: float,
    mjd_tai: float,
) -> tuple[Rows, NDArray[np.int64]]:
    """Return the same as `predict_visit`, and which row of the catalogue each object is.

    What belongs to objects is best kept in the catalogue's order: objects of a field are neighbours there, so that looking them up waits
    for memory a few times and not for each.
    """
    moment = _moment(solar_system, observatory, catalogue, mjd_tai)
    centre = _unit(ra_deg, dec_deg)
    radius = np.radians(radius_deg)
    slow = cells_within(centre, radius + MARGIN_RAD, catalogue.nside)
    fast = cells_within(centre, radius + FAST_MARGIN_RAD, FAST_NSIDE)
    first, last = _slices(catalogue, np.concatenate([slow, 12 * catalogue.nside**2 + fast]))
    return _predict(catalogue, solar_system, moment, centre, radius, first, last)


def predict_all(
    catalogue: NightCatalogue,
    solar_system: SolarSystem,
    observatory: Observatory,
    *,
    ra_deg: float,
    dec_deg: float,
    radius_deg: float,
    mjd_tai: float,
) -> Rows:
    """Return the same as `predict_visit` by looking at every object: for tests of the index, and circles of any size."""
    moment = _moment(solar_system, observatory, catalogue, mjd_tai)
    first, last = np.zeros(1, np.int64), np.array([len(catalogue)], np.int64)
    return _predict(catalogue, solar_system, moment, _unit(ra_deg, dec_deg), np.radians(radius_deg), first, last)[0]


def objects_around(catalogue: NightCatalogue, *, ra_deg: float, dec_deg: float) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of the catalogue of the objects about a place, ring after ring up to 48 degrees, cell by cell.

    Objects are where they are at the middle of the night. Those that belong to no cell come with each ring.
    """
    centre, before = _unit(ra_deg, dec_deg), np.empty(0, np.int64)
    for radius in _RING_RADII_RAD:
        slow, fast = cells_within(centre, radius, catalogue.nside), cells_within(centre, radius, FAST_NSIDE)
        cells = np.concatenate([slow, 12 * catalogue.nside**2 + fast])
        first, last = _slices(catalogue, np.setdiff1d(cells, before, assume_unique=True))
        yield np.concatenate([np.arange(start, end) for start, end in zip(first, last, strict=True)])
        before = cells


def opposition_of(
    catalogue: NightCatalogue, solar_system: SolarSystem, observatory: Observatory
) -> tuple[float, float]:
    """Return right ascension and declination of the place opposite the Sun at the middle of the night, degrees."""
    observer = _moment(solar_system, observatory, catalogue, catalogue.mid_night_mjd_tai)[0]
    x, y, z = (float(value) for value in observer[:3])
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def warm_up(catalogue: NightCatalogue, solar_system: SolarSystem, observatory: Observatory) -> None:
    """Load the compiled code and the tables of cells, so that the first visit takes no longer than the others.

    To be called when a process starts: numba needs some two seconds for its own start, our kernels come from its cache on disk.
    """
    predict_visit(
        catalogue,
        solar_system,
        observatory,
        ra_deg=0.0,
        dec_deg=0.0,
        radius_deg=1.0,
        mjd_tai=catalogue.mid_night_mjd_tai,
    )


def _unit(ra_deg: float, dec_deg: float) -> Floats:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _moment(
    solar_system: SolarSystem, observatory: Observatory, catalogue: NightCatalogue, mjd_tai: float
) -> tuple[Floats, Floats, float]:
    """Return observer, velocity of the Sun and days since the middle of the night."""
    if not abs(mjd_tai - catalogue.mid_night_mjd_tai) <= catalogue.half_night_days:
        raise OutsideEphemerisError(
            f"MJD {mjd_tai:.4f} TAI is not in the night about {catalogue.mid_night_mjd_tai:.4f}: take that night's catalogue."
        )
    tdb = tdb_from_tai(np.array([mjd_tai, catalogue.mid_night_mjd_tai]))
    observer = observer_states(solar_system, observatory, mjd_tai)[0]
    return observer, sun_velocities(solar_system, tdb[:1])[0], float(tdb[0] - tdb[1])


def _slices(catalogue: NightCatalogue, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where runs of neighbouring cells begin and end among the rows, and the bucket of the fastest after them."""
    gaps = np.flatnonzero(np.diff(cells) != 1)
    begin, end = cells[np.concatenate([[0], gaps + 1])], cells[np.concatenate([gaps, [len(cells) - 1]])]
    offsets = catalogue.offsets
    return np.append(offsets[begin], offsets[-1]), np.append(offsets[end + 1], len(catalogue))


def _predict(
    catalogue: NightCatalogue,
    solar_system: SolarSystem,
    moment: tuple[Floats, Floats, float],
    centre: Floats,
    radius: float,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> tuple[Rows, NDArray[np.int64]]:
    observer, sun_velocity, dt = moment
    candidates = int((last - first).sum())
    rows, taken = _ROOM.of(candidates), np.empty(candidates, np.int64)
    seen_now = _write_seen(
        catalogue.object_id,
        catalogue.states,
        catalogue.values,
        first,
        last,
        dt,
        observer,
        sun_velocity,
        centre,
        radius,
        float(tdb_from_tai(catalogue.mid_night_mjd_tai)),
        solar_system.layout,
        solar_system.coefficients,
        gms(solar_system),
        rows,
        taken,
    )
    order = np.argsort(rows["ssObjectId"][:seen_now])
    return np.take(rows[:seen_now], order), taken[:seen_now][order]


class _Room(threading.local):
    """Memory of a thread for rows not yet sorted, kept from visit to visit: new memory costs as much as its filling."""

    def __init__(self) -> None:
        self._kept = np.empty(0, PREDICTION)

    def of(self, candidates: int) -> Rows:
        """Return room for so many rows, with anything in it."""
        if candidates > _LARGEST_ROOM:
            return np.empty(candidates, PREDICTION)
        if candidates > len(self._kept):
            self._kept = np.empty(2 * candidates, PREDICTION)
        return self._kept


_ROOM = _Room()


@numba.njit(cache=True, error_model="numpy")
def _write_seen(
    object_id: NDArray[np.int64],
    states: Floats,
    values: NDArray[np.float32],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    dt: float,
    observer: Floats,
    sun_velocity: Floats,
    centre: Floats,
    radius: float,
    epoch: float,
    layout: Floats,
    coefficients: Floats,
    gm: Floats,
    rows: Rows,
    taken: NDArray[np.int64],
) -> int:
    """Write the rows of the objects seen, and which they are, in the order of the catalogue: in any other each would wait for memory."""
    chord = 2.0 * np.sin(0.5 * min(radius, np.pi))
    hits = 0
    left, sight, now = np.empty(6), np.empty(6), np.empty(6)
    for run in range(first.shape[0]):
        for k in range(first[run], last[run]):
            tau = straight_light_time(states, k, dt, observer, centre, chord)
            if tau < 0.0:
                continue
            if tau < _NEAR_LIGHT_DAYS:
                # So near the Earth its pull changes within hours: a path of its own.
                now[:] = states[k]
                carry_one(now, epoch, epoch + dt, layout, coefficients, gm)
                retarded(now, observer, sun_velocity, left, sight)
                here = inside(sight, centre, chord)
            else:
                here = seen(states, values, k, tau, dt, observer, sun_velocity, centre, chord, left, sight)
            if here:
                rows[hits]["ssObjectId"], taken[hits] = object_id[k], k
                describe(values[k], left, sight, observer, rows[hits])
                hits += 1
    return hits
