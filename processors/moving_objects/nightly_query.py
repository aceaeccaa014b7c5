"""Which known objects a visit sees, and where: exact at the moment of the visit, no interpolation.

Each candidate is carried along its conic from the middle of the night, with half the perturbing acceleration times the time
squared, then seen from the telescope with light time: some microseconds each, a few thousand candidates.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.apparent import retarded
from processors.moving_objects.constants import LIGHT_DAYS_PER_AU
from processors.moving_objects.errors import OutsideEphemerisError
from processors.moving_objects.nightly import MARGIN_RAD, NightCatalogue
from processors.moving_objects.nightly_cells import cells_within
from processors.moving_objects.nightly_rows import BLOCK, PREDICTION, describe, inside, seen, straight_light_time
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import carry_one
from processors.moving_objects.solar_system import Observatory, SolarSystem, gms, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai

__all__ = ["PREDICTION", "predict_all", "predict_visit", "warm_up"]

_NEAR_LIGHT_DAYS = 0.1 * LIGHT_DAYS_PER_AU
"""Light time of the distance below which an object is integrated for the moment asked: its acceleration changes by the hour."""

_ROWS_IN_LARGE_PAGES = (9 << 19) // PREDICTION.itemsize
"""Rows of 4.5 MB: for so much numpy asks the system for large pages. In small ones, each new to the process, ten thousand rows cost
a millisecond before a number is written."""

_LARGEST_ROOM = 500_000
"""Rows up to which room is kept: 52 MB."""

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
    moment = _moment(solar_system, observatory, catalogue, mjd_tai)
    centre = _unit(ra_deg, dec_deg)
    radius = np.radians(radius_deg)
    first, last = _slices(catalogue, cells_within(centre, radius + MARGIN_RAD, catalogue.nside))
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
    return _predict(catalogue, solar_system, moment, _unit(ra_deg, dec_deg), np.radians(radius_deg), first, last)


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
    """Return where runs of neighbouring cells begin and end among the rows, and the bucket of fast objects after them."""
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
) -> Rows:
    observer, sun_velocity, dt = moment
    most = int((last - first).sum())
    index, helio, topo = _ROOM.of(most)
    hits = _write_seen(
        catalogue.states,
        catalogue.values,
        first,
        last,
        dt,
        observer,
        sun_velocity,
        centre,
        2.0 * np.sin(0.5 * min(radius, np.pi)),
        float(tdb_from_tai(catalogue.mid_night_mjd_tai)),
        solar_system.layout,
        solar_system.coefficients,
        gms(solar_system),
        index,
        helio,
        topo,
    )
    return _sorted_rows(catalogue, index[:hits], helio, topo, observer)


def _sorted_rows(
    catalogue: NightCatalogue, index: NDArray[np.int64], helio: Floats, topo: Floats, observer: Floats
) -> Rows:
    """Return the rows of the objects seen, sorted by number.

    They are described in the order of the catalogue, since in any other each would wait for memory, and put in their places
    block by block.
    """
    numbers = catalogue.object_id[index]
    order = np.argsort(numbers)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows, block = np.empty(max(len(order), _ROWS_IN_LARGE_PAGES), PREDICTION)[: len(order)], np.empty(BLOCK, PREDICTION)
    for begin in range(0, len(order), BLOCK):
        part = slice(begin, min(begin + BLOCK, len(order)))
        some = block[: part.stop - begin]
        some["ssObjectId"] = numbers[part]
        describe(some, catalogue.values[index[part]], helio[part], topo[part], observer[None])
        _put(some.view(np.int64).reshape(len(some), -1), place[part], rows.view(np.int64).reshape(len(rows), -1))
    return rows


@numba.njit(cache=True, error_model="numpy")
def _put(rows: NDArray[np.int64], places: NDArray[np.int64], into: NDArray[np.int64]) -> None:
    """Copy rows into places among others."""
    for k in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            into[places[k], i] = rows[k, i]


class _Room(threading.local):
    """Memory of a thread in which passing states are written, kept from visit to visit: new memory costs more than its filling."""

    def __init__(self) -> None:
        self._kept = _room(0)

    def of(self, rows: int) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return room for so many indices and pairs of states, with anything in it."""
        if rows > _LARGEST_ROOM:
            return _room(rows)
        if rows > len(self._kept[0]):
            self._kept = _room(2 * rows)
        return self._kept


def _room(rows: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    return np.empty(rows, np.int64), np.empty((rows, 6)), np.empty((rows, 6))


_ROOM = _Room()


@numba.njit(cache=True, error_model="numpy")
def _write_seen(
    states: Floats,
    values: NDArray[np.float32],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    dt: float,
    observer: Floats,
    sun_velocity: Floats,
    centre: Floats,
    chord: float,
    epoch: float,
    layout: Floats,
    coefficients: Floats,
    gm: Floats,
    index: NDArray[np.int64],
    helio: Floats,
    topo: Floats,
) -> int:
    """Write which rows are in the circle, and their states, in the order of the catalogue; return how many.

    In any other order each object would wait for memory.
    """
    hits = 0
    now = np.empty(6)
    for run in range(first.shape[0]):
        for k in range(first[run], last[run]):
            tau = straight_light_time(states, k, dt, observer, centre, chord)
            if tau < 0.0:
                continue
            if tau < _NEAR_LIGHT_DAYS:
                # So near the Earth its pull changes within hours: a path of its own.
                now[:] = states[k]
                carry_one(now, epoch, epoch + dt, layout, coefficients, gm)
                retarded(now, observer, sun_velocity, helio[hits], topo[hits])
                here = inside(topo[hits], centre, chord)
            else:
                here = seen(states, values, k, tau, dt, observer, sun_velocity, centre, chord, helio[hits], topo[hits])
            if here:
                index[hits] = k
                hits += 1
    return hits
