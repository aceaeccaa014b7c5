"""Ephemerides for people: one object at many moments, or all known objects in a circle at one moment.

Both give rows of `processors.moving_objects.nightly_rows.PREDICTION`, computed by the code that predicts a visit, so that a table
shows what an alert would say. The object's motion is integrated with all planets from its epoch, its covariance by variational
equations; a field's objects are carried as NightMOPS carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system, observatory
from infra.orbit_files import orbit_file_kind, orbit_pieces
from infra.settings import Settings
from processors.moving_objects.apparent import AstrometricPlaces, astrometric
from processors.moving_objects.errors import InvalidOrbitsError
from processors.moving_objects.nightly import build_night
from processors.moving_objects.nightly_covariance import factors_of
from processors.moving_objects.nightly_kernels import VALUES, middle_of_night
from processors.moving_objects.nightly_query import predict_visit
from processors.moving_objects.nightly_rows import PREDICTION, describe
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbit_import import import_orbits
from processors.moving_objects.orbit_table import OrbitTable, table_of_rows
from processors.moving_objects.orbits import Orbits, known_orbits
from processors.moving_objects.photometry import SLOPE_G
from processors.moving_objects.propagate import propagate, with_asteroids
from processors.moving_objects.solar_system import SolarSystem, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from processors.moving_objects.uncertainties import carry_covariance
from streams.compose import Wiring
from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store
from streams.moving_objects.show import UnknownOrbitError, place_of

__all__ = ["Circle", "field_ephemeris", "object_ephemeris", "one_orbit", "orbits_of_file", "orbits_of_system", "record"]

Floats = NDArray[np.float64]

_COLUMNS = {
    "ephRa": "ra_deg",
    "ephDec": "dec_deg",
    "ephRateRa": "rate_ra_deg_per_day",
    "ephRateDec": "rate_dec_deg_per_day",
    "ephVmag": "v_mag",
    "helioRange": "helio_range_au",
    "topoRange": "topo_range_au",
    "phaseAngle": "phase_angle_deg",
    "elongation": "elongation_deg",
    "smaa_arcsec": "semi_major_arcsec",
    "smia_arcsec": "semi_minor_arcsec",
    "pa_deg": "position_angle_deg",
}
"""Columns of a prediction that people see, and what they are called for programs; the rate in RA is along the great circle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A circle on the sky, degrees, ICRS."""

    ra_deg: float
    dec_deg: float
    radius_deg: float


def orbits_of_file(path: Path) -> OrbitTable:
    """Return the orbits of a file of any format; names need no packed form.

    Raises
    ------
    OrbitFileError, InvalidOrbitsError
        When the file cannot be read, or has no orbit at all.
    """
    kind = orbit_file_kind(path)
    table = import_orbits(kind, orbit_pieces(path, kind))
    if not len(table.orbits):
        first = f": {table.problems[0]}" if table.problems else ""
        raise InvalidOrbitsError(f"{path.name}, read as {kind}, has no orbit{first}.")
    return table


def orbits_of_system(settings: Settings, wanted: str | None = None) -> OrbitTable:
    """Return the orbits of the Moving Object Database of a running system, or only that of an object, if it has one.

    Raises
    ------
    KafkaUnavailableError, ObjectMissingError, CorruptObjectError, ParquetError
        When it does not run, or its catalogue's file is gone or broken.
    """
    wiring = Wiring(settings)
    rows = orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects).rows
    if wanted is not None:
        place = place_of(rows["designation"], wanted)
        rows = rows[:0] if place is None else rows[place : place + 1]
    return table_of_rows(rows)


def one_orbit(table: OrbitTable, wanted: str, *, where: str) -> OrbitTable:
    """Return the orbit of an object by its designation, packed or not.

    Raises
    ------
    UnknownOrbitError
        When the table has none; ``where`` says what was searched.
    """
    place = place_of(table.orbits["designation"], wanted)
    if place is None:
        broken = f"; {len(table.problems)} of its lines could not be read" if table.problems else ""
        raise UnknownOrbitError(f"No orbit of {wanted!r} is in {where}{broken}.")
    rows = slice(place, place + 1)
    return OrbitTable(orbits=table.orbits[rows], covariances=table.covariances[rows], problems=())


def object_ephemeris(orbit: OrbitTable, mjd_tai: Floats, *, code: str, asteroids: bool = False) -> NDArray[Any]:
    """Return where an observatory sees one object at many moments.

    Parameters
    ----------
    orbit
        One orbit (`one_orbit`).
    mjd_tai
        ``(n,)`` moments.
    code
        The observatory's.
    asteroids
        Let the sixteen heaviest asteroids pull as well.

    Returns
    -------
    NDArray
        ``(n,)`` of dtype ``PREDICTION``. NaN where the object has fallen into another; the magnitude where H is unknown and the
        error ellipse where the covariance is.

    Raises
    ------
    UnknownObservatoryError, EphemerisSpanError
        When the observatory is not known, or epoch or a moment lies outside the planetary ephemeris.
    """
    place, tdb, epoch = observatory(code), tdb_from_tai(mjd_tai), float(orbit.orbits["epoch_mjd_tdb"][0])
    solar_system = _solar_system(np.append(tdb, epoch), asteroids)
    states, covariances = _carried(solar_system, orbit, tdb)
    observers, sun = observer_states(solar_system, place, mjd_tai), sun_velocities(solar_system, tdb)
    places = astrometric(states, observers=observers, sun_velocities=sun)
    values = np.zeros((len(tdb), VALUES), np.float32)
    values[:, 3:6] = float(orbit.orbits["h"][0]), float(orbit.orbits["g"][0]), SLOPE_G
    _fill_errors(states, factors_of(covariances), observers, sun, values)
    return _described(places, observers, values)


def _solar_system(mjd_tdb: Floats, asteroids: bool) -> SolarSystem:
    bare = load_solar_system(float(mjd_tdb.min()), float(mjd_tdb.max()))
    return with_asteroids(bare) if asteroids else bare


def _carried(solar_system: SolarSystem, orbit: OrbitTable, tdb: Floats) -> tuple[Floats, Floats]:
    """Return states ``(n, 6)`` and covariances ``(n, 6, 6)`` at moments: from the epoch to the nearest of them, then to each."""
    epoch = float(orbit.orbits["epoch_mjd_tdb"][0])
    near = float(np.clip(epoch, tdb.min(), tdb.max()))
    state, n = np.array(orbit.orbits["state"], np.float64), len(tdb)
    at_near = propagate(solar_system, state, epoch, near)
    states = propagate(solar_system, np.repeat(at_near, n, axis=0), near, tdb)
    if not np.isfinite(orbit.covariances).all() or not np.isfinite(at_near).all():
        return states, np.full((n, 6, 6), np.nan)
    _, covariance = carry_covariance(
        state, orbit.covariances, begin_mjd_tdb=epoch, end_mjd_tdb=near, solar_system=solar_system
    )
    starts = np.repeat(at_near, n, axis=0), np.repeat(covariance, n, axis=0)
    return states, carry_covariance(*starts, begin_mjd_tdb=near, end_mjd_tdb=tdb, solar_system=solar_system)[1]


def _fill_errors(
    states: Floats, factors: NDArray[np.float32], observers: Floats, sun: Floats, values: NDArray[np.float32]
) -> None:
    """Write the errors along and across the motion, as the night's catalogue has them; its other numbers are not asked for."""
    nobody, no_mass = np.zeros((0, 3)), np.zeros(0)
    direction, reach = np.empty((1, 3)), np.empty(1)
    for k in range(len(states)):
        row = slice(k, k + 1)
        middle_of_night(
            states[row],
            factors[row],
            observers[k],
            sun[k],
            nobody,
            no_mass,
            np.zeros(3),
            0.0,
            direction,
            reach,
            values[row],
        )


def _described(places: AstrometricPlaces, observers: Floats, values: NDArray[np.float32]) -> NDArray[Any]:
    rows = np.zeros(len(values), PREDICTION)
    for k in range(len(values)):
        describe(values[k], places.helio[k], places.topo[k], observers[k], rows[k])
    return rows


def field_ephemeris(
    table: OrbitTable, circle: Circle, mjd_tai: float, *, code: str, asteroids: bool = False
) -> tuple[list[str], NDArray[Any]]:
    """Return the known objects that an observatory sees in a circle at a moment.

    Returns
    -------
    tuple
        Their designations in the order of the table, and rows of dtype ``PREDICTION``; ``ssObjectId`` counts the table's orbits.

    Raises
    ------
    UnknownObservatoryError, EphemerisSpanError, CatalogueTooLargeError
        When the observatory is not known, an epoch or the moment lies outside the planetary ephemeris, or memory does not suffice.
    """
    place = observatory(code)
    times = np.append(table.orbits["epoch_mjd_tdb"], tdb_from_tai(mjd_tai))
    solar_system = _solar_system(times, asteroids)
    catalogue, _ = build_night(solar_system, place, _numbered(table), mjd_tai)
    found = predict_visit(
        catalogue,
        solar_system,
        place,
        ra_deg=circle.ra_deg,
        dec_deg=circle.dec_deg,
        radius_deg=circle.radius_deg,
        mjd_tai=mjd_tai,
    )
    return table.orbits["designation"][found["ssObjectId"]].tolist(), found


def _numbered(table: OrbitTable) -> Orbits:
    """Return the orbits of a table under their places in it."""
    orbits = table.orbits
    return known_orbits(
        np.arange(len(orbits)),
        orbits["state"],
        orbits["epoch_mjd_tdb"],
        h=orbits["h"],
        slope=orbits["g"],
        factors=factors_of(table.covariances),
    )


def record(row: Any) -> dict[str, float | None]:
    """Return what a program is told of a predicted row; null for what is not known."""
    return {name: _number(row[column]) for column, name in _COLUMNS.items()}


def _number(value: Any) -> float | None:
    # The shortest decimal that is this single or double.
    return float(str(value)) if np.isfinite(value) else None
