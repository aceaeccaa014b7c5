"""DayMOPS night by night over a simulated fortnight: complete, pure, one holder each, undone where wrong, the same after a restart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from processors.moving_objects import linking_nightly
from processors.moving_objects.day_candidates import NightCandidates
from processors.moving_objects.day_changes import DayChanges, changes_between
from processors.moving_objects.day_decide import decide_night
from processors.moving_objects.day_fold import BrokenLedgerError, DayLedger, fold
from processors.moving_objects.day_state import HELD, OBJECT, DayRules, DayState, How, begin_days
from processors.moving_objects.day_store import state_from_bytes, state_to_bytes
from processors.moving_objects.day_tracklets import tracklets_of
from processors.moving_objects.day_window import given_back, taken_out
from processors.moving_objects.discoveries import provisional_name
from processors.moving_objects.errors import CatalogueFormatError, DayTooLargeError
from processors.moving_objects.linking_candidates import concatenated
from processors.moving_objects.linking_nightly import NightlyRules
from schemas.detections import DETECTION
from schemas.orbits import ORBIT_ROW, orbit_rows, set_covariances
from schemas.predictions import ss_object_id_of
from tests.support.day_survey import day_survey
from tests.support.linking_score import score_links

pytest.importorskip("heyoka", reason="the truth is propagated by heyoka")

SURVEY = day_survey(707)
NIGHTS, OWNERS, SKY = SURVEY.nights(), SURVEY.owners(), SURVEY.sky
NOBODY = orbit_rows(0)


@dataclass(kw_only=True)
class Run:
    """States after each night, and the ledger that the decisions' tables give."""

    rules: DayRules = field(default_factory=DayRules)
    states: list[DayState] = field(default_factory=lambda: [begin_days()])
    ledger: DayLedger = field(default_factory=DayLedger)
    ledgers: list[DayLedger] = field(default_factory=lambda: [DayLedger()])
    changes: list[DayChanges] = field(default_factory=list)

    def take(self, night: NightCandidates, known: Any = NOBODY) -> DayState:
        before = self.states[-1]
        step = decide_night(before, night, known, SKY, self.rules)
        changes = changes_between(before, step.state, night, merged=step.merged, reasons=step.reasons, rules=self.rules)
        self.ledger = fold(self.ledger, changes)
        self.ledgers.append(self.ledger)
        self.changes.append(changes)
        self.states.append(step.state)
        return step.state

    def all_of(self, nights: list[NightCandidates]) -> Run:
        for night in nights:
            self.take(night)
        return self


@pytest.fixture(scope="module")
def run() -> Run:
    return Run().all_of(NIGHTS)


@pytest.fixture(scope="module")
def short() -> Run:
    """A window so short that objects leave it, are recognised by their orbits, and found in past nights."""
    return Run(rules=DayRules(nightly=NightlyRules(window_nights=7))).all_of(NIGHTS)


def members(state: DayState) -> list[list[int]]:
    held = state.held
    return [held["detection_id"][held["designation"] == name].tolist() for name in state.objects["designation"]]


def named(state: DayState) -> list[str]:
    return [str(name) for name in state.objects["designation"]]


def agrees(run: Run) -> None:
    """Check that the fold of the decisions is the state."""
    state, ledger = run.states[-1], run.ledger
    rows = tracklets_of(state).rows
    now = {int(r["tracklet_id"]): (str(r["status"]), str(r["holder"])) for r in rows}
    assert {number: (one.status, one.holder) for number, one in ledger.tracklets.items()} == now
    owners = dict(zip(state.held["detection_id"].tolist(), state.held["ss_object_id"].tolist(), strict=True))
    assert dict(ledger.owners) == owners
    assert sorted(ledger.designations) == state.objects["designation"].tolist()


def test_every_findable_object_is_found_once_and_pure(run: Run) -> None:
    score = score_links(members(run.states[-1]), SURVEY.detections, SURVEY.true_detections, SURVEY.true_objects)
    assert sum(c.findable for c in score.classes.values()) > 60
    assert sum(c.found for c in score.classes.values()) >= sum(c.findable for c in score.classes.values()) - 1
    assert score.pure == score.links
    assert (score.reused_detections, score.split_objects) == (0, 0)
    assert score.detections_recovered > 0.97


def test_the_fold_of_the_decisions_is_the_state_and_every_tracklet_has_one_holder(run: Run) -> None:
    agrees(run)
    held = [m for one in run.ledger.tracklets.values() if one.holder for m in one.members]
    assert len(held) == len(set(held)) == len(run.states[-1].held)
    assert {one.status for one in run.ledger.tracklets.values()} == {"attributed", "free", "linked"}


def test_a_decision_folded_again_changes_nothing(run: Run) -> None:
    assert fold(run.ledger, run.changes[-1]) == run.ledger


def test_a_restart_after_any_night_and_any_order_of_detections_give_the_same_bytes(run: Run) -> None:
    random = np.random.default_rng(8)
    for before, night, after in zip(run.states[8:10], NIGHTS[8:10], run.states[9:11], strict=True):
        mixed = random.permutation(np.concatenate([night.detections, night.detections[:9]]))
        restored = state_from_bytes(state_to_bytes(before))
        again = decide_night(restored, replace(night, detections=mixed), NOBODY, SKY)
        assert state_to_bytes(again.state) == state_to_bytes(after)


def test_a_night_delivered_twice_and_an_empty_one_change_nothing(run: Run) -> None:
    state = run.states[-1]
    for night in (NIGHTS[-1], replace(NIGHTS[-1], detections=np.zeros(0, DETECTION))):
        assert state_to_bytes(decide_night(state, night, NOBODY, SKY).state) == state_to_bytes(state)


def test_objects_that_left_the_window_are_recognised_improved_and_found_in_past_nights(short: Run) -> None:
    agrees(short)
    last = short.states[-1]
    how = Counter(last.held["how"].tolist())
    assert how[How.ATTRIBUTED] > 20
    assert how[How.PRECOVERED] > 5
    assert (~last.active()).sum() > 5
    score = score_links(members(last), SURVEY.detections, SURVEY.true_detections, SURVEY.true_objects)
    assert score.pure == score.links > 10
    assert score.split_objects == 0
    states = {one.status for one in short.ledger.tracklets.values()}
    assert states == {"free", "linked", "attributed", "precovered"}
    improved = [row for changes in short.changes for row in changes.orbits if row["change"] == "better"]
    assert len(improved) > 10


def wrong_link(state: DayState) -> tuple[DayState, list[int]]:
    """Return the state with an object of three free tracklets that are three bodies', and its detections."""
    linking, rows = state.linking, state.linking.detections
    true = np.array([OWNERS[i] for i in rows["detection_id"].tolist()])
    chosen: list[np.ndarray[Any, Any]] = []
    for a, b in zip(linking.tracklets.offsets[:-1], linking.tracklets.offsets[1:], strict=True):
        own = linking.tracklets.members[a:b]
        other = [
            x
            for x in chosen
            if true[x[0]] == true[own[0]] or abs(np.ptp(rows["midpoint_mjd_tai"][[x[0], own[0]]])) < 0.5
        ]
        if len(set(true[own])) == 1 and true[own[0]] >= 0 and not other:
            chosen.append(own)
    picked = np.sort(np.concatenate(chosen[:3]))
    model = linking.links.where(np.array([0]))
    link = replace(model, offsets=np.array([0, len(picked)]), members=picked)
    link_id = int(rows["detection_id"][picked].min())
    free = linking.tracklets.where(linking.tracklets.untouched(np.isin(np.arange(len(rows)), picked)))
    after = replace(
        linking,
        links=concatenated([linking.links, link]),
        link_ids=np.append(linking.link_ids, link_id),
        tracklets=free,
    )
    name = provisional_name(link_id)
    row = state.objects[:1].copy()
    row["designation"] = row["packed"] = name
    row["link_id"], row["ss_object_id"] = link_id, ss_object_id_of(name)
    held = np.zeros(len(picked), HELD)
    for column in DETECTION.names or ():
        held[column] = rows[column][picked]
    held["designation"], held["ss_object_id"], held["how"] = name, row["ss_object_id"], How.LINKED
    objects, every = np.concatenate([state.objects, row]), np.concatenate([state.held, held])
    return replace(
        state,
        linking=after,
        objects=objects[np.argsort(objects["designation"], kind="stable")].astype(OBJECT),
        held=every[np.argsort(every["detection_id"], kind="stable")],
    ), rows["detection_id"][picked].tolist()


def test_a_wrong_link_is_undone_and_its_tracklets_are_free_to_be_linked_anew(run: Run) -> None:
    at = 8
    wrong, ids = wrong_link(run.states[at])
    other = Run(states=[wrong])
    injected = changes_between(run.states[at], wrong, NIGHTS[at - 1], merged={}, reasons={}, rules=other.rules)
    other.ledger = fold(run.ledgers[at], injected)
    agrees(other)
    assert all(other.ledger.owners[i] for i in ids)
    other.take(NIGHTS[at])
    agrees(other)
    (changes,) = other.changes
    assert "withdrawn" in changes.orbits["change"].tolist()
    released = changes.reassigned["dia_source_id"][changes.reassigned["ss_object_id"] == 0]
    owners = [other.ledger.owners.get(i) for i in ids]
    assert set(released.tolist()) | {i for i, o in zip(ids, owners, strict=True) if o} == set(ids)
    in_tracklets = {m for one in other.ledger.tracklets.values() for m in one.members}
    assert set(ids) <= in_tracklets
    for night in NIGHTS[at + 1 :]:
        other.take(night)
    agrees(other)
    assert sorted(map(sorted, members(other.states[-1]))) == sorted(map(sorted, members(run.states[-1])))


def test_what_links_do_not_take_goes_to_objects_whose_orbits_predict_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No link takes anything of three nights, as if two-body motion led nowhere: orbits under all planets still know what is theirs."""
    monkeypatch.setattr(linking_nightly, "_recognised", lambda window, links, fresh, rules: links)
    other = Run(states=[run.states[9]], ledger=run.ledgers[9])
    body = {name: OWNERS[ids[0]] for name, ids in zip(named(run.states[9]), members(run.states[9]), strict=True)}
    for night in NIGHTS[9:12]:
        other.take(night)
        agrees(other)
    last = other.states[-1]
    assert set(body) <= set(named(last))
    new = last.held[~np.isin(last.held["detection_id"], run.states[9].held["detection_id"])]
    ours = new[np.isin(new["designation"], list(body)) & (new["how"] == How.ATTRIBUTED)]
    theirs = [i for n in NIGHTS[9:12] for i in n.detections["detection_id"].tolist() if OWNERS[i] in set(body.values())]
    assert len(ours) > 0.95 * len(theirs) > 50
    assert [body[name] for name in ours["designation"].tolist()] == [OWNERS[i] for i in ours["detection_id"].tolist()]
    visits = [*zip(last.held["designation"].tolist(), last.held["visit"].tolist(), strict=True)]
    assert len(set(visits)) == len(visits)
    assert not set(last.linking.detections["detection_id"][last.linking.links.members]) & set(ours["detection_id"])
    assert state_to_bytes(state_from_bytes(state_to_bytes(last))) == state_to_bytes(last)


def test_what_is_taken_out_of_the_window_and_given_back_has_its_tracklets_again(run: Run) -> None:
    linking = run.states[6].linking
    ids = linking.detections["detection_id"][linking.tracklets.members[:7]]
    less = taken_out(linking, ids)
    assert len(less.tracklets) < len(linking.tracklets)
    assert not np.isin(less.detections["detection_id"][less.tracklets.members], ids).any()
    again = given_back(less, ids, NightlyRules())
    assert np.array_equal(again.held, linking.held)
    assert np.array_equal(again.tracklets.members, linking.tracklets.members)
    assert np.array_equal(again.tracklets.offsets, linking.tracklets.offsets)
    assert given_back(linking, ids, NightlyRules()) is linking
    assert taken_out(linking, ids[:0]) is linking


def test_imported_orbits_take_what_is_theirs_and_what_is_old_is_forgotten(run: Run) -> None:
    own = run.states[-1]
    known = np.zeros(len(own.objects), ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        known[name] = own.objects[name]
    known["designation"] = [f"K{n}" for n in range(len(known))]
    known["ss_object_id"] = np.arange(len(known)) + 1
    set_covariances(known, np.full((len(known), 6, 6), np.nan))
    other = Run(rules=DayRules(nightly=NightlyRules(window_nights=4)))
    for night in NIGHTS[:9]:
        other.take(night, known)
    held = other.states[-1].held
    right = [OWNERS[int(i)] for i in held["detection_id"]]
    body = {str(k): OWNERS[m[0]] for k, m in zip(known["designation"], members(own), strict=True)}
    assert len(held) > 40
    assert [body[str(name)] for name in held["designation"]] == right
    assert len(np.unique(np.floor(held["midpoint_mjd_tai"] - 0.5))) <= 4
    rest = {int(i) for n in NIGHTS[5:9] for i in n.detections["detection_id"] if OWNERS[int(i)] in set(body.values())}
    assert len(rest - set(held["detection_id"].tolist())) <= 0.01 * len(rest)
    assert len(other.ledger.owners) > len(held)


def as_imported(objects: Any) -> Any:
    """Return orbits as a catalogue has them: other names and numbers, no covariances."""
    known = np.zeros(len(objects), ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        known[name] = objects[name]
    known["designation"] = [f"2025 K{n}" for n in range(len(known))]
    known["ss_object_id"] = np.arange(len(known)) + 1
    set_covariances(known, np.full((len(known), 6, 6), np.nan))
    return known


@pytest.mark.parametrize("which", ["run", "short"])
def test_objects_of_ours_that_a_later_catalogue_has_become_its_own(which: str, request: pytest.FixtureRequest) -> None:
    """In the window and out of it: one holder, the catalogue's name, ours as a provisional one, the same after a restart."""
    earlier: Run = request.getfixturevalue(which)
    before, final = earlier.states[11], earlier.states[-1]
    known = as_imported(final.objects)
    ours = dict(zip(named(before), members(before), strict=True))
    body = {name: OWNERS[ids[0]] for name, ids in ours.items()}
    theirs = {OWNERS[m[0]]: str(k["designation"]) for k, m in zip(known, members(final), strict=True)}
    number = dict(zip(known["designation"].tolist(), known["ss_object_id"].tolist(), strict=True))
    other = Run(rules=earlier.rules, states=[before], ledger=earlier.ledgers[11])
    after = other.take(NIGHTS[11], known)
    agrees(other)
    merged = {str(r["designation"]): str(r["merged_into"]) for r in other.changes[0].orbits if r["change"] == "merged"}
    expected = {name: theirs[body[name]] for name in named(before) if body[name] in theirs}
    assert expected.items() <= merged.items()
    assert len(merged) >= len(before.objects) - 1 > 10
    assert not set(merged) & set(named(after))
    owner = dict(zip(after.held["detection_id"].tolist(), after.held["ss_object_id"].tolist(), strict=True))
    assert all(owner[i] == number[merged[name]] for name in expected for i in ours[name])
    moved = other.changes[0].reassigned
    assert {i for name in expected for i in ours[name]} <= set(
        moved["dia_source_id"][moved["ss_object_id"] > 0].tolist()
    )
    offsets = np.hypot(after.held["offset_ra_arcsec"], after.held["offset_dec_arcsec"])[
        after.held["how"] == How.IDENTIFIED
    ]
    assert offsets.max() < 1.5
    assert not np.isin(
        after.linking.detections["detection_id"][after.linking.links.members],
        after.held["detection_id"][after.held["how"] == How.IDENTIFIED],
    ).any()
    mixed = replace(NIGHTS[11], detections=np.random.default_rng(3).permutation(NIGHTS[11].detections))
    again = decide_night(state_from_bytes(state_to_bytes(before)), mixed, known[::-1], SKY, earlier.rules)
    assert state_to_bytes(again.state) == state_to_bytes(after)
    for night in NIGHTS[12:]:
        other.take(night, known)
    assert sum(c.orbits["change"].tolist().count("withdrawn") for c in other.changes) == 0
    last = other.states[-1]
    found = {OWNERS[i[0]] for i in members(last)}
    assert not found & set(theirs)
    kept = last.held[last.held["how"] == How.IDENTIFIED]
    assert {i for name in expected for i in ours[name]} == set(kept["detection_id"].tolist())
    assert not np.isin(last.past["detection_id"], kept["detection_id"]).any()


def test_an_orbit_that_passes_by_one_detection_is_another_body(run: Run) -> None:
    before = run.states[11]
    known = as_imported(run.states[-1].objects)
    known["y"] += 3e-5  # four arcseconds across the line of sight at opposition in September
    step = decide_night(before, NIGHTS[11], known, SKY, run.rules)
    near = step.counts["identified"]
    assert near < 0.2 * len(before.objects)
    assert decide_night(before, replace(NIGHTS[11], detections=NIGHTS[11].detections[:0]), known, SKY).merged == {}


def test_too_much_is_refused(run: Run) -> None:
    with pytest.raises(DayTooLargeError, match="detections"):
        decide_night(run.states[3], NIGHTS[3], NOBODY, SKY, DayRules(detections_most=100))
    with pytest.raises(DayTooLargeError, match="objects"):
        decide_night(run.states[10], NIGHTS[10], NOBODY, SKY, DayRules(objects_most=3))


def test_a_broken_state_and_a_broken_ledger_are_told(run: Run) -> None:
    data = state_to_bytes(run.states[5])
    for broken in (b"", b"NCDAYS00" + data[8:], data[: len(data) // 2]):
        with pytest.raises(CatalogueFormatError):
            state_from_bytes(broken)
    changes = run.changes[8]
    rows = changes.tracklets.rows.copy()
    rows["holder"] = ""
    with pytest.raises(BrokenLedgerError, match="nobody"):
        fold(DayLedger(), replace(changes, tracklets=replace(changes.tracklets, rows=rows)))
