"""Train the reliability model and judge it: ``python -m tests.training [--scenes FOLDER] [--samples FILE]``.

Writes the model into `processors.differencing` and its report into ``docs/``. With the same versions of the packages and the same
source the model's file has the same bytes again; of the report, the CPU time differs. Some 12 CPU minutes, 5 with scenes at hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.kernel_caches import discard_stale_kernels
from infra.telescope.imaging_scenes import FULL_SIZE, ImagingScene, cached, make_scene
from processors.differencing.reliability import ReliabilityModel
from tests.training.model import CALIBRATION_SNR, LEAST_LEAF, LEAVES, RATE, TREES, fit_model, onnx_bytes
from tests.training.report import write_report
from tests.training.samples import THRESHOLD, sample_scene, source_digest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "processors" / "differencing" / "reliability.onnx"

SCENES = ("nominal", "sharper", "crowded", "bright")
TRAINING_SEEDS, FRESH_SEEDS = (1, 2, 3), (21, 22)
BARE_SEEDS = (1, 2, *FRESH_SEEDS)
"""Seeds that give sources without masks too."""

FRESH_SIZE = (2000, 2040)
"""A quarter of a CCD."""


def main(scenes: Path | None, samples: Path | None) -> None:
    """Draw sources, fit, write the model, judge it, write the report."""
    discard_stale_kernels()
    source, train, fresh = _samples(scenes, samples)
    known = train[train["label"] >= 0]
    fitted = fit_model(known)
    trained = f"imaging scenes {','.join(SCENES)}; seeds {','.join(map(str, TRAINING_SEEDS))}"
    data = onnx_bytes(fitted, {"trained_on": trained})
    MODEL.write_bytes(data)
    settings = {
        "source_sha256": source,
        "scenes": list(SCENES),
        "training_seeds": list(TRAINING_SEEDS),
        "bare_seeds": list(BARE_SEEDS),
        "training_size": " x ".join(map(str, FULL_SIZE)),
        "fresh_seeds": list(FRESH_SEEDS),
        "fresh_size": " x ".join(map(str, FRESH_SIZE)),
        "least_score": {"training": THRESHOLD, "calibration": CALIBRATION_SNR},
        "base_rate": float(np.mean(known["label"][known["snr"] >= CALIBRATION_SNR])),
        "trees": {"number": TREES, "leaves": LEAVES, "rate": RATE, "least_leaf": LEAST_LEAF},
        "curve": {"slope": fitted.curve.slope, "offset": fitted.curve.offset},
    }
    document = write_report(ROOT / "docs", ReliabilityModel.from_bytes(data), len(data), settings, train, fresh)
    for name, figures in document["fresh"].items():
        print(f"{name:18s}", {key: value for key, value in figures.items() if key != "bins"})


def _samples(scenes: Path | None, samples: Path | None) -> tuple[str, NDArray[Any], NDArray[Any]]:
    """Return the digest of the source that drew them, the training's sources, and those of fresh seeds."""
    if samples is not None and samples.exists():
        with np.load(samples) as stored:
            return str(stored["source"]), stored["train"], stored["fresh"]
    drawn = source_digest(), _drawn(TRAINING_SEEDS, FULL_SIZE, scenes), _drawn(FRESH_SEEDS, FRESH_SIZE, scenes)
    if samples is not None:
        np.savez(samples, source=drawn[0], train=drawn[1], fresh=drawn[2])
    return drawn


def _drawn(seeds: tuple[int, ...], size: tuple[int, int], folder: Path | None) -> NDArray[Any]:
    parts = []
    for seed in seeds:
        regimes = ("deployed", "plain", "bare") if seed in BARE_SEEDS else ("deployed", "plain")
        for name in SCENES:
            parts.append(sample_scene(_scene(name, seed, size, folder), regimes))
            print(f"{name} {seed}: {len(parts[-1])} sources", flush=True)
    return np.concatenate(parts)


def _scene(name: str, seed: int, size: tuple[int, int], folder: Path | None) -> ImagingScene:
    return make_scene(name, seed, size=size) if folder is None else cached(name, seed, folder, size=size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=Path, help="folder that keeps scenes (6 GB)")
    parser.add_argument("--samples", type=Path, help="file that keeps the sources; used as it is when it exists")
    options = parser.parse_args()
    main(options.scenes, options.samples)
