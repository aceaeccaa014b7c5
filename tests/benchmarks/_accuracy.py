"""What differencing finds on whole CCDs: ``python -m tests.benchmarks._accuracy SCENE SEED [SEED ...]``.

Draws scenes of `infra.telescope.imaging_scenes`, differences them from the calibrated image, and prints a row of the table of
``docs/explanation/one-ccd-measured.md`` for each. Some 25 CPU seconds a scene; give seeds that nothing was tuned on.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infra.telescope.imaging_scenes import ImagingScene, make_scene
from processors.differencing.completeness import fit_logistic
from processors.differencing.pipeline import DifferenceResult, difference
from processors.differencing.planes import UNUSABLE, has_plane
from tests.support.imaging_traps import science_of, template_of
from tests.training.samples import changes_of, label_sources

ON_PIXELS, FOUND_PIXELS, STREAK_PIXELS = 5.0, 3.0, 12.0
"""Farther than the first from every change a source is false; nearer than the second a change is found; nearer than the last to
its middle a source is a streak's."""

POINTS = ("transient", "vanished")
"""Changes that are counted: points where nothing was, or is left. Those within `MASKED_PIXELS` of a satellite's streak have no usable pixels."""

MASKED_PIXELS = 20.0
BRIGHT_SNR = 15.0
"""From here on fluxes are compared with the truth."""

AMPLIFIERS = 2, 8
"""Rows and columns of amplifiers of a full CCD."""

Rows = NDArray[Any]


def main(name: str, seeds: list[int]) -> None:
    """Print a row for each seed."""
    print(
        "| scene, seed | false positives | S/N at 50 % | found at S/N 6-8 | above 8 | flux bias | pull sd | sd of the S/N map |"
    )
    for seed in seeds:
        scene = make_scene(name, seed)
        print(_row(scene, difference(science_of(scene), template_of(scene))), flush=True)


def _row(scene: ImagingScene, result: DifferenceResult) -> str:
    truth = scene.truth.changes[np.isin(scene.truth.changes["kind"], POINTS)]
    truth = truth[_from_streaks(scene, truth["x"], truth["y"], result.image.shape) > MASKED_PIXELS]
    distance, index = cKDTree(_places(result.sources)).query(_places(truth))
    found, snr = distance < FOUND_PIXELS, np.abs(truth["snr"])
    middle, above = found[(snr > 6) & (snr < 8)], found[snr > 8]
    bright = found & (snr > BRIGHT_SNR)
    true, rows = truth["difference_flux"][bright], result.sources[index[bright]]
    pull = (rows["psfFlux"] - true) / rows["psfFluxErr"]
    bias = float(np.sum(rows["psfFlux"] * true) / np.sum(true.astype(float) ** 2) - 1)
    whole, amplifiers = _sky_sd(result)
    return (
        f"| {scene.name} {scene.seed} | {false_positives(scene, result)} | {_half(snr, found):.2f} | {middle.mean():.3f} | {above.mean():.3f} "
        f"| {100 * bias:+.2f} % | {_spread(pull):.2f} | {whole:.3f}; {min(amplifiers):.3f}-{max(amplifiers):.3f} |"
    )


def false_positives(scene: ImagingScene, result: DifferenceResult) -> int:
    """Count sources on no change, trail or streak."""
    x, y = result.sources["x"].astype(float), result.sources["y"].astype(float)
    kind, _ = label_sources(x, y, changes_of(scene), reach=ON_PIXELS)
    false = np.isin(kind, ("none", "near"))
    false &= _from_streaks(scene, x, y, result.image.shape) > STREAK_PIXELS
    return int(np.count_nonzero(false))


def _from_streaks(scene: ImagingScene, x: Rows, y: Rows, shape: tuple[int, ...]) -> Rows:
    """Return how far places lie from the middle of the nearest streak, pixels."""
    u, v, far = x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2, np.full(len(x), np.inf)
    for streak in scene.truth.streaks:
        far = np.minimum(far, np.abs(-u * np.sin(streak.angle) + v * np.cos(streak.angle) - streak.offset))
    return far


def _places(rows: Rows) -> Rows:
    return np.column_stack([rows["x"], rows["y"]]).astype(float)


def _half(snr: Rows, found: Rows) -> float:
    """Return the S/N at which half is found."""
    edges = np.arange(3.0, 9.01, 0.25)
    counts = [np.histogram(snr[chosen], edges)[0] for chosen in (np.ones(len(snr), bool), found)]
    some = counts[0] > 0
    return fit_logistic((0.5 * (edges[1:] + edges[:-1]))[some], counts[0][some], counts[1][some])[0]


def _spread(values: Rows) -> float:
    """Return the standard deviation, from the quartiles: one blend must not decide it."""
    low, high = np.percentile(values, [25, 75])
    return float((high - low) / 1.349)


def _sky_sd(result: DifferenceResult) -> tuple[float, list[float]]:
    """Return the spread of the score where nothing static is, on the CCD and on each amplifier."""
    score = result.score
    blank = np.isfinite(score.error) & (np.abs(score.static_flux) < 5 * score.error) & ~has_plane(result.mask, UNUSABLE)
    snr = np.where(blank, score.snr, np.nan)
    tiles = [
        tile for band in np.array_split(snr, AMPLIFIERS[0]) for tile in np.array_split(band, AMPLIFIERS[1], axis=1)
    ]
    return _spread(snr[blank]), [_spread(tile[np.isfinite(tile)]) for tile in tiles]


if __name__ == "__main__":
    main(sys.argv[1], [int(seed) for seed in sys.argv[2:]])
