"""Which sources are stars good enough to show the PSF."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Candidates", "select_stars", "size_locus"]

MOST_STARS = 200
"""Brightest stars kept; more only cost time."""

LOCUS_WIDTH = 0.06
"""Spread of the logarithm of a bright star's moments: noise, and variation of the PSF over the CCD."""

NEIGHBOUR_SHARE = 0.05
"""A neighbour with this share of a star's significance within the stamp spoils the star."""


class Candidates:
    """Columns of the detections from which stars are chosen: position, significance, moments, cleanness."""

    __slots__ = ("clean", "significance", "trace", "x", "y")

    def __init__(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        significance: NDArray[np.float64],
        trace: NDArray[np.float64],
        clean: NDArray[np.bool_],
    ) -> None:
        self.x = x
        self.y = y
        self.significance = significance
        self.trace = trace
        self.clean = clean


def size_locus(trace: NDArray[np.float64], significance: NDArray[np.float64]) -> float:
    """Return the size that stars share: the smallest at which bright sources crowd.

    Stars have one size and galaxies spread above it. The crowd at a size is the sum of the square roots of the significances
    around it; of all sizes with at least 0.6 of the densest crowd the smallest is taken, so that a field with more galaxies
    than stars still shows its stars.

    Parameters
    ----------
    trace
        Traces of the moments, positive and not empty.
    significance
        Significances of the sources.
    """
    logs = np.log(trace)
    kernel = np.exp(-0.5 * ((logs[:, None] - logs) / LOCUS_WIDTH) ** 2)
    crowd = kernel @ np.sqrt(significance)
    peak = int(np.argmin(np.where(crowd >= 0.6 * crowd.max(), logs, np.inf)))
    near = np.abs(logs - logs[peak]) < 2 * LOCUS_WIDTH
    return float(np.exp(np.average(logs[near], weights=np.sqrt(significance[near]))))


def select_stars(sources: Candidates, *, isolation: float, known: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return the indices of stars for the PSF, brightest first.

    Parameters
    ----------
    sources
        Detections; those not ``clean`` (masked core, saturation, too near the edge) are only neighbours.
    isolation
        Radius in pixels within which a star must have no neighbour worth noticing.
    known
        Sources that a catalogue knows as stars; used when there are at least eight that pass, else sizes alone decide.
    """
    bright = _bright_enough(sources)
    usable = sources.clean & bright & np.isfinite(sources.trace) & (sources.trace > 0)
    usable &= ~_crowded(sources, isolation)
    if known is not None and np.count_nonzero(usable & known) >= 8:
        usable &= known
    indices = np.flatnonzero(usable)
    if len(indices) == 0:
        return indices
    sizes = sources.trace[indices]
    best = indices[np.argsort(-sources.significance[indices], kind="stable")][: max(30, len(indices) // 2)]
    locus = size_locus(sources.trace[best], sources.significance[best])
    near = np.abs(np.log(sizes / locus)) < 0.2
    near &= np.abs(np.log(sizes / _trend(sources, indices, near, locus))) < 0.1
    kept = indices[near]
    return kept[np.argsort(-sources.significance[kept], kind="stable")][:MOST_STARS]


def _bright_enough(sources: Candidates) -> NDArray[np.bool_]:
    for limit in (60.0, 40.0, 25.0):
        bright = sources.significance > limit
        if np.count_nonzero(bright & sources.clean) >= 25:
            return bright
    return sources.significance > 15.0


def _crowded(sources: Candidates, radius: float) -> NDArray[np.bool_]:
    places = np.column_stack([sources.x, sources.y])
    crowded = np.zeros(len(places), np.bool_)
    if len(places) < 2:
        return crowded
    pairs = cKDTree(places).query_pairs(radius, output_type="ndarray")
    for one, other in ((0, 1), (1, 0)):
        star, neighbour = pairs[:, one], pairs[:, other]
        spoiled = sources.significance[neighbour] > NEIGHBOUR_SHARE * sources.significance[star]
        crowded[star[spoiled]] = True
    return crowded


def _trend(
    sources: Candidates, indices: NDArray[np.int64], near: NDArray[np.bool_], locus: float
) -> NDArray[np.float64]:
    """Expected star size at each place: a plane through the sizes near the locus, or the locus when they are few."""
    if np.count_nonzero(near) < 12:
        return np.full(len(indices), np.median(sources.trace[indices][near]) if near.any() else locus)
    x, y = sources.x[indices], sources.y[indices]
    design = np.column_stack([np.ones_like(x), x - x.mean(), y - y.mean()])
    sizes = np.log(sources.trace[indices])
    kept = near
    plane = np.full(len(indices), np.log(locus))
    for _ in range(3):
        solution, *_ = np.linalg.lstsq(design[kept], sizes[kept], rcond=None)
        plane = design @ solution
        kept = near & (np.abs(sizes - plane) < 0.1)
        if np.count_nonzero(kept) < 12:
            break
    return np.asarray(np.exp(plane), np.float64)
