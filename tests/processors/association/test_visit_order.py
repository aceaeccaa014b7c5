"""Which visit may be told of which objects follows from the log alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.association.visit_order import VisitOrder
from schemas.events import Cancelled, IntegrationStarted, VisitClosed, VisitEvent
from tests.support.association_night import announcement

CLOSED = VisitClosed(outcomes=(), last_readout_mjd_tai=1.0, last_readout_sent_unix_s=17.0, reason="complete")
FACTS = {"a": announcement(0), "x": Cancelled(reason="cloud"), "c": CLOSED}


def told(log: str) -> list[tuple[int, int | None]]:
    """Return answers to a log such as ``a1 a2 c1``: announced, cancelled (x), closed visits."""
    order, answers = VisitOrder(), []
    for word in log.split():
        event = VisitEvent(instrument="TestCam", visit=int(word[1:]), fact=FACTS[word[0]])
        answers += [(answer.visit, answer.as_of_visit) for answer in order.apply(event)]
    return answers


@pytest.mark.parametrize(
    ("log", "answers"),
    [
        ("a1 a2", [(1, None), (2, None)]),
        ("a1 a2 a3 c1", [(1, None), (2, None), (3, 1)]),
        ("a1 c1 a2 c2 a3", [(1, None), (2, None), (3, 1)]),
        ("a1 a2 a3 a4 c1 c2", [(1, None), (2, None), (3, 1), (4, 2)]),
        ("a1 a2 x2 a3 c1", [(1, None), (2, None), (3, None)]),
        ("a1 a2 a3 a4 x2 c1", [(1, None), (2, None), (3, None), (4, 1)]),
        ("a1 a2 a3 x3 c1 c2", [(1, None), (2, None)]),
        ("a1 a1 a2 c1 c1 a3 a3", [(1, None), (2, None), (3, 1)]),
    ],
)
def test_an_announced_visit_is_told_of_the_visit_two_before(log: str, answers: list[tuple[int, int | None]]) -> None:
    assert told(log) == answers


def test_what_is_known_of_visits_is_remembered() -> None:
    order = VisitOrder()
    announced = replace(announcement(0), band="g")
    order.apply(VisitEvent(instrument="TestCam", visit=1, fact=announced))
    started = IntegrationStarted(exposure=1, snap=0, start_mjd_tai=1.0)
    assert order.apply(VisitEvent(instrument="TestCam", visit=1, fact=started)) == []
    assert not order.is_closed(1)
    order.apply(VisitEvent(instrument="TestCam", visit=1, fact=CLOSED))
    assert order.is_closed(1)
    assert order.announcement(1) == announced
    assert order.announcement(2) is None
    assert (order.readout_sent(1), order.readout_sent(2)) == (17.0, 0.0)
