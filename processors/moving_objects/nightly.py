"""The night's catalogue: every known orbit at the middle of the night, sorted by place, in one block of bytes.

By day the orbits are carried one day forward; what a visit then needs of an object is its state and perturbing acceleration,
brightness and error ellipse, found by the cell of the sky it is in. Objects that may leave the margin around their cell before the
night ends are sorted by larger cells with a larger margin, and a few by none at all: those every visit reads. The block is a header in JSON, then the columns one by one; a
process maps it into memory and is ready.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.errors import CatalogueFormatError, CatalogueTooLargeError
from processors.moving_objects.forces import indirect
from processors.moving_objects.nightly_cells import cell_of
from processors.moving_objects.nightly_covariance import carry_factors
from processors.moving_objects.nightly_kernels import VALUES, middle_of_night, reorder
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbits import Orbits, part, require_valid
from processors.moving_objects.propagate import carry, propagate
from processors.moving_objects.solar_system import (
    Observatory,
    SolarSystem,
    gms,
    heliocentric_positions,
    sun_velocities,
)
from processors.moving_objects.timescales import tdb_from_tai

__all__ = [
    "FAST_MARGIN_RAD",
    "FAST_NSIDE",
    "MARGIN_RAD",
    "NightCatalogue",
    "build_night",
    "bytes_needed",
    "catalogue_chunks",
    "open_catalogue",
]

Floats = NDArray[np.float64]

MAGIC = b"NCNIGHT2"
"""First bytes of a night's catalogue: its kind and version."""

HALF_NIGHT_DAYS = 0.3
"""The catalogue serves the 7.2 hours before and after the middle of its night: no night at Rubin's latitude is longer."""

MARGIN_RAD = float(np.radians(0.25))
"""Cells are read this far around a field; what may move farther in half a night is sorted by larger cells."""

FAST_MARGIN_RAD = float(np.radians(3.0))
"""Large cells are read this far around a field; what may move farther still goes into a bucket that every visit reads."""

FAST_NSIDE = 8
"""Large cells: 7.3 degrees. A hundredth of all objects is in them."""

BLOCK = 50_000
"""Orbits are worked on in blocks of so many, which bounds the memory that passing results take."""

_BYTES_PER_OBJECT = 8 + 48 + 4 * VALUES
_BUILDING_BYTES_PER_OBJECT = _BYTES_PER_OBJECT + 4 + 8 + 8
"""What building holds of each object: its row, cell, order and, unless overwritten, epoch."""

_GROUPED_FROM = 200
"""So many orbits of one epoch are carried together; fewer one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightCatalogue:
    """All known objects at the middle of one night; rows sorted by cell, the fast ones last."""

    mid_night_mjd_tai: float
    half_night_days: float
    nside: int
    object_id: NDArray[np.int64]
    states: Floats
    """``(n, 6)`` heliocentric ICRF at the middle of the night."""
    values: NDArray[np.float32]
    """``(n, 9)``, see `nightly_kernels.VALUES`."""
    offsets: NDArray[np.int64]
    """Cell c is rows ``offsets[c]:offsets[c + 1]``. The large cells of fast objects follow the others, and the bucket of the fastest
    the last of those."""

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.object_id)


def bytes_needed(objects: int, *, overwrite: bool = False) -> int:
    """Return how much memory building a catalogue of so many objects takes at most, besides the orbits given."""
    each = _BUILDING_BYTES_PER_OBJECT + (0 if overwrite else 48 + 21 * 4)
    return objects * each + BLOCK * 400 + 12 * 128 * 128 * 8


def build_night(
    solar_system: SolarSystem,
    observatory: Observatory,
    orbits: Orbits,
    mid_night_mjd_tai: float,
    *,
    overwrite: bool = False,
    memory_limit_bytes: int = 2 * 1024**3,
) -> tuple[NightCatalogue, Orbits]:
    """Carry known orbits to the middle of a night and sort them by place.

    Parameters
    ----------
    solar_system
        Bodies that pull; with or without asteroids.
    observatory
        From where the night is seen.
    orbits
        Any conic, any epoch within the span of ``solar_system``: one of yesterday costs a microsecond, one years away n-body
        steps of its own. Covariances are carried by two-body partials, which holds for days and weeks.
    mid_night_mjd_tai
        Middle of the night.
    overwrite
        Carry the states, epochs and factors given in place: the orbits returned are the same arrays, which saves a gigabyte for six
        million objects. Where a fall into a planet leaves fewer, the arrays returned are new.
    memory_limit_bytes
        What building may take besides the orbits given.

    Returns
    -------
    tuple
        The catalogue, and the orbits at the middle of the night, from which the next day starts. An object that fell into a
        planet or the Sun on its way is in neither.

    Raises
    ------
    InvalidOrbitsError
        If a state or an epoch is not a number; the first such object is named.
    CatalogueTooLargeError
        If the memory allowed does not suffice.
    OutsideEphemerisError
        If an epoch or the night lies outside the ephemeris.
    """
    require_valid(orbits)
    needed = bytes_needed(len(orbits), overwrite=overwrite)
    if needed > memory_limit_bytes:
        raise CatalogueTooLargeError(
            f"{len(orbits)} objects need {needed / 1e9:.1f} GB, {memory_limit_bytes / 1e9:.1f} GB are "
            "allowed: raise the limit or split the catalogue by object."
        )
    tdb = float(tdb_from_tai(mid_night_mjd_tai))
    carried = _carried(solar_system, orbits, tdb, overwrite)
    nside = 128 if len(carried) >= 300_000 else 32
    values = np.empty((len(carried), VALUES), np.float32)
    cells = np.empty(len(carried), np.int32)
    for first in range(0, len(carried), BLOCK):
        rows = slice(first, first + BLOCK)
        cells[rows] = _fill(solar_system, observatory, part(carried, rows), mid_night_mjd_tai, values[rows], nside)
    order = np.lexsort((carried.object_id, cells))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=_count_of_cells(nside)))])[:-1]
    del cells
    reorder(values, order)
    return (
        NightCatalogue(
            mid_night_mjd_tai=mid_night_mjd_tai,
            half_night_days=HALF_NIGHT_DAYS,
            nside=nside,
            object_id=carried.object_id[order],
            states=carried.states[order],
            values=values,
            offsets=offsets.astype(np.int64),
        ),
        carried,
    )


def _carried(solar_system: SolarSystem, orbits: Orbits, tdb: float, overwrite: bool) -> Orbits:
    """Return the orbits at a time, without those that did not get there."""
    states = orbits.states if overwrite else orbits.states.copy()
    factors = orbits.factors if overwrite else orbits.factors.copy()
    for first in range(0, len(orbits), BLOCK):
        rows = slice(first, first + BLOCK)
        carry_factors(states[rows], tdb - orbits.epoch_mjd_tdb[rows], factors[rows])
        states[rows] = _carried_states(solar_system, states[rows], orbits.epoch_mjd_tdb[rows], tdb)
    epochs = orbits.epoch_mjd_tdb if overwrite else np.empty(len(orbits))
    epochs[:] = tdb
    carried = Orbits(
        object_id=orbits.object_id,
        states=states,
        epoch_mjd_tdb=epochs,
        h=orbits.h,
        slope=orbits.slope,
        slope_kind=orbits.slope_kind,
        factors=factors,
    )
    arrived = np.isfinite(states).all(axis=1)
    return carried if arrived.all() else part(carried, np.flatnonzero(arrived))


def _carried_states(solar_system: SolarSystem, states: Floats, epochs: Floats, tdb: float) -> Floats:
    out = np.empty_like(states)
    distinct, owner, counts = np.unique(epochs, return_inverse=True, return_counts=True)
    few = counts[owner] < _GROUPED_FROM
    if few.any():
        out[few] = propagate(solar_system, states[few], epochs[few], tdb)
    for number in np.flatnonzero(counts >= _GROUPED_FROM):
        rows = slice(None) if len(distinct) == 1 else owner == number
        out[rows] = carry(solar_system, states[rows], float(distinct[number]), tdb)
    return out


def _fill(
    solar_system: SolarSystem,
    observatory: Observatory,
    orbits: Orbits,
    mjd_tai: float,
    values: NDArray[np.float32],
    nside: int,
) -> NDArray[np.int64]:
    """Write the stored numbers of a block and return the cells: large ones, after the others, for the fast objects."""
    tdb = float(tdb_from_tai(mjd_tai))
    observer = observer_states(solar_system, observatory, mjd_tai)[0]
    bodies, of_sun = np.empty((len(solar_system.layout), 3)), np.empty(3)
    heliocentric_positions(solar_system.layout, solar_system.coefficients, tdb, bodies)
    masses = gms(solar_system)
    indirect(bodies, masses, of_sun)
    directions, reach = np.empty((len(orbits), 3)), np.empty(len(orbits))
    values[:, 3], values[:, 4], values[:, 5] = orbits.h, orbits.slope, orbits.slope_kind
    sun = sun_velocities(solar_system, np.array([tdb]))[0]
    middle_of_night(
        orbits.states, orbits.factors, observer, sun, bodies, masses, of_sun, HALF_NIGHT_DAYS, directions, reach, values
    )
    cells = cell_of(directions, nside)
    fast, slow_cells = reach > MARGIN_RAD, 12 * nside * nside
    cells[fast] = slow_cells + cell_of(directions[fast], FAST_NSIDE)
    cells[reach > FAST_MARGIN_RAD] = _count_of_cells(nside) - 1
    return cells


def _count_of_cells(nside: int) -> int:
    """Cells, large cells, and the bucket of the fastest."""
    return 12 * nside * nside + 12 * FAST_NSIDE * FAST_NSIDE + 1


def catalogue_chunks(catalogue: NightCatalogue) -> Iterator[memoryview]:
    """Yield the bytes of a catalogue piece by piece: the same orbits give the same bytes."""
    columns = [_column(catalogue, which) for which in range(4)]
    digest = hashlib.sha256()
    for column in columns:
        digest.update(column.data.cast("B"))
    header = {
        "mid_night_mjd_tai": catalogue.mid_night_mjd_tai,
        "half_night_days": catalogue.half_night_days,
        "nside": catalogue.nside,
        "objects": len(catalogue),
        "sha256": digest.hexdigest(),
    }
    text = json.dumps(header, sort_keys=True).encode()
    # Columns begin at a multiple of 64 bytes: no number lies across two lines of a processor's cache.
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % 64)
    yield memoryview(MAGIC + len(text).to_bytes(4, "little") + text)
    for column in columns:
        yield column.data.cast("B")


def _column(catalogue: NightCatalogue, which: int) -> NDArray[Any]:
    column = (catalogue.offsets, catalogue.object_id, catalogue.states, catalogue.values)[which]
    return np.ascontiguousarray(column).reshape(-1)


def open_catalogue(data: memoryview | bytes, *, verify: bool = False) -> NightCatalogue:
    """Return the catalogue that lies in a block of bytes, without copying it.

    Parameters
    ----------
    data
        What `catalogue_chunks` gave, for instance a file mapped into memory.
    verify
        Compare the sha256 of the columns with the header's, half a second for a gigabyte; lengths are always compared.

    Raises
    ------
    CatalogueFormatError
        If the block is of another kind, cut short, or altered.
    """
    view = memoryview(data).cast("B")
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise CatalogueFormatError("The file is not a night's catalogue of this version: build it again.")
    start = len(MAGIC) + 4
    end = start + int.from_bytes(view[len(MAGIC) : start], "little")
    try:
        header = json.loads(bytes(view[start:end]))
        nside, objects = int(header["nside"]), int(header["objects"])
    except (ValueError, KeyError) as error:
        raise CatalogueFormatError("The header of the night's catalogue cannot be read: build it again.") from error
    sizes = [_count_of_cells(nside) * 8, objects * 8, objects * 48, objects * 4 * VALUES]
    if len(view) - end != sum(sizes):
        raise CatalogueFormatError("The night's catalogue is cut short: build it again.")
    if verify and hashlib.sha256(view[end:]).hexdigest() != header["sha256"]:
        raise CatalogueFormatError("The night's catalogue was altered after it was built: build it again.")
    places = end + np.concatenate([[0], np.cumsum(sizes)])
    offsets, ids, states, values = (
        np.frombuffer(view[places[k] : places[k + 1]], kind) for k, kind in enumerate(("<i8", "<i8", "<f8", "<f4"))
    )
    return NightCatalogue(
        mid_night_mjd_tai=float(header["mid_night_mjd_tai"]),
        half_night_days=float(header["half_night_days"]),
        nside=nside,
        object_id=ids,
        states=states.reshape(-1, 6),
        values=values.reshape(-1, VALUES),
        offsets=offsets,
    )
