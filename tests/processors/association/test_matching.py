"""Candidates are exactly what brute force finds, everywhere on the sky; the assignment is the cheapest there is."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from processors.association.assignment import assign
from processors.association.duplicates import best_of_groups, group_duplicates
from processors.association.matching import (
    Points,
    bucket_order,
    candidate_pairs,
    likelihood_costs,
    pixels_around,
    pixels_of,
    same_source,
)
from processors.association.rules import Rules
from processors.association.sphere import local_offsets, positions_of, unit_vectors

Array = np.ndarray[Any, Any]

PLACES = [(0.0, 0.0), (359.9999, 12.0), (45.0, 41.8103149), (123.4, 90.0), (10.0, -90.0), (90.0, -41.81), (223.5, 4.0)]
"""Right ascension 0, corners of HEALPix base pixels, both poles, and nowhere in particular."""


def scatter(place: tuple[float, float], count: int, width_arcsec: float, rng: np.random.Generator) -> Array:
    """Return positions in a small square about a place."""
    frame = SkyCoord(*place, unit="deg").skyoffset_frame()
    x, y = rng.uniform(-width_arcsec / 2, width_arcsec / 2, (2, count))
    sky = SkyCoord(x, y, unit="arcsec", frame=frame).icrs
    rows = np.zeros(count, [("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4")])
    rows["ra"], rows["dec"] = sky.ra.deg % 360.0, sky.dec.deg
    rows["raErr"] = rows["decErr"] = 0.1 / 3600.0
    return rows


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius", [0.3, 1.0, 5.0])
def test_candidates_are_all_pairs_within_the_radius(place: tuple[float, float], radius: float) -> None:
    rng = np.random.default_rng(5)
    sources, objects = scatter(place, 300, 40.0, rng), scatter(place, 400, 40.0, rng)
    pairs = candidate_pairs(Points.of(sources), Points.of(objects), Rules(radius_arcsec=radius))
    here, there = (SkyCoord(rows["ra"], rows["dec"], unit="deg") for rows in (sources, objects))
    separation = here[:, None].separation(there[None, :]).arcsec
    expected = np.argwhere(separation <= radius)
    assert np.array_equal(np.stack([pairs.source, pairs.object], axis=1), expected)
    assert np.allclose(pairs.separation, separation[pairs.source, pairs.object], atol=1e-7)


def test_nothing_pairs_with_nothing() -> None:
    none, some = (
        scatter((10.0, 0.0), 0, 1.0, np.random.default_rng(1)),
        scatter((10.0, 0.0), 3, 1.0, np.random.default_rng(1)),
    )
    for sources, objects in ((none, some), (some, none), (none, none)):
        assert len(candidate_pairs(Points.of(sources), Points.of(objects), Rules())) == 0


@pytest.mark.parametrize("place", PLACES)
def test_local_offsets_agree_with_astropy(place: tuple[float, float]) -> None:
    rng = np.random.default_rng(9)
    rows, others = scatter(place, 50, 3.0, rng), scatter(place, 50, 3.0, rng)
    east, north = local_offsets(
        rows["ra"], rows["dec"], unit_vectors(rows["ra"], rows["dec"]), unit_vectors(others["ra"], others["dec"])
    )
    here, there = (SkyCoord(table["ra"], table["dec"], unit="deg") for table in (rows, others))
    angle, separation = here.position_angle(there).rad, here.separation(there).arcsec
    assert np.allclose(east, separation * np.sin(angle), atol=1e-6)
    assert np.allclose(north, separation * np.cos(angle), atol=1e-6)


def test_positions_survive_unit_vectors() -> None:
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    back_ra, back_dec = positions_of(unit_vectors(ra, dec))
    assert np.allclose(back_ra, ra, atol=1e-11)
    assert np.allclose(back_dec, dec, atol=1e-11)
    assert positions_of(np.array([[1.0, -1e-320, 0.0]]))[0][0] == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_the_assignment_is_the_cheapest(seed: int, sources: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    cost, alone = rng.normal(0.0, 10.0, (sources, objects)), 40.0
    present = rng.random((sources, objects)) < 0.3
    source, target = np.nonzero(present)
    chosen = assign(source, target, cost[present], alone)
    assert len(np.unique(source[chosen])) == len(np.unique(target[chosen])) == chosen.sum()
    total = cost[present][chosen].sum() + alone * (sources - chosen.sum())
    square = np.full((sources, objects + sources), 1e6)
    square[:, :objects][present] = cost[present]
    square[:, objects:][np.eye(sources, dtype=bool)] = alone
    rows, columns = linear_sum_assignment(square)
    assert np.isclose(total, square[rows, columns].sum())


def test_every_candidate_is_cheaper_than_none() -> None:
    rng = np.random.default_rng(3)
    rows = scatter((10.0, 10.0), 100, 3.0, rng)
    rows["raErr"][:30], rows["decErr"][:30] = np.nan, 1e-9
    rows["raErr"][30:40] = 1.0
    rules = Rules()
    pairs = candidate_pairs(Points.of(rows), Points.of(rows), rules)
    costs, alone = likelihood_costs(pairs, np.ones(len(pairs)), rules)
    assert np.isfinite(costs).all()
    assert costs.max() < alone


def test_an_object_seen_often_is_preferred_to_a_twin_as_near() -> None:
    source, objects = (
        scatter((10.0, 10.0), 1, 0.0, np.random.default_rng(1)),
        scatter((10.0, 10.0), 2, 0.0, np.random.default_rng(1)),
    )
    objects["dec"] += np.array([0.2, -0.2]) / 3600.0
    pairs = candidate_pairs(Points.of(source), Points.of(objects), Rules())
    costs, _ = likelihood_costs(pairs, np.array([1, 100]), Rules())
    assert costs[1] < costs[0]


def test_duplicates_are_grouped_by_likelihood() -> None:
    rows = scatter((0.0, 0.0), 5, 0.0, np.random.default_rng(1))
    rows["ra"] = (np.array([0.0, 0.15, -0.15, 0.9, 30.0]) / 3600.0) % 360.0
    groups = group_duplicates(Points.of(rows), Rules())
    assert groups.tolist() == [0, 0, 0, 1, 2]
    best = best_of_groups(groups, np.array([5.0, -9.0, 9.0, np.nan, 6.0]), np.array([10, 30, 20, 40, 50]))
    assert best.tolist() == [2, 3, 4]


def test_a_source_many_errors_away_is_another_one() -> None:
    rows = scatter((10.0, 10.0), 2, 0.0, np.random.default_rng(1))
    rows["dec"][1] += 0.9 / 3600.0
    pairs = candidate_pairs(Points.of(rows[:1]), Points.of(rows[1:]), Rules())
    assert same_source(pairs, Rules()).tolist() == [False]
    rows["raErr"] = rows["decErr"] = np.nan
    pairs = candidate_pairs(Points.of(rows[:1]), Points.of(rows[1:]), Rules())
    assert same_source(pairs, Rules()).tolist() == [True]


def test_pixels_are_wider_than_the_radius_everywhere() -> None:
    rng = np.random.default_rng(8)
    corners_ra, corners_dec = (
        rng.choice([0.0, 45.0, 90.0, 135.0, 270.0], 50_000),
        rng.choice([41.8103149, -41.8103149], 50_000),
    )
    ra = np.concatenate([rng.uniform(0, 360, 50_000), corners_ra + rng.normal(0, 1e-3, 50_000)]) % 360.0
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 50_000))), corners_dec + rng.normal(0, 1e-3, 50_000)])
    here, angle = SkyCoord(ra, dec, unit="deg"), rng.uniform(0, 360, 100_000)
    there = here.directional_offset_by(angle * u.deg, 1.0 * u.arcsec)
    order = bucket_order(1.0)
    around = pixels_around(pixels_of(ra, dec, order), order)
    target = pixels_of(there.ra.deg, there.dec.deg, order)
    assert (around == target).any(axis=0).all()
