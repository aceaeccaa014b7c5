"""Attribution at the density of size L: orbits fitted to earlier nights, carried to tonight, matched to a visit's sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, match_coordinates_sky

from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import simulate_survey
from processors.moving_objects.day_attribution import attribute_sources
from tests.support.attribution_survey import AttributionCase, AttributionScore, case_of, judge
from tests.support.timing import Measured, beside

__all__ = ["measure"]

Array = np.ndarray[Any, Any]

SEED, NIGHTS_BEFORE, VISITS = 924, 12, 4
NEAREST_ARCSEC = 1.0
"""Radius of the peer (ap_association: nearest source within 1 arcsec)."""


def measure() -> Iterator[Measured]:
    """Yield the comparison: our whole attribution beside the nearest neighbour alone, at places that are given to it."""
    survey = simulate_survey(SurveySettings(size="L", seed=SEED))
    case = case_of(survey, nights_before=NIGHTS_BEFORE, visits=VISITS)
    score, theirs = judge(case), nearest(case)
    yield beside(
        f"attribute {len(case.detections):,} sources to {len(case.orbits):,} orbits",
        lambda: attribute_sources(case.detections, case.orbits, case.sky),
        "astropy match_coordinates_sky, 1 arcsec",
        lambda: nearest(case),
        note=f"ours propagates, predicts with ellipses and matches one to one, the peer looks up our places; {score.known:,} "
        f"detections of known objects: right {100 * score.right:.2f} %, wrong {100 * score.wrong:.3f} %; the peer right "
        f"{100 * theirs.right:.2f} %, wrong {100 * theirs.wrong:.3f} %",
        errors=("detections of known objects not given to them, %", 100 * (1 - score.right), 100 * (1 - theirs.right)),
    )


def nearest(case: AttributionCase) -> AttributionScore:
    """Give each source to the nearest orbit's place at the middle of its visit, if it is within the radius."""
    answer = np.full(len(case.detections), -1, np.int64)
    for visit in np.unique(case.detections["visit"]):
        here = np.flatnonzero(case.detections["visit"] == visit)
        numbers, ra, dec = case.places(case.detections[here])
        sources = SkyCoord(case.detections["ra"][here] * u.deg, case.detections["dec"][here] * u.deg)
        which, apart, _ = match_coordinates_sky(sources, SkyCoord(ra * u.deg, dec * u.deg))
        close = apart.arcsec < NEAREST_ARCSEC
        answer[here[close]] = case.owner[numbers[which[close]]]
    return case.score(answer)
