"""The DMCS's stage: facts go to their topics, and other instruments are refused."""

from __future__ import annotations

from typing import Any

import pytest

from processors.control.visit_saga import SagaRules
from processors.control.visit_state import SagaState
from schemas.events import Announced, IntegrationStarted, Planned, VisitEvent
from streams.dmcs.stage import AFTER_RESTART_S, dmcs_spec
from streams.errors import UnknownInstrumentError
from streams.stage import Incoming

VISIT = 2027011500001
RULES = SagaRules(instrument="NightcastSim", camera="tiny")
ANNOUNCED = Announced(
    group_id="20270115-00001",
    day_obs=20270115,
    n_snaps=1,
    band="r",
    ra=0.0,
    dec=0.0,
    rotation=0.0,
    exposure_time=1.0,
    start_mjd_tai=61420.0,
    duration=2.0,
    camera="tiny",
    detectors=(0, 1),
    survey="",
)


def incoming(fact: Any, instrument: str = "NightcastSim") -> Incoming:
    event = VisitEvent(instrument=instrument, visit=VISIT, fact=fact)
    return Incoming(topic="visit-events", partition=0, offset=0, key=None, record=event, timestamp_s=100.0)


def test_plans_go_to_jobs_with_the_inputs_of_the_moment() -> None:
    spec = dmcs_spec(RULES, lambda: {"release": "ab"})
    _, outgoing = spec.handle(SagaState(), incoming(ANNOUNCED), 0.0)
    assert [(o.topic, o.key, o.record.detectors) for o in outgoing] == [("jobs", "NightcastSim", (d,)) for d in (0, 1)]
    assert all(isinstance(o.record.fact, Planned) and o.record.fact.inputs == {"release": "ab"} for o in outgoing)


def test_lost_exposures_and_closings_go_to_their_topics_by_timer() -> None:
    spec = dmcs_spec(RULES, dict)
    assert spec.tick is not None
    state, _ = spec.handle(SagaState(), incoming(ANNOUNCED), 0.0)
    state, lost = spec.tick(state, 1000.0)
    assert [(o.topic, o.record.detector) for o in lost] == [("exposures", 0), ("exposures", 1)]
    _, closed = spec.tick(state, 1000.0 + RULES.close_after_s)
    assert [(o.topic, o.record.fact.reason) for o in closed] == [("visit-events", "deadline")]


def test_the_timer_keeps_quiet_after_a_restart_until_the_bridge_had_its_say() -> None:
    spec = dmcs_spec(RULES, dict)
    assert spec.tick is not None
    assert spec.restored is not None
    state, _ = spec.handle(SagaState(), incoming(ANNOUNCED), 0.0)
    spec.restored(state, ())
    for now in (1000.0, 1000.0 + AFTER_RESTART_S - 0.1):
        assert spec.tick(state, now) == (state, [])
    started = IntegrationStarted(exposure=VISIT, snap=0, start_mjd_tai=0.0)
    in_time, _ = spec.handle(state, incoming(started), 1001.0)
    for known, lost in ((in_time, 0), (state, 2)):
        _, outgoing = spec.tick(known, 1000.0 + AFTER_RESTART_S)
        assert sum(o.topic == "exposures" for o in outgoing) == lost


def test_another_instrument_is_refused() -> None:
    spec = dmcs_spec(RULES, dict)
    fact = IntegrationStarted(exposure=VISIT, snap=0, start_mjd_tai=0.0)
    with pytest.raises(UnknownInstrumentError):
        spec.handle(SagaState(), incoming(fact, "LATISS"), 0.0)
