"""Spliced packets against what a plain encoder makes of the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.alerts import packet as packets
from processors.alerts.errors import MalformedPacketError
from processors.alerts.layout import locate
from schemas import public
from schemas.events import CutoutSet
from schemas.public_avro import encode_long, encode_record
from tests.support.alert_records import decode_plainly, encode_plainly, plausible_alert, real_packet, records

STAMPS = st.none() | st.binary(max_size=300)


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, Any]:
    source = draw(records("diaSource"))
    return {
        "diaSourceId": source["diaSourceId"],
        "observation_reason": draw(st.none() | st.text(max_size=20)),
        "target_name": draw(st.none() | st.text(max_size=20)),
        "diaSource": source,
        "prvDiaSources": draw(st.none() | st.lists(records("diaSource"), max_size=3)),
        "prvDiaForcedSources": draw(st.none() | st.lists(records("diaForcedSource"), max_size=3)),
        "diaObject": draw(st.none() | records("diaObject")),
        "ssSource": draw(st.none() | records("ssSource")),
        "mpc_orbits": None,
        "cutoutDifference": draw(STAMPS),
        "cutoutScience": draw(STAMPS),
        "cutoutTemplate": draw(STAMPS),
    }


def spliced(alert: dict[str, Any]) -> bytes:
    """Build an alert from records that were encoded alone."""

    def in_a_row(values: list[dict[str, Any]] | None, name: str) -> tuple[int, bytes] | None:
        return None if values is None else (len(values), b"".join(encode_record(value, name) for value in values))

    def single(value: dict[str, Any] | None, name: str) -> bytes | None:
        return None if value is None else encode_record(value, name)

    return packets.assemble_parts(
        packets.PacketParts(
            dia_source=packets.encode_dia_source(alert["diaSource"]),
            prv_sources=in_a_row(alert["prvDiaSources"], "diaSource"),
            prv_forced=in_a_row(alert["prvDiaForcedSources"], "diaForcedSource"),
            dia_object=single(alert["diaObject"], "diaObject"),
            ss_source=single(alert["ssSource"], "ssSource"),
            cutouts=(alert["cutoutDifference"], alert["cutoutScience"], alert["cutoutTemplate"]),
            observation_reason=alert["observation_reason"],
            target_name=alert["target_name"],
        )
    )


@settings(max_examples=80, deadline=None)
@given(alert=alerts())
def test_spliced_packet_is_the_plain_encoding(alert: dict[str, Any]) -> None:
    plain = encode_plainly(public.alert_schema(), alert)
    assert spliced(alert) == plain
    assert packets.assemble_parts(packets.parts_of(plain)) == plain


@settings(max_examples=40, deadline=None)
@given(alert=alerts(), data=st.data())
def test_bytes_cut_short_or_too_long_are_no_packet(alert: dict[str, Any], data: st.DataObject) -> None:
    plain = encode_plainly(public.alert_schema(), alert)
    with pytest.raises(MalformedPacketError):
        locate(plain[: data.draw(st.integers(0, len(plain) - 1))])
    with pytest.raises(MalformedPacketError, match="1 bytes follow"):
        locate(plain + b"\x00")


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=400))
def test_noise_is_refused_and_never_read_beyond_its_end(noise: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        locate(noise + b"\xff")


def test_text_of_negative_length_is_refused() -> None:
    plain = encode_plainly(public.alert_schema(), plausible_alert(0, 0))
    broken = plain.replace(b"\x02\x02r", b"\x02\x01r", 1)
    assert broken != plain
    with pytest.raises(MalformedPacketError, match="breaks within a diaSource"):
        locate(broken)


def test_assemble_and_stamps_added_later() -> None:
    alert = plausible_alert()
    stamps = CutoutSet(dia_source_id=1003, difference=b"d" * 70, science=b"s", template=b"t" * 9000 + bytes(5))
    history = [packets.encode_dia_source(record) for record in alert["prvDiaSources"]]
    forced = [packets.encode_forced(record) for record in alert["prvDiaForcedSources"]]
    parts = (
        packets.encode_dia_source(alert["diaSource"]),
        history,
        forced,
        packets.encode_dia_object(alert["diaObject"]),
    )
    whole = packets.assemble(*parts, stamps)
    alert |= {"cutoutDifference": b"d" * 70, "cutoutScience": b"s", "cutoutTemplate": stamps.template}
    assert whole == encode_plainly(public.alert_schema(), alert)
    assert packets.with_cutouts(packets.assemble(*parts), stamps) == whole
    with pytest.raises(MalformedPacketError, match="already has stamps"):
        packets.with_cutouts(whole, stamps)


def test_layout_reads_the_values_that_rules_need() -> None:
    alert = plausible_alert(history=5, forced=6)
    layout = locate(encode_plainly(public.alert_schema(), alert))
    sources, forced = layout.prv_sources, layout.prv_forced
    assert sources is not None
    assert forced is not None
    assert layout.alert_id == 1005
    assert sources.ids.tolist() == [record["diaSourceId"] for record in alert["prvDiaSources"]]
    assert forced.ids.tolist() == [record["diaForcedSourceId"] for record in alert["prvDiaForcedSources"]]
    assert forced.visits.tolist() == [record["visit"] for record in alert["prvDiaForcedSources"]]
    assert sources.detectors.tolist() == [94] * 5
    assert sources.object_ids.tolist() == [1000] * 5
    assert sources.midpoint_mjd_tai.tolist() == [record["midpointMjdTai"] for record in alert["prvDiaSources"]]
    assert forced.processed_mjd_tai.tolist() == [r["timeProcessedMjdTai"] for r in alert["prvDiaForcedSources"]]


def test_real_packet_is_taken_apart_and_put_together_again() -> None:
    _, datum = real_packet("derived_wire_v11_1_0.bin")
    truth = decode_plainly(datum)
    layout = locate(datum)
    assert packets.assemble_parts(packets.parts_of(layout)) == datum
    assert layout.prv_sources is not None
    assert layout.prv_sources.midpoint_mjd_tai.tolist() == [s["midpointMjdTai"] for s in truth["prvDiaSources"]]
    assert layout.prv_sources.ids.tolist() == [s["diaSourceId"] for s in truth["prvDiaSources"]]
    assert layout.cutouts == (truth["cutoutDifference"], truth["cutoutScience"], truth["cutoutTemplate"])


def test_blocks_with_sizes_as_other_writers_make_them() -> None:
    """Avro allows an array in several blocks, each with a negative count and its size in bytes."""
    alert = plausible_alert(history=2, forced=0)
    plain = encode_plainly(public.alert_schema(), alert)
    one, two = (packets.encode_dia_source(record) for record in alert["prvDiaSources"])
    assert (blocks := plain.replace(b"\x04" + one + two, _block(one) + _block(two), 1)) != plain
    assert packets.assemble_parts(packets.parts_of(blocks)) == plain


def _block(record: bytes) -> bytes:
    return encode_long(-1) + encode_long(len(record)) + record


def test_lite_form_is_small_and_complete_in_its_way() -> None:
    _, datum = real_packet("derived_wire_v11_1_0.bin")
    small = packets.lite(datum)
    truth, record = decode_plainly(datum), decode_plainly(small)
    assert len(small) < 2000
    assert record == truth | {
        "prvDiaSources": None,
        "prvDiaForcedSources": None,
        "cutoutDifference": None,
        "cutoutScience": None,
        "cutoutTemplate": None,
    }


def test_delta_form_has_only_what_is_new() -> None:
    _, datum = real_packet("derived_wire_v11_1_0.bin")
    truth, record = decode_plainly(datum), decode_plainly(packets.delta(datum))
    last = max(source["timeProcessedMjdTai"] for source in truth["prvDiaSources"])
    new = [forced for forced in truth["prvDiaForcedSources"] if forced["timeProcessedMjdTai"] > last]
    assert record == truth | {"prvDiaSources": [], "prvDiaForcedSources": new}
    assert 0 < len(new) < len(truth["prvDiaForcedSources"])


def test_delta_since_a_given_time_and_without_history() -> None:
    alert = plausible_alert(history=3, forced=4)
    datum = encode_plainly(public.alert_schema(), alert)
    record = decode_plainly(packets.delta(datum, since_mjd_tai=61101.5))
    assert [source["diaSourceId"] for source in record["prvDiaSources"]] == [1002]
    first = encode_plainly(public.alert_schema(), plausible_alert(history=0, forced=2))
    assert packets.delta(first) == first


def test_kept_joins_records_that_do_not_touch() -> None:
    layout = locate(encode_plainly(public.alert_schema(), plausible_alert(history=3)))
    assert layout.prv_sources is not None
    count, data = packets.kept(layout, layout.prv_sources, np.array([True, False, True]))
    whole = packets.kept(layout, layout.prv_sources, np.array([True, True, True]))[1]
    assert count == 2
    assert data == whole[: len(whole) // 3] + whole[2 * len(whole) // 3 :]


def test_dia_source_bytes_must_begin_with_an_id() -> None:
    with pytest.raises(MalformedPacketError, match="begin with its id"):
        packets.assemble(b"\xff" * 12, [], [], None)
