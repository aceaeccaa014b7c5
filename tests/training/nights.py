"""Labelled sources of simulated nights: raw snaps of small cameras through calibration and differencing, as a detector job sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.pipeline import DifferenceResult
from processors.differencing.reliability_features import FEATURE_NAMES, reliability_features
from schemas.camera import load_camera
from tests.support.night_harness import calibrated, difference_of, true_changes
from tests.training.samples import SAMPLE_DTYPE, label_sources

__all__ = ["sample_ccd", "sample_night"]

FAINTEST_SNR = 2.5
"""Changes whose predicted signal-to-noise is lower explain no detection; what lies on one is neither real nor an artefact."""

REACH_PIXELS = 5.0
"""How far the fitted WCS, and lobes of stars that moved, may place a change from its source."""


def sample_night(folder: Path, camera: str, seed: int) -> NDArray[Any]:
    """Return the sources of every science detector of every visit of a night, rows of `SAMPLE_DTYPE`."""
    parts = [np.zeros(0, SAMPLE_DTYPE)]
    for line in (folder / "visits.txt").read_text().splitlines():
        for detector in load_camera(camera).detectors:
            if detector.kind == "SCIENCE":
                parts.append(sample_ccd(folder, camera, int(line.split()[0]), detector.id)[0])
    rows = np.concatenate(parts)
    rows["scene"], rows["seed"] = camera, seed
    return rows


def sample_ccd(folder: Path, camera: str, visit: int, detector: int) -> tuple[NDArray[Any], DifferenceResult]:
    """Return the labelled sources of one detector of one visit, and its difference."""
    image = calibrated(folder, camera, visit, detector)
    result = difference_of(folder, image)
    x, y = result.sources["x"].astype(float), result.sources["y"].astype(float)
    rows = np.zeros(len(x), SAMPLE_DTYPE)
    rows["regime"], rows["x"], rows["y"] = "deployed", x, y
    features = reliability_features(result, x, y)
    for name in FEATURE_NAMES:
        rows[name] = features[name]
    truth = true_changes(folder, image)
    changes = np.zeros(len(truth), [("kind", "U12"), ("x", "f8"), ("y", "f8"), ("length", "f8"), ("angle", "f8")])
    for name in ("kind", "x", "y"):
        changes[name] = truth[name]
    strong = truth["snr"] > FAINTEST_SNR
    rows["kind"], rows["label"] = label_sources(x, y, changes[strong], reach=REACH_PIXELS)
    weak = label_sources(x, y, changes[~strong], reach=REACH_PIXELS)[1] == 1
    rows["label"][weak & (rows["label"] == 0)] = -1
    return rows, result
