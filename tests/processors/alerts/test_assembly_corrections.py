"""What DayMOPS corrects reaches the histories in later packets, and never a packet that was made."""

from __future__ import annotations

from typing import Any

import pytest

from processors.alerts.assembly import (
    apply_correction,
    apply_update,
    assembled_alerts,
    block_key,
    corrected_months,
    history_name,
    months_of,
)
from processors.alerts.gate import check_encoded
from processors.alerts.layout import locate
from processors.association.fold import object_versions
from processors.association.updates import moving_updates, object_updates
from schemas.events import ObjectUpdate
from tests.support.association_cases import DAY_OBS, detector_result, midpoint_of, source_rows, visit_number
from tests.support.corrections import NAMES, LoggedNight, orbit, record_of, updates_of
from tests.support.predictions import predicted

ONE, TWO, _ = NAMES
STANDING = 10.0, 0.0


class Histories:
    """Objects' months in a dictionary, fed with updates as the stage is."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.offset = 0

    def take(self, update: ObjectUpdate, offset: int | None = None) -> list[Any]:
        """Apply an update and return its packets."""
        self.offset = self.offset + 1 if offset is None else offset
        name = history_name(update)
        if update.corrects:
            for month in corrected_months(update):
                key = block_key(name, month)
                self.blocks[key] = apply_correction(update, self.offset, month, self.blocks.get(key))
            return []
        months = months_of(update)
        key = block_key(name, months[-1])
        self.blocks[key], applied_at = apply_update(update, self.offset, self.blocks.get(key))
        blocks = [self.blocks.get(block_key(name, month)) for month in months]
        return [alert.packet for alert in assembled_alerts(update, applied_at, blocks)]


def visit_update(night: LoggedNight, index: int, *, known: str | None = None) -> ObjectUpdate:
    """Observe one source at the same place; of a known object where a name is given."""
    visit, mjd = visit_number(index), midpoint_of(index)
    rows = source_rows([STANDING[0]], [STANDING[1]], visit=visit, mjd=mjd)
    there = None
    if known:
        there = predicted([STANDING[0]], [STANDING[1]], mjd=mjd)
        there.rows["ssObjectId"], there.rows["designation"] = orbit(known)["ss_object_id"][0], known
        there = type(there)(rows=there.rows, mjd_tai=there.mjd_tai, mpc_orbits=(record_of(known),))
    decision = night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)], predicted=there)
    updates = [*object_updates(decision, object_versions(night.view, decision)), *moving_updates(decision)]
    (update,) = [one for one in updates if one.diasources]
    return update


def corrections(night: LoggedNight, pairs: dict[int, str | None], **about: Any) -> list[ObjectUpdate]:
    decision = night.correct(pairs, **about)
    return updates_of(night, decision)


def earlier(packet: bytes) -> list[int]:
    """Return the DIASources of the history of a packet that keeps every rule."""
    layout = locate(packet)
    assert check_encoded(layout, stamps=False) == []
    return [] if layout.prv_sources is None else layout.prv_sources.ids.tolist()


@pytest.fixture
def night() -> LoggedNight:
    return LoggedNight()


def test_a_later_packet_of_the_solar_system_object_carries_what_was_reassigned(night: LoggedNight) -> None:
    histories = Histories()
    seen = [visit_update(night, index) for index in range(2)]
    packets = [histories.take(update) for update in seen]
    ids = [update.dia_source_ids[0] for update in seen]
    assert [earlier(one[0]) for one in packets] == [[], ids[:1]]
    for update in corrections(night, dict.fromkeys(ids, ONE)):
        assert histories.take(update) == []
    (packet,) = histories.take(visit_update(night, 3, known=ONE))
    assert earlier(packet) == ids


def test_a_later_packet_of_the_object_lacks_what_it_lost_and_packets_made_before_stay(night: LoggedNight) -> None:
    histories = Histories()
    seen = [visit_update(night, index) for index in range(3)]
    before = [histories.take(update) for update in seen]
    ids = [update.dia_source_ids[0] for update in seen]
    updates = corrections(night, {ids[1]: ONE})
    at = [histories.offset + 1 + place for place in range(len(updates))]
    for update in updates:
        histories.take(update)
    (packet,) = histories.take(visit_update(night, 4))
    assert earlier(packet) == [ids[0], ids[2]]
    state = dict(histories.blocks)
    for offset, update in zip(at, updates, strict=True):
        histories.take(update, offset + 100)
    assert {key: value[8:] for key, value in histories.blocks.items()} == {
        key: value[8:] for key, value in state.items()
    }
    assert [histories.take(update, 500) for update in seen] == before


def test_a_source_that_comes_back_is_in_the_history_again_once(night: LoggedNight) -> None:
    histories = Histories()
    seen = [visit_update(night, index) for index in range(2)]
    for update in seen:
        histories.take(update)
    ids = [update.dia_source_ids[0] for update in seen]
    for sequence, name in enumerate((ONE, None, ONE, None)):
        for update in corrections(night, {ids[1]: name}, sequence=sequence):
            histories.take(update)
    (packet,) = histories.take(visit_update(night, 4))
    assert earlier(packet) == ids
    assert night.correct({ids[1]: TWO}, sequence=9).day_obs == DAY_OBS
