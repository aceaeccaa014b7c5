"""Which tracklets arrive together: neighbours within a cell of the hypotheses, and the sets that one orbit explains.

Each tracklet arrives at the epoch with four numbers (two of direction, two of rate) that are known up to noise and to a linear
function of the two numbers that the cell leaves open. The least squares of any set of tracklets over the six unknowns have a
closed form, and its sums add: a tracklet is 21 sums, a set is the sum of its members'. So a pair of tracklets is already
tested (four numbers against two unknowns), a triple sharply, before any orbit is fitted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from processors.moving_objects.sky_index import moving_order, ranges, zone_starts, zone_window

__all__ = ["MOST_IN_SET", "find_sets", "tangent_basis"]

MOST_IN_SET = 40
"""Tracklets of one candidate at most: more nights than a window of 30 with spare room."""

_MOST_NEIGHBOURS = 192
"""Neighbours of a tracklet that are looked at; those beyond, in the order of the sky, are left to their own search."""

_MOST_TRIPLES = 1500
"""Triples of one tracklet that are tried: 55 neighbours in full."""

_SUMS = 21
"""Weight (3), slopes by weight of both axes (8), slopes squared (3), values by weight (4), slopes by values (2), values squared."""


@njit(cache=True)
def _sums_of(y: Any, slopes: Any, a: float, b: float, c: float, out: Any) -> None:
    """Write the sums of one tracklet: values (2 axes x 2), slopes (2 axes x 2 x 2), and its inverse covariance per axis."""
    out[0], out[1], out[2] = a, b, c
    out[11], out[12], out[13], out[18], out[19], out[20] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for axis in range(2):
        p, r = y[axis, 0], y[axis, 1]
        wp, wr = a * p + b * r, b * p + c * r
        out[14 + 2 * axis], out[15 + 2 * axis] = wp, wr
        out[20] += p * wp + r * wr
        for k in range(2):
            kp, kr = slopes[axis, k, 0], slopes[axis, k, 1]
            out[3 + 4 * axis + k], out[5 + 4 * axis + k] = a * kp + b * kr, b * kp + c * kr
            out[18 + k] += kp * wp + kr * wr
        k0p, k0r, k1p, k1r = slopes[axis, 0, 0], slopes[axis, 0, 1], slopes[axis, 1, 0], slopes[axis, 1, 1]
        out[11] += k0p * (a * k0p + b * k0r) + k0r * (b * k0p + c * k0r)
        out[12] += k0p * (a * k1p + b * k1r) + k0r * (b * k1p + c * k1r)
        out[13] += k1p * (a * k1p + b * k1r) + k1r * (b * k1p + c * k1r)


@njit(cache=True)
def _solve(sums: Any, prior: Any, out: Any) -> float:
    """Return chi2 at the best place in the cell; write that place (2) and the common arrival (2 axes x 2) into ``out``."""
    a, b, c = sums[0], sums[1], sums[2]
    det = a * c - b * b
    ia, ib, ic = c / det, -b / det, a / det
    n00, n01, n11 = sums[11] + prior[0], sums[12], sums[13] + prior[1]
    h0, h1, chi2 = -sums[18], -sums[19], sums[20]
    for axis in range(2):
        yp, yr = sums[14 + 2 * axis], sums[15 + 2 * axis]
        s0p, s1p, s0r, s1r = sums[3 + 4 * axis], sums[4 + 4 * axis], sums[5 + 4 * axis], sums[6 + 4 * axis]
        v0p, v0r = ia * s0p + ib * s0r, ib * s0p + ic * s0r
        v1p, v1r = ia * s1p + ib * s1r, ib * s1p + ic * s1r
        n00 -= s0p * v0p + s0r * v0r
        n01 -= s0p * v1p + s0r * v1r
        n11 -= s1p * v1p + s1r * v1r
        h0 += yp * v0p + yr * v0r
        h1 += yp * v1p + yr * v1r
        chi2 -= yp * (ia * yp + ib * yr) + yr * (ib * yp + ic * yr)
    det = n00 * n11 - n01 * n01
    d0, d1 = (n11 * h0 - n01 * h1) / det, (n00 * h1 - n01 * h0) / det
    chi2 -= d0 * h0 + d1 * h1
    out[0], out[1] = d0, d1
    for axis in range(2):
        p = sums[14 + 2 * axis] + sums[3 + 4 * axis] * d0 + sums[4 + 4 * axis] * d1
        r = sums[15 + 2 * axis] + sums[5 + 4 * axis] * d0 + sums[6 + 4 * axis] * d1
        out[2 + 2 * axis], out[3 + 2 * axis] = ia * p + ib * r, ib * p + ic * r
    return float(chi2)


@njit(cache=True)
def tangent_basis(u: Any, e: Any) -> None:
    """Write two unit vectors at right angles to a direction and to each other."""
    if abs(u[2]) < 0.9:
        n = math.sqrt(u[0] * u[0] + u[1] * u[1])
        e[0, 0], e[0, 1], e[0, 2] = -u[1] / n, u[0] / n, 0.0
    else:
        n = math.sqrt(u[1] * u[1] + u[2] * u[2])
        e[0, 0], e[0, 1], e[0, 2] = 0.0, -u[2] / n, u[1] / n
    e[1, 0] = u[1] * e[0, 2] - u[2] * e[0, 1]
    e[1, 1] = u[2] * e[0, 0] - u[0] * e[0, 2]
    e[1, 2] = u[0] * e[0, 1] - u[1] * e[0, 0]


@njit(cache=True)
def _relative(seed: Any, other: Any, e: Any, y: Any, slopes: Any) -> None:
    """Write another tracklet's arrival in the tangent plane of the seed's."""
    for axis in range(2):
        p, r, p0, r0, p1, r1 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(3):
            p += (other[k] - seed[k]) * e[axis, k]
            r += (other[3 + k] - seed[3 + k]) * e[axis, k]
            p0 += other[6 + k] * e[axis, k]
            r0 += other[9 + k] * e[axis, k]
            p1 += other[12 + k] * e[axis, k]
            r1 += other[15 + k] * e[axis, k]
        y[axis, 0], y[axis, 1] = p, r
        slopes[axis, 0, 0], slopes[axis, 0, 1], slopes[axis, 1, 0], slopes[axis, 1, 1] = p0, r0, p1, r1


@njit(cache=True)
def _weights(noise: Any, floor: Any) -> Any:
    """Return the inverse covariance of position and rate at the epoch: noise is (sigma, rate sigma, days to the epoch)."""
    t, s2, w2 = noise[2], noise[0] * noise[0], noise[1] * noise[1]
    p, pr, r = s2 + t * t * w2 + floor[0] * floor[0], t * w2, w2 + floor[1] * floor[1]
    det = p * r - pr * pr
    return r / det, -pr / det, p / det


@njit(cache=True)
def _neighbours(
    i: int, arrival: Any, motion: Any, noise: Any, nights: Any, ras: Any, bins: Any, starts: Any, steps: int, height: float, reach: Any,
    floor: Any, prior: Any, limit: float, e: Any, found: Any, sums: Any, work: Any,
) -> int:  # fmt: skip
    """Find the tracklets of other nights that pair with one; write which, and their sums behind the seed's own."""
    y, slopes, pair, place = np.zeros((2, 2)), np.empty((2, 2, 2)), work[0], work[1]
    seed = arrival[i]
    tangent_basis(seed, e)
    _relative(seed, seed, e, y, slopes)
    a, b, c = _weights(noise[i], floor)
    _sums_of(y, slopes, a, b, c, sums[0])
    radius2, speed2 = np.float32(reach[0] * reach[0]), np.float32(reach[1] * reach[1])
    u0, u1, u2, w0, w1, w2 = seed[0], seed[1], seed[2], seed[3], seed[4], seed[5]
    count = 0
    near = np.empty(9, np.int64)
    for r in range(ranges(bins[i], steps, (starts.shape[0] - 1) // steps, near)):
        begin, end, more, last = zone_window(ras, starts, near[r], height, ras[i], reach[0], steps)
        for q in range(begin, end + last - more):
            j = q if q < end else more + q - end
            far = (motion[j, 0] - u0) ** 2 + (motion[j, 1] - u1) ** 2 + (motion[j, 2] - u2) ** 2
            if far > radius2:
                continue
            fast = (motion[j, 3] - w0) ** 2 + (motion[j, 4] - w1) ** 2 + (motion[j, 5] - w2) ** 2
            if fast > speed2 or nights[j] == nights[i]:
                continue
            _relative(seed, arrival[j], e, y, slopes)
            a, b, c = _weights(noise[j], floor)
            _sums_of(y, slopes, a, b, c, sums[1 + count])
            for k in range(_SUMS):
                pair[k] = sums[0, k] + sums[1 + count, k]
            if _solve(pair, prior, place) > limit:
                continue
            found[count] = j
            count += 1
            if count == found.shape[0]:
                return count
    return count


@njit(cache=True)
def _grow(
    chosen: Any, used: int, count: int, sums: Any, total: Any, night: Any, prior: Any, limit: float, work: Any
) -> Any:
    """Add to a set, night by night, the neighbour that raises chi2 least while it stays below the limit per tracklet."""
    trial, place = work[0], work[1]
    now = _solve(total, prior, place)
    taken = np.zeros(count, np.bool_)
    for m in range(used):
        for j in range(count):
            taken[j] = taken[j] or night[j] == night[chosen[m]]
    while used < MOST_IN_SET - 1:
        best, lowest = -1, now + limit
        for j in range(count):
            if taken[j]:
                continue
            for k in range(_SUMS):
                trial[k] = total[k] + sums[1 + j, k]
            chi2 = _solve(trial, prior, place)
            if chi2 < lowest:
                best, lowest = j, chi2
        if best < 0:
            break
        for k in range(_SUMS):
            total[k] += sums[1 + best, k]
        chosen[used] = best
        used += 1
        now = lowest
        for j in range(count):
            taken[j] = taken[j] or night[j] == night[best]
    return used, now


@njit(cache=True)
def _best_sets(
    count: int, sums: Any, night: Any, prior: Any, limits: Any, best: Any, sizes: Any, chi2s: Any, places: Any
) -> int:
    """Find up to two sets of neighbours that fit with the seed: most nights first, then least chi2. Return how many."""
    work, total, chosen = np.empty((2, _SUMS)), np.empty(_SUMS), np.empty(MOST_IN_SET, np.int64)
    sets, tried = 0, 0
    covered = np.zeros((count, count), np.bool_)
    for j in range(count):
        for k in range(j + 1, count):
            if night[j] == night[k] or covered[j, k] or tried == _MOST_TRIPLES:
                continue
            tried += 1
            for m in range(_SUMS):
                total[m] = sums[0, m] + sums[1 + j, m] + sums[1 + k, m]
            if _solve(total, prior, work[1]) > limits[1]:
                continue
            chosen[0], chosen[1] = j, k
            used, chi2 = _grow(chosen, 2, count, sums, total, night, prior, limits[2], work)
            for m in range(used):
                for n in range(used):
                    covered[min(chosen[m], chosen[n]), max(chosen[m], chosen[n])] = True
            slot = sets
            if sets == 2:
                slot = 1 if (sizes[1], -chi2s[1]) < (sizes[0], -chi2s[0]) else 0
                if (used, -chi2) <= (sizes[slot], -chi2s[slot]):
                    continue
            else:
                sets += 1
            best[slot, :used] = chosen[:used]
            sizes[slot], chi2s[slot] = used, chi2
            _solve(total, prior, work[1])
            places[slot] = work[1, :6]
    return sets


@njit(cache=True)
def find_sets(
    arrival: Any, noise: Any, nights: Any, seeded: Any, reach: Any, floor: Any, halves: Any, limits: Any
) -> Any:
    """Find sets of tracklets of three nights or more that arrive together in a cell.

    Parameters
    ----------
    arrival
        Shape (n, 18), see ``hypotheses.ARRIVAL``.
    noise
        Error of position (radians) and rate (radians per day) and days from the tracklet to the epoch, shape (n, 3).
    nights
        Shape (n,).
    seeded
        Which tracklets a set must start from, boolean, shape (n,): all, or tonight's.
    reach
        How far apart directions (radians) and rates (radians per day) may be.
    floor
        Errors of the linear model itself, in both.
    halves
        Half widths of the cell.
    limits
        Greatest chi2 of a pair and a triple, and what each further tracklet may add.

    Returns
    -------
    tuple
        Sizes, members (positions among the arrivals, the seed first) one set after the other, and for each set the place in
        the cell and the common arrival (seed's direction and rate plus offsets in its tangent plane), shape (m, 6).
    """
    height = max(reach[0], 0.002)
    order, bins, ras, steps = moving_order(
        arrival[:, :3].astype(np.float64), arrival[:, 3:6].astype(np.float64), height, reach[1]
    )
    arrival, noise, nights, seeded = arrival[order], noise[order], nights[order], seeded[order]
    starts = zone_starts(bins, height, steps)
    motion = arrival[:, :6].copy()  # what every comparison reads lies close together
    prior = np.array([1.0 / halves[0] ** 2, 1.0 / halves[1] ** 2])
    found, sums = np.empty(_MOST_NEIGHBOURS, np.int64), np.empty((_MOST_NEIGHBOURS + 1, _SUMS))
    e, work = np.empty((2, 3)), np.empty((2, _SUMS))
    best, chosen_sizes = np.empty((2, MOST_IN_SET), np.int64), np.zeros(2, np.int64)
    chi2s, places = np.zeros(2), np.empty((2, 6))
    sizes, members, results = np.empty(256, np.int64), np.empty(2048, np.int64), np.empty((256, 6))
    sets, used = 0, 0
    for i in range(arrival.shape[0]):
        if not seeded[i]:
            continue
        count = _neighbours(
            i,
            arrival,
            motion,
            noise,
            nights,
            ras,
            bins,
            starts,
            steps,
            height,
            reach,
            floor,
            prior,
            limits[0],
            e,
            found,
            sums,
            work,
        )
        if count < 2:
            continue
        several = _best_sets(count, sums, nights[found[:count]], prior, limits, best, chosen_sizes, chi2s, places)
        for s in range(several):
            if sets == sizes.shape[0]:
                sizes, results = np.append(sizes, sizes), np.concatenate((results, results))
            if used + MOST_IN_SET > members.shape[0]:
                members = np.append(members, members)
            members[used] = order[i]
            for m in range(chosen_sizes[s]):
                members[used + 1 + m] = order[found[best[s, m]]]
            sizes[sets] = chosen_sizes[s] + 1
            results[sets] = places[s]
            used += sizes[sets]
            sets += 1
    return sizes[:sets], members[:used], results[:sets]
