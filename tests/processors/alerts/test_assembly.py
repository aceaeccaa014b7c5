"""Packets from an object's months: the same whenever an update comes, however often."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.alerts.assembly import (
    HISTORY_DAYS,
    apply_update,
    assembled_alerts,
    block_key,
    history_name,
    months_of,
    unpack_block,
)
from processors.alerts.errors import MalformedPacketError
from processors.alerts.gate import check_encoded
from processors.alerts.layout import locate
from processors.association.updates import moving_updates
from schemas import avro
from schemas.events import AssembledAlert, ObjectUpdate
from schemas.public_avro import decode_record
from tests.support.association_cases import FIRST_MJD, Night, detector_result, midpoint_of, source_rows, visit_number
from tests.support.association_night import plan_night_updates
from tests.support.predictions import mpc_orbit, predicted


class Table:
    """The months of objects, in a dictionary, with the position in the log that a partition has."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.offset = 0

    def take(self, update: ObjectUpdate, offset: int | None = None) -> list[bytes]:
        """Apply an update and return its alerts."""
        self.offset = self.offset + 1 if offset is None else offset
        months = months_of(update)
        key = block_key(history_name(update), months[-1])
        self.blocks[key], applied_at = apply_update(update, self.offset, self.blocks.get(key))
        blocks = [self.blocks.get(block_key(history_name(update), month)) for month in months]
        return [avro.encode(alert) for alert in assembled_alerts(update, applied_at, blocks)]


@pytest.fixture(scope="module")
def updates() -> list[ObjectUpdate]:
    """Updates of a night of five visits, in the order of the log."""
    return plan_night_updates()


def digest(alerts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(alerts)).hexdigest()


def test_packets_pass_the_gate_and_hold_what_came_before(updates: list[ObjectUpdate]) -> None:
    table, seen = Table(), {}
    longest = 0
    for update in updates:
        for datum in table.take(update):
            alert = avro.decode(AssembledAlert, datum)
            layout = locate(alert.packet)
            assert check_encoded(layout, stamps=False) == []
            assert layout.prv_sources is not None
            assert layout.prv_forced is not None
            assert layout.prv_sources.ids.tolist() == seen.get(update.dia_object_id, [])
            assert (layout.prv_forced.midpoint_mjd_tai <= update.midpoint_mjd_tai).all()
            assert alert.cutouts == update.cutouts[f"{alert.detector:03d}"]
            longest = max(longest, len(layout.prv_sources.ids))
        seen.setdefault(update.dia_object_id, []).extend(update.dia_source_ids)
    assert longest >= 3


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_repetitions_give_the_same_packets_and_change_nothing(data: Any) -> None:
    log = plan_night_updates()
    plain, first = Table(), {}
    for update in log:
        first[update.dia_object_id, update.visit] = digest(plain.take(update))
    repeated = Table()
    for place, update in enumerate(log):
        assert digest(repeated.take(update)) == first[update.dia_object_id, update.visit]
        again = log[data.draw(st.integers(0, place))]
        assert digest(repeated.take(again)) == first[again.dia_object_id, again.visit]
    for key, block in plain.blocks.items():
        records = [(r.visit, r.identifier, r.data) for r in unpack_block(block).records]
        assert records == [(r.visit, r.identifier, r.data) for r in unpack_block(repeated.blocks[key]).records]


def test_reading_an_update_again_at_its_place_stores_the_same_block(updates: list[ObjectUpdate]) -> None:
    table = Table()
    table.take(updates[0], 5)
    before = dict(table.blocks)
    table.take(updates[0], 5)
    assert table.blocks == before


def test_history_ends_after_twelve_months(updates: list[ObjectUpdate]) -> None:
    detected = [u for u in updates if u.diasources]
    update = next(u for u in detected[1:] if u.dia_object_id == detected[0].dia_object_id)
    for days, kept in ((HISTORY_DAYS - 1.0, 1), (HISTORY_DAYS + 1.0, 0)):
        table = Table()
        table.take(dataclasses.replace(detected[0], midpoint_mjd_tai=update.midpoint_mjd_tai - days))
        (datum,) = table.take(update)
        history = locate(avro.decode(AssembledAlert, datum).packet).prv_sources
        assert history is not None
        assert len(history) == kept


@pytest.mark.parametrize("cut", [3, 11, -1, None])
def test_a_damaged_block_is_an_error(updates: list[ObjectUpdate], cut: int | None) -> None:
    block, _ = apply_update(updates[0], 1, None)
    with pytest.raises(MalformedPacketError, match="damaged"):
        unpack_block(block[:cut] if cut is not None else block + b"x")


def test_alerts_of_a_known_asteroid_carry_its_circumstances_its_orbit_and_its_earlier_detections() -> None:
    night, table, packets = Night(), Table(), []
    for index in range(2):
        visit, mjd = visit_number(index), midpoint_of(index)
        rows = source_rows([10.0 + index], [5.0], visit=visit, mjd=mjd)
        there = predicted([10.0 + index], [5.0], mjd=mjd)
        decision = night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)], predicted=there)
        (update,) = moving_updates(decision)
        (datum,) = table.take(update)
        alert = avro.decode(AssembledAlert, datum)
        assert (alert.dia_object_id, alert.owner) == (0, update.ss_object_id)
        packets.append(locate(alert.packet))
    assert [packet.dia_object for packet in packets] == [None, None]
    assert [packet.prv_forced for packet in packets] == [None, None]
    assert [0 if p.prv_sources is None else len(p.prv_sources) for p in packets] == [0, 1]
    for packet in packets:
        assert packet.ss_source is not None
        assert decode_record(packet.ss_source, "ssSource")["diaSourceId"] == packet.alert_id
        assert packet.mpc_orbits == mpc_orbit(0)
        assert check_encoded(packet, stamps=False) == []


def test_a_solar_system_object_of_the_same_number_is_another_history() -> None:
    assert history_name(update_of(dia=7, moving=0)) != history_name(update_of(dia=0, moving=7))


def update_of(dia: int, moving: int) -> ObjectUpdate:
    return ObjectUpdate(
        dia_object_id=dia,
        ss_object_id=moving,
        visit=1,
        sequence=0,
        diasources=(),
        forced=(),
        dia_object=b"",
        cause="forced",
        cutouts={},
        dia_source_ids=(),
        midpoint_mjd_tai=FIRST_MJD,
    )
