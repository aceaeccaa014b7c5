"""Judge calibration and differencing on simulated pixels: ``python tests/support/night_harness.py demo 1 2``.

A night is simulated once into a cache folder; each detector of each visit goes through `calibrate` and `difference`, and the
DIASources are compared with the simulator's truth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from astropy.wcs import WCS

from infra.fits_io import read_masters, read_raw, read_refcat, read_template
from infra.telescope import plan_night
from infra.telescope.sky import asteroid_positions, make_asteroids
from processors.detector import snap_pair
from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult, ScienceImage, difference
from processors.differencing.snap_consistency import SnapPair
from processors.differencing.templates import TemplateInfo, choose_template, template_from_image
from processors.single_frame.frames import RawFrame, parse_raw
from processors.single_frame.pipeline import calibrate
from processors.single_frame.products import CalibratedImage
from schemas.camera import load_camera

MATCH_PIXELS = 5.0
"""One arcsecond at 0.2 arcsec a pixel."""

MOTION = "star_motion"

SHORTEST_TRAIL_ARCSEC = 1.5
"""A source that moved less while the shutter was open looks like a point: its row need not have a trail."""

ALIKE_SIGMAS, ALIKE_ARCSEC = 5.0, 0.3
"""A trail's length is right within so many of its errors or so much."""

STRONG_LOBE_SNR = 50.0
"""The two lobes of a star that moved are a dipole beyond doubt from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CcdScore:
    """What came of one detector of one visit."""

    visit: int
    detector: int
    band: str
    countable: int
    found: int
    sources: int
    false: int
    wrong: tuple[str, ...]
    """Rows whose trail, dipole or pixel flags contradict the truth, a sentence each."""
    cpu_s: float


def simulate(camera: str, seed: int, visits: int, cache: Path | None = None) -> Path:
    """Return the folder of a simulated night, made when it is not there."""
    folder = (cache or Path(tempfile.gettempdir()) / "nightcast-harness") / f"{camera}-{seed}-{visits}"
    if not (folder / "visits.txt").exists():
        command = [sys.executable, "-m", "infra.telescope", "--camera", camera, "--seed", str(seed)]
        command += ["--visits", str(visits), "--out", str(folder)]
        root = Path(__file__).parents[2]
        subprocess.run(command, check=True, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True)
    return folder


def frames_of(folder: Path, camera_name: str, visit: int, detector_id: int) -> list[RawFrame]:
    """Read the snaps of one detector of one visit."""
    detector = load_camera(camera_name).detector(detector_id)
    paths = sorted(folder.glob(f"raw/*/*-{detector_id:03d}.fits"))
    raws = [raw for raw in map(read_raw, paths) if raw.header["VISIT"] == visit]
    return [parse_raw(raw, detector=detector) for raw in raws]


def calibrated(folder: Path, camera_name: str, visit: int, detector_id: int) -> CalibratedImage:
    """Calibrate one detector of one visit."""
    camera = load_camera(camera_name)
    detector = camera.detector(detector_id)
    frames = frames_of(folder, camera_name, visit, detector_id)
    release = json.loads((folder / "release" / "release.json").read_text())
    masters = read_masters(folder / "release" / release["masters"][str(detector_id)])
    references = read_refcat(folder / "release" / release["refcat"])
    return calibrate(frames, masters, references, camera=camera, detector=detector)


def as_science(image: CalibratedImage) -> ScienceImage:
    """Return what differencing wants of a calibrated image."""
    return ScienceImage(image=image.image, variance=image.variance, mask=image.mask, psf=image.psf, wcs=image.wcs)


def template_of(folder: Path, image: CalibratedImage) -> Any:
    """Choose and read the template of a calibrated image."""
    release = json.loads((folder / "release" / "release.json").read_text())
    infos = [
        TemplateInfo(
            path=str(t["path"]),
            detector=int(t["detector"]),
            band=str(t["band"]),
            airmass=float(t["airmass"]),
            airmass_min=float(t["airmass_min"]),
            airmass_max=float(t["airmass_max"]),
            n_epochs=int(t["n_epochs"]),
        )
        for t in release["templates"]
    ]
    choice = choose_template(infos, detector=image.detector, band=image.band, airmass=image.airmass)
    return template_from_image(read_template(folder / "release" / choice.info.path), path=choice.info.path)


def difference_of(folder: Path, image: CalibratedImage, snaps: SnapPair | None = None) -> DifferenceResult:
    """Difference a calibrated image against its template, with what its snaps say if they are given."""
    info = VisitInfo(
        visit=image.visit,
        detector=image.detector,
        band=image.band,
        midpoint_mjd_tai=image.midpoint_mjd_tai,
        exposure_time=image.exposure_time,
        processed_mjd_tai=image.midpoint_mjd_tai,
    )
    return difference(as_science(image), template_of(folder, image), info=info, snaps=snaps)


def true_changes(folder: Path, image: CalibratedImage) -> np.ndarray[Any, Any]:
    """Return the truth of one detector with pixels by the fitted WCS (columns x, y, kind, key, flux, snr, masked)."""
    table = pq.read_table(folder / "truth" / f"{image.visit}.parquet").to_pylist()
    rows = [row for row in table if row["detector"] == image.detector]
    out = np.zeros(
        len(rows),
        [
            ("x", float),
            ("y", float),
            ("kind", "U16"),
            ("key", "U24"),
            ("flux", float),
            ("snr", float),
            ("masked", bool),
        ],
    )
    wcs: WCS = image.wcs
    if rows:
        out["x"], out["y"] = wcs.all_world2pix([r["ra"] for r in rows], [r["dec"] for r in rows], 0)
    out["kind"], out["key"] = [r["kind"] for r in rows], [r["key"] for r in rows]
    out["flux"] = [r["flux_difference_nJy"] for r in rows]
    out["snr"] = [r["predicted_snr"] for r in rows]
    out["masked"] = [r["masked"] for r in rows]
    return out


def compare(truth: np.ndarray[Any, Any], sources: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
    """Return which true changes count, which have a source within an arcsecond, and which sources have no change."""
    countable = (truth["snr"] > 8) & ~truth["masked"] & (truth["kind"] != MOTION)
    if len(truth) == 0 or len(sources) == 0:
        return countable, np.zeros(len(truth), bool), np.ones(len(sources), bool)
    distance = np.hypot(
        np.subtract.outer(truth["x"], sources["x"].astype(float)),
        np.subtract.outer(truth["y"], sources["y"].astype(float)),
    )
    return countable, distance.min(axis=1) < MATCH_PIXELS, distance.min(axis=0) >= MATCH_PIXELS


def true_motion(camera_name: str, seed: int, visits: int, folder: Path) -> dict[tuple[int, str], tuple[float, float]]:
    """Return how far (arcsec) and where to (degrees east of north) each asteroid moves while the shutter of a visit is open."""
    camera = load_camera(camera_name)
    day_obs = int((folder / "visits.txt").read_text().split()[0]) // 100_000
    plan = plan_night(camera, seed, day_obs, visits)
    asteroids = make_asteroids(camera, seed, day_obs, [visit.start_mjd_tai for visit in plan])
    motion = {}
    for visit in plan:
        begin, end = (
            asteroid_positions(asteroids, mjd) for mjd in (visit.begin_mjd_tai(0), visit.end_mjd_tai(visit.n_snaps - 1))
        )
        north = 3600.0 * (end[1] - begin[1])
        east = 3600.0 * (end[0] - begin[0]) * np.cos(np.radians(begin[1]))
        for k, asteroid in enumerate(asteroids):
            angle = float(np.degrees(np.arctan2(east[k], north[k])))
            motion[visit.visit, str(asteroid.key)] = float(np.hypot(east[k], north[k])), angle
    return motion


def contradictions(
    truth: np.ndarray[Any, Any], sources: np.ndarray[Any, Any], motion: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Return what the rows nearest to true changes say against the truth: trails, dipoles and pixel flags.

    Parameters
    ----------
    truth
        Of one detector (`true_changes`).
    sources
        Its DIASources.
    motion
        How far and where to each asteroid moves, by its key.
    """
    found = []
    for change in truth[(truth["snr"] > 8)] if len(sources) else ():
        distance = np.hypot(sources["x"] - change["x"], sources["y"] - change["y"])
        near = int(np.argmin(distance))
        if distance[near] < MATCH_PIXELS:
            said = _against(change, sources[near], motion.get(str(change["key"]), (0.0, 0.0)))
            found += [f"{change['kind']} {change['key']} of S/N {change['snr']:.1f}: {sentence}" for sentence in said]
    return found


def _against(change: Any, row: Any, motion: tuple[float, float]) -> list[str]:
    said = []
    flagged = any(row[name] for name in row.dtype.names if name.startswith("pixelFlags"))
    if change["masked"]:
        return [] if flagged else ["no pixel flag where the truth is masked"]
    if change["kind"] == MOTION:
        return ["no dipole"] if change["snr"] > STRONG_LOBE_SNR and not row["isDipole"] else []
    if row["isDipole"]:
        said.append("a dipole")
    length, angle = motion
    measured = float(row["trailLength"])
    if np.isnan(measured):
        return said + ["no trail"] * (length > SHORTEST_TRAIL_ARCSEC)
    off = abs(measured - length)
    if off > max(ALIKE_SIGMAS * float(row["trailLengthErr"]), ALIKE_ARCSEC):
        said.append(f'a trail of {measured:.2f} +- {row["trailLengthErr"]:.2f}" where it is {length:.2f}"')
    turned = abs((float(row["trailAngle"]) - angle + 90.0) % 180.0 - 90.0)
    if length > SHORTEST_TRAIL_ARCSEC and turned > max(ALIKE_SIGMAS * float(row["trailAngleErr"]), 5.0):
        said.append(f"a trail {turned:.0f} degrees off")
    return said


def run(camera: str, seed: int, visits: int, *, verbose: bool = True) -> list[CcdScore]:
    """Simulate, calibrate, difference and score a night; print one line a detector and the totals."""
    folder = simulate(camera, seed, visits)
    motion, scores = true_motion(camera, seed, visits, folder), []
    for line in (folder / "visits.txt").read_text().splitlines():
        visit = int(line.split()[0])
        for detector in load_camera(camera).detectors:
            if detector.kind == "SCIENCE":
                moved = {key: way for (when, key), way in motion.items() if when == visit}
                scores.append(_score(folder, camera, visit, detector.id, moved, verbose))
    _summarise(scores)
    return scores


def _score(
    folder: Path,
    camera: str,
    visit: int,
    detector: int,
    motion: Mapping[str, tuple[float, float]],
    verbose: bool,
) -> CcdScore:
    image = calibrated(folder, camera, visit, detector)
    snaps = snap_pair([frame.exposure for frame in frames_of(folder, camera, visit, detector)], image)
    started = time.process_time()
    result = difference_of(folder, image, snaps)
    cpu = time.process_time() - started
    truth = true_changes(folder, image)
    countable, found, false = compare(truth, result.sources)
    score = CcdScore(
        visit=visit,
        detector=detector,
        band=image.band,
        countable=int(countable.sum()),
        found=int((countable & found).sum()),
        sources=len(result.sources),
        false=int(false.sum()),
        wrong=tuple(contradictions(truth, result.sources, motion)),
        cpu_s=cpu,
    )
    print(score)
    if verbose:
        _explain(result, truth, countable & ~found, false)
    return score


def _explain(result: DifferenceResult, truth: np.ndarray[Any, Any], missed: Any, false: Any) -> None:
    print("   ", {name: round(value, 3) for name, value in result.metrics.items()}, result.kernel.degrees)
    for row in truth[missed]:
        x, y = round(row["x"]), round(row["y"])
        near = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        score = result.score
        print(
            f"    missed {row['kind']} x {row['x']:.1f} y {row['y']:.1f} snr {row['snr']:.1f} flux {row['flux']:.0f}: "
            f"score {score.snr[near].max():.1f} {score.snr[near].min():.1f} static {score.static_flux[y, x]:.0f} "
            f"error {score.error[y, x]:.0f} mask {int(np.bitwise_or.reduce(result.mask[near].ravel()))}"
        )
    for row in result.sources[false]:
        x, y = (
            int(np.clip(round(row["x"]), 0, result.mask.shape[1] - 1)),
            int(np.clip(round(row["y"]), 0, result.mask.shape[0] - 1)),
        )
        around = np.s_[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9]
        print(
            f"    false x {row['x']:.1f} y {row['y']:.1f} snr {row['snr']:.1f} flux {row['psfFlux']:.0f} dipole {row['isDipole']} "
            f"static {result.score.static_flux[y, x]:.0f} brightest {result.template[around].max():.0f} "
            f"chi2 {row['psfChi2'] / max(row['psfNdata'], 1):.2f} mask {int(np.bitwise_or.reduce(result.mask[around].ravel()))}"
        )


def _summarise(scores: list[CcdScore]) -> None:
    countable, found = sum(s.countable for s in scores), sum(s.found for s in scores)
    false, cpu = [s.false for s in scores], [s.cpu_s for s in scores]
    print(
        f"completeness at S/N > 8: {found}/{countable} = {found / max(countable, 1):.4f}; false positives per CCD "
        f"{np.mean(false):.2f} (largest {max(false)}); rows against the truth {sum(len(s.wrong) for s in scores)}; "
        f"CPU s per CCD {np.median(cpu):.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camera")
    parser.add_argument("seed", type=int)
    parser.add_argument("visits", type=int)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    run(options.camera, options.seed, options.visits, verbose=not options.quiet)
