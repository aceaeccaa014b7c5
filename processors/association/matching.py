"""Candidate pairs of sources and objects, and how likely each pair is.

Candidates come from HEALPix buckets: the pixels are wider than the radius, so everything within the radius of a source
lies in its pixel or one of the eight around it. Nothing else (no box in right ascension, no rim points of a disc) finds all
pairs everywhere on the sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy_healpix import lonlat_to_healpix, neighbours

from processors.association.rules import Rules
from processors.association.sphere import chord_of, local_offsets, unit_vectors

__all__ = [
    "Pairs",
    "Points",
    "bucket_order",
    "candidate_pairs",
    "likelihood_costs",
    "pixels_around",
    "pixels_of",
    "same_source",
]

Array = np.ndarray[Any, Any]

_SIDE_ARCSEC = 58.6323 * 3600.0
"""Square root of the area of a HEALPix base pixel, arcseconds."""

_MARGIN = 3.0
"""Nominal pixel side over radius: the narrowest pixels, at the corners of the base pixels, are about half as wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Positions with their errors, in matching's own shape."""

    ra: Array
    """Degrees."""
    dec: Array
    """Degrees."""
    ra_err: Array
    """Arcseconds on the sky (times cos dec); NaN where unknown."""
    dec_err: Array
    """Arcseconds; NaN where unknown."""
    vectors: Array
    """Unit vectors, shape (n, 3)."""

    @classmethod
    def of(cls, rows: Array) -> Points:
        """Take them from rows with ra, dec, raErr, decErr in degrees."""
        return cls(
            ra=rows["ra"].astype(np.float64),
            dec=rows["dec"].astype(np.float64),
            ra_err=rows["raErr"].astype(np.float64) * 3600.0,
            dec_err=rows["decErr"].astype(np.float64) * 3600.0,
            vectors=unit_vectors(rows["ra"], rows["dec"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs within the radius, in order of source and then object (positions in their arrays)."""

    source: Array
    object: Array
    separation: Array
    """Arcseconds."""
    east: Array
    """Object minus source, arcseconds."""
    north: Array
    var_east: Array
    """Combined variance, square arcseconds, floored."""
    var_north: Array

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.source)

    def where(self, keep: Array) -> Pairs:
        """Return the pairs that a mask keeps."""
        return Pairs(**{name: getattr(self, name)[keep] for name in self.__slots__})


def pixels_of(ra: Array, dec: Array, order: int) -> Array:
    """Return the nested HEALPix pixels of positions in degrees."""
    if len(ra) == 0:
        return np.zeros(0, np.int64)
    found = lonlat_to_healpix(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg, 1 << order, order="nested")
    return np.asarray(found, np.int64)


def pixels_around(pixels: Array, order: int) -> Array:
    """Return each pixel and its eight neighbours, shape (9, n); -1 where a pixel has only seven."""
    if len(pixels) == 0:
        return np.zeros((9, 0), np.int64)
    with np.errstate(invalid="ignore"):  # astropy_healpix warns where there is no eighth neighbour
        around = np.asarray(neighbours(pixels, 1 << order, order="nested"), np.int64)
    return np.concatenate([pixels[None, :], around])


def candidate_pairs(sources: Points, objects: Points, rules: Rules) -> Pairs:
    """Find every pair of a source and an object within the radius, exactly.

    Parameters
    ----------
    sources, objects
        Finite positions; either may be empty.
    rules
        The radius and the errors to assume.
    """
    order = bucket_order(rules.radius_arcsec)
    buckets = pixels_of(objects.ra, objects.dec, order)
    by_bucket = np.argsort(buckets, kind="stable")
    ordered = buckets[by_bucket]
    around = pixels_around(pixels_of(sources.ra, sources.dec, order), order)
    first, last = np.searchsorted(ordered, around, "left"), np.searchsorted(ordered, around, "right")
    counts = np.where(around < 0, 0, last - first)
    source = np.repeat(np.broadcast_to(np.arange(around.shape[1]), around.shape).ravel(), counts.ravel())
    found = by_bucket[_ranges(first.ravel(), counts.ravel())]
    chord = np.linalg.norm(objects.vectors[found] - sources.vectors[source], axis=1)
    near = chord <= chord_of(rules.radius_arcsec)
    source, found = source[near], found[near]
    in_order = np.lexsort((found, source))
    return _pairs(sources, objects, source[in_order], found[in_order], rules)


def likelihood_costs(pairs: Pairs, detections: Array, rules: Rules) -> tuple[Array, float]:
    """Return the cost of each pair, and the cost of leaving a source without an object.

    The cost is the negative logarithm of a Gaussian likelihood of the offset with both position errors (as in
    ap_association since 2026) minus the logarithm of the number of times that the object was detected, the prior that keeps
    a twin from taking an old object's detections. Leaving a source alone costs more than any pair within the radius.

    Parameters
    ----------
    pairs
        Candidates.
    detections
        Detections so far of each pair's object, at least 1.
    rules
        The radius and the floor of the errors.
    """
    chi2 = pairs.east**2 / pairs.var_east + pairs.north**2 / pairs.var_north
    costs = 0.5 * chi2 + 0.5 * np.log(pairs.var_east * pairs.var_north) - np.log(np.maximum(detections, 1))
    worst = 0.5 * (rules.radius_arcsec / rules.error_floor_arcsec) ** 2 + 2.0 * np.log(_largest_error(rules))
    return costs, float(worst + 1.0)


def same_source(pairs: Pairs, rules: Rules) -> Array:
    """Return which pairs are rather one source seen twice than two sources that happen to lie so close.

    The density of the offset for one source, exp(-chi2 / 2) / (2 pi sigma_east sigma_north), is compared with the density
    of unrelated sources.
    """
    chi2 = pairs.east**2 / pairs.var_east + pairs.north**2 / pairs.var_north
    density = -0.5 * chi2 - 0.5 * np.log(pairs.var_east * pairs.var_north) - np.log(2.0 * np.pi)
    return np.asarray(density > np.log(rules.new_source_density))


def bucket_order(radius_arcsec: float) -> int:
    """Return the finest HEALPix order whose pixels are safely wider than a radius in arcseconds."""
    order = int(np.floor(np.log2(_SIDE_ARCSEC / (_MARGIN * radius_arcsec))))
    return min(max(order, 0), 24)


def _ranges(first: Array, counts: Array) -> Array:
    """Return first[i], first[i] + 1, ... counts[i] times for every i, joined."""
    total = int(counts.sum())
    starts = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.asarray(starts + np.arange(total), np.int64)


def _largest_error(rules: Rules) -> float:
    return max(rules.radius_arcsec, rules.error_floor_arcsec)


def _pairs(sources: Points, objects: Points, source: Array, found: Array, rules: Rules) -> Pairs:
    east, north = local_offsets(
        sources.ra[source], sources.dec[source], sources.vectors[source], objects.vectors[found]
    )
    return Pairs(
        source=source,
        object=found,
        separation=np.hypot(east, north),
        east=east,
        north=north,
        var_east=_variance(sources.ra_err[source], objects.ra_err[found], rules),
        var_north=_variance(sources.dec_err[source], objects.dec_err[found], rules),
    )


def _variance(one: Array, other: Array, rules: Rules) -> Array:
    total = _known(one, rules) ** 2 + _known(other, rules) ** 2
    return np.asarray(np.clip(total, rules.error_floor_arcsec**2, _largest_error(rules) ** 2))


def _known(errors: Array, rules: Rules) -> Array:
    return np.where(np.isfinite(errors) & (errors > 0.0), errors, rules.default_error_arcsec)
