"""Nights whose association DayMOPS corrects, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from processors.association.correct import (
    Corrected,
    NightToCorrect,
    correct,
    rows_of_sources,
    wanted_changes,
)
from processors.association.correction_updates import correction_updates
from processors.association.fold import object_versions
from processors.moving_objects.rows import mpc_orbit_records
from processors.moving_objects.stored_orbits import named_rows
from schemas.events import AssociationDecision, ObjectUpdate
from schemas.orbits import STATE_COLUMNS, orbit_rows
from schemas.public import null_rows
from schemas.public_avro import encode_record
from tests.support.association_cases import DAY_OBS, FIRST_MJD, Night

Array = np.ndarray[Any, Any]

NAMES = ("2026 RA1", "2026 RB2", "2026 RC3")
STATE = (2.5, 0.1, 0.0, 0.0, 0.0105, 0.001)


def orbit(name: str) -> Array:
    """Return the orbit of an asteroid of the given designation, the same for all."""
    row = orbit_rows(1)
    row["designation"], row["epoch_mjd_tdb"], row["h"] = name, FIRST_MJD, 18.0
    for column, value in zip(STATE_COLUMNS, STATE, strict=True):
        row[column] = value
    return named_rows(row)


def number_of(name: str) -> int:
    """Return the number of an object."""
    return int(orbit(name)["ss_object_id"][0])


def reassignments(pairs: Mapping[int, str | None]) -> Array:
    """Return DayMOPS' table: source to the designation of its object, or none."""
    rows = np.zeros(len(pairs), [("dia_source_id", "<i8"), ("ss_object_id", "<i8")])
    rows["dia_source_id"] = list(pairs)
    rows["ss_object_id"] = [number_of(name) if name else 0 for name in pairs.values()]
    return rows


def verdict_rows(verdicts: Mapping[int, int]) -> Array:
    """Return DayMOPS' table of verdicts of objects that a source of the same number founded."""
    rows = np.zeros(len(verdicts), [("dia_object_id", "<i8"), ("dia_source_id", "<i8"), ("verdict", "i1")])
    rows["dia_object_id"] = rows["dia_source_id"] = list(verdicts)
    rows["verdict"] = list(verdicts.values())
    return rows


class LoggedNight(Night):
    """A night that remembers its decisions, and can be corrected."""

    def __init__(self, **about: Any) -> None:
        super().__init__(**about)
        self.log: list[AssociationDecision] = []

    def fold(self, decision: AssociationDecision) -> None:
        """Fold a decision and remember it."""
        super().fold(decision)
        self.log.append(decision)

    def correct(
        self,
        pairs: Mapping[int, str | None],
        *,
        sequence: int = 0,
        day_obs: int = DAY_OBS,
        verdicts: Mapping[int, int] | None = None,
    ) -> AssociationDecision:
        """Decide what follows from reassignments, fold it and return it."""
        asked = NightToCorrect(
            instrument="TestCam",
            day_obs=day_obs,
            sequence=sequence,
            over_mjd_tai=FIRST_MJD + 0.5,
            reassigned=reassignments(pairs),
            verdicts=verdict_rows(verdicts or {}),
        )
        wanted = wanted_changes(self.view, asked.reassigned)
        rows = rows_of_sources((one for one in self.log if one.correction is None), wanted.owners["diaSourceId"])
        names = {number_of(name): name for name in NAMES}
        numbers = np.union1d(wanted.ss_object_ids, wanted.owners["ssObjectId"]).tolist()
        supplied = Corrected(
            rows=rows,
            circumstances=circumstances(rows[wanted.ss_object_ids != 0]),
            orbits={one: record_of(names[one]) for one in numbers if one},
        )
        decision = correct(asked, wanted, supplied, self.blocks, rules=self.rules)
        self.fold(decision)
        return decision

    def objects(self) -> dict[int, list[int]]:
        """Return the living DIAObjects with their sources."""
        found: dict[int, list[int]] = {}
        for pixel in self._pixels():
            for head in self.view.heads(np.array([pixel])):
                found[int(head["diaObjectId"])] = []
            for row in self.view.sources(np.array([pixel]), FIRST_MJD - 300.0, FIRST_MJD + 60.0):
                found[int(row["diaObjectId"])].append(int(row["diaSourceId"]))
        return {one: sorted(ids) for one, ids in sorted(found.items())}

    def moving(self) -> dict[str, list[int]]:
        """Return the Solar System objects with their sources."""
        rows = self.view.moving(np.array([number_of(name) for name in NAMES]))
        owned = {name: rows["diaSourceId"][rows["ssObjectId"] == number_of(name)].tolist() for name in NAMES}
        return {name: sorted(ids) for name, ids in owned.items() if ids}

    def _pixels(self) -> Iterable[int]:
        return [int.from_bytes(key[1:], "big", signed=True) for key in sorted(self.blocks.values) if key[:1] == b"h"]


def updates_of(night: Night, decision: AssociationDecision) -> list[ObjectUpdate]:
    """Return the updates of a folded correction."""
    number = night.view.number_of(decision.visit, decision.sequence)
    return list(correction_updates(decision, object_versions(night.view, decision), number))


def circumstances(rows: Array) -> Array:
    """Return ssSource rows of sources, as if each lay where it was predicted."""
    found = null_rows("ssSource", len(rows))
    for name in ("diaSourceId", "ssObjectId"):
        found[name] = rows[name]
    found["ephRa"], found["ephDec"] = rows["ra"], rows["dec"]
    found["phaseAngle"], found["helioRange"], found["topoRange"] = 10.0, 2.5, 1.6
    return found


def record_of(name: str) -> bytes:
    """Return the encoded mpc_orbits record of an object."""
    return encode_record(mpc_orbit_records(orbit(name))[0], "mpc_orbits")
