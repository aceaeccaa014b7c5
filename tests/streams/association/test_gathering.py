"""What a correction is made of: rows from the log, orbits from DayMOPS or the catalogue it names, places from the orbits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from infra.objects import ObjectStore
from infra.parquet import to_parquet
from processors.association.rules import Rules
from schemas import avro
from schemas.errors import NightcastError
from schemas.events import AssociationDecision, DayMopsDecision, Verdict
from schemas.public_avro import decode_record
from schemas.tables import Claim, Table
from streams.association.corrections import CorrectionSource, corrected
from tests.support.association_cases import DAY_OBS
from tests.support.corrections import NAMES, LoggedNight, number_of, orbit, reassignments, verdict_rows
from tests.support.observed_asteroid import asteroid_night

ONE, TWO, _ = NAMES


class State:
    """A night's state as the process keeps it."""

    def __init__(self, night: LoggedNight) -> None:
        self._night = night

    @property
    def view(self) -> Any:
        """The history."""
        return self._night.view

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Return blocks."""
        return list(self._night.blocks.get_many(keys))

    def offset_of(self, visit: int, sequence: int) -> int | None:
        """Return the place of a decision in the log."""
        places = [place for place, one in enumerate(self._night.log) if (one.visit, one.sequence) == (visit, sequence)]
        return places[0] if places else None


class Log:
    """The decisions of a night."""

    def __init__(self, night: LoggedNight) -> None:
        self._night = night

    def at(self, offset: int) -> AssociationDecision:
        """Return one."""
        return self._night.log[offset]


class Case:
    """A night with an asteroid, and what DayMOPS says of it."""

    def __init__(self) -> None:
        self.night, self.sources = asteroid_night()
        self.objects = ObjectStore.memory()

    def decided(self, pairs: dict[int, str | None], orbits: Any, sequence: int = 0, **more: Any) -> DayMopsDecision:
        """Return a decision of DayMOPS."""
        about = {"verdicts": self.claim(verdict_rows({self.sources[0]: int(Verdict.LINKED)}))} | more
        return DayMopsDecision(
            instrument="TestCam",
            day_obs=DAY_OBS,
            sequence=sequence,
            window=(DAY_OBS,),
            tracklets=self.claim(orbits[:0]),
            orbits=self.claim(orbits),
            reassigned=self.claim(reassignments(pairs)),
            counts={},
            **about,
        )

    def claim(self, rows: Any) -> Claim:
        """Store rows."""
        return self.objects.put(avro.encode(Table.from_array(rows)))

    def answer(self, event: DayMopsDecision) -> AssociationDecision:
        """Answer it and fold the answer."""
        state: Any = State(self.night)
        log: Any = Log(self.night)
        source = CorrectionSource(state=state, log=log, objects=self.objects, observatory="X05")
        decision = corrected(event, source, Rules())
        self.night.fold(decision)
        return decision


@pytest.fixture
def case() -> Case:
    return Case()


def changed(rows: Any, change: str) -> Any:
    """Return orbits with the columns that DayMOPS adds."""
    table = np.zeros(len(rows), [*rows.dtype.descr, ("change", "<U9")])
    for name in rows.dtype.names:
        table[name] = rows[name]
    table["change"] = change
    return table


def test_each_source_gets_the_place_that_its_new_orbit_gives_it(case: Case) -> None:
    decision = case.answer(case.decided(dict.fromkeys(case.sources, ONE), changed(orbit(ONE), "new")))
    rows, circumstances = decision.moving.to_array(), decision.circumstances.to_array()
    assert rows["diaSourceId"].tolist() == circumstances["diaSourceId"].tolist() == case.sources
    assert (circumstances["ephOffset"] < 0.05).all()  # it was observed where an independent integration puts it
    assert circumstances["helioRange"] == pytest.approx(np.linalg.norm([2.5, 0.1, 0.0]), abs=0.01)
    assert set(circumstances["designation"].tolist()) == {ONE}
    assert [decode_record(record, "mpc_orbits")["designation"] for record in decision.mpc_orbits] == [ONE] * 3
    assert decision.correction is not None
    assert decision.correction.verdicts.to_array().tolist() == [(case.sources[0], Verdict.LINKED)]


def test_orbits_of_known_objects_come_from_the_catalogue_that_daymops_names(case: Case) -> None:
    catalogue = np.concatenate([orbit(ONE), orbit(TWO)])
    known = case.objects.put(to_parquet(catalogue))
    event = case.decided(dict.fromkeys(case.sources, TWO), orbit(ONE)[:0], known_orbits=known)
    decision = case.answer(event)
    assert set(decision.circumstances.to_array()["designation"].tolist()) == {TWO}
    assert decision.correction is not None
    assert list(decision.correction.orbits) == [str(number_of(TWO))]


def test_an_orbit_that_is_given_up_places_nothing_and_its_object_ends(case: Case) -> None:
    before = case.night.objects()
    case.answer(case.decided(dict.fromkeys(case.sources, ONE), changed(orbit(ONE), "new")))
    undone = case.decided(dict.fromkeys(case.sources, None), changed(orbit(ONE), "withdrawn"), sequence=1)
    decision = case.answer(undone)
    assert case.night.objects() == before
    assert decision.moving.rows == 0
    assert case.night.moving() == {}


def test_an_object_without_an_orbit_has_no_place(case: Case) -> None:
    decision = case.answer(case.decided({case.sources[0]: ONE}, orbit(ONE)[:0]))
    (row,) = decision.circumstances.to_array()
    assert np.isnan(row["ephRa"])
    assert (row["diaSourceId"], row["ssObjectId"]) == (case.sources[0], number_of(ONE))
    assert decision.mpc_orbits == (b"",)


def test_a_better_orbit_alone_touches_its_object_and_others_orbits_do_not(case: Case) -> None:
    case.answer(case.decided(dict.fromkeys(case.sources, ONE), changed(orbit(ONE), "new")))
    both = np.concatenate([orbit(ONE), orbit(TWO)])
    decision = case.answer(case.decided({}, changed(both, "better"), sequence=1))
    assert decision.correction is not None
    assert list(decision.correction.orbits) == [str(number_of(ONE))]


def test_a_table_that_is_gone_is_an_error(case: Case) -> None:
    gone = Claim(uri="sha256/aa/nothing", sha256="a" * 64, size=3)
    with pytest.raises(NightcastError):
        case.answer(case.decided({}, orbit(ONE), verdicts=gone))
