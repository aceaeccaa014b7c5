"""Synthetic pairs of science image and template with everything known: Moffat stars, galaxies, changes, noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.wcs import WCS

from processors.differencing.pipeline import ScienceImage
from processors.differencing.psf import ConstantPsf
from processors.differencing.templates import Template

PIXEL_SCALE = 0.2
HALF = 20
KNOTS = 15
"""Point sources that make up a galaxy."""


@dataclass(frozen=True)
class Moffat:
    """A Moffat profile, elongated by an ellipticity, drawn into a window of sum 1."""

    fwhm: float
    beta: float = 3.5
    e1: float = 0.0
    oversampling: int = 3

    def draw(self, dx: float, dy: float, half: int = HALF) -> np.ndarray[Any, Any]:
        """Return the pixels of a source of flux 1 whose centre is (dx, dy) off the central pixel."""
        n = self.oversampling
        step = (np.arange((2 * half + 1) * n) + 0.5) / n - half - 0.5
        x, y = step[None, :] - dx, step[:, None] - dy
        alpha = self.fwhm / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        radius2 = (x * (1 - self.e1)) ** 2 + (y * (1 + self.e1)) ** 2
        profile = (1 + radius2 / alpha**2) ** -self.beta
        binned = profile.reshape(2 * half + 1, n, 2 * half + 1, n).sum(axis=(1, 3))
        return binned / binned.sum()


@dataclass
class Scene:
    """A pair and its truth."""

    science: ScienceImage
    template: Template
    changes: np.ndarray[Any, Any]
    """Columns x, y, flux (nJy, science minus template), predicted_snr, kind."""
    static: np.ndarray[Any, Any]
    truth_psf: Any = field(repr=False, default=None)


CHANGE_DTYPE = [("x", float), ("y", float), ("flux", float), ("predicted_snr", float), ("kind", "U16")]


def tan_wcs(
    shape: tuple[int, int],
    *,
    ra: float = 0.01,
    dec: float = 0.5,
    rotation_deg: float = 0.0,
    dx: float = 0.0,
    dy: float = 0.0,
) -> WCS:
    """Return a tangent-plane WCS centred on the image, shifted by (dx, dy) pixels and turned."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + dx, (shape[0] + 1) / 2 + dy]
    angle = np.radians(rotation_deg)
    scale = PIXEL_SCALE / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def add_sources(image: np.ndarray[Any, Any], psf: Moffat, x: Any, y: Any, flux: Any) -> None:
    """Add point sources to an image."""
    padded = np.pad(image, HALF + 1)
    for px, py, f in zip(x, y, flux, strict=True):
        ix, iy = int(np.floor(px + 0.5)), int(np.floor(py + 0.5))
        if not (-HALF <= ix < image.shape[1] + HALF and -HALF <= iy < image.shape[0] + HALF) or f == 0:
            continue
        stamp = f * psf.draw(px - ix, py - iy)
        top, left = iy + 1, ix + 1
        if top < 0 or left < 0:
            continue
        box = padded[top : top + 2 * HALF + 1, left : left + 2 * HALF + 1]
        box += stamp[: box.shape[0], : box.shape[1]]
    image[:] = padded[HALF + 1 : -HALF - 1, HALF + 1 : -HALF - 1]


def make_scene(
    *,
    seed: int = 1,
    shape: tuple[int, int] = (512, 512),
    n_stars: int = 120,
    n_galaxies: int = 40,
    n_changes: int = 20,
    n_dipoles: int = 0,
    science_fwhm: float = 4.2,
    template_fwhm: float = 3.6,
    science_sky_variance: float = 100.0**2,
    template_sky_variance: float = 50.0**2,
    gain_njy: float = 30.0,
    brightest: float = 3e6,
    rotation_deg: float = 1.0,
    shift: tuple[float, float] = (12.3, -7.7),
    science_scale: float = 1.0,
    change_snr: tuple[float, float] = (8.0, 60.0),
    ellipticity: float = 0.03,
    margin: int = 60,
    smooth_template: bool = True,
) -> Scene:
    """Draw a scene.

    Noise is Gaussian: sky variance plus ``gain_njy`` nJy^2 per nJy of source light (a third of it in the template).
    """
    rng = np.random.default_rng(seed)
    science_wcs = tan_wcs(shape)
    template_shape = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    template_wcs = tan_wcs(template_shape, rotation_deg=rotation_deg, dx=shift[0], dy=shift[1])
    psf_s = Moffat(science_fwhm, e1=ellipticity)
    psf_t = Moffat(template_fwhm, beta=3.0)
    rows, columns = shape
    x = rng.uniform(-30, columns + 30, n_stars)
    y = rng.uniform(-30, rows + 30, n_stars)
    flux = np.minimum(2e4 * (1 - rng.random(n_stars)) ** -1.0, brightest)
    gx = rng.uniform(0, columns, n_galaxies)
    gy = rng.uniform(0, rows, n_galaxies)
    gflux = np.minimum(1e4 * (1 - rng.random(n_galaxies)) ** -0.8, 4e5)
    spread = rng.normal(0, 3.0, (2, n_galaxies, KNOTS))
    static_x = np.concatenate([x, (gx[:, None] + spread[0]).ravel()])
    static_y = np.concatenate([y, (gy[:, None] + spread[1]).ravel()])
    static_flux = np.concatenate([flux, np.repeat(gflux / KNOTS, KNOTS)])
    noise_psf = psf_s.draw(0, 0)
    unit = np.sqrt((science_sky_variance + template_sky_variance) / np.sum(noise_psf**2))
    changes = np.zeros(n_changes, CHANGE_DTYPE)
    changes["x"], changes["y"] = _apart(rng, shape, n_changes)
    sign = np.where(rng.random(n_changes) < 0.5, -1, 1)
    changes["flux"] = sign * unit * np.exp(rng.uniform(*np.log(change_snr), n_changes))
    changes["kind"] = "transient"
    changes["predicted_snr"] = np.abs(changes["flux"]) / unit
    science, template = np.zeros(shape), np.zeros(template_shape)
    moved = np.zeros((2, len(static_x)))
    bright = np.flatnonzero(
        (flux > 1.5e5) & (flux < 1.5e6) & (x > 30) & (x < columns - 30) & (y > 30) & (y < rows - 30)
    )
    bright = bright[:n_dipoles]
    moved[0, bright] = 0.5
    add_sources(science, psf_s, static_x + moved[0] / 2, static_y, static_flux)
    add_sources(science, psf_s, changes["x"], changes["y"], np.maximum(changes["flux"], 0))
    tx, ty = _to_template(science_wcs, template_wcs, static_x - moved[0] / 2, static_y)
    add_sources(template, psf_t, tx, ty, static_flux)
    cx, cy = _to_template(science_wcs, template_wcs, changes["x"], changes["y"])
    add_sources(template, psf_t, cx, cy, np.maximum(-changes["flux"], 0))
    science_variance = science_sky_variance + gain_njy * science
    template_variance = template_sky_variance + gain_njy / 3 * template
    science = science_scale * (science + rng.normal(size=shape) * np.sqrt(science_variance))
    template = template + rng.normal(size=template_shape) * np.sqrt(template_variance)
    changes["flux"] *= science_scale
    dipoles = np.zeros(len(bright), CHANGE_DTYPE)
    dipoles["x"], dipoles["y"], dipoles["kind"] = x[bright], y[bright], "star_motion"
    static = np.zeros(len(static_x), [("x", float), ("y", float), ("flux", float)])
    static["x"], static["y"], static["flux"] = static_x, static_y, static_flux
    return Scene(
        science=ScienceImage(
            image=science.astype("f4"),
            variance=(science_scale**2 * science_variance).astype("f4"),
            mask=np.zeros(shape, "u2"),
            psf=ConstantPsf(psf_s.draw(0, 0)),
            wcs=science_wcs,
        ),
        template=Template(
            image=template.astype("f4"),
            variance=template_variance.astype("f4"),
            mask=np.zeros(template_shape, "u2"),
            psf=psf_t.draw(0, 0),
            wcs=template_wcs,
            band="r",
        ),
        changes=np.concatenate([changes, dipoles]),
        static=static,
        truth_psf=psf_s,
    )


def _apart(rng: np.random.Generator, shape: tuple[int, int], count: int, distance: float = 24.0) -> Any:
    """Draw positions no two of which are closer than a distance."""
    kept = np.zeros((0, 2))
    while len(kept) < count:
        place = rng.uniform([20, 20], [shape[1] - 20, shape[0] - 20])
        if len(kept) == 0 or np.hypot(*(kept - place).T).min() > distance:
            kept = np.vstack([kept, place])
    return kept.T


def _to_template(science_wcs: WCS, template_wcs: WCS, x: Any, y: Any) -> tuple[Any, Any]:
    ra, dec = science_wcs.wcs_pix2world(x, y, 0)
    tx, ty = template_wcs.wcs_world2pix(ra, dec, 0)
    return tx, ty


def match(x: Any, y: Any, other_x: Any, other_y: Any, radius: float = 5.0) -> np.ndarray[Any, Any]:
    """Return the index of the nearest other point within a radius, or -1."""
    if len(other_x) == 0:
        return np.full(len(x), -1)
    distance = np.hypot(np.subtract.outer(x, other_x), np.subtract.outer(y, other_y))
    nearest = np.argmin(distance, axis=1)
    return np.where(distance[np.arange(len(x)), nearest] < radius, nearest, -1)
