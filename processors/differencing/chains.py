"""Join the pieces of long trails: peaks of one sign on a line along which the score does not fall back to nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Chain", "find_chains", "join_chains"]

LINK_PIXELS = 90.0
"""Largest distance of neighbouring pieces of a trail: some 18 arcseconds in which it stays below the threshold."""

LINK_SCORE = 1.5
"""Least median score between two pieces."""

LINK_SHARE = 0.4
"""Least median score between two pieces as a part of the fainter one's, and least score of one piece as a part of another's: a
trail is as bright everywhere, two sources are not."""

END_SHARE = 0.25
"""Part of a trail's score below which it has ended: beyond may lie the skirts of something else."""

LINK_SIGNIFICANCE = 4.0
"""Least significance of that median, in sigma, over as many samples as PSF widths fit between."""

GAP_SHARE = 0.15
"""Largest gap between two parts of a trail, in parts of their lengths: the shutter is closed between the snaps."""

STRAIGHT_PIXELS = 1.6
"""Largest scatter of a chain's peaks about their line."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Peaks that are one trail."""

    members: NDArray[np.int64]
    """Indices of the peaks, the strongest first."""
    x: float
    y: float
    """Middle, pixels."""
    length: float
    """Pixels."""
    angle: float
    """Radians from the x axis."""


def find_chains(snr: Pixels, peaks: Pixels, fwhm: float) -> list[Chain]:
    """Find the trails among peaks.

    Parameters
    ----------
    snr
        Score map.
    peaks
        Result of `detect_peaks`, strongest first.
    fwhm
        Width of the PSF, pixels.

    Returns
    -------
    list
        Chains of at least two peaks, in the order of their strongest ones; no peak is in two.
    """
    if len(peaks) < 2:
        return []
    x, y = peaks["x"].astype(np.float64), peaks["y"].astype(np.float64)
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(LINK_PIXELS, output_type="ndarray")
    same = peaks["snr"][pairs[:, 0]] * peaks["snr"][pairs[:, 1]] > 0
    pairs = pairs[same]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)
    linked = np.asarray(_linked(np.ascontiguousarray(snr), x, y, peaks["snr"].astype(np.float64), pairs, fwhm))
    sign = np.sign(peaks["snr"]).astype(np.float64)
    chains = _lines(np.ascontiguousarray(snr), (x, y, sign), pairs[linked], fwhm)
    return _absorbed(_bridged(chains, peaks["snr"], fwhm), x, y, peaks["snr"])


def _lines(snr: Pixels, peaks: tuple[Pixels, Pixels, Pixels], links: Pixels, fwhm: float) -> list[Chain]:
    """Return the lines through linked peaks; what a line leaves of a group is looked at again, since trails may meet."""
    x, y, sign = peaks
    chains: list[Chain] = []
    while len(links):
        group = np.asarray(_groups(len(x), links))
        found = []
        for first in np.unique(group[links[:, 0]]):
            chain = _straight(snr, x, y, np.flatnonzero(group == first), float(sign[first]), fwhm)
            found += [chain] if chain is not None else []
        if not found:
            break
        chains += found
        taken = np.isin(np.arange(len(x)), np.concatenate([chain.members for chain in found]))
        links = links[~taken[links].any(axis=1)]
    return sorted(chains, key=lambda chain: int(chain.members[0]))


def _absorbed(chains: list[Chain], x: Pixels, y: Pixels, score: Pixels) -> list[Chain]:
    """Add to chains the peaks on them that stand too close to others to be linked; brighter sources stay alone."""
    taken = np.zeros(len(x), dtype=bool)
    for chain in chains:
        taken[chain.members] = True
    out = []
    for chain in chains:
        dx, dy = x - chain.x, y - chain.y
        along, across = (
            dx * np.cos(chain.angle) + dy * np.sin(chain.angle),
            -dx * np.sin(chain.angle) + dy * np.cos(chain.angle),
        )
        level = float(np.median(score[chain.members]))
        own = (np.abs(along) < 0.5 * chain.length + 2) & (np.abs(across) < 2 * STRAIGHT_PIXELS) & ~taken
        own &= (score * level > 0) & (np.abs(score) < 2 * abs(level))
        taken |= own
        out.append(replace(chain, members=np.sort(np.concatenate([chain.members, np.flatnonzero(own)]))))
    return out


def _bridged(chains: list[Chain], score: Pixels, fwhm: float) -> list[Chain]:
    """Join chains as bright as one another that go on in one another's line beyond a short gap."""
    done = False
    while not done:
        done = True
        for n, first in enumerate(chains):
            m = next((m for m in range(n + 1, len(chains)) if _continues(first, chains[m], score, fwhm)), -1)
            if m >= 0:
                chains = [*chains[:n], _union(first, chains[m]), *chains[n + 1 : m], *chains[m + 1 :]]
                done = False
                break
    return chains


def _continues(first: Chain, second: Chain, score: Pixels, fwhm: float) -> bool:
    levels = [float(np.median(score[chain.members])) for chain in (first, second)]
    if levels[0] * levels[1] <= 0 or min(map(abs, levels)) < LINK_SHARE * max(map(abs, levels)):
        return False
    dx, dy = second.x - first.x, second.y - first.y
    distance = float(np.hypot(dx, dy))
    gap = distance - 0.5 * (first.length + second.length)
    if gap > GAP_SHARE * (first.length + second.length) + 2 * fwhm:
        return False
    across = [
        abs(-dx * np.sin(c.angle) + dy * np.cos(c.angle)) / (0.05 * distance + STRAIGHT_PIXELS) for c in (first, second)
    ]
    return bool(max(across) < 1.0)


def _union(first: Chain, second: Chain) -> Chain:
    ends = np.array(
        [
            [c.x + side * 0.5 * c.length * np.cos(c.angle), c.y + side * 0.5 * c.length * np.sin(c.angle)]
            for c in (first, second)
            for side in (-1, 1)
        ]
    )
    gaps = np.hypot(*(ends[:, None] - ends[None]).transpose(2, 0, 1))
    i, j = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    (x0, y0), (x1, y1) = ends[i], ends[j]
    return Chain(
        members=np.sort(np.concatenate([first.members, second.members])),
        x=float(x0 + x1) / 2,
        y=float(y0 + y1) / 2,
        length=float(gaps[i, j]),
        angle=float(np.arctan2(y1 - y0, x1 - x0)),
    )


def join_chains(peaks: Pixels, chains: list[Chain]) -> tuple[Pixels, dict[int, Chain]]:
    """Keep of each chain its strongest peak alone, without a partner; return the peaks left and the chains by their index."""
    keep = np.ones(len(peaks), dtype=bool)
    for chain in chains:
        keep[chain.members[1:]] = False
    place = np.cumsum(keep) - 1
    left = peaks[keep]
    by_index = {int(place[chain.members[0]]): chain for chain in chains}
    left["partner_snr"][list(by_index)] = 0.0
    return left, by_index


def _straight(snr: Pixels, x: Pixels, y: Pixels, members: NDArray[np.int64], sign: float, fwhm: float) -> Chain | None:
    """Return the line through peaks, drawn out to where the score ends; None when they are on none."""
    if len(members) < 2:
        return None
    while True:
        centre = np.array([x[members].mean(), y[members].mean()])
        offsets = np.column_stack([x[members], y[members]]) - centre
        direction = np.linalg.svd(offsets, full_matrices=False)[2][0]
        across = np.abs(offsets @ np.array([-direction[1], direction[0]]))
        if float(np.sqrt(np.mean(across**2))) <= STRAIGHT_PIXELS:
            break
        # A source that the trail happens to touch is no part of it.
        members = np.delete(members, int(np.argmax(across)))
        if len(members) < 3:
            return None
    along = offsets @ direction
    rows, columns = (np.floor(v[members] + 0.5).astype(np.int64) for v in (y, x))
    # The highest of three correlated scores of noise is 0.4 on average.
    least = max(LINK_SCORE + 0.4, END_SHARE * float(np.median(np.abs(snr[rows, columns]))))
    ends = [
        float(_walk(np.ascontiguousarray(snr), centre + along_end * direction, turn * direction, sign * least, fwhm))
        for along_end, turn in ((along.min(), -1.0), (along.max(), 1.0))
    ]
    low, high = along.min() - ends[0], along.max() + ends[1]
    middle = centre + direction * (low + high) / 2
    return Chain(
        members=members,
        x=float(middle[0]),
        y=float(middle[1]),
        length=float(high - low),
        angle=float(np.arctan2(direction[1], direction[0])),
    )


@njit(cache=True)
def _highest(snr: Any, x: float, y: float, dx: float, dy: float, sign: float) -> float:
    """Return the score at a place, the highest of three across the direction given."""
    best = -1e30
    for k in range(-1, 2):
        r, c = int(np.floor(y + k * dx + 0.5)), int(np.floor(x - k * dy + 0.5))
        if 0 <= r < snr.shape[0] and 0 <= c < snr.shape[1]:
            best = max(best, sign * snr[r, c])
    return best if best > -1e29 else 0.0


@njit(cache=True)
def _skirt(distance: float, fwhm: float) -> float:
    """Return the score of a source at a distance, as a part of its peak: a Gaussian, broadened by the matched filter."""
    return math.exp(-0.5 * (distance / (0.65 * fwhm)) ** 2)


@njit(cache=True)
def _linked(snr: Any, x: Any, y: Any, score: Any, pairs: Any, fwhm: float) -> Any:
    """Tell between which peaks the score stays up."""
    out = np.zeros(pairs.shape[0], dtype=np.bool_)
    line = np.empty(int(LINK_PIXELS) + 2)
    sign, peak = np.sign(score), np.abs(score)
    for n in range(pairs.shape[0]):
        i, j = pairs[n, 0], pairs[n, 1]
        dx, dy = x[j] - x[i], y[j] - y[i]
        distance = np.hypot(dx, dy)
        if distance < 1.8 * fwhm or min(peak[i], peak[j]) < LINK_SHARE * max(peak[i], peak[j]):
            continue
        margin = 1.2 * fwhm
        steps = max(int(distance - 2 * margin), 0)
        if steps == 0:
            margin = 0.5 * distance
        for k in range(steps + 1):
            t = (margin + k) / distance
            r, c = int(np.floor(y[i] + t * dy + 0.5)), int(np.floor(x[i] + t * dx + 0.5))
            line[k] = sign[i] * snr[r, c]
            # Two sources close by meet in their skirts: these are no light between them.
            line[k] -= peak[i] * _skirt(np.hypot(c - x[i], r - y[i]), fwhm)
            line[k] -= peak[j] * _skirt(np.hypot(c - x[j], r - y[j]), fwhm)
        middle = np.median(line[: steps + 1])
        least = max(LINK_SCORE, LINK_SHARE * min(peak[i], peak[j]))
        out[n] = middle > least and middle * np.sqrt((steps + 1) / fwhm) > LINK_SIGNIFICANCE
    return out


@njit(cache=True)
def _groups(count: int, links: Any) -> Any:
    """Return for every peak the first peak of its group."""
    parent = np.arange(count)
    for n in range(links.shape[0]):
        a, b = links[n, 0], links[n, 1]
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        parent[max(a, b)] = min(a, b)
    for k in range(count):
        root = k
        while parent[root] != root:
            root = parent[root]
        parent[k] = root
    return parent


@njit(cache=True)
def _walk(snr: Any, start: Any, step: Any, least: float, fwhm: float) -> float:
    """Return how far beyond a peak the score stays above the least, of whose sign it is, pixels."""
    sign = np.sign(least)
    window = int(3 * fwhm)
    reached = 0.0
    for k in range(400):
        total = 0.0
        for m in range(window):
            total += _highest(snr, start[0] + (k + m) * step[0], start[1] + (k + m) * step[1], step[0], step[1], sign)
        if total / window < abs(least):
            break
        reached = k + window / 2
    return reached
