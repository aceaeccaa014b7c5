"""Precovery against a survey whose truth heyoka integrated: what is found, what is refused, and who gets what."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from infra.ephemerides import load_solar_system
from processors.moving_objects.detections import night_numbers
from processors.moving_objects.discoveries import V_LESS_BAND, absolute_magnitudes
from processors.moving_objects.errors import InvalidDetectionsError
from processors.moving_objects.orbit_fit import fit_many
from processors.moving_objects.precovery import Holdings, PrecoveryRules, precover
from schemas.orbits import orbit_rows
from tests.support.orbit_arcs import TrueArcs, simulated_arcs

pytest.importorskip("heyoka")

Array = np.ndarray[Any, Any]
NIGHTS, KNOWN_NIGHTS = 30, 13
"""The orbits hold what was seen in the last thirteen of thirty nights."""


@dataclass(frozen=True)
class Case:
    """New orbits, what they hold, and past nights with their true owners (-1: nobody's)."""

    orbits: Array
    held: Holdings
    detections: Array
    observers: Array
    owner: Array


@functools.cache
def solar_system() -> Any:
    return load_solar_system(60990.0, 61050.0)


@functools.cache
def case(name: str, count: int, seed: int, strangers: int = 12) -> Case:
    truth = simulated_arcs(name, count, seed=seed, nights=NIGHTS, seen=(8, 12))
    # The same brightness in V, not in the bands, whose filters change from visit to visit.
    truth.detections["mag"] -= np.array(V_LESS_BAND, np.float32)[truth.detections["band"]]
    owner = np.repeat(np.arange(count), np.diff(truth.offsets))
    night = night_numbers(truth.detections["midpoint_mjd_tai"])
    late = night > night.max() - KNOWN_NIGHTS
    nights = [len(np.unique(night[late & (owner == k)])) for k in range(count)]
    linked = np.flatnonzero(np.array(nights) >= 3)
    mine = late & np.isin(owner, linked)
    place = np.searchsorted(linked, owner)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(place[mine], minlength=len(linked)))])
    fits = fit_many(_only(truth, mine, offsets))
    h = absolute_magnitudes(
        truth.detections[mine], offsets, fits, observers=truth.observers[mine], solar_system=solar_system()
    )
    past = ~late & np.isin(owner, linked)
    around, seen_from = _strangers(truth.detections[past], truth.observers[past], strangers, seed)
    return Case(
        orbits=_orbits(fits, h),
        held=Holdings(detections=truth.detections[mine], offsets=offsets, observers=truth.observers[mine]),
        detections=np.concatenate([truth.detections[past], around]),
        observers=np.concatenate([truth.observers[past], seen_from]),
        owner=np.concatenate([place[past], np.full(len(around), -1)]),
    )


def _only(truth: TrueArcs, kept: Array, offsets: Array) -> Any:
    from processors.moving_objects.arcs import arcs

    return arcs(
        truth.detections[kept], offsets, mjd_tdb=truth.mjd_tdb[kept], observers=truth.observers[kept],
        sun_velocities=truth.sun_velocities[kept],
    )  # fmt: skip


def _orbits(fits: Any, h: Array) -> Array:
    rows = orbit_rows(len(h))
    for k, name in enumerate(("x", "y", "z", "vx", "vy", "vz")):
        rows[name] = fits.states[:, k]
    rows["epoch_mjd_tdb"], rows["h"] = fits.epochs_mjd_tdb, h
    return rows


def _strangers(real: Array, observers: Array, count: int, seed: int) -> tuple[Array, Array]:
    """Return detections of nobody within 0.15 degrees of every real one: 170 a square degree for a count of 12."""
    random = np.random.default_rng(seed)
    rows = np.repeat(real, count)
    rows["detection_id"] = 10_000_000 + np.arange(len(rows))
    radius, angle = 0.15 * np.sqrt(random.uniform(size=len(rows))), random.uniform(0, 2 * np.pi, len(rows))
    rows["dec"] += radius * np.sin(angle)
    rows["ra"] = (rows["ra"] + radius * np.cos(angle) / np.cos(np.radians(rows["dec"]))) % 360.0
    rows["mag"] += random.normal(0, 0.5, len(rows)).astype(np.float32)
    return rows, np.repeat(observers, count, axis=0)


def owners_of(found: Array, one: Case) -> Array:
    order = np.argsort(one.detections["detection_id"])
    return one.owner[order[np.searchsorted(one.detections["detection_id"][order], found["detection_id"])]]


def run(one: Case, **changes: Any) -> Array:
    given = {"orbits": one.orbits, "held": one.held, "detections": one.detections, "observers": one.observers} | changes
    return precover(
        given["orbits"], given["held"], given["detections"], given["observers"], solar_system=solar_system(),
        rules=given.get("rules"),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "count", "share"), [("MBA", 60, 0.9), ("JT", 30, 0.9), ("TNO", 20, 0.9)])
def test_the_past_detections_of_new_orbits_are_found_and_strangers_are_not(name: str, count: int, share: float) -> None:
    one = case(name, count, 41)
    found = run(one)
    assert (owners_of(found, one) == found["orbit"]).mean() >= 0.99
    assert len(found) >= share * (one.owner >= 0).sum()


def test_near_earth_objects_are_found_after_a_fortnight_of_faster_motion() -> None:
    one = case("NEO", 30, 42)
    found = run(one)
    assert (owners_of(found, one) == found["orbit"]).mean() >= 0.99
    assert len(found) >= 0.85 * (one.owner >= 0).sum()


def test_the_answer_does_not_depend_on_the_order_of_detections_or_on_a_second_delivery() -> None:
    one = case("TNO", 20, 41)
    random = np.random.default_rng(3).permutation(len(one.detections))
    twice = np.concatenate([random, random[:50]])
    np.testing.assert_array_equal(run(one), run(one, detections=one.detections[twice], observers=one.observers[twice]))


def test_of_two_orbits_that_are_alike_one_gets_each_detection() -> None:
    one = case("TNO", 20, 41)
    first = one.held.offsets[1]
    held = Holdings(
        detections=np.concatenate([one.held.detections[:first]] * 2), offsets=np.array([0, first, 2 * first]),
        observers=np.concatenate([one.held.observers[:first]] * 2),
    )  # fmt: skip
    found = run(one, orbits=one.orbits[[0, 0]], held=held)
    assert len(found) >= (one.owner == 0).sum() - 2
    assert len(np.unique(found["detection_id"])) == len(found)


def test_what_is_near_but_does_not_fit_is_refused() -> None:
    one = case("TNO", 20, 41, strangers=0)
    aside = one.detections.copy()
    aside["dec"] += 8.0 / 3600.0
    assert len(run(one, detections=aside)) == 0


def test_a_magnitude_that_is_another_objects_and_a_trail_across_the_motion_are_refused() -> None:
    one = case("TNO", 20, 41, strangers=0)
    brighter, trailed, unknown = one.detections.copy(), one.detections.copy(), one.detections.copy()
    brighter["mag"] -= 3.0
    assert len(run(one, detections=brighter)) == 0
    unknown["mag"] = np.nan
    assert len(run(one, detections=unknown)) == len(run(one))
    trailed["trail_length_arcsec"] = 2.0
    every = sum(len(run(one, detections=_with(trailed, trail_angle_deg=angle))) for angle in (0.0, 60.0, 120.0))
    assert 0 < every <= len(run(one)) * 1.01


def test_an_orbit_takes_no_second_detection_of_a_visit_that_it_was_found_in() -> None:
    one = case("MBA", 60, 41)
    copies = one.held.detections.copy()
    copies["detection_id"] += 50_000_000
    assert len(run(one, detections=copies, observers=one.held.observers)) == 0


def test_a_single_detection_is_taken_only_where_hardly_a_stranger_would_be() -> None:
    one = case("MBA", 60, 41)
    own = one.owner >= 0
    nights = night_numbers(one.detections["midpoint_mjd_tai"])
    first = np.unique(np.stack([one.owner[own], nights[own]]), axis=1, return_index=True)[1]
    alone = ~own
    alone[np.flatnonzero(own)[first]] = True
    singles = {"detections": one.detections[alone], "observers": one.observers[alone]}
    found = run(one, **singles)
    assert len(found) >= 0.9 * len(first)
    assert (owners_of(found, one) == found["orbit"]).mean() >= 0.99
    # Of pairs that only chance has made there may be some, of singles none where none is allowed.
    assert len(run(one, **singles, rules=PrecoveryRules(single_chance=0.0))) <= 4


def test_among_strangers_alone_next_to_nothing_is_found() -> None:
    one = case("MBA", 60, 41)
    strangers = one.owner < 0
    found = run(one, detections=one.detections[strangers], observers=one.observers[strangers])
    assert len(found) <= 0.005 * (one.owner >= 0).sum()


def test_nothing_to_search_and_detections_that_break_the_contract() -> None:
    one = case("TNO", 20, 41)
    assert len(run(one, detections=one.detections[:0], observers=one.observers[:0])) == 0
    assert len(run(one, orbits=one.orbits[:0])) == 0
    with pytest.raises(InvalidDetectionsError, match="position error"):
        run(one, detections=_with(one.detections, ra_err_arcsec=0.0))


def test_an_orbit_without_a_fit_finds_nothing_and_disturbs_nobody() -> None:
    one = case("TNO", 20, 41)
    broken = one.orbits.copy()
    broken["x"][3] = np.nan
    without = one.held.detections.copy()
    without["ra_err_arcsec"][one.held.offsets[3] : one.held.offsets[4]] = np.nan
    held = Holdings(detections=without, offsets=one.held.offsets, observers=one.held.observers)
    found = run(one, orbits=broken, held=held)
    assert set(found["orbit"].tolist()) == set(range(len(one.orbits))) - {3}


def _with(rows: Array, **values: Any) -> Array:
    out = rows.copy()
    for name, value in values.items():
        out[name] = value
    return out
