"""Draws what a scene shows: stars and galaxies that last, and everything that changes between template and visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import erf

from infra.telescope.imaging_scenes.geometry import PixelSky
from infra.telescope.imaging_scenes.recipes import Recipe
from infra.telescope.sky import CATALOGUE_DTYPE, Kind

__all__ = [
    "CHANGE_DTYPE",
    "STATIC_DTYPE",
    "Static",
    "draw_changes",
    "draw_static",
    "flux_of",
    "place",
    "trail_noise_factor",
]

MARGIN = 90
"""Pixels beyond the image in which objects lie, so that the template's border is populated too."""

FAINTEST_MAG = 25.5
SEPARATION = 16.0
"""Least distance of two changes, pixels."""
INSET = 40.0
"""Least distance of a change from the image's border, pixels."""

STATIC_DTYPE = np.dtype(
    [("kind", "i2"), ("x", "f8"), ("y", "f8"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8"), ("colour", "f8")]
)
"""A lasting object: `infra.telescope.sky.Kind`, pixel of the science image (dispersion included), degrees, nJy."""

CHANGE_DTYPE = np.dtype(
    [
        ("kind", "U12"),
        ("x", "f8"),
        ("y", "f8"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("flux", "f8"),
        ("template_flux", "f8"),
        ("difference_flux", "f8"),
        ("snr", "f8"),
        ("host", "i4"),
        ("length_arcsec", "f8"),
        ("angle_deg", "f8"),
        ("snap", "i2"),
    ]
)
"""A change.

Kinds: transient, vanished, variable, moving_star, trail, glint. Position in the visit (of a trail its middle; pixels and
degrees), fluxes in visit, template and their difference (nJy; a glint's as it appears in the sum of the snaps), predicted
signal-to-noise of an ideal difference (noise of the sky and of what lasts there, not of the change's own light), row of the static table it lies on (-1: none), length of a trail or of a star's motion since
the template with its direction in pixels (degrees from +x towards +y), and the one snap that shows it (-1: both).
"""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """Lasting objects: their table, and their shapes as rows of the simulator's catalogue."""

    table: NDArray[Any]
    catalogue: NDArray[Any]


def flux_of(magnitude: _Floats) -> _Floats:
    """Return nJy of AB magnitudes."""
    return np.asarray(10 ** (0.4 * (31.4 - magnitude)))


def draw_static(recipe: Recipe, sky: PixelSky, random: np.random.Generator) -> Static:
    """Draw stars and galaxies over the image and a margin about it."""
    width, height = sky.width + 2 * MARGIN, sky.height + 2 * MARGIN
    more = width * height / (sky.width * sky.height)
    stars, galaxies = round(recipe.stars * more), round(recipe.galaxies * more)
    magnitudes = np.concatenate(
        [
            _power_law(random, stars, recipe.brightest_mag, FAINTEST_MAG, recipe.star_slope),
            _power_law(random, recipe.giants, 10.0, 14.5, 0.2),
            _power_law(random, galaxies, 18.0, FAINTEST_MAG, 0.30),
        ]
    )
    count, points = magnitudes.size, stars + recipe.giants
    rows = np.zeros(count, CATALOGUE_DTYPE)
    x, y = random.uniform(-MARGIN, sky.width + MARGIN, count), random.uniform(-MARGIN, sky.height + MARGIN, count)
    rows["ra"], rows["dec"] = sky.all_pix2world(x, y, 0)
    rows["key"], rows["mag_r"], rows["axis_ratio"] = 1 + np.arange(count), magnitudes, 1.0
    rows["kind"][points:] = Kind.GALAXY
    rows["colour"] = np.clip(random.normal(0.9, 0.5, count), -0.3, 2.8)
    size = 0.65 * 10 ** (-0.12 * (magnitudes[points:] - 20)) * np.exp(random.normal(0, 0.3, galaxies))
    rows["half_light_radius"][points:] = np.clip(size, 0.12, 1.6)
    rows["sersic"][points:] = random.choice(np.array([1.0, 1.0, 2.0, 4.0]), galaxies)
    rows["axis_ratio"][points:] = random.uniform(0.3, 1.0, galaxies)
    rows["angle"][points:] = random.uniform(0.0, 180.0, galaxies)
    table = np.zeros(count, STATIC_DTYPE)
    for name in ("kind", "ra", "dec", "colour"):
        table[name] = rows[name]
    table["x"], table["y"] = place(sky, rows["ra"], rows["dec"], rows["colour"])
    table["flux"] = flux_of(magnitudes)
    return Static(table=table, catalogue=rows)


def place(sky: PixelSky, ra: _Floats, dec: _Floats, colour: _Floats) -> tuple[_Floats, _Floats]:
    """Return pixels of objects of a colour, moved by the air's dispersion."""
    u, v = sky.pointing.to_plane(ra, dec, colour)
    return u + (sky.width - 1) / 2, v + (sky.height - 1) / 2


def draw_changes(
    recipe: Recipe,
    sky: PixelSky,
    static: Static,
    point_error: NDArray[np.float32],
    random: np.random.Generator,
) -> NDArray[Any]:
    """Draw all that changes.

    Parameters
    ----------
    static
        What lasts.
    point_error
        Error (nJy) of a point source's flux in an ideal difference, at every pixel.

    Returns
    -------
    ndarray
        Rows of `CHANGE_DTYPE`.
    """
    chooser = _Chooser(sky, static, random)
    parts = [
        _transients(recipe.transients, chooser),
        _vanished(recipe.vanished, chooser),
        _variables(recipe.variables, chooser),
        _moving_stars(recipe.moving_stars, chooser, sky.pointing.plate_scale),
        _trails(recipe.trails, chooser),
        _glints(recipe, chooser),
    ]
    rows = np.concatenate(parts)
    columns, lines = (np.clip(np.rint(rows[n]), 0, m - 1).astype(int) for n, m in (("x", sky.width), ("y", sky.height)))
    error = point_error[lines, columns].astype(np.float64)
    error *= trail_noise_factor(
        np.where(rows["kind"] == "trail", rows["length_arcsec"], 0.0), recipe.science_fwhm_arcsec
    )
    _give_fluxes(rows, error, static, recipe.science_fwhm_arcsec)
    rows["ra"], rows["dec"] = sky.all_pix2world(rows["x"], rows["y"], 0)
    return rows


def trail_noise_factor(length: _Floats, fwhm: float) -> _Floats:
    """Return by how much a trail's flux error exceeds a point's, for lengths and a width in the same unit (Gaussian PSF)."""
    sigma = fwhm / 2.3548
    scaled = np.maximum(np.asarray(length, np.float64), 1e-3 * sigma) / (2 * sigma)
    overlap = np.sqrt(np.pi) * erf(scaled) / scaled - (1 - np.exp(-(scaled**2))) / scaled**2
    return np.asarray(1 / np.sqrt(overlap))


class _Chooser:
    """Draws places for changes that keep their distance from one another."""

    def __init__(self, sky: PixelSky, static: Static, random: np.random.Generator) -> None:
        self.sky, self.static, self.random = sky, static, random
        self._taken: _Floats = np.empty((0, 2))
        table = static.table
        self._inside = (table["x"] > INSET) & (table["x"] < sky.width - INSET)
        self._inside &= (table["y"] > INSET) & (table["y"] < sky.height - INSET)

    def free(self, count: int) -> tuple[_Floats, _Floats]:
        """Draw places anywhere."""
        low, high = [INSET, INSET], [self.sky.width - INSET, self.sky.height - INSET]
        places = self.random.uniform(low, high, (4 * count + 50, 2))
        return self._accept(places, count)[0]

    def on(self, kind: Kind, magnitudes: tuple[float, float], count: int, reach: float) -> tuple[_Floats, _Floats, Any]:
        """Draw objects of a kind and range of magnitudes, and places within so many half-light radii of them."""
        rows = self.static.catalogue
        wanted = (
            self._inside & (rows["kind"] == kind) & (rows["mag_r"] > magnitudes[0]) & (rows["mag_r"] < magnitudes[1])
        )
        index = self.random.permutation(np.flatnonzero(wanted))
        radius = rows["half_light_radius"][index] / self.sky.pointing.plate_scale * reach
        radius *= np.sqrt(self.random.uniform(size=index.size))
        angle = self.random.uniform(0, 2 * np.pi, index.size)
        table = self.static.table[index]
        places = np.column_stack([table["x"] + radius * np.cos(angle), table["y"] + radius * np.sin(angle)])
        (x, y), chosen = self._accept(places, count)
        return x, y, index[chosen]

    def _accept(self, places: _Floats, count: int) -> tuple[tuple[_Floats, _Floats], NDArray[np.intp]]:
        everything = np.vstack([self._taken, places])
        old, keep = len(self._taken), np.ones(len(everything), bool)
        pairs = cKDTree(everything).query_pairs(SEPARATION, output_type="ndarray")
        for earlier, later in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:
            keep[later] &= not (keep[earlier] and later >= old)
        chosen = np.flatnonzero(keep[old:])[:count]
        self._taken = np.vstack([self._taken, places[chosen]])
        return (places[chosen, 0], places[chosen, 1]), chosen


def _rows(kind: str, x: _Floats, y: _Floats) -> NDArray[Any]:
    rows = np.zeros(x.size, CHANGE_DTYPE)
    rows["kind"], rows["x"], rows["y"], rows["host"], rows["snap"] = kind, x, y, -1, -1
    return rows


def _signal_to_noise(random: np.random.Generator, count: int) -> _Floats:
    """Most near the threshold, where completeness is decided."""
    low, high = random.uniform(3.0, 13.0, count), np.exp(random.uniform(np.log(13.0), np.log(200.0), count))
    return np.where(random.uniform(size=count) < 0.75, low, high)


def _transients(count: int, chooser: _Chooser) -> NDArray[Any]:
    x, y, host = chooser.on(Kind.GALAXY, (19.0, 24.0), round(0.35 * count), 1.5)
    hosted = _rows("transient", x, y)
    hosted["host"] = host
    rows = np.concatenate([hosted, _rows("transient", *chooser.free(count - x.size))])
    rows["snr"] = _signal_to_noise(chooser.random, rows.size)
    return rows


def _vanished(count: int, chooser: _Chooser) -> NDArray[Any]:
    rows = _rows("vanished", *chooser.free(count))
    rows["snr"] = _signal_to_noise(chooser.random, rows.size)
    return rows


def _variables(count: int, chooser: _Chooser) -> NDArray[Any]:
    x, y, host = chooser.on(Kind.STAR, (17.5, 22.5), round(0.8 * count), 0.0)
    stars = _rows("variable", x, y)
    stars["host"] = host
    x, y, host = chooser.on(Kind.GALAXY, (18.5, 22.0), count - stars.size, 0.0)
    nuclei = _rows("variable", x, y)
    nuclei["host"] = host
    rows = np.concatenate([stars, nuclei])
    rows["snr"] = chooser.random.uniform(4.0, 40.0, rows.size)
    return rows


def _moving_stars(count: int, chooser: _Chooser, plate_scale: float) -> NDArray[Any]:
    rows = _rows("moving_star", *chooser.free(count))
    random = chooser.random
    rows["length_arcsec"] = np.exp(random.uniform(np.log(0.10), np.log(0.6), rows.size))
    rows["angle_deg"] = random.uniform(-180, 180, rows.size)
    rows["flux"] = rows["template_flux"] = flux_of(random.uniform(17.8, 20.3, rows.size))
    return rows


def _trails(count: int, chooser: _Chooser) -> NDArray[Any]:
    rows = _rows("trail", *chooser.free(count))
    random = chooser.random
    share = (np.arange(rows.size) + random.uniform(size=rows.size)) / max(rows.size, 1)
    rows["length_arcsec"] = 0.1 * 600.0**share
    rows["angle_deg"] = random.uniform(-90, 90, rows.size)
    rows["snr"] = np.exp(random.uniform(np.log(7.0), np.log(120.0), rows.size))
    return rows


def _glints(recipe: Recipe, chooser: _Chooser) -> NDArray[Any]:
    """Single flashes of tumbling satellites, and trains of equal ones on a line."""
    random = chooser.random
    parts = [_rows("glint", *chooser.free(recipe.glints))]
    for _ in range(recipe.glint_trains):
        (x,), (y,) = chooser.free(1)
        angle, step = random.uniform(0, 2 * np.pi), random.uniform(18.0, 40.0)
        along = step * np.arange(6)
        train_x, train_y = x + along * np.cos(angle), y + along * np.sin(angle)
        inside = (train_x > 8) & (train_x < chooser.sky.width - 8) & (train_y > 8) & (train_y < chooser.sky.height - 8)
        parts.append(_rows("glint", train_x[inside], train_y[inside]))
    rows = np.concatenate(parts)
    rows["snr"] = np.exp(random.uniform(np.log(7.0), np.log(80.0), rows.size))
    rows["snap"] = random.integers(0, 2, rows.size)
    rows["snap"][recipe.glints :] = random.integers(0, 2)
    return rows


def _give_fluxes(rows: NDArray[Any], error: _Floats, static: Static, fwhm: float) -> None:
    """Turn signal-to-noise into fluxes; stars that vary keep at least a tenth of their light."""
    kind, size = rows["kind"], rows["snr"] * error
    moving = kind == "moving_star"
    scaled = ~moving & (kind != "vanished")
    rows["flux"][scaled] = size[scaled]
    gone = kind == "vanished"
    rows["template_flux"][gone] = size[gone]
    for index in np.flatnonzero(kind == "variable"):
        base = float(static.table["flux"][rows["host"][index]])
        nucleus = static.table["kind"][rows["host"][index]] == Kind.GALAXY
        brighter = index % 2 == 0
        change = size[index] if brighter else -size[index]
        base = max(0.3 * base, 1.2 * size[index]) if nucleus else base
        rows["template_flux"][index] = base
        rows["flux"][index] = max(base + change, 0.1 * base)
    rows["difference_flux"] = rows["flux"] - rows["template_flux"]
    rows["snr"] = np.abs(rows["difference_flux"]) / error
    # The difference of two equal images a distance d apart: its power is 2 (1 - autocorrelation(d)) of one image's.
    overlap = np.exp(-((rows["length_arcsec"][moving] * 2.3548 / (2 * fwhm)) ** 2))
    rows["snr"][moving] = rows["flux"][moving] / error[moving] * np.sqrt(2 * (1 - overlap))


def _power_law(random: np.random.Generator, number: int, low: float, high: float, slope: float) -> _Floats:
    edge = 10 ** (slope * (high - low))
    return np.asarray(low + np.log10(1 + random.uniform(size=number) * (edge - 1)) / slope)
