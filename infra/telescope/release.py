"""The last data release of a simulated field: masters, templates, reference catalogue, Objects; made once per seed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.charge import ChargeEffects, draw_charge_effects
from infra.telescope.charge_masters import charge_hdus, measured_effects
from infra.telescope.optics import field_radius
from infra.telescope.response import HOT_DARK_E_PER_S, DetectorResponse, make_response
from infra.telescope.setup import BANDS, field_setup
from infra.telescope.sky import Kind, flux_nanojansky, make_static_sky, positions
from infra.telescope.templates import AIRMASS_BINS, EPOCHS, RELEASE_MJD, epochs, make_template
from schemas.camera import Camera, Detector

__all__ = ["Release", "build_release", "source_digest", "master_calibrations", "reference_catalogue", "release_objects"]

REFERENCE_EPOCH_MJD = 57388.5
"""J2016.0, the epoch of Gaia's third release (TAI, to the minute)."""

REFERENCE_LIMIT_MAG = 22.0
OBJECTS_LIMIT_MAG = 25.2
GAIA_ERROR_MAS, GAIA_MOTION_ERROR_MAS = 0.2, 0.03

BIAS_FRAMES, FLAT_FRAMES, FLAT_LEVEL_E = 30, 30, 40_000.0
DARK_FRAMES, DARK_SECONDS = 10, 300.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Where a release lies and what it says of itself."""

    directory: Path
    document: dict[str, Any]
    """Content of release.json."""

    @property
    def path(self) -> Path:
        """The release's description."""
        return self.directory / "release.json"


def source_digest() -> str:
    """Return a short hash of this package's source, so that another simulator does not reuse this one's files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def build_release(
    camera: Camera,
    seed: int,
    cache: Path,
    *,
    bands: Sequence[str] = ("r", "i"),
    detectors: Sequence[int] | None = None,
    charge_effects: bool = False,
    progress: Progress | None = None,
) -> Release:
    """Make the release of a camera's field, or find the one made before.

    Parameters
    ----------
    cache
        Folder that holds ``telescope/<camera>-<seed>-<hash>/``; the hash covers bands, detectors and this package's source.
    bands
        Bands of templates, flats and fluxes.
    detectors
        Ids of the detectors to make masters and templates for; all by default.
    charge_effects
        Whether the sensors show the brighter-fatter effect and deferred charge, so that the masters describe them.
    progress
        Called with what was made, how many steps are done and how many there are.
    """
    chosen = [d for d in camera.detectors if detectors is None or d.id in detectors]
    made_of = [source_digest(), list(bands), [d.id for d in chosen], charge_effects]
    tag = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    final = cache / "telescope" / f"{camera.name}-{seed}-{tag}"
    if not (final / "release.json").exists():
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        _Builder(camera, seed, partial, list(bands), chosen, charge_effects, progress).build()
        try:
            partial.rename(final)
        except OSError:
            # Another process made the same release meanwhile: its files are the same as ours.
            shutil.rmtree(partial)
    return Release(directory=final, document=json.loads((final / "release.json").read_text()))


class _Builder:
    def __init__(
        self,
        camera: Camera,
        seed: int,
        folder: Path,
        bands: list[str],
        detectors: list[Detector],
        charge_effects: bool,
        progress: Progress | None,
    ) -> None:
        self._camera, self._seed, self._folder, self._bands = camera, seed, folder, bands
        self._detectors = detectors
        self._charge_effects = charge_effects
        self._progress = progress
        self._catalogue = make_static_sky(camera, seed)
        science = sum(not d.is_wavefront for d in detectors)
        self._steps = len(detectors) + science * len(bands) * len(AIRMASS_BINS) + 2
        self._done = 0

    def build(self) -> None:
        for name in ("masters", "templates"):
            (self._folder / name).mkdir(parents=True)
        masters = {str(d.id): self._master(d) for d in self._detectors}
        templates = [
            self._template(detector, band, which)
            for detector in self._detectors
            if not detector.is_wavefront
            for band in self._bands
            for which in range(len(AIRMASS_BINS))
        ]
        self._write_table("refcat.fits", reference_catalogue(self._seed, self._catalogue, self._bands), "REFCAT")
        self._write_table("objects.fits", release_objects(self._seed, self._catalogue, self._bands), "OBJECTS")
        setup, camera = field_setup(self._camera), self._camera
        document = {
            "name": f"{camera.name}-{self._seed}",
            "camera": camera.name,
            "bands": self._bands,
            "field": {
                "ra": setup.ra,
                "dec": setup.dec,
                "radius_deg": (field_radius(camera) + setup.margin_pixels) * camera.plate_scale / 3600,
            },
            "masters": masters,
            "templates": templates,
            "refcat": "refcat.fits",
            "objects": "objects.fits",
        }
        (self._folder / "release.json").write_text(json.dumps(document, indent=1) + "\n")

    def _step(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(what, self._done, self._steps)

    def _master(self, detector: Detector) -> str:
        name = f"masters/det-{detector.id:03d}.fits"
        response = make_response(self._camera, self._seed, detector)
        effects = draw_charge_effects(self._seed, detector) if self._charge_effects else None
        master_calibrations(self._seed, response, self._bands, effects).writeto(self._folder / name)
        self._step(f"master calibrations of {detector.name}")
        return name

    def _template(self, detector: Detector, band: str, which: int) -> dict[str, Any]:
        name = f"templates/{band}-a{which}-det-{detector.id:03d}.fits"
        hdus = make_template(self._camera, self._seed, self._catalogue, detector, band, which)
        hdus.writeto(self._folder / name)
        self._step(f"template {band} {which} of {detector.name}")
        header = hdus["IMAGE"].header
        used = epochs(self._camera, self._seed, band, which)
        return {
            "path": name,
            "detector": detector.id,
            "band": band,
            "airmass": float(np.mean([e.airmass for e in used])),
            "airmass_min": AIRMASS_BINS[which][0],
            "airmass_max": AIRMASS_BINS[which][1],
            "ra": float(header["CRVAL1"]),
            "dec": float(header["CRVAL2"]),
            "n_epochs": EPOCHS,
        }

    def _write_table(self, name: str, rows: NDArray[Any], extension: str) -> None:
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows, name=extension)]).writeto(self._folder / name)
        self._step(name)


def master_calibrations(
    seed: int, response: DetectorResponse, bands: Sequence[str], effects: ChargeEffects | None = None
) -> fits.HDUList:
    """Return a detector's masters: the response with the noise that combining raw calibrations leaves, and its charge effects."""
    random = generator(seed, "masters", response.detector.id)
    constants, shape = response.amplifiers, response.bias.shape
    adu_noise = float(np.mean(constants.read_noise / constants.gain)) / np.sqrt(BIAS_FRAMES)
    bias = response.bias + random.normal(0.0, adu_noise, shape)
    dark_noise = np.sqrt(response.dark * DARK_SECONDS + 60.0) / DARK_SECONDS / np.sqrt(DARK_FRAMES)
    dark = response.dark + dark_noise * random.standard_normal(shape)
    hdus = [
        fits.PrimaryHDU(header=fits.Header([("DETECTOR", response.detector.id)])),
        fits.ImageHDU(bias.astype(np.float32), name="BIAS"),
        fits.ImageHDU(dark.astype(np.float32), name="DARK"),
    ]
    for band in bands:
        flat = response.flat(band)
        noise = np.sqrt(np.maximum(flat, 0.01) / (FLAT_LEVEL_E * FLAT_FRAMES))
        hdus.append(
            fits.ImageHDU((flat + noise * random.standard_normal(shape)).astype(np.float32), name=f"FLAT-{band}")
        )
    defects = (response.defects | (dark > HOT_DARK_E_PER_S)).astype(np.uint8)
    hdus.append(fits.ImageHDU(defects, name="DEFECTS"))
    hdus.append(fits.BinTableHDU(_amplifier_table(response, random), name="AMPLIFIERS"))
    measured = constants.crosstalk * random.normal(1.0, 0.02, constants.crosstalk.shape)
    hdus.append(fits.ImageHDU(measured.astype(np.float32), name="CROSSTALK"))
    if effects is not None:
        hdus += charge_hdus(*measured_effects(effects, generator(seed, "charge masters", response.detector.id)))
    return fits.HDUList(hdus)


def _amplifier_table(response: DetectorResponse, random: np.random.Generator) -> NDArray[Any]:
    constants, amplifiers = response.amplifiers, response.detector.amplifiers
    names = ("gain", "read_noise", "saturation", "lin1", "lin2")
    rows = np.zeros(len(amplifiers), [("name", "U8"), *((name, "f8") for name in names)])
    rows["name"] = [a.name for a in amplifiers]
    count = len(amplifiers)
    rows["gain"] = constants.gain * random.normal(1.0, 5e-4, count)
    rows["read_noise"] = constants.read_noise * random.normal(1.0, 5e-3, count)
    rows["saturation"] = constants.saturation
    rows["lin1"] = constants.lin1 * random.normal(1.0, 0.01, count)
    rows["lin2"] = constants.lin2 * random.normal(1.0, 0.02, count)
    return rows


def reference_catalogue(seed: int, catalogue: NDArray[Any], bands: Sequence[str]) -> NDArray[Any]:
    """Return the reference catalogue: stars and some galaxies brighter than its limit, with Gaia's kind of errors."""
    random = generator(seed, "reference")
    wanted = (catalogue["mag_r"] < REFERENCE_LIMIT_MAG) & np.isin(
        catalogue["kind"], [Kind.STAR, Kind.GALAXY, Kind.VARIABLE, Kind.FLARE, Kind.FAST_STAR]
    )
    rows = catalogue[wanted & ((catalogue["kind"] != Kind.GALAXY) | (catalogue["mag_r"] < REFERENCE_LIMIT_MAG - 1))]
    columns = [("id", "i8"), *((n, "f8") for n in ("ra", "dec", "pmra", "pmdec", "epoch_mjd"))]
    for band in bands:
        columns += [(f"flux_{band}", "f8"), (f"fluxErr_{band}", "f8")]
    out = np.zeros(rows.size, [*columns, ("isStar", "?")])
    galaxy = rows["kind"] == Kind.GALAXY
    worse = np.where(galaxy, 30.0, 10 ** (0.2 * np.maximum(rows["mag_r"] - 18.0, 0.0)))
    ra, dec = positions(rows, REFERENCE_EPOCH_MJD)
    error = GAIA_ERROR_MAS * worse / 3.6e6
    out["id"], out["epoch_mjd"], out["isStar"] = rows["key"], REFERENCE_EPOCH_MJD, ~galaxy
    out["ra"] = np.mod(ra + error * random.standard_normal(rows.size) / np.cos(np.radians(dec)), 360.0)
    out["dec"] = dec + error * random.standard_normal(rows.size)
    motion_error = np.where(galaxy, 0.0, GAIA_MOTION_ERROR_MAS * worse)
    out["pmra"] = rows["pmra"] + motion_error * random.standard_normal(rows.size)
    out["pmdec"] = rows["pmdec"] + motion_error * random.standard_normal(rows.size)
    for band in bands:
        flux = flux_nanojansky(rows, band, RELEASE_MJD)
        out[f"fluxErr_{band}"] = np.hypot(0.003 * flux, 60.0)
        out[f"flux_{band}"] = flux + out[f"fluxErr_{band}"] * random.standard_normal(rows.size)
    return out


def release_objects(seed: int, catalogue: NDArray[Any], bands: Sequence[str]) -> NDArray[Any]:
    """Return the release's Objects: what the coadds show, with noise; moments are those of the object without seeing."""
    random = generator(seed, "objects")
    r = catalogue["mag_r"] < OBJECTS_LIMIT_MAG
    rows = catalogue[r]
    names = [("objectId", "i8"), ("ra", "f8"), ("dec", "f8"), ("extendedness", "f8")]
    names += [(f"flux_{band}", "f8") for band in bands] + [(n, "f8") for n in ("ixx", "iyy", "ixy")]
    out = np.zeros(rows.size, names)
    ra, dec = positions(rows, RELEASE_MJD)
    error = np.hypot(0.01, 0.35 * 10 ** (0.4 * (rows["mag_r"] - OBJECTS_LIMIT_MAG)) / 5) / 3600
    out["objectId"] = rows["key"]
    out["ra"] = np.mod(ra + error * random.standard_normal(rows.size) / np.cos(np.radians(dec)), 360.0)
    out["dec"] = dec + error * random.standard_normal(rows.size)
    galaxy = rows["kind"] == Kind.GALAXY
    blur = 0.02 + 0.25 * 10 ** (0.4 * (rows["mag_r"] - OBJECTS_LIMIT_MAG))
    out["extendedness"] = np.clip(galaxy + blur * random.standard_normal(rows.size), 0.0, 1.0)
    for band in bands:
        flux = flux_nanojansky(rows, band, RELEASE_MJD)
        limit = 10 ** (0.4 * (31.4 - OBJECTS_LIMIT_MAG - BANDS[band].colour_slope)) / 5
        out[f"flux_{band}"] = flux + np.hypot(limit, 0.005 * flux) * random.standard_normal(rows.size)
    size = 0.6 * np.where(galaxy, rows["half_light_radius"], 0.0) ** 2
    angle, q = np.radians(rows["angle"]), rows["axis_ratio"]
    long, short = size / q, size * q
    out["ixx"] = long * np.sin(angle) ** 2 + short * np.cos(angle) ** 2
    out["iyy"] = long * np.cos(angle) ** 2 + short * np.sin(angle) ** 2
    out["ixy"] = (long - short) * np.sin(angle) * np.cos(angle)
    return out
