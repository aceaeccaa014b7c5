"""Cosmic rays of one LSST CCD: two snaps compared, and each alone, beside L.A.Cosmic (astroscrappy, on a 1k cut)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import astroscrappy
import numpy as np

from infra.telescope.artefacts import cosmic_rays
from processors.single_frame.isr import DetectorImage
from processors.single_frame.snaps import combine
from tests.support.scenes import draw_stars
from tests.support.timing import Measured, attempt, cpu_seconds

ROWS, COLUMNS, CUT = 4000, 4072, 1024
SKY, READ_NOISE, STARS = 500.0, 7.0, 2500
SEEING = (3.6, 3.8)
"""FWHM of the two snaps, pixels: it changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two snaps with the electrons that particles freed in each, and the mean light."""

    snaps: tuple[DetectorImage, DetectorImage]
    rays: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
    light: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def measure() -> Iterator[Measured]:
    """Yield CPU, what was missed of pixels above 10 sigma, and what was called a ray and is none."""
    pair = make_pair(21)
    small = cut(pair)
    both = combine(pair.snaps)
    rejected = [(both.snaps.rejected >> snap) & 1 == 1 for snap in (0, 1)]
    alone = [combine((image,)).snaps.rejected != 0 for image in pair.snaps]
    theirs, problem = attempt(lambda: [by_astroscrappy(image) for image in small.snaps])
    theirs = theirs or [np.zeros((CUT, CUT), bool)] * 2
    scale = ROWS * COLUMNS / CUT**2
    each = float("nan") if problem else scale * cpu_seconds(lambda: by_astroscrappy(small.snaps[0]), repeats=1)
    found = (("two snaps together", rejected, pair.snaps, 2.0), ("a snap alone", alone, pair.snaps[:1], 1.0))
    for how, ours, snaps, count in found:
        corner = [f[:CUT, :CUT] for f in ours]
        yield Measured(
            what=f"cosmic rays of 4k snaps, {how}",
            ours_s=cpu_seconds(lambda snaps=snaps: combine(snaps)),
            peer="astroscrappy, defaults, each snap",
            peer_s=count * each,
            error_of="pixels above 10 sigma missed, %",
            ours_error=_missed(small, corner),
            peer_error=_missed(small, theirs),
            note=f"the peer and the errors on {CUT} x {CUT} pixels, its time scaled by area; false: ours {_false(small, corner):.1e}, "
            f"peer {_false(small, theirs):.1e}; ours on the whole CCD: {_missed(pair, ours):.2f} % missed, "
            f"{_false(pair, ours):.1e} false {problem}".strip(),
        )


def make_pair(seed: int) -> Pair:
    """Return two snaps of stars, sky, noise and particles."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, COLUMNS, STARS), rng.uniform(0, ROWS, STARS)
    flux = 10 ** rng.uniform(3, 5.3, STARS)
    light = [draw_stars((ROWS, COLUMNS), x, y, flux, fwhm) + SKY for fwhm in SEEING]
    rays = [cosmic_rays((ROWS, COLUMNS), 15.0, rng) for _ in SEEING]
    snaps = [_snap(mean, struck, rng) for mean, struck in zip(light, rays, strict=True)]
    return Pair(snaps=(snaps[0], snaps[1]), rays=(rays[0], rays[1]), light=(light[0], light[1]))


def _snap(light: np.ndarray[Any, Any], rays: np.ndarray[Any, Any], rng: np.random.Generator) -> DetectorImage:
    image = (rng.poisson(light) + rays + rng.normal(0, READ_NOISE, light.shape)).astype(np.float32)
    variance = np.maximum(image, 0) + np.float32(READ_NOISE**2)
    mask = np.zeros(image.shape, np.uint16)
    return DetectorImage(image=image, variance=variance, mask=mask, read_noise={"A": READ_NOISE}, dead=())


def cut(pair: Pair) -> Pair:
    """Return a corner of a pair."""
    box = np.s_[:CUT, :CUT]
    snaps = [
        replace(s, image=s.image[box].copy(), variance=s.variance[box].copy(), mask=s.mask[box].copy())
        for s in pair.snaps
    ]
    rays, light = [r[box] for r in pair.rays], [m[box] for m in pair.light]
    return Pair(snaps=(snaps[0], snaps[1]), rays=(rays[0], rays[1]), light=(light[0], light[1]))


def by_astroscrappy(image: DetectorImage) -> np.ndarray[Any, Any]:
    """Return what L.A.Cosmic with its usual settings calls a cosmic ray."""
    found, _ = astroscrappy.detect_cosmics(image.image, readnoise=READ_NOISE, satlevel=np.inf)
    return np.asarray(found)


def _missed(pair: Pair, found: list[np.ndarray[Any, Any]]) -> float:
    """Share of pixels above 10 sigma that one snap alone has, in percent."""
    strong = [
        (rays > 10 * np.sqrt(light + READ_NOISE**2)) & (other == 0)
        for rays, light, other in zip(pair.rays, pair.light, pair.rays[::-1], strict=True)
    ]
    hits = sum(np.count_nonzero(f & s) for f, s in zip(found, strong, strict=True))
    return 100 * (1 - hits / max(1, sum(map(np.count_nonzero, strong))))


def _false(pair: Pair, found: list[np.ndarray[Any, Any]]) -> float:
    """Share of clean pixels that are called a ray, per snap."""
    clean = (pair.rays[0] == 0) & (pair.rays[1] == 0)
    return float(np.mean([np.count_nonzero(f & clean) for f in found]) / clean.sum())
