"""The grouping of a real survey (PTF matchfile, 2,147 detections): association must find the survey's own objects."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from processors.association.rules import Rules
from tests.support.association_cases import Night, detector_result, source_rows, visit_number

SAMPLE = Path(__file__).parents[2] / "data" / "association" / "ptf_matchfile_truth.csv"


def test_the_objects_of_the_ptf_matchfile_are_found_at_one_and_a_half_arcseconds() -> None:
    with SAMPLE.open() as file:
        records = [record for record in csv.DictReader(file) if record["kind"] == "sourcedata"]
    night = Night(Rules(radius_arcsec=1.5))
    groups: dict[int, set[str]] = defaultdict(set)
    truth: dict[str, set[str]] = defaultdict(set)
    for index, exposure in enumerate(sorted({record["pid"] for record in records})):
        rows = sorted((r for r in records if r["pid"] == exposure), key=lambda record: record["sid"])
        visit, mjd = visit_number(index), float(rows[0]["mjd"])
        ra, dec = (np.array([float(row[name]) for row in rows]) for name in ("ra", "dec"))
        sources = source_rows(ra, dec, visit=visit, mjd=mjd)
        sources["raErr"] = sources["decErr"] = np.nan
        decision = night.decide(visit, [detector_result(sources, visit=visit, mjd=mjd)])
        for row, object_id in zip(rows, decision.diasources.to_array()["diaObjectId"].tolist(), strict=True):
            groups[object_id].add(row["sid"])
            truth[row["matchedSourceID"]].add(row["sid"])
    multiple = {frozenset(group) for group in truth.values() if len(group) > 1}
    found = {frozenset(group) for group in groups.values()}
    exact = len(multiple & found)
    assert exact >= len(multiple) - 2
    assert len(multiple) >= 1000
