"""The judge of links, on cases small enough to be judged by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from infra.telescope.detections.findable import good_nights
from infra.telescope.detections.observing import DETECTION
from infra.telescope.detections.survey import TRUE_DETECTION, TRUE_OBJECT
from tests.support.linking_score import score_links

NIGHT = 61305.1


def sky(rows: list[tuple[int, float, float]]) -> np.ndarray:
    """Detections from owner, days after the first night and right ascension in arcseconds; their numbers begin at 100."""
    detections = np.zeros(len(rows), DETECTION)
    detections["detection_id"] = 100 + np.arange(len(rows))
    detections["midpoint_mjd_tai"] = [NIGHT + day for _, day, _ in rows]
    detections["ra"] = [10 + ra / 3600 for _, _, ra in rows]
    return detections


def truth(rows: list[tuple[int, float, float]], classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    owned = np.zeros(len(rows), TRUE_DETECTION)
    owned["detection_id"], owned["object_id"] = 100 + np.arange(len(rows)), [owner for owner, _, _ in rows]
    objects = np.zeros(len(classes), TRUE_OBJECT)
    objects["object_id"], objects["object_class"] = np.arange(1, len(classes) + 1), classes
    groups, counts = good_nights(owned["object_id"], sky(rows))
    objects["n_good_nights"][groups - 1] = counts
    objects["findable"] = objects["n_good_nights"] >= 3
    return owned, objects


def pairs(owner: int, nights: list[int]) -> list[tuple[int, float, float]]:
    return [(owner, night + k * 0.02, 600 * night + 12 * k) for night in nights for k in range(2)]


@pytest.mark.parametrize(
    ("second", "good"),
    [((0.02, 12.0), 1), ((0.02, 0.9), 0), ((0.02, 1.1), 1), ((0.07, 12.0), 0), ((0.06, 12.0), 1), ((1.0, 12.0), 0)],
    ids=["a pair", "too close", "just apart", "two hours later", "86 minutes later", "next night"],
)
def test_two_detections_make_a_good_night_as_the_definition_says(second: tuple[float, float], good: int) -> None:
    rows = [(1, 0.0, 0.0), (1, *second)]
    groups, counts = good_nights(np.array([1, 1]), sky(rows))
    assert groups.tolist() == [1]
    assert counts.tolist() == [good]


def test_a_pair_with_a_third_detection_between_is_still_a_pair() -> None:
    rows = [(1, 0.0, 0.0), (1, 0.01, 0.6), (1, 0.02, 1.2)]
    assert good_nights(np.array([4, 4, 4]), sky(rows))[1].tolist() == [1]


def test_nothing_has_no_good_night_and_negative_groups_are_left_out() -> None:
    groups, counts = good_nights(np.array([-1, -1]), sky(pairs(-1, [0])))
    assert groups.size == counts.size == 0


def test_true_links_find_every_findable_body() -> None:
    rows = [*pairs(1, [0, 3, 6]), *pairs(2, [0, 3]), *pairs(3, [1, 4, 7, 10]), (-1, 0.0, 5.0)]
    owned, objects = truth(rows, [0, 0, 1])
    score = score_links([range(100, 106), range(110, 118)], sky(rows), owned, objects)
    assert (score.classes["MBA"].findable, score.classes["MBA"].found) == (1, 1)
    assert score.classes["NEO"].completeness == 1.0
    assert math.isnan(score.classes["TNO"].completeness)
    assert (score.purity, score.detections_recovered, score.split_objects, score.reused_detections) == (1.0, 1.0, 0, 0)
    assert "MBA 1/1" in score.lines()[0]


def test_a_link_of_two_bodies_finds_neither() -> None:
    rows = [*pairs(1, [0, 3, 6]), *pairs(2, [0, 3, 6])]
    owned, objects = truth(rows, [0, 0])
    score = score_links([range(100, 107), range(107, 112)], sky(rows), owned, objects)
    assert score.impure == (0,)
    assert score.purity == 0.5
    # The second link is pure and holds five of the second body's six detections, but only two nights' pairs.
    assert score.classes["MBA"].missed == (1, 2)
    assert score.detections_recovered == pytest.approx(5 / 12)


def test_a_link_with_a_false_detection_is_not_pure() -> None:
    rows = [*pairs(1, [0, 3, 6]), (-1, 9.0, 0.0)]
    owned, objects = truth(rows, [0])
    assert score_links([range(100, 107)], sky(rows), owned, objects).pure == 0
    assert score_links([[106]], sky(rows), owned, objects).pure == 0


def test_split_bodies_and_reused_detections_are_counted() -> None:
    rows = pairs(1, [0, 3, 6, 9, 12, 15])
    owned, objects = truth(rows, [3])
    score = score_links([range(100, 107), range(106, 112)], sky(rows), owned, objects)
    assert (score.split_objects, score.reused_detections, score.classes["TNO"].found) == (1, 1, 1)
    assert score.detections_recovered == 1.0


def test_no_links_find_nothing() -> None:
    rows = pairs(1, [0, 3, 6])
    owned, objects = truth(rows, [0])
    score = score_links([], sky(rows), owned, objects)
    assert (score.links, score.detections_recovered, score.classes["MBA"].found) == (0, 0.0, 0)
    assert math.isnan(score.purity)


def test_a_detection_the_survey_does_not_have_is_refused() -> None:
    rows = pairs(1, [0, 3, 6])
    owned, objects = truth(rows, [0])
    with pytest.raises(KeyError):
        score_links([[100, 999]], sky(rows), owned, objects)
