"""The completeness of every visit is at the metrics endpoint as well as in the quality of the visit."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from processors.differencing.completeness import CompletenessCurve, combine_metrics
from streams.compose import Wiring
from streams.quality.build import build
from tests.streams.quality.test_stage import announced, closed, manifest, succeeded
from tests.support.assembled import incoming

BAND = "r"
SHARPER = {"fakes_injected": 8.0, "fakes_injected_snr_5.0": 4.0, "fakes_found_snr_5.0": 4.0}
SHARPER |= {"fakes_injected_snr_8.0": 4.0, "fakes_found_snr_8.0": 4.0, "fakes_snr50": 4.2}
BLURRED = SHARPER | {"fakes_found_snr_5.0": 1.0, "fakes_found_snr_8.0": 3.0, "fakes_snr50": 5.9}


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"nightcast_{name}", {"band": BAND} | labels)


def after(*happened: object) -> list[Any]:
    wiring = SimpleNamespace(settings=SimpleNamespace(night=SimpleNamespace(instrument="i")))
    spec = build(cast("Wiring", wiring), "quality", ExitStack())
    state, written = spec.initial, []
    for event in happened:
        state, out = spec.handle(state, incoming(event), 0.0)
        written += [item.record for item in out]
    return written


def test_the_curve_of_a_visit_is_that_of_all_its_detectors_and_stays_until_the_next() -> None:
    happened = announced((0, 1)), succeeded(0, SHARPER), succeeded(1, BLURRED), closed(0, 1)
    visit = after(*happened)[-1]
    assert visit.detector is None
    assert (shown("fakes_injected", snr="5.0"), shown("fakes_found", snr="5.0")) == (8.0, 5.0)
    assert (shown("fakes_injected", snr="8.0"), shown("fakes_found", snr="8.0")) == (8.0, 7.0)
    curve: CompletenessCurve = combine_metrics([SHARPER, BLURRED])
    assert visit.values["fakes_snr50"] == pytest.approx(curve.snr50)
    assert shown("completeness_snr50") == visit.values["fakes_snr50"]
    after(announced((0,)), succeeded(0, SHARPER))
    assert shown("fakes_found", snr="5.0") == 5.0
    after(announced((0,)), succeeded(0, SHARPER), closed(0))
    assert (shown("fakes_injected", snr="5.0"), shown("fakes_found", snr="5.0")) == (4.0, 4.0)


def test_a_visit_without_fakes_shows_nothing_and_a_second_delivery_the_same() -> None:
    after(announced((0,)), succeeded(0, SHARPER), closed(0), closed(0), manifest())
    assert shown("fakes_injected", snr="8.0") == 4.0
    after(announced((0,)), succeeded(0, {"psf_stars": 9.0}), closed(0))
    assert shown("fakes_injected", snr="8.0") == 4.0
