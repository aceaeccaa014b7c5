"""The view of a night follows the logs and knows when the night is over."""

from __future__ import annotations

import io

from rich.console import Console

from schemas import events
from schemas.tables import Claim
from streams.night.display import NightDisplay
from streams.night.watch import NightView, fold, night_ended

VISIT = 2026112900001


def visit_event(fact: object, visit: int = VISIT) -> events.VisitEvent:
    return events.VisitEvent(instrument="i", visit=visit, fact=fact)  # type: ignore[arg-type]


ANNOUNCED = visit_event(
    events.Announced(
        group_id="g",
        day_obs=20261129,
        n_snaps=1,
        band="r",
        ra=0,
        dec=0,
        rotation=0,
        exposure_time=15,
        start_mjd_tai=61373,
        duration=30,
        camera="tiny",
        detectors=(1, 2),
        survey="s",
    )
)
STARTED = visit_event(events.IntegrationStarted(exposure=VISIT, snap=0, start_mjd_tai=1))
READ = visit_event(events.ReadoutEnded(exposure=VISIT, snap=0, end_mjd_tai=1, sent_unix_s=1))
FRAME = events.ExposureEvent(
    instrument="i",
    visit=VISIT,
    exposure=VISIT,
    snap=0,
    detector=1,
    fact=events.AvailableExposure(raw=Claim(uri="u", sha256="s", size=1), header={}),
)
CLOSED = visit_event(
    events.VisitClosed(
        outcomes=(
            events.DetectorOutcome(detector=1, status=events.OutcomeStatus.SUCCEEDED),
            events.DetectorOutcome(detector=2, status=events.OutcomeStatus.FAILED, reason="r"),
        ),
        last_readout_mjd_tai=1,
        last_readout_sent_unix_s=1,
        reason="complete",
    )
)
MANIFEST = events.AlertManifest(
    visit=VISIT,
    expected=3,
    published=3,
    quarantined=0,
    alert_ids=(1, 2, 3),
    digest="",
    failed_detectors=(2,),
    complete=True,
    latency_p50_s=5,
    latency_p95_s=6,
    latency_max_s=7,
)


def job(detector: int, fact: object) -> events.JobEvent:
    return events.JobEvent(
        job_id=f"d-{detector}",
        kind=events.JobKind.DETECTOR,
        instrument="i",
        visit=VISIT,
        detectors=(detector,),
        fact=fact,  # type: ignore[arg-type]
    )


SUCCEEDED = job(1, events.Succeeded(worker="w", epoch=1, result=None, metrics={"cpu_isr_s": 0.5, "psf_stars": 9}))
FAILED = job(2, events.Failed(worker="w", epoch=1, code="c", reason="r", retriable=False))


def test_a_visit_goes_through_its_stages() -> None:
    view, stages = NightView(day_obs=20261129), []
    for event in (ANNOUNCED, STARTED, FRAME, READ, SUCCEEDED, FAILED, CLOSED, MANIFEST):
        view = fold(view, event)
        stages.append(view.visits[VISIT].stage)
    assert list(dict.fromkeys(stages)) == ["announced", "observing", "processing", "associating", "published"]
    visit = view.visits[VISIT]
    assert (visit.succeeded, visit.failed, visit.frames, visit.cpu_s) == ({1}, {2}, 1, {"cpu_isr_s": 0.5})
    assert night_ended(view, planned=1)
    assert not night_ended(view, planned=2)


def test_a_repeated_success_counts_once_and_another_nights_events_not_at_all() -> None:
    view = fold(fold(NightView(day_obs=20261129), SUCCEEDED), SUCCEEDED)
    assert view.visits[VISIT].cpu_s == {"cpu_isr_s": 0.5}
    assert fold(view, visit_event(events.Cancelled(reason="r"), visit=2026113000001)) is view


def test_a_cancelled_visit_has_ended() -> None:
    view = fold(fold(NightView(day_obs=20261129), ANNOUNCED), visit_event(events.Cancelled(reason="clouds")))
    assert night_ended(view, planned=1)


def test_off_a_terminal_each_change_is_one_line() -> None:
    out = io.StringIO()
    view = NightView(day_obs=20261129)
    with NightDisplay(Console(file=out, width=200)) as display:
        for event in (ANNOUNCED, STARTED, READ, SUCCEEDED, CLOSED, MANIFEST, MANIFEST):
            view = fold(view, event)
            display.show(view)
    lines = out.getvalue().splitlines()
    assert lines[0] == f"visit {VISIT} r: announced"
    assert lines[-1] == (
        f"visit {VISIT} r: published, 1/2 detectors, 1 failed, 3 alerts, the last 7.0 s after read-out"
    )
    assert len(lines) == len(set(lines))


def test_on_a_terminal_it_draws_a_table() -> None:
    out = io.StringIO()
    with NightDisplay(Console(file=out, width=120, force_terminal=True)) as display:
        display.show(fold(fold(NightView(day_obs=20261129), ANNOUNCED), MANIFEST))
    assert "Night 20261129" in out.getvalue()
    assert "3/3" in out.getvalue()
