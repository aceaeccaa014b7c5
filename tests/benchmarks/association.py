"""Matching the 10,000 sources of a visit to 30,000 objects beside astropy's nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, match_coordinates_sky

from processors.association.assignment import assign
from processors.association.matching import Points, candidate_pairs, likelihood_costs
from processors.association.rules import Rules
from tests.support.timing import Measured, beside

SOURCES, OBJECTS, FIELD_DEG = 10_000, 30_000, 3.5


def measure() -> Iterator[Measured]:
    """Yield the comparison."""
    objects = rows(OBJECTS, seed=1)
    sources = rows(SOURCES, seed=2)
    moved = np.random.default_rng(3).normal(0, 0.05 / 3600, (2, SOURCES // 2))
    for axis, name in enumerate(("ra", "dec")):
        sources[name][: SOURCES // 2] = objects[name][: SOURCES // 2] + moved[axis]
    sources["ra"] %= 360.0
    yield beside(
        "match 10,000 sources to 30,000 objects",
        lambda: by_likelihood(sources, objects),
        "astropy match_to_catalog_sky",
        lambda: by_astropy(sources, objects),
        note="ours all pairs, likelihood, one-to-one at least cost; theirs the nearest object alone",
    )


def rows(count: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Return positions over one pointing that straddles RA = 0."""
    rng = np.random.default_rng(seed)
    table = np.zeros(count, [(name, "f8") for name in ("ra", "dec", "raErr", "decErr")])
    table["ra"] = rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, count) % 360.0
    table["dec"] = rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, count)
    table["raErr"] = table["decErr"] = 0.05 / 3600
    return table


def by_likelihood(sources: np.ndarray[Any, Any], objects: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Match as association does."""
    rules = Rules()
    pairs = candidate_pairs(Points.of(sources), Points.of(objects), rules)
    costs, alone = likelihood_costs(pairs, np.ones(len(pairs)), rules)
    return assign(pairs.source, pairs.object, costs, alone)


def by_astropy(sources: np.ndarray[Any, Any], objects: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Match to the nearest."""
    one, other = (SkyCoord(t["ra"] * u.deg, t["dec"] * u.deg) for t in (sources, objects))
    _, separation, _ = match_coordinates_sky(one, other)
    return np.asarray(separation.arcsec < 1.0)
