"""How well trails are measured, by length: ``python -m tests.support.trail_table 81 82 83`` prints the table of the documentation.

Scenes are raw snaps of a quarter of a CCD with forty trails of 0.1 to 60 arcseconds, reduced with true PSF and coordinates and
differenced with and without what the snaps say apart.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.imaging_scenes import make_scene
from infra.telescope.imaging_scenes.recipes import RECIPES
from processors.differencing.pipeline import difference
from processors.differencing.sky import offset_on_sky
from tests.support.imaging_traps import TrapScene, template_of

BINS = (0.1, 0.2, 0.4, 0.7, 1.5, 4.0, 15.0, 60.0)
"""Arcseconds."""

ROW = np.dtype(
    [(name, "f8") for name in ("length", "snr", "fit", "error", "flux", "angle", "motion_angle", "motion_snr")]
)


def measured(seed: int, *, with_snaps: bool = True, size: tuple[int, int] = (2000, 2000)) -> NDArray[np.void]:
    """Return a row for each true trail of a scene: what was fitted to it, NaN where nothing; flux over truth, angles off truth (degrees)."""
    recipe = replace(
        RECIPES["nominal"].scaled(size[0] * size[1]), trails=40, glints=0, glint_trains=0, streaks=0, moving_stars=0
    )
    scene = make_scene("nominal", seed, size=size, recipe=recipe)
    science, pair = TrapScene(scene=scene).reduced_with_snaps()
    result = difference(science, template_of(scene), snaps=pair if with_snaps else None)
    return np.array([_row(scene, result, trail) for trail in scene.truth.trails], ROW)


def _row(scene: Any, result: Any, trail: Any) -> tuple[float, ...]:
    sources = result.sources
    length, angle = float(trail["length_arcsec"]), np.radians(float(trail["angle_deg"]))
    dx, dy = sources["x"] - trail["x"], sources["y"] - trail["y"]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), -dx * np.sin(angle) + dy * np.cos(angle)
    near = (np.abs(across) < 3) & (np.abs(along) < 5.0 + 2.5 * length) & np.isfinite(sources["trailLength"])
    if not near.any():
        return (length, float(trail["snr"]), *(np.nan,) * 6)
    best = int(np.flatnonzero(near)[np.argmin(np.hypot(along, across)[near])])
    row = sources[best]
    wcs = scene.science.wcs
    _, bearing = offset_on_sky(wcs, float(trail["x"]), float(trail["y"]), float(np.cos(angle)), float(np.sin(angle)))
    off = (float(row["trailAngle"]) - bearing + 90) % 180 - 90
    told = result.snaps
    turned = np.nan if told is None else (float(told["motion_angle_deg"][best]) - bearing + 180) % 360 - 180
    sure = np.nan if told is None else float(told["motion_snr"][best])
    flux = float(row["trailFlux"] / trail["flux"])
    return (
        length, float(trail["snr"]), float(row["trailLength"]), float(row["trailLengthErr"]), flux, off, turned, sure
    )  # fmt: skip


def table(rows: NDArray[np.void]) -> list[str]:
    """Return the lines of a table by length: number, how many have a trail, bias and scatter of length, angle, flux; right directions."""
    lines = [
        "| length (″) | trails | measured | length: bias, scatter (″) | error claimed (″) | angle scatter (°) | flux bias | direction right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for low, high in itertools.pairwise(BINS):
        own = rows[(rows["length"] >= low) & (rows["length"] < high)]
        got = own[np.isfinite(own["fit"])]
        if len(got) == 0:
            lines.append(f"| {low:g}-{high:g} | {len(own)} | 0 | | | | | |")
            continue
        off = got["fit"] - got["length"]
        sure = got[got["motion_snr"] > 4.5]
        right = np.count_nonzero(np.abs(sure["motion_angle"]) < 90)
        lines.append(
            f"| {low:g}-{high:g} | {len(own)} | {len(got)} | {np.median(off):+.3f}, {_scatter(off):.3f} | "
            f"{np.median(got['error']):.3f} | {_scatter(got['angle']):.1f} | {np.median(got['flux']) - 1:+.1%} | "
            f"{right} of {len(sure)} |"
        )
    return lines


def _scatter(values: NDArray[Any]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


if __name__ == "__main__":
    seeds = [int(word) for word in sys.argv[1:]]
    for with_snaps in (True, False):
        made = np.concatenate([measured(seed, with_snaps=with_snaps) for seed in seeds])
        print("with both snaps" if with_snaps else "from the sum of the snaps alone")
        print("\n".join(table(made)))
