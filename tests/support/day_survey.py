"""A small survey whose truth heyoka propagated, cut down for DayMOPS night by night; made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import simulate_survey
from processors.moving_objects.day_attribution import Sky
from processors.moving_objects.day_candidates import NightCandidates, night_by_hand
from processors.moving_objects.detections import day_obs_of, night_numbers

__all__ = ["DaySurvey", "day_survey"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class DaySurvey:
    """One body in so many of a survey, and its false detections thinned alike."""

    detections: Array
    true_detections: Array
    true_objects: Array
    sky: Sky

    def nights(self) -> list[NightCandidates]:
        """Return the nights in order."""
        numbers = night_numbers(self.detections["midpoint_mjd_tai"])
        return [night_by_hand(day_obs_of(int(n)), self.detections[numbers == n]) for n in np.unique(numbers)]

    def owners(self) -> dict[int, int]:
        """Return whose each detection truly is, -1 for nobody."""
        truth = self.true_detections
        return dict(zip(truth["detection_id"].tolist(), truth["object_id"].tolist(), strict=True))


@cache
def day_survey(seed: int, *, every: int = 10, nights: int = 14) -> DaySurvey:
    """Return a survey of size S, of which one body in so many is kept."""
    survey = simulate_survey(SurveySettings(size="S", seed=seed, nights=nights))
    owner = survey.true_detections["object_id"]
    keep = np.where(owner >= 0, owner % every == 0, np.arange(len(owner)) % every == 0)
    detections = survey.detections[keep]
    times = detections["midpoint_mjd_tai"]
    return DaySurvey(
        detections=detections,
        true_detections=survey.true_detections[keep],
        true_objects=survey.true_objects[survey.true_objects["object_id"] % every == 0],
        sky=Sky(
            solar_system=load_solar_system(float(times.min()) - 60, float(times.max()) + 60),
            observatory=observatory("X05"),
        ),
    )
