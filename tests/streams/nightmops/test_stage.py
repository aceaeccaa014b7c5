"""NightMOPS' stage without a broker: when it builds, what it answers, what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schemas import avro
from schemas.events import (
    Announced,
    Cancelled,
    EphemerisCatalogue,
    PredictedSsObjects,
    VisitEvent,
)
from schemas.tables import Claim
from streams.nightmops.stage import NightMopsState, nightmops_spec
from streams.stage import Incoming

NIGHT, VISIT = 20260921, 2026092100001
CLAIM = Claim(uri="sha256/aa", sha256="aa", size=1)


def catalogue(day_obs: int, sha256: str = "built") -> EphemerisCatalogue:
    return EphemerisCatalogue(
        instrument="Sim",
        day_obs=day_obs,
        mid_night_mjd_tai=61305.2,
        count=5,
        file=replace(CLAIM, sha256=sha256),
        orbits=CLAIM,
        orbits_sha256="bb",
        refused=0,
    )


def announcement(day_obs: int = NIGHT, visit: int = VISIT, instrument: str = "Sim", fact: Any = None) -> VisitEvent:
    announced = Announced(
        group_id="g", day_obs=day_obs, n_snaps=2, band="r", ra=0.0, dec=0.0, rotation=0.0, exposure_time=15.0,
        start_mjd_tai=61305.1, duration=34.0, camera="demo", detectors=(0,), survey="test",
    )  # fmt: skip
    return VisitEvent(instrument=instrument, visit=visit, fact=fact or announced)


class Bench:
    """The stage with collaborators that remember what they were asked."""

    def __init__(self) -> None:
        self.built: list[int] = []
        self.spec = nightmops_spec("Sim", build=self.build, predict=self.predict)
        self.state = NightMopsState()

    def build(self, day_obs: int) -> EphemerisCatalogue:
        self.built.append(day_obs)
        return catalogue(day_obs)

    def predict(self, ephemerides: EphemerisCatalogue, visit: int, announced: Announced) -> PredictedSsObjects:
        return PredictedSsObjects(
            instrument="Sim", visit=visit, day_obs=announced.day_obs, mjd_tai=1.0, count=0,
            ephemeris_sha256=ephemerides.file.sha256, predicted=CLAIM,
        )  # fmt: skip

    def take(self, event: Any) -> list[tuple[str, Any]]:
        incoming = Incoming(topic="t", partition=0, offset=0, timestamp_s=0.0, key=b"", record=event)
        self.state, outgoing = self.spec.handle(self.state, incoming, 0.0)
        return [(one.topic, one.record) for one in outgoing]


def test_the_first_visit_of_a_night_builds_and_the_others_reuse() -> None:
    bench = Bench()
    first, second = bench.take(announcement()), bench.take(announcement(visit=VISIT + 2))
    assert [topic for topic, _ in first] == ["ephemeris-catalogues", "predicted-ssobjects"]
    assert [topic for topic, _ in second] == ["predicted-ssobjects"]
    assert bench.built == [NIGHT]
    assert second[0][1].ephemeris_sha256 == "built"


def test_ephemerides_that_were_built_by_day_are_used_and_newer_ones_replace_them() -> None:
    bench = Bench()
    bench.take(catalogue(NIGHT, "by day"))
    assert bench.take(announcement())[0][1].ephemeris_sha256 == "by day"
    bench.take(catalogue(NIGHT, "again"))
    assert bench.take(announcement())[0][1].ephemeris_sha256 == "again"
    assert bench.built == []


def test_the_newest_ephemerides_are_opened_when_the_stage_begins() -> None:
    opened: list[EphemerisCatalogue] = []
    bench = Bench()
    spec = nightmops_spec("Sim", build=bench.build, predict=bench.predict, opened=opened.append)
    assert spec.restored is not None
    spec.restored(NightMopsState(), ())
    assert opened == []
    both = NightMopsState().with_catalogue(catalogue(NIGHT + 1, "later")).with_catalogue(catalogue(NIGHT))
    spec.restored(both, ())
    assert [one.day_obs for one in opened] == [NIGHT + 1]


def test_other_facts_and_other_instruments_are_left_alone() -> None:
    bench = Bench()
    assert bench.take(announcement(fact=Cancelled(reason="clouds"))) == []
    assert bench.take(announcement(instrument="Other")) == []
    bench.take(replace(catalogue(NIGHT), instrument="Other"))
    assert bench.state == NightMopsState()


def test_the_last_nights_are_kept_and_the_state_survives_storage() -> None:
    bench = Bench()
    for day in range(1, 8):
        bench.take(catalogue(NIGHT + day))
    assert [one.day_obs for one in bench.state.catalogues] == [NIGHT + day for day in range(4, 8)]
    assert avro.decode(NightMopsState, avro.encode(bench.state)) == bench.state


def test_what_is_newest_is_opened_and_worked_on_when_nothing_is_to_do() -> None:
    opened: list[int] = []
    bench = Bench()
    spec = nightmops_spec(
        "Sim",
        build=bench.build,
        predict=bench.predict,
        opened=lambda ephemerides: opened.append(ephemerides.day_obs),
        work_ahead=lambda: len(opened) < 2,
    )
    assert spec.idle is not None
    assert spec.idle(NightMopsState())
    assert opened == []
    state = NightMopsState().with_catalogue(catalogue(NIGHT)).with_catalogue(catalogue(NIGHT - 1))
    assert spec.idle(state)
    assert not spec.idle(state)
    assert opened == [NIGHT, NIGHT]
