"""What DayMOPS makes of links: final orbits with covariances, magnitudes, names, and whether they may be reported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.arcs import TIME, Arcs, arcs, take
from processors.moving_objects.designations import DIGITS
from processors.moving_objects.link_rules import link_qualities, reasons_against
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbit_fit import OrbitFits, fit_many
from processors.moving_objects.orbit_fit_nbody import refine
from processors.moving_objects.photometry import v_magnitudes
from processors.moving_objects.propagate import propagate
from processors.moving_objects.solar_system import Observatory, SolarSystem, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from schemas.predictions import ss_object_id_of

__all__ = ["V_LESS_BAND", "Discoveries", "absolute_magnitudes", "orbits_of_links", "provisional_name"]

Array = np.ndarray[Any, Any]

V_LESS_BAND = (-1.614, -0.370, 0.200, 0.391, 0.404, 0.405)
"""V minus the magnitude in u, g, r, i, z, y of a mean main-belt colour (Veres et al. 2017, as the Minor Planet Center uses for
LSST's bands)."""

NAME_PREFIX = "NC"
"""First characters of our own names."""

NAME_LENGTH = 6
"""Characters of base 62 that follow: 5.7e10 names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discoveries:
    """Orbits of links, one a row; links without an orbit are left out."""

    rows: Array
    """Of `schemas.orbits.ORBIT_ROW`."""
    members: tuple[tuple[int, ...], ...]
    """Detections of each, ascending."""
    chi2: NDArray[np.float64]
    reasons: tuple[tuple[str, ...], ...]
    """Why each may not be reported; empty where it may."""
    without_orbit: int
    """Links for which no fit converged."""
    residuals_arcsec: tuple[NDArray[np.float64], ...] = ()
    """Of each, ``(members, 2)``: how far east (great circle) and north of the orbit's place its detections lie."""

    def __len__(self) -> int:
        """Return the number of orbits."""
        return len(self.rows)


def provisional_name(link_id: int) -> str:
    """Return our own name of an object: eight characters from a hash of the identifier that its link keeps.

    It fits the eight characters of trkSub in reports, and the same link has it in every run.
    """
    value = int.from_bytes(hashlib.blake2b(f"link:{link_id}".encode(), digest_size=8).digest(), "big")
    letters = []
    for _ in range(NAME_LENGTH):
        value, rest = divmod(value, len(DIGITS))
        letters.append(DIGITS[rest])
    return NAME_PREFIX + "".join(letters)


def orbits_of_links(
    detections: Array,
    link_ids: Sequence[int],
    members: Sequence[NDArray[np.int64]],
    *,
    solar_system: SolarSystem,
    observatory: Observatory,
    starts: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Discoveries:
    """Fit the final orbit of each link.

    Two-body from a scan of ranges, then under Sun, planets and Moon, with the detections' true sigmas. An orbit that is given as a
    start is only refined: its arc may be years long.

    Parameters
    ----------
    detections
        Rows of `detections.DETECTION` that hold all members.
    link_ids
        The identifier that each link keeps.
    members
        ``detection_id`` of each link's members.
    solar_system
        Bodies that pull, over the detections' span.
    observatory
        Where they were made.
    starts
        States ``(links, 6)`` and epochs ``(links,)`` MJD TDB of the orbits that links have already; NaN for those that have none.
    """
    if not len(members):
        return _nothing()
    order = np.argsort(detections["detection_id"], kind="stable")
    sorted_ids = detections["detection_id"][order]
    rows = order[np.searchsorted(sorted_ids, np.concatenate(members))]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in members])]).astype(np.int64)
    mine = detections[rows]
    times = tdb_from_tai(mine["midpoint_mjd_tai"])
    observers = observer_states(solar_system, observatory, mine["midpoint_mjd_tai"])
    grouped = arcs(
        mine, offsets, mjd_tdb=times, observers=observers, sun_velocities=sun_velocities(solar_system, times)
    )
    fits = refine(grouped, _begun(grouped, starts, solar_system), solar_system=solar_system)
    magnitudes = absolute_magnitudes(mine, offsets, fits, observers=observers, solar_system=solar_system)
    return _assembled(grouped, fits, (link_ids, members, mine), offsets, magnitudes)


def _begun(
    grouped: Arcs, starts: tuple[NDArray[np.float64], NDArray[np.float64]] | None, solar_system: SolarSystem
) -> OrbitFits:
    """Return two-body orbits, and where there is a start its state, carried to the middle of the arc."""
    have = np.zeros(len(grouped), bool) if starts is None else np.isfinite(starts[0]).all(axis=1)
    if starts is None or not have.any():
        return fit_many(grouped)
    middle = grouped.rows[(grouped.offsets[:-1] + grouped.offsets[1:]) // 2, TIME]
    states, epochs = np.full((len(grouped), 6), np.nan), middle.copy()
    states[have] = propagate(solar_system, starts[0][have], starts[1][have], middle[have])
    scanned = fit_many(take(grouped, np.flatnonzero(~have)))
    states[~have], epochs[~have] = scanned.states, scanned.epochs_mjd_tdb
    nothing, many = np.full(len(grouped), np.nan), np.zeros(len(grouped), np.int64)
    return OrbitFits(
        epochs_mjd_tdb=epochs,
        states=states,
        covariances=np.full((len(grouped), 6, 6), np.nan),
        chi2=nothing,
        dof=many,
        rms_arcsec=nothing,
        status=many.astype(np.int8),
        minima=many,
        residuals_arcsec=np.full((len(grouped.rows), 2), np.nan),
        used=np.ones(len(grouped.rows), bool),
    )


def absolute_magnitudes(
    detections: Array,
    offsets: NDArray[np.int64],
    fits: OrbitFits,
    *,
    observers: NDArray[np.float64],
    solar_system: SolarSystem,
) -> NDArray[np.float64]:
    """Return H of each object (G = 0.15): the median over its detections, NaN where none has a magnitude.

    Light time is left out, which changes the distances by less than a hundred-thousandth.
    """
    out = np.full(len(offsets) - 1, np.nan)
    times = tdb_from_tai(detections["midpoint_mjd_tai"])
    owner = np.repeat(np.arange(len(out)), np.diff(offsets))
    good = np.asarray(np.isfinite(fits.states).all(axis=1))[owner] & np.isfinite(detections["mag"])
    if not good.any():
        return out
    of = owner[good]
    places = propagate(solar_system, fits.states[of], fits.epochs_mjd_tdb[of], times[good])[:, :3]
    lines = places - observers[good, :3]
    helio, topo = np.linalg.norm(places, axis=1), np.linalg.norm(lines, axis=1)
    cosine = np.einsum("ij,ij->i", places, lines) / (helio * topo)
    phase = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    at_zero = v_magnitudes(np.zeros(len(of)), 0.15, helio_range_au=helio, topo_range_au=topo, phase_angle_deg=phase)
    visual = detections["mag"][good] + np.array(V_LESS_BAND)[detections["band"][good]]
    for number in np.unique(of):
        out[number] = float(np.median((visual - at_zero)[of == number]))
    return out


def _assembled(
    grouped: Arcs,
    fits: OrbitFits,
    links: tuple[Sequence[int], Sequence[NDArray[np.int64]], Array],
    offsets: NDArray[np.int64],
    magnitudes: NDArray[np.float64],
) -> Discoveries:
    link_ids, members, detections = links
    good = np.flatnonzero(fits.ok & np.isfinite(fits.states).all(axis=1))
    qualities = link_qualities(grouped, fits)
    rows = orbit_rows(len(good))
    for row, number in zip(rows, good.tolist(), strict=True):
        times = detections["midpoint_mjd_tai"][offsets[number] : offsets[number + 1]]
        row["designation"] = row["packed"] = provisional_name(int(link_ids[number]))
        row["ss_object_id"] = ss_object_id_of(str(row["packed"]))
        row["epoch_mjd_tdb"] = fits.epochs_mjd_tdb[number]
        for column, value in zip(STATE_COLUMNS, fits.states[number], strict=True):
            row[column] = value
        row["h"], row["rms_arcsec"] = magnitudes[number], fits.rms_arcsec[number]
        row["n_observations"], row["n_oppositions"] = len(times), 1
        row["arc_days"] = float(np.ptp(times))
    set_covariances(rows, fits.covariances[good])
    return Discoveries(
        rows=rows,
        members=tuple(tuple(sorted(members[number].tolist())) for number in good.tolist()),
        chi2=fits.chi2[good],
        reasons=tuple(tuple(reasons_against(qualities[number])) for number in good.tolist()),
        without_orbit=len(members) - len(good),
        residuals_arcsec=tuple(
            fits.residuals_arcsec[offsets[number] : offsets[number + 1]][np.argsort(members[number], kind="stable")]
            for number in good.tolist()
        ),
    )


def _nothing() -> Discoveries:
    return Discoveries(rows=orbit_rows(0), members=(), chi2=np.zeros(0), reasons=(), without_orbit=0)
