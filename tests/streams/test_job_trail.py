"""The story of a job is told from all logs, in order of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from processors.differencing.snap_consistency import SNAP_DTYPE
from schemas import events, public
from schemas.tables import Claim, Table
from streams.event_log import Logged
from streams.job_trail import trail

VISIT = 2027011500010
CLAIM = Claim(uri="u", sha256="ab" * 32, size=77)


def logged(at: float, event: Any, offset: int = 0) -> Logged:
    return Logged(at_unix_s=at, partition=0, offset=offset, key=b"i", event=event)


def fact(job_id: str, what: Any, kind: events.JobKind = events.JobKind.DETECTOR) -> events.JobEvent:
    return events.JobEvent(job_id=job_id, kind=kind, instrument="i", visit=VISIT, detectors=(3,), fact=what)


def available(exposure: int, detector: int = 3, visit: int = VISIT) -> events.ExposureEvent:
    raw = events.AvailableExposure(raw=CLAIM, header={})
    return events.ExposureEvent(instrument="i", visit=visit, exposure=exposure, snap=0, detector=detector, fact=raw)


def result(job_id: str) -> events.DetectorResult:
    return events.DetectorResult(
        instrument="i", visit=VISIT, detector=3, job_id=job_id, band="r", midpoint_mjd_tai=61400.0, exposure_time=30.0,
        diasources=Table.from_array(public.null_rows("diaSource", 5)),
        forced=Table.from_array(public.null_rows("diaForcedSource", 2)), metrics={}, cutouts=None, calibrated=None,
        inputs={}, notes=("one snap only",),
    )  # fmt: skip


def closed(status: events.OutcomeStatus = events.OutcomeStatus.SUCCEEDED) -> events.VisitEvent:
    ref = events.ResultRef(job_id="d-1", epoch=2, sha256="cd" * 32, partition=0, offset=9)
    outcome = events.DetectorOutcome(detector=3, status=status, result=ref)
    end = events.VisitClosed(
        outcomes=(outcome,), last_readout_mjd_tai=0.0, last_readout_sent_unix_s=0.0, reason="complete"
    )
    return events.VisitEvent(instrument="i", visit=VISIT, fact=end)


PLANNED = events.Planned(inputs={"release": "f" * 64}, exposures=(VISIT,), priority=50, parameters={})
LEASED = events.Leased(worker="w", epoch=1)


def test_the_trail_of_a_detector_job_holds_frames_result_and_end() -> None:
    moments = trail(
        [logged(1, fact("d-1", PLANNED)), logged(2, fact("d-1", LEASED))],
        exposures=[
            logged(4, available(VISIT)),
            logged(5, available(VISIT, detector=4)),
            logged(5, available(1, visit=1)),
        ],
        results=[logged(6, result("d-1"), 9), logged(7, result("other"))],
        visits=[logged(8, closed())],
    )
    assert [(m.at_unix_s, m.topic, m.what) for m in moments] == [
        (1, "jobs", "planned"),
        (2, "jobs", "leased"),
        (4, "exposures", "available"),
        (6, "detector-results", "result"),
        (8, "visit-events", "closed"),
    ]
    assert moments[3].sentence == "5 DIASources and 2 forced sources, offset 9; one snap only"
    assert "detector 3 succeeded, result cdcdcdcdcdcd accepted" in moments[4].sentence


def test_a_result_of_two_snaps_says_which_saw_its_sources() -> None:
    told = np.zeros(5, SNAP_DTYPE)
    told["presence"] = (3, 1, 2, 0, 3)
    two = replace(result("d-1"), snaps=Table.from_array(told), notes=())
    moments = trail([logged(1, fact("d-1", PLANNED))], exposures=(), results=[logged(6, two, 9)], visits=())
    assert moments[-1].sentence == "5 DIASources (2 in both snaps, 2 in one alone) and 2 forced sources, offset 9"


def test_an_archive_job_is_of_its_own_exposure() -> None:
    job = f"a-{VISIT}-R22"
    moments = trail(
        [logged(1, fact(job, PLANNED, events.JobKind.ARCHIVE))],
        exposures=[logged(2, available(VISIT)), logged(3, available(VISIT + 1))],
        results=(),
        visits=[logged(4, closed())],
    )
    assert [m.what for m in moments] == ["planned", "available", "closed"]
    assert "detector" not in moments[-1].sentence


def test_a_lost_frame_says_why() -> None:
    lost = events.ExposureEvent(
        instrument="i", visit=VISIT, exposure=VISIT, snap=0, detector=3, fact=events.LostExposure(reason="no file")
    )
    moments = trail([logged(1, fact("d-1", PLANNED))], exposures=[logged(2, lost)], results=(), visits=())
    assert moments[-1].sentence == f"exposure {VISIT}, detector 3 is lost: no file"


def test_what_an_expired_lease_says_is_marked_refused() -> None:
    facts = [
        LEASED,
        events.Expired(worker="w", epoch=1),
        events.Leased(worker="v", epoch=2),
        events.Succeeded(worker="w", epoch=1, result=None, metrics={}),
    ]
    moments = trail(
        [logged(at, fact("d-1", what)) for at, what in enumerate(facts)], exposures=(), results=(), visits=()
    )
    assert [m.refused for m in moments] == [False, False, False, True]
