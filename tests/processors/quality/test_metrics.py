"""Verdicts follow the thresholds, in both directions, and unmeasured is not bad."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.quality.metrics import DETECTOR_THRESHOLDS, VISIT_THRESHOLDS, judge, summarise_visit


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "good"),
        ({"psf_fwhm_arcsec": 0.9, "psf_stars": 40}, "good"),
        ({"psf_fwhm_arcsec": 1.6}, "warning"),
        ({"psf_fwhm_arcsec": 1.6, "psf_stars": 3}, "bad"),
        ({"psf_stars": 7}, "warning"),
        ({"astrometry_rms_mas": math.nan}, "bad"),
        ({"something_else": 1e9}, "good"),
    ],
)
def test_the_worst_metric_decides(values: dict[str, float], verdict: str) -> None:
    result = judge(values)
    assert result.verdict == verdict
    assert bool(result.reasons) == (verdict != "good")


def test_a_reason_names_metric_value_and_limit() -> None:
    assert judge({"psf_fwhm_arcsec": 3.0}).reasons == ("psf_fwhm_arcsec is 3, above 2.5: the PSF is wide",)


@given(st.floats(0, 10), st.floats(0, 10))
def test_a_worse_value_never_gets_a_better_verdict(a: float, b: float) -> None:
    order = ("good", "warning", "bad")
    for threshold in DETECTOR_THRESHOLDS + VISIT_THRESHOLDS:
        low, high = sorted((a, b), reverse=not threshold.above)
        ranks = [order.index(judge({threshold.metric: v}, (threshold,)).verdict) for v in (low, high)]
        assert ranks == sorted(ranks)


def test_a_visit_is_summarised_over_its_detectors() -> None:
    summary = summarise_visit([{"a": 1.0}, {"a": 3.0, "b": math.inf}, {"a": 2.0}], planned=4)
    assert summary == {
        "detectors": 3.0,
        "detectors_failed_fraction": 0.25,
        "a_median": 2.0,
        "a_min": 1.0,
        "a_max": 3.0,
    }


def test_an_empty_visit_has_a_summary() -> None:
    assert summarise_visit([], planned=0) == {"detectors": 0.0, "detectors_failed_fraction": 0.0}


def test_the_fakes_of_a_visits_detectors_add_up_to_one_curve() -> None:
    deep = {"fakes_injected": 8.0, "fakes_injected_snr_5.0": 4.0, "fakes_found_snr_5.0": 4.0}
    deep |= {"fakes_injected_snr_8.0": 4.0, "fakes_found_snr_8.0": 4.0}
    shallow = deep | {"fakes_found_snr_5.0": 0.0, "fakes_found_snr_8.0": 3.0}
    summary = summarise_visit([deep, shallow, {"psf_stars": 9.0}], planned=3)
    assert (summary["fakes_injected"], summary["fakes_found"]) == (16.0, 11.0)
    assert (summary["fakes_injected_snr_5.0"], summary["fakes_found_snr_5.0"]) == (8.0, 4.0)
    assert summary["fakes_completeness_snr_8_up"] == 7 / 8
    assert summarise_visit([{"psf_stars": 9.0}], planned=1).get("fakes_injected") is None
