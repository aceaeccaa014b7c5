"""Summaries against plain Python on each object's list of detections, and against closed forms."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.association.blocks import FORCED_ROW, SOURCE_ROW
from processors.association.summary import BANDS, summarise
from schemas.public import dia_object_dtype, to_public_record

Array = np.ndarray[Any, Any]


def history(seed: int, objects: int) -> tuple[Array, Array, Array]:
    """Return sources, forced sources and ids of objects with one detection per visit at most."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(10**15, objects, replace=False)).astype(np.int64) + 1
    sources, forced = np.zeros(objects * 12, SOURCE_ROW), np.zeros(objects * 15, FORCED_ROW)
    for table, name, visits in ((sources, "diaSourceId", 12), (forced, "diaForcedSourceId", 15)):
        table["diaObjectId"], table["visit"] = np.repeat(ids, visits), np.tile(np.arange(visits), objects)
        table["mjd"] = 61000.0 + table["visit"] * 3.7 + 0.25
        table[name] = np.arange(len(table)) + 1
        table["band"] = rng.choice([band.encode() for band in BANDS], len(table))
        table["psfFlux"], table["psfFluxErr"] = rng.normal(0, 900, len(table)), rng.uniform(10, 90, len(table))
    sources["ra"], sources["dec"] = rng.normal(0, 1e-5, len(sources)) % 360.0, 5.0 + rng.normal(0, 1e-5, len(sources))
    sources["raErr"], sources["decErr"] = rng.uniform(1e-6, 1e-5, (2, len(sources)))
    sources["scienceFlux"], sources["scienceFluxErr"] = rng.normal(9e3, 900, len(sources)), 55.0
    sources["snr"] = sources["psfFlux"] / sources["psfFluxErr"]
    sources["psfFlux"][rng.random(len(sources)) < 0.1] = np.nan
    sources["scienceFluxErr"][rng.random(len(sources)) < 0.1] = 0.0
    forced["psfFluxErr"][rng.random(len(forced)) < 0.1] = np.nan
    keep = rng.random(len(sources)) < 0.6
    return sources[keep], forced[rng.random(len(forced)) < 0.7], ids


def usable(rows: list[Any], name: str) -> list[tuple[float, float, float]]:
    """Return time, flux and error of the rows that count."""
    values = [(float(row["mjd"]), float(row[name]), float(row[f"{name}Err"])) for row in rows]
    return [value for value in values if math.isfinite(value[1]) and math.isfinite(value[2]) and value[2] > 0.0]


def weighted(values: list[tuple[float, float, float]]) -> tuple[float, float] | tuple[None, None]:
    """Return the inverse-variance mean and its error."""
    if not values:
        return None, None
    total = math.fsum(1 / error**2 for _, _, error in values)
    return math.fsum(flux / error**2 for _, flux, error in values) / total, total**-0.5


def by_hand(sources: list[Any], forced: list[Any]) -> dict[str, Any]:
    """Return the expected public fields of one object."""
    times = [float(row["mjd"]) for row in sources]
    expected: dict[str, Any] = {
        "nDiaSources": len(sources),
        "firstDiaSourceMjdTai": min(times, default=None),
        "lastDiaSourceMjdTai": max(times, default=None),
    }
    for band in BANDS:
        detections = usable([row for row in sources if row["band"] == band.encode()], "psfFlux")
        fluxes = [flux for _, flux, _ in detections]
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(detections)]
        science = usable([row for row in sources if row["band"] == band.encode()], "scienceFlux")
        at_object = usable([row for row in forced if row["band"] == band.encode()], "psfFlux")
        expected |= {
            f"{band}_psfFluxNdata": len(detections),
            f"{band}_psfFluxMin": min(fluxes, default=None),
            f"{band}_psfFluxMax": max(fluxes, default=None),
            f"{band}_psfFluxSigma": statistics.stdev(fluxes) if len(fluxes) > 1 else None,
            f"{band}_psfFluxErrMean": statistics.fmean(e for _, _, e in detections) if detections else None,
            f"{band}_psfFluxMaxSlope": max(slopes, default=None),
        }
        for field, values in (("psfFlux", detections), ("scienceFlux", science), ("fpFlux", at_object)):
            expected[f"{band}_{field}Mean"], expected[f"{band}_{field}MeanErr"] = weighted(values)
    return expected


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_field_equals_what_plain_python_gives(seed: int) -> None:
    sources, forced, ids = history(seed, 12)
    shuffled = np.random.default_rng(seed).permutation
    rows = summarise(sources[shuffled(len(sources))], forced[shuffled(len(forced))], ids, processed_mjd_tai=61111.5)
    assert rows.tobytes() == summarise(sources, forced, ids, processed_mjd_tai=61111.5).tobytes()
    for row, identifier in zip(rows, ids.tolist(), strict=True):
        record = to_public_record(row, "diaObject")
        mine = [s for s in sources if s["diaObjectId"] == identifier]
        expected = by_hand(mine, [f for f in forced if f["diaObjectId"] == identifier])
        for name, value in expected.items():
            if value is None:
                assert record[name] is None, name
            else:
                assert record[name] == pytest.approx(value, rel=2e-7, abs=1e-7), name
        covered = {"diaObjectId", "validityStartMjdTai", "ra", "dec", "raErr", "decErr", "ra_dec_Cov"}
        assert covered | set(expected) == set(dia_object_dtype().names or ())


def test_a_mean_position_across_right_ascension_zero_is_near_zero() -> None:
    sources, _, _ = history(1, 1)
    sources = sources[:2].copy()
    sources["ra"], sources["dec"] = [359.9999, 0.0001], [10.0, 10.0]
    sources["raErr"], sources["decErr"], sources["ra_dec_Cov"] = 3e-5, [3e-5, np.nan], np.nan
    row = summarise(sources, np.zeros(0, FORCED_ROW), sources["diaObjectId"][:1], processed_mjd_tai=1.0)[0]
    assert min(row["ra"], 360.0 - row["ra"]) < 1e-9
    assert row["raErr"] == pytest.approx(3e-5 / 2**0.5, rel=1e-6)
    assert row["decErr"] == pytest.approx(3e-5, rel=1e-6)
    assert np.isnan(row["ra_dec_Cov"])


def test_duplicates_within_a_visit_weigh_once_but_are_counted() -> None:
    sources, forced, ids = history(3, 1)
    alone = summarise(sources, forced, ids, processed_mjd_tai=1.0)[0]
    double = sources[:1].copy()
    double["diaSourceId"], double["snr"], double["psfFlux"] = 10**6, 0.0, 1e9
    both = summarise(np.concatenate([double, sources]), forced, ids, processed_mjd_tai=1.0)[0]
    assert both["nDiaSources"] == alone["nDiaSources"] + 1
    both["nDiaSources"] = alone["nDiaSources"]
    assert both.tobytes() == alone.tobytes()


def test_nothing_is_known_of_an_object_without_history() -> None:
    row = summarise(np.zeros(0, SOURCE_ROW), np.zeros(0, FORCED_ROW), np.array([7]), processed_mjd_tai=3.0)[0]
    record = to_public_record(row, "diaObject")
    known = {name: value for name, value in record.items() if value is not None and not math.isnan(value)}
    counts = {f"{band}_psfFluxNdata": 0 for band in BANDS}
    assert known == {"diaObjectId": 7, "validityStartMjdTai": 3.0, "nDiaSources": 0, **counts}
    assert (
        len(summarise(np.zeros(0, SOURCE_ROW), np.zeros(0, FORCED_ROW), np.zeros(0, np.int64), processed_mjd_tai=3.0))
        == 0
    )
