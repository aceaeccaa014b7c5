"""Asking DayMOPS by hand: which nights of a folder are handed over, and what people are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from infra.settings import Settings
from processors.moving_objects.errors import InvalidDetectionsError
from schemas.events import DayMopsDecision
from schemas.tables import Claim
from streams.daymops.errors import DayMopsError
from streams.daymops.run import nights_by_hand, run_nights
from streams.daymops.words import sentence_of
from tests.support.day_fortnight import fortnight

FORTNIGHT = fortnight()


def test_nights_up_to_the_one_asked_for_are_handed_over_within_the_window() -> None:
    nights = nights_by_hand(FORTNIGHT.detections, 20260915, 4)
    assert [day_obs for day_obs, _ in nights] == [20260912, 20260913, 20260914, 20260915]
    assert all((rows["visit"] // 100_000 == day_obs).all() for day_obs, rows in nights)
    assert len(nights_by_hand(FORTNIGHT.detections, 20261231, 60)) == 14


def test_a_folder_without_such_nights_and_broken_detections_are_told() -> None:
    with pytest.raises(DayMopsError, match="no detections of night 20200101"):
        nights_by_hand(FORTNIGHT.detections, 20200101, 14)
    broken = FORTNIGHT.detections.copy()
    broken["dec"][3] = np.nan
    with pytest.raises(InvalidDetectionsError, match="declination"):
        nights_by_hand(broken, 20260915, 14)


@pytest.mark.parametrize("day_obs", [2026092, 20260231, 0, -20260921])
def test_what_is_no_night_is_refused_before_anything_is_asked(day_obs: int) -> None:
    with pytest.raises(DayMopsError, match=f"{day_obs} is no night"):
        run_nights(Settings(), day_obs)


def test_a_decision_is_told_in_a_sentence() -> None:
    claim = Claim(uri="x", sha256="x", size=1)
    counts = {"detections": 8.0, "attributed_known": 2.0, "attributed_ours": 1.0, "free_tracklets": 4.0, "orbits": 2.0}
    decision = DayMopsDecision(
        instrument="Sim", day_obs=20260921, sequence=0, window=(20260920, 20260921), tracklets=claim, orbits=claim,
        reassigned=claim, verdicts=claim, counts={**counts, "reportable": 1.0},
    )  # fmt: skip
    assert sentence_of(decision) == (
        "DayMOPS, night 20260921, window of 2 nights: 8 candidates, 3 attributed to known objects, 4 free tracklets, "
        "2 objects of our own (1 may be reported)."
    )
    assert "3 attributed to known objects, 1 objects of our own that the catalogue has under other names, 4 free" in (
        sentence_of(replace(decision, counts={**counts, "identified": 1.0}))
    )
