"""Packets above the limit: what goes, in which order, and what is said about it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.alerts import packet as packets
from processors.alerts.errors import OversizeError
from processors.alerts.oversize import Trimming, fit
from schemas import public
from tests.support.alert_records import decode_plainly, encode_plainly, plausible_alert, real_packet

REAL = real_packet("derived_wire_v11_1_0.bin")[1]
BARE = len(packets.lite(REAL))


def test_what_fits_is_left_alone() -> None:
    assert fit(REAL, len(REAL)) == (REAL, None)


def test_forced_sources_go_first_and_the_oldest_first() -> None:
    trimmed, told = fit(REAL, len(REAL) - 1000)
    truth, record = decode_plainly(REAL), decode_plainly(trimmed)
    assert told is not None
    assert told.forced == 13
    assert record == truth | {"prvDiaForcedSources": truth["prvDiaForcedSources"][13:]}
    assert told.header_value() == f"forced=13/395;sources=0/345;stamps=;bytes={len(REAL)}".encode()


def test_then_detections_and_last_the_stamps() -> None:
    truth = decode_plainly(REAL)
    history = decode_plainly(fit(REAL, 120_000)[0])
    assert history["prvDiaForcedSources"] == []
    assert history["prvDiaSources"] == truth["prvDiaSources"][-len(history["prvDiaSources"]) :]
    assert 0 < len(history["prvDiaSources"]) < 345
    assert history["cutoutTemplate"] == truth["cutoutTemplate"]
    small, told = fit(REAL, 60_000)
    assert told == Trimming(
        forced=395,
        forced_total=395,
        sources=345,
        sources_total=345,
        stamps=("science", "template"),
        original_size=len(REAL),
    )
    assert decode_plainly(small)["cutoutDifference"] == truth["cutoutDifference"]


@settings(max_examples=40, deadline=None)
@given(limit=st.integers(BARE + 40, len(REAL)))
def test_result_always_fits_and_keeps_the_detection(limit: int) -> None:
    trimmed, _ = fit(REAL, limit)
    record, truth = decode_plainly(trimmed), decode_plainly(REAL)
    assert len(trimmed) <= limit
    assert record["diaSource"] == truth["diaSource"]
    assert record["diaObject"] == truth["diaObject"]


def test_no_more_goes_than_must() -> None:
    limit = len(REAL) - 5000
    trimmed, _ = fit(REAL, limit)
    assert len(trimmed) > limit - 100


def test_age_counts_and_not_the_place_in_the_array() -> None:
    alert = plausible_alert(history=3, forced=0)
    alert["prvDiaSources"].reverse()
    datum = encode_plainly(public.alert_schema(), alert)
    record = decode_plainly(fit(datum, len(datum) - 1)[0])
    assert [source["diaSourceId"] for source in record["prvDiaSources"]] == [1002, 1001]


def test_what_can_never_fit_is_an_error_with_the_alert_s_name() -> None:
    with pytest.raises(OversizeError, match="170094456272322680 does not fit 500 bytes"):
        fit(REAL, 500)


def test_packet_without_history_loses_stamps_only() -> None:
    datum = encode_plainly(public.alert_schema(), plausible_alert(0, 0) | {"prvDiaSources": None})
    trimmed, told = fit(datum, len(datum) - 1)
    assert told is not None
    assert told.stamps == ("template",)
    assert decode_plainly(trimmed)["prvDiaSources"] is None
