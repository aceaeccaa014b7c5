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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from astropy.wcs import WCS

from infra.fits_io import read_masters, read_raw, read_refcat, read_template
from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult, ScienceImage, difference
from processors.differencing.templates import TemplateInfo, choose_template, template_from_image
from processors.single_frame.frames import parse_raw
from processors.single_frame.pipeline import calibrate
from processors.single_frame.products import CalibratedImage
from schemas.camera import load_camera

MATCH_PIXELS = 5.0
"""One arcsecond at 0.2 arcsec a pixel."""

MOTION = "star_motion"


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


def calibrated(folder: Path, camera_name: str, visit: int, detector_id: int) -> CalibratedImage:
    """Calibrate one detector of one visit."""
    camera = load_camera(camera_name)
    detector = next(d for d in camera.detectors if d.id == detector_id)
    paths = sorted(folder.glob(f"raw/*/*-{detector_id:03d}.fits"))
    raws = [raw for raw in map(read_raw, paths) if raw.header["VISIT"] == visit]
    release = json.loads((folder / "release" / "release.json").read_text())
    masters = read_masters(folder / "release" / release["masters"][str(detector_id)])
    references = read_refcat(folder / "release" / release["refcat"])
    frames = [parse_raw(raw, detector=detector) for raw in raws]
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


def difference_of(folder: Path, image: CalibratedImage) -> DifferenceResult:
    """Difference a calibrated image against its template."""
    info = VisitInfo(
        visit=image.visit,
        detector=image.detector,
        band=image.band,
        midpoint_mjd_tai=image.midpoint_mjd_tai,
        exposure_time=image.exposure_time,
        processed_mjd_tai=image.midpoint_mjd_tai,
    )
    return difference(as_science(image), template_of(folder, image), info=info)


def true_changes(folder: Path, image: CalibratedImage) -> np.ndarray[Any, Any]:
    """Return the truth of one detector with pixels by the fitted WCS (columns x, y, kind, flux, snr, masked)."""
    table = pq.read_table(folder / "truth" / f"{image.visit}.parquet").to_pylist()
    rows = [row for row in table if row["detector"] == image.detector]
    out = np.zeros(
        len(rows),
        [("x", float), ("y", float), ("kind", "U16"), ("flux", float), ("snr", float), ("masked", bool)],
    )
    wcs: WCS = image.wcs
    if rows:
        out["x"], out["y"] = wcs.all_world2pix([r["ra"] for r in rows], [r["dec"] for r in rows], 0)
    out["kind"] = [r["kind"] for r in rows]
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


def run(camera: str, seed: int, visits: int, *, verbose: bool = True) -> list[CcdScore]:
    """Simulate, calibrate, difference and score a night; print one line a detector and the totals."""
    folder = simulate(camera, seed, visits)
    scores = []
    for line in (folder / "visits.txt").read_text().splitlines():
        visit = int(line.split()[0])
        for detector in load_camera(camera).detectors:
            if detector.kind == "SCIENCE":
                scores.append(_score(folder, camera, visit, detector.id, verbose))
    _summarise(scores)
    return scores


def _score(folder: Path, camera: str, visit: int, detector: int, verbose: bool) -> CcdScore:
    image = calibrated(folder, camera, visit, detector)
    started = time.process_time()
    result = difference_of(folder, image)
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
        f"{np.mean(false):.2f} (largest {max(false)}); CPU s per CCD {np.median(cpu):.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camera")
    parser.add_argument("seed", type=int)
    parser.add_argument("visits", type=int)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    run(options.camera, options.seed, options.visits, verbose=not options.quiet)
