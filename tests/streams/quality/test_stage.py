"""Quality is a fold of jobs, closed visits and manifests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import events
from streams.quality.stage import QualityState, fold, quality_spec
from tests.support.assembled import incoming

VISIT = 2027011500010
GOOD = {"psf_fwhm_arcsec": 0.8, "psf_stars": 60.0, "astrometric_rms_arcsec": 0.01, "score_sd": 1.0}
BLURRED = GOOD | {"psf_fwhm_arcsec": 1.9}


def announced(detectors: tuple[int, ...] = (0, 1, 2)) -> events.VisitEvent:
    fact = events.Announced(
        group_id="g", day_obs=20270115, n_snaps=2, band="r", ra=0.0, dec=0.0, rotation=0.0, exposure_time=15.0,
        start_mjd_tai=61400.0, duration=40.0, camera="tiny", detectors=detectors, survey="s",
    )  # fmt: skip
    return events.VisitEvent(instrument="i", visit=VISIT, fact=fact)


def closed(*succeeded: int, failed: tuple[int, ...] = ()) -> events.VisitEvent:
    outcomes = [events.DetectorOutcome(detector=d, status=events.OutcomeStatus.SUCCEEDED) for d in succeeded]
    outcomes += [events.DetectorOutcome(detector=d, status=events.OutcomeStatus.FAILED, reason="r") for d in failed]
    fact = events.VisitClosed(
        outcomes=tuple(outcomes), last_readout_mjd_tai=61400.0, last_readout_sent_unix_s=1.0, reason="complete"
    )
    return events.VisitEvent(instrument="i", visit=VISIT, fact=fact)


def succeeded(detector: int, metrics: dict[str, float], kind: events.JobKind = events.JobKind.DETECTOR) -> Any:
    fact = events.Succeeded(worker="w", epoch=1, result=None, metrics=metrics)
    return events.JobEvent(
        job_id=f"d-{detector}", kind=kind, instrument="i", visit=VISIT, detectors=(detector,), fact=fact
    )


def manifest(p98: float = 12.0) -> events.AlertManifest:
    return events.AlertManifest(
        visit=VISIT, expected=3, published=3, quarantined=0, alert_ids=(1, 2, 3), digest="d", failed_detectors=(),
        complete=True, latency_p50_s=5.0, latency_p95_s=9.0, latency_max_s=p98 + 1, latency_p98_s=p98,
    )  # fmt: skip


def after(*happened: object) -> list[events.QualityMetrics]:
    state, written = QualityState(), []
    for event in happened:
        state, out = fold(state, event, "i")
        assert {item.topic for item in out} <= {"quality-metrics"}
        written += [item.record for item in out]
    return written


def test_a_detector_is_judged_as_soon_as_its_job_is_done() -> None:
    (metrics,) = after(announced(), succeeded(1, GOOD))
    assert metrics == events.QualityMetrics(
        instrument="i", visit=VISIT, detector=1, band="r", values=GOOD, verdict="good", reasons=()
    )


def test_a_wide_psf_is_a_warning_with_its_reason() -> None:
    (metrics,) = after(announced(), succeeded(1, BLURRED))
    assert metrics.verdict == "warning"
    assert metrics.reasons == ("psf_fwhm_arcsec is 1.9, above 1.5: the PSF is wide",)


def test_a_closed_visit_has_medians_of_its_accepted_detectors() -> None:
    done = after(announced(), succeeded(0, GOOD), succeeded(1, BLURRED), succeeded(2, GOOD), closed(0, 1, failed=(2,)))
    visit = done[-1]
    assert visit.detector is None
    assert visit.values["detectors"] == 2
    assert visit.values["psf_fwhm_arcsec_median"] == pytest.approx(1.35)
    assert visit.values["detectors_failed_fraction"] == pytest.approx(1 / 3)
    assert visit.verdict == "bad"


@pytest.mark.parametrize(("p98", "verdict"), [(12.0, "good"), (70.0, "warning"), (130.0, "bad")])
def test_latency_is_judged_by_the_requirement_of_the_field(p98: float, verdict: str) -> None:
    done = after(announced((0,)), succeeded(0, GOOD), closed(0), manifest(p98))
    assert done[-1].values["latency_p98_s"] == p98
    assert done[-1].verdict == verdict


def test_archive_jobs_and_other_events_say_nothing() -> None:
    assert after(announced(), succeeded(1, GOOD, kind=events.JobKind.ARCHIVE), None, b"bytes") == []


@given(st.permutations([succeeded(0, GOOD), succeeded(1, BLURRED), succeeded(2, GOOD)]))
def test_the_order_of_detectors_does_not_matter(order: list[Any]) -> None:
    straight = after(announced(), succeeded(0, GOOD), succeeded(1, BLURRED), succeeded(2, GOOD), closed(0, 1, 2))
    assert after(announced(), *order, closed(0, 1, 2))[-1] == straight[-1]


def test_the_stage_keys_records_so_that_the_newest_stays() -> None:
    spec = quality_spec("i")
    state = spec.initial
    keys = []
    for event in (announced(), succeeded(1, GOOD), closed(1), manifest()):
        state, out = spec.handle(state, incoming(event), 0.0)
        keys += [item.key for item in out]
    assert keys == [f"{VISIT}:1", str(VISIT), str(VISIT)]


def test_old_visits_are_forgotten() -> None:
    state = QualityState()
    for number in range(60):
        event = events.VisitEvent(instrument="i", visit=VISIT + number, fact=announced().fact)
        state, _ = fold(state, event, "i")
    assert sorted(map(int, state.visits)) == list(range(VISIT + 10, VISIT + 60))
