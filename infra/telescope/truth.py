"""The truth of a night: every change there is to find, with the signal-to-noise ratio that an ideal observer would have.

A change's noise is that of an optimal (matched) filter with the true point-spread function, on the sum of the snaps less the
template: light, dark current and read noise of the visit where the change lies, and the template's variance. A star that
moved leaves a pair of lobes; each is a row, placed where the filtered difference is extreme. Only tests and reports read this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.telescope.artefacts import TRAIL_WIDTH_PIXELS, trail_distance
from infra.telescope.night import Exposed, Night
from infra.telescope.optics import plane_to_detector
from infra.telescope.paint import psf_image
from infra.telescope.response import SATURATION_SHARE
from infra.telescope.scene import turned
from infra.telescope.schedule import PlannedVisit
from infra.telescope.setup import BANDS
from infra.telescope.sky import Kind, asteroid_positions, flux_nanojansky, positions
from infra.telescope.templates import READ_NOISE_E as TEMPLATE_READ_NOISE_E
from infra.telescope.templates import airmass_bin, epochs, template_flux
from schemas.camera import Detector

__all__ = ["TRUTH_SCHEMA", "TruthBook", "write_static", "find_changes"]

TRUTH_SCHEMA = pa.schema(
    [
        ("visit", pa.int64()),
        ("detector", pa.int32()),
        ("kind", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("flux_difference_nJy", pa.float64()),
        ("predicted_snr", pa.float64()),
        ("masked", pa.bool_()),
        ("key", pa.string()),
        ("band", pa.string()),
    ]
)

KIND_NAMES = {
    Kind.VARIABLE: "variable",
    Kind.FLARE: "flare",
    Kind.FAST_STAR: "star_motion",
    Kind.VANISHED: "vanished",
    Kind.NUCLEUS: "agn",
    Kind.SUPERNOVA: "supernova",
}

FAINTEST_SNR = 2.5
"""Lobes of moved stars weaker than this are not worth a row."""

EDGE_PIXELS = 20
"""Nearer to the edge than this a change counts as masked."""

PSF_HALF = 15

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """Candidate rows of one detector: arrays of n."""

    kind: list[str]
    key: list[str]
    ra: _Floats
    dec: _Floats
    x: _Floats
    y: _Floats
    difference: _Floats
    """nJy."""


class TruthBook:
    """Gathers, exposure by exposure, what there is to find.

    Parameters
    ----------
    night
        The night.
    """

    def __init__(self, night: Night) -> None:
        self._night = night
        self._changes: dict[tuple[int, int], _Changes] = {}
        self._variance: dict[tuple[int, int], _Floats] = {}
        self._masked: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def inspect(self, visit: PlannedVisit, snap: int, detector: Detector, exposed: Exposed) -> None:
        """Take note of one exposed detector; wavefront sensors are not differenced and have no rows."""
        if detector.is_wavefront:
            return
        key = visit.visit, detector.id
        if key not in self._changes:
            self._changes[key] = find_changes(self._night, visit, detector)
            count = len(self._changes[key].kind)
            self._variance[key], self._masked[key] = np.zeros(count), np.zeros(count, bool)
        changes = self._changes[key]
        self._variance[key] += self._snap_variance(changes, detector, exposed)
        self._masked[key] |= self._snap_masked(changes, visit, snap, detector, exposed)

    def write(self, visit: PlannedVisit, path: Path) -> None:
        """Write the rows of a visit's inspected detectors, strongest first on each."""
        parts = [self._rows(visit, key) for key in sorted(self._changes) if key[0] == visit.visit]
        columns = {name: [value for part in parts for value in part[name]] for name in TRUTH_SCHEMA.names}
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=TRUTH_SCHEMA), path)

    def _rows(self, visit: PlannedVisit, key: tuple[int, int]) -> dict[str, list[Any]]:
        detector = self._night.camera.detector(key[1])
        changes, variance = self._changes[key], self._variance[key]
        noise = np.sqrt(variance * self._noise_areas(visit, detector, changes))
        response = self._night.response(detector.id)
        scale = visit.throughput() * response.throughput * visit.n_snaps
        noise = np.hypot(noise / scale, self._template_noise(visit, detector, changes))
        snr = np.abs(changes.difference) / noise
        moved = np.array([kind == "star_motion" for kind in changes.kind], bool)
        kept = [int(i) for i in np.argsort(-snr, kind="stable") if not moved[i] or snr[i] > FAINTEST_SNR]
        masked = self._masked[key]
        return {
            "visit": [visit.visit] * len(kept),
            "detector": [detector.id] * len(kept),
            "kind": [changes.kind[i] for i in kept],
            "ra": [float(changes.ra[i]) for i in kept],
            "dec": [float(changes.dec[i]) for i in kept],
            "x": [float(changes.x[i]) for i in kept],
            "y": [float(changes.y[i]) for i in kept],
            "flux_difference_nJy": [float(changes.difference[i]) for i in kept],
            "predicted_snr": [float(snr[i]) for i in kept],
            "masked": [bool(masked[i]) for i in kept],
            "key": [changes.key[i] for i in kept],
            "band": [visit.band] * len(kept),
        }

    def _snap_variance(self, changes: _Changes, detector: Detector, exposed: Exposed) -> _Floats:
        """Variance per pixel in electrons, averaged over the 5 x 5 pixels about each change."""
        noise = float(np.mean(self._night.response(detector.id).amplifiers.read_noise)) ** 2
        return np.array(
            [
                float(np.mean(_around(exposed.expected, x, y, 2), dtype=np.float64)) + noise
                for x, y in zip(changes.x, changes.y, strict=True)
            ]
        )

    def _snap_masked(
        self, changes: _Changes, visit: PlannedVisit, snap: int, detector: Detector, exposed: Exposed
    ) -> NDArray[np.bool_]:
        response = self._night.response(detector.id)
        limit = SATURATION_SHARE * float(response.amplifiers.full_well.min())
        crossed = visit.conditions.satellite_snap == snap
        distance = trail_distance(detector, self._night.track(visit)) if crossed else None
        edge = EDGE_PIXELS
        flags = []
        for x, y in zip(changes.x, changes.y, strict=True):
            inside = edge <= x < detector.width - edge and edge <= y < detector.height - edge
            spoiled = not inside or bool((_around(exposed.electrons, x, y, 4) > limit).any())
            spoiled = spoiled or bool(_around(response.defects, x, y, 1).any())
            if distance is not None:
                spoiled = spoiled or bool((np.abs(_around(distance, x, y, 3)) < 4 * TRAIL_WIDTH_PIXELS).any())
            flags.append(spoiled)
        return np.array(flags, bool)

    def _noise_areas(self, visit: PlannedVisit, detector: Detector, changes: _Changes) -> _Floats:
        """Effective number of noise pixels of the matched filter at each change."""
        u = np.array([detector.centre[0]])
        v = np.array([detector.centre[1]])
        shapes = turned(visit.field_psf(0).shapes(u, v), detector.quarter_turns)
        stamp = psf_image(shapes, 0, PSF_HALF).astype(np.float64)
        return np.full(len(changes.kind), 1 / float(np.sum(stamp**2)))

    def _template_noise(self, visit: PlannedVisit, detector: Detector, changes: _Changes) -> _Floats:
        """Noise in nJy that the template adds under the same filter."""
        night = self._night
        used = epochs(night.camera, night.seed, visit.band, airmass_bin(visit.air.airmass))
        pixel = (
            sum(
                (e.sky_electrons(night.camera.plate_scale) + TEMPLATE_READ_NOISE_E**2)
                / e.electrons_per_nanojansky() ** 2
                for e in used
            )
            / len(used) ** 2
        )
        return np.asarray(np.sqrt(pixel * self._noise_areas(visit, detector, changes)))


def find_changes(night: Night, visit: PlannedVisit, detector: Detector) -> _Changes:
    """Return every change on a detector, in no particular strength."""
    middle = 0.5 * (visit.begin_mjd_tai(0) + visit.end_mjd_tai(visit.n_snaps - 1))
    parts = [_changed_light(night, visit, middle), _asteroids(night, visit, middle), _moved_stars(night, visit, middle)]
    kind = [k for part in parts for k in part[0]]
    key = [k for part in parts for k in part[1]]
    ra, dec, difference, colour = (np.concatenate([part[i] for part in parts]) for i in range(2, 6))
    u, v = visit.true_pointing(0).to_plane(ra, dec, colour)
    x, y = plane_to_detector(detector, u, v)
    kept = np.flatnonzero((x > -0.5) & (x < detector.width - 0.5) & (y > -0.5) & (y < detector.height - 0.5))
    return _Changes(
        kind=[kind[i] for i in kept],
        key=[key[i] for i in kept],
        ra=ra[kept],
        dec=dec[kept],
        x=x[kept],
        y=y[kept],
        difference=difference[kept],
    )


_Part = tuple[list[str], list[str], _Floats, _Floats, _Floats, _Floats]


def _changed_light(night: Night, visit: PlannedVisit, middle: float) -> _Part:
    rows = night.catalogue[np.isin(night.catalogue["kind"], [k for k in KIND_NAMES if k is not Kind.FAST_STAR])]
    ra, dec = positions(rows, middle)
    # A flare's light curve belongs to this night: at the release's epochs the star was quiet, as the curve itself says.
    before = template_flux(rows, night.camera, night.seed, visit.band, airmass_bin(visit.air.airmass))
    difference = flux_nanojansky(rows, visit.band, middle) - before
    kinds = [KIND_NAMES[Kind(int(k))] for k in rows["kind"]]
    return kinds, [str(k) for k in rows["key"]], ra, dec, difference, np.asarray(rows["colour"])


def _asteroids(night: Night, visit: PlannedVisit, middle: float) -> _Part:
    ra, dec = asteroid_positions(night.asteroids, middle)
    colour = np.array([a.colour for a in night.asteroids])
    magnitude = np.array([a.mag_r for a in night.asteroids]) + BANDS[visit.band].colour_slope * colour
    keys = [str(a.key) for a in night.asteroids]
    return ["moving"] * len(keys), keys, ra, dec, np.asarray(10 ** (0.4 * (31.4 - magnitude))), colour


def _moved_stars(night: Night, visit: PlannedVisit, middle: float) -> _Part:
    """Rows of the two lobes of each star whose image moved since the template's epochs."""
    rows = night.catalogue[np.isin(night.catalogue["kind"], [Kind.STAR, Kind.FAST_STAR])]
    used = epochs(night.camera, night.seed, visit.band, airmass_bin(visit.air.airmass))
    ra, dec = positions(rows, middle)
    old_ra, old_dec = positions(rows, float(np.mean([e.mjd for e in used])))
    east = ((ra - old_ra + 180) % 360 - 180) * 3600 * np.cos(np.radians(dec))
    north = (dec - old_dec) * 3600
    distance = np.hypot(east, north)
    sigma = visit.field_psf(0).fwhm_pixels * night.camera.plate_scale / 2.355
    peak, share = _lobe(distance, np.sqrt(2.0) * sigma)
    flux = flux_nanojansky(rows, visit.band, middle) * share
    east, north = east / np.maximum(distance, 1e-9), north / np.maximum(distance, 1e-9)
    beyond = peak - distance
    stretch = 3600 * np.cos(np.radians(dec))
    new = np.mod(ra + beyond * east / stretch, 360.0), dec + beyond * north / 3600
    gone = np.mod(ra - peak * east / stretch, 360.0), dec - peak * north / 3600
    keys = [str(k) for k in rows["key"]]
    colour = np.asarray(rows["colour"])
    return (
        ["star_motion"] * (2 * len(keys)),
        keys + keys,
        np.concatenate([new[0], gone[0]]),
        np.concatenate([new[1], gone[1]]),
        np.concatenate([flux, -flux]),
        np.concatenate([colour, colour]),
    )


def _lobe(distance: _Floats, width: float) -> tuple[_Floats, _Floats]:
    """Return where the filtered difference of a moved star peaks, from its old place, and how high, relative to the star.

    The filtered star is close to a Gaussian of that width (its autocorrelation).
    """
    peak = np.maximum(width, distance)
    for _ in range(30):
        # Extremum of G(t - d) - G(t): t G(t) = (t - d) G(t - d).
        ratio = np.exp(np.clip((peak**2 - (peak - distance) ** 2) / (2 * width**2), 0, 60))
        peak = 0.5 * peak + 0.5 * (distance * ratio / np.maximum(ratio - 1, 1e-12))
    height = np.exp(-((peak - distance) ** 2) / (2 * width**2)) - np.exp(-(peak**2) / (2 * width**2))
    return peak, height


def _around(image: NDArray[Any], x: float, y: float, half: int) -> NDArray[Any]:
    row, column = round(y), round(x)
    return image[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]


def write_static(night: Night, path: Path) -> None:
    """Write the night's stars, galaxies and other lasting objects as Parquet."""
    catalogue = night.catalogue
    columns = {name: catalogue[name] for name in catalogue.dtype.names or () if name not in {"kind", "curve"}}
    names = {int(kind): kind.name.lower() for kind in Kind}
    columns["kind"] = np.array([names[int(k)] for k in catalogue["kind"]])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
