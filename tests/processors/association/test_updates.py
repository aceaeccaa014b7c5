"""What a decision says to others, and what it says again."""

from __future__ import annotations

from processors.association.fold import object_versions
from processors.association.updates import dia_object_versions, dia_source_events, object_updates
from schemas.public_avro import decode_record
from tests.support.association_cases import Night, detector_result, forced_rows, source_rows, visit_number


def test_each_object_touched_has_one_update_with_its_rows() -> None:
    night, first, second = Night(), visit_number(0), visit_number(1)
    one = night.decide(first, [detector_result(source_rows([0.0, 0.1, 0.2], [0.0] * 3, visit=first), visit=first)])
    seen, dark, _ = one.new_objects
    forced = forced_rows([seen, dark], [0.0, 0.1], 0.0, visit=second)
    rows = source_rows([0.0, 0.5], [0.0, 0.0], visit=second)
    decision = night.decide(second, [detector_result(rows, forced, visit=second)], last_readout_sent_unix_s=9.0)
    versions = object_versions(night.view, decision)
    updates = {update.dia_object_id: update for update in object_updates(decision, versions)}
    new = int(rows["diaSourceId"][1])
    assert list(updates) == sorted([seen, dark, new])
    assert {name: (u.cause, len(u.diasources), len(u.forced)) for name, u in updates.items()} == {
        seen: ("detected", 1, 1),
        dark: ("forced", 0, 1),
        new: ("detected", 1, 0),
    }
    assert updates[seen].cutouts == {"000": decision.cutouts["000"]}
    assert updates[dark].cutouts == {}
    assert all(u.last_readout_sent_unix_s == 9.0 and u.visit == second for u in updates.values())
    record = decode_record(updates[seen].diasources[0], "diaSource")
    assert (record["diaObjectId"], record["diaSourceId"]) == (seen, updates[seen].dia_source_ids[0])
    assert decode_record(updates[dark].dia_object, "diaObject")["diaObjectId"] == dark
    at_object = decode_record(updates[seen].forced[0], "diaForcedSource")
    assert (at_object["diaObjectId"], at_object["visit"]) == (seen, second)
    assert at_object["diaForcedSourceId"] > 0
    assert [e.dia_source_id for e in dia_source_events(updates.values())] == [
        i for u in updates.values() for i in u.dia_source_ids
    ]
    assert [e.record for e in dia_object_versions(updates.values())] == [u.dia_object for u in updates.values()]


def test_a_late_result_is_named_as_the_cause() -> None:
    night, visit = Night(), visit_number(0)
    night.decide(visit, [detector_result(source_rows([0.0], [0.0], visit=visit), visit=visit)])
    late = night.decide(
        visit,
        [detector_result(source_rows([0.3], [0.0], visit=visit, detector=1), visit=visit, detector=1)],
        sequence=1,
    )
    (update,) = object_updates(late, object_versions(night.view, late))
    assert (update.cause, update.sequence) == ("late", 1)
