"""The sky of a field: stars, galaxies and everything that changes, drawn from a seed.

What lasts (stars, galaxies, variables and their phases) depends on the seed alone and is what a data release sees; what one
night adds (supernovae, flares, asteroids) depends on the night too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infra.telescope.chance import generator
from infra.telescope.light_curves import Curve, relative_flux
from infra.telescope.optics import Pointing, detector_to_plane, field_radius
from infra.telescope.orbits import KeplerOrbit, sample_orbit, sky_position
from infra.telescope.setup import BANDS, FieldSetup, field_setup
from schemas.camera import Camera

__all__ = [
    "CATALOGUE_DTYPE",
    "EPOCH_MJD",
    "Asteroid",
    "Kind",
    "add_night",
    "asteroid_positions",
    "flux_nanojansky",
    "make_asteroids",
    "make_static_sky",
    "nominal_pointing",
    "positions",
]

EPOCH_MJD = 61200.0
"""At which catalogue positions hold (TAI)."""

VANISHED_AFTER_MJD = 61150.0
"""Vanished objects went dark after the release's epochs and before any night that is simulated."""

_Floats = NDArray[np.float64]


class Kind(IntEnum):
    """What an entry of the catalogue is."""

    STAR = 0
    GALAXY = 1
    VARIABLE = 2
    FLARE = 3
    FAST_STAR = 4
    VANISHED = 5
    NUCLEUS = 6
    SUPERNOVA = 7


CATALOGUE_DTYPE = np.dtype(
    [
        ("key", "i8"),
        ("kind", "i2"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("pmra", "f8"),
        ("pmdec", "f8"),
        ("mag_r", "f8"),
        ("colour", "f8"),
        ("curve", "i2"),
        ("a", "f8"),
        ("b", "f8"),
        ("c", "f8"),
        ("half_light_radius", "f8"),
        ("sersic", "f8"),
        ("axis_ratio", "f8"),
        ("angle", "f8"),
    ]
)
"""Positions in degrees at `EPOCH_MJD`, proper motions in mas/yr (pmra with cos dec), colour g - i, lengths in arcseconds,
angle of the long axis in degrees east of north."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asteroid:
    """A small body, with the brightness it has on the night."""

    key: int
    orbit: KeplerOrbit
    mag_r: float
    colour: float


def flux_nanojansky(catalogue: NDArray[Any], band: str, mjd: float) -> _Floats:
    """Return each entry's flux above the air in a band at a time."""
    magnitude = catalogue["mag_r"] + BANDS[band].colour_slope * catalogue["colour"]
    flux = np.asarray(10 ** (0.4 * (31.4 - magnitude)))
    for index in np.flatnonzero(catalogue["curve"] != Curve.CONSTANT):
        row = catalogue[index]
        flux[index] *= relative_flux(int(row["curve"]), float(row["a"]), float(row["b"]), float(row["c"]), mjd)
    return flux


def positions(catalogue: NDArray[Any], mjd: float) -> tuple[_Floats, _Floats]:
    """Return right ascension and declination (degrees) of every entry at a time."""
    years = (mjd - EPOCH_MJD) / 365.25
    dec = catalogue["dec"] + catalogue["pmdec"] * years / 3.6e6
    ra = catalogue["ra"] + catalogue["pmra"] * years / 3.6e6 / np.cos(np.radians(catalogue["dec"]))
    return np.mod(ra, 360.0), dec


class _Builder:
    """Places objects on the nominal focal plane and keeps those that must stand apart from one another."""

    def __init__(self, camera: Camera, seed: int) -> None:
        self.camera = camera
        self.setup = field_setup(camera)
        self.random = generator(seed, "sky", camera.name)
        self.nominal = nominal_pointing(camera)
        margin = self.setup.margin_pixels
        edges = [
            (
                d.centre[0] - d.width / 2,
                d.centre[0] + d.width / 2,
                d.centre[1] - d.height / 2,
                d.centre[1] + d.height / 2,
            )
            for d in camera.detectors
        ]
        low_x, high_x, low_y, high_y = zip(*edges, strict=True)
        self.box = min(low_x) - margin, max(high_x) + margin, min(low_y) - margin, max(high_y) + margin
        science = [d for d in camera.detectors if not d.is_wavefront]
        one = science[0].width * science[0].height
        self.detectors_in_box = (self.box[1] - self.box[0]) * (self.box[3] - self.box[2]) / one
        self.science = science
        self.apart: list[tuple[_Floats, float]] = []
        self.rows: list[NDArray[Any]] = []
        self.count = 0

    def scatter(self, number: int, separation: float) -> tuple[_Floats, _Floats]:
        """Draw places all over the box, none closer than a separation (pixels) to a kept one; crowded ones are dropped."""
        u = self.random.uniform(self.box[0], self.box[1], number)
        v = self.random.uniform(self.box[2], self.box[3], number)
        if separation == 0:
            return u, v
        places = np.column_stack([u, v])
        return self._keep(places[self._uncrowded(places, separation)], separation)

    def scatter_on_detectors(self, number: int, separation: float) -> tuple[_Floats, _Floats]:
        """Draw as many places on every science detector, away from its edges and from kept ones."""
        drawn = []
        for detector in self.science:
            inset = self.setup.inset_pixels
            x = self.random.uniform(inset, detector.width - inset, 60 * number)
            y = self.random.uniform(inset, detector.height - inset, 60 * number)
            drawn.append(np.column_stack(detector_to_plane(detector, x, y)))
        places = np.concatenate(drawn)
        free = self._uncrowded(places, separation).reshape(len(self.science), -1)
        first = free & (np.cumsum(free, axis=1) <= number)
        return self._keep(places[first.reshape(-1)], separation)

    def add(self, kind: Kind, u: _Floats, v: _Floats, **columns: Any) -> NDArray[Any]:
        """Append entries at places and return them."""
        rows = np.zeros(u.size, CATALOGUE_DTYPE)
        rows["ra"], rows["dec"] = self.nominal.to_sky(u, v)
        rows["kind"] = kind
        rows["key"] = 1 + self.count + np.arange(u.size)
        rows["axis_ratio"] = 1.0
        for name, values in columns.items():
            rows[name] = values
        self.count += u.size
        self.rows.append(rows)
        return rows

    def _uncrowded(self, places: _Floats, separation: float) -> NDArray[np.bool_]:
        """Tell which places stand apart from those kept for others, and from the uncrowded ones before them."""
        free = np.ones(len(places), bool)
        for others, reach in self.apart:
            if len(others):
                distance, _ = cKDTree(others).query(places)
                free &= distance >= max(reach, separation)
        index = np.flatnonzero(free)
        if index.size:
            pairs = index[cKDTree(places[index]).query_pairs(separation, output_type="ndarray")]
            for earlier, later in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:
                free[later] &= not free[earlier]
        return free

    def _keep(self, places: _Floats, separation: float) -> tuple[_Floats, _Floats]:
        self.apart.append((places, separation))
        return places[:, 0], places[:, 1]


def nominal_pointing(camera: Camera) -> Pointing:
    """Return the plain projection of the field about its centre, at position angle 0."""
    setup = field_setup(camera)
    return Pointing(
        ra=setup.ra,
        dec=setup.dec,
        rotation=0.0,
        plate_scale=camera.plate_scale,
        radius=field_radius(camera),
        distorted=False,
    )


def make_static_sky(camera: Camera, seed: int) -> NDArray[Any]:
    """Draw all that lasts: stars, galaxies, variables, nuclei, fast and vanished objects.

    Returns
    -------
    catalogue
        Rows of `CATALOGUE_DTYPE`, in order of their keys.
    """
    builder = _Builder(camera, seed)
    _add_stars(builder)
    _add_changing(builder)
    _add_galaxies(builder)
    return np.concatenate(builder.rows)


def _add_stars(builder: _Builder) -> None:
    setup, random, share = builder.setup, builder.random, builder.detectors_in_box
    apart = setup.star_separation_arcsec / builder.camera.plate_scale
    u, v = builder.scatter(max(1, round(setup.bright_stars * share)), 3 * apart)
    builder.add(Kind.STAR, u, v, mag_r=random.uniform(14.0, 16.4, u.size), **_star_columns(random, u.size))
    u, v = builder.scatter(round(1.5 * setup.good_stars * share), apart)
    wanted = min(u.size, round(setup.good_stars * share))
    magnitudes = _power_law(random, wanted, 16.6, 21.0, 0.12)
    builder.add(Kind.STAR, u[:wanted], v[:wanted], mag_r=magnitudes, **_star_columns(random, wanted))
    u, v = builder.scatter(round(setup.faint_stars * share), 0.0)
    magnitudes = _power_law(random, u.size, 21.0, 25.0, 0.2)
    builder.add(Kind.STAR, u, v, mag_r=magnitudes, **_star_columns(random, u.size))


def _add_changing(builder: _Builder) -> None:
    setup, random = builder.setup, builder.random
    apart = setup.star_separation_arcsec / builder.camera.plate_scale
    u, v = builder.scatter_on_detectors(setup.variables, apart)
    curve, a, b, c = _variable_curves(random, u.size)
    more = {"curve": curve, "a": a, "b": b, "c": c, **_star_columns(random, u.size)}
    builder.add(Kind.VARIABLE, u, v, mag_r=random.uniform(18.5, 21.3, u.size), **more)
    u, v = builder.scatter_on_detectors(setup.flares, apart)
    dwarfs = {**_star_columns(random, u.size), "colour": random.uniform(2.0, 3.2, u.size)}
    builder.add(Kind.FLARE, u, v, mag_r=random.uniform(20.0, 21.8, u.size), **dwarfs)
    u, v = builder.scatter_on_detectors(setup.fast_stars, apart)
    fast = _star_columns(random, u.size)
    motion, angle = random.uniform(300, 900, u.size), random.uniform(0, 2 * np.pi, u.size)
    fast.update(pmra=motion * np.sin(angle), pmdec=motion * np.cos(angle))
    builder.add(Kind.FAST_STAR, u, v, mag_r=random.uniform(17.5, 20.5, u.size), **fast)
    u, v = builder.scatter_on_detectors(setup.vanished, apart)
    gone = {"curve": Curve.VANISHED, "a": VANISHED_AFTER_MJD, **_star_columns(random, u.size)}
    builder.add(Kind.VANISHED, u, v, mag_r=random.uniform(20.5, 22.3, u.size), **gone)


def _add_galaxies(builder: _Builder) -> None:
    setup, random = builder.setup, builder.random
    apart = setup.star_separation_arcsec / builder.camera.plate_scale
    u, v = builder.scatter_on_detectors(setup.supernovae, apart)
    builder.add(Kind.GALAXY, u, v, **_galaxy_columns(random, random.uniform(18.8, 21.5, u.size)))
    u, v = builder.scatter_on_detectors(setup.nuclei, apart)
    builder.add(Kind.GALAXY, u, v, **_galaxy_columns(random, random.uniform(18.5, 20.5, u.size)))
    flicker = {"curve": Curve.AGN, "a": 0.25, "b": random.uniform(60, 300, u.size), "c": random.uniform(0, 1, u.size)}
    builder.add(
        Kind.NUCLEUS, u, v, mag_r=random.uniform(19.0, 21.0, u.size), colour=random.normal(0.4, 0.15, u.size), **flicker
    )
    u, v = builder.scatter(round(setup.galaxies * builder.detectors_in_box), 0.0)
    builder.add(Kind.GALAXY, u, v, **_galaxy_columns(random, _power_law(random, u.size, 18.8, 25.0, 0.25)))


def add_night(camera: Camera, seed: int, catalogue: NDArray[Any], day_obs: int, times: list[float]) -> NDArray[Any]:
    """Return the catalogue with the night's flares lit and its supernovae added.

    Parameters
    ----------
    times
        MJD TAI of the night's visits.
    """
    setup = field_setup(camera)
    random = generator(seed, "night", camera.name, day_obs)
    night = catalogue.copy()
    flares = np.flatnonzero(night["kind"] == Kind.FLARE)
    night["curve"][flares] = Curve.FLARE
    night["a"][flares] = random.choice(np.array(times), flares.size) - random.uniform(0.0, 0.002, flares.size)
    night["b"][flares], night["c"][flares] = (
        random.uniform(0.8, 4.0, flares.size),
        random.uniform(0.01, 0.04, flares.size),
    )
    science = sum(not d.is_wavefront for d in camera.detectors)
    hosts = night[night["kind"] == Kind.GALAXY][: setup.supernovae * science]
    new = np.zeros(hosts.size, CATALOGUE_DTYPE)
    offset, angle = (
        hosts["half_light_radius"] * random.uniform(0.2, 1.2, hosts.size),
        random.uniform(0, 360, hosts.size),
    )
    new["ra"] = hosts["ra"] + offset * np.sin(np.radians(angle)) / 3600 / np.cos(np.radians(hosts["dec"]))
    new["dec"] = hosts["dec"] + offset * np.cos(np.radians(angle)) / 3600
    new["kind"], new["curve"], new["axis_ratio"] = Kind.SUPERNOVA, Curve.SUPERNOVA, 1.0
    new["key"] = day_obs * 10_000 + np.arange(hosts.size)
    new["mag_r"], new["colour"] = random.uniform(20.3, 22.8, hosts.size), random.normal(0.3, 0.2, hosts.size)
    new["a"] = min(times) - random.uniform(8, 40, hosts.size)
    new["b"], new["c"] = random.uniform(15, 20, hosts.size), random.uniform(25, 60, hosts.size)
    return np.concatenate([night, new])


def make_asteroids(camera: Camera, seed: int, day_obs: int, times: list[float]) -> list[Asteroid]:
    """Draw asteroids that cross the science detectors during the night, some in each half of it."""
    setup: FieldSetup = field_setup(camera)
    random = generator(seed, "asteroids", camera.name, day_obs)
    nominal = nominal_pointing(camera)
    middles = sorted({times[len(times) // 4], times[(3 * len(times)) // 4]})
    moving: list[Asteroid] = []
    for half, when in enumerate(middles):
        for detector in (d for d in camera.detectors if not d.is_wavefront):
            for number in range(setup.asteroids):
                inset = setup.inset_pixels
                x = np.array([random.uniform(inset, detector.width - inset)])
                y = np.array([random.uniform(inset, detector.height - inset)])
                ra, dec = nominal.to_sky(*detector_to_plane(detector, x, y))
                label = (camera.name, day_obs, half, detector.id, number)
                orbit = sample_orbit(seed, label, float(ra[0]), float(dec[0]), when)
                key = day_obs * 10_000 + 5_000 + len(moving)
                magnitude, colour = float(random.uniform(19.3, 22.5)), float(random.normal(0.6, 0.1))
                moving.append(Asteroid(key=key, orbit=orbit, mag_r=magnitude, colour=colour))
    return moving


def asteroid_positions(asteroids: list[Asteroid], mjd: float) -> tuple[_Floats, _Floats]:
    """Return right ascension and declination (degrees) of asteroids at a time."""
    seen = np.array([sky_position(a.orbit, mjd)[:2] for a in asteroids]).reshape(-1, 2)
    return seen[:, 0], seen[:, 1]


def _power_law(random: np.random.Generator, number: int, low: float, high: float, slope: float) -> _Floats:
    """Draw magnitudes whose counts grow as ten to the slope times the magnitude."""
    edge = 10 ** (slope * (high - low))
    return np.asarray(low + np.log10(1 + random.uniform(size=number) * (edge - 1)) / slope)


def _star_columns(random: np.random.Generator, number: int) -> dict[str, Any]:
    return {
        "colour": np.clip(random.normal(0.9, 0.5, number), -0.3, 2.8),
        "pmra": random.normal(0.0, 1.5, number),
        "pmdec": random.normal(0.0, 1.5, number),
    }


def _galaxy_columns(random: np.random.Generator, magnitudes: _Floats) -> dict[str, Any]:
    number = magnitudes.size
    return {
        "mag_r": magnitudes,
        "colour": np.clip(random.normal(1.0, 0.4, number), -0.2, 2.5),
        "half_light_radius": np.clip(
            0.65 * 10 ** (-0.12 * (magnitudes - 20)) * np.exp(random.normal(0, 0.3, number)), 0.12, 1.6
        ),
        "sersic": random.choice(np.array([1.0, 1.0, 2.0]), number),
        "axis_ratio": random.uniform(0.3, 1.0, number),
        "angle": random.uniform(0.0, 180.0, number),
    }


def _variable_curves(random: np.random.Generator, number: int) -> tuple[NDArray[np.int64], _Floats, _Floats, _Floats]:
    curve = np.resize(np.array([Curve.RR_LYRAE, Curve.PULSATING, Curve.ECLIPSING]), number)
    period = np.where(curve == Curve.PULSATING, random.uniform(0.05, 80.0, number), random.uniform(0.3, 0.8, number))
    size = np.where(curve == Curve.ECLIPSING, random.uniform(0.3, 0.6, number), random.uniform(0.4, 1.0, number))
    zero = np.where(curve == Curve.ECLIPSING, EPOCH_MJD, 0.0) + random.uniform(0.0, 1.0, number)
    return curve, period, size, zero
