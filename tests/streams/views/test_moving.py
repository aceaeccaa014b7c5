"""Moving objects in the view: newest facts, tombstones, merges, runs that are repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.events import (
    CatalogueImported,
    DayMopsDecision,
    OrbitDetermined,
    OrbitEvent,
    OrbitOrigin,
    TrackletState,
    TrackletStatus,
)
from schemas.tables import Claim
from streams.toolkit.orbit_view import orbit_view
from streams.toolkit.service import Toolkit
from streams.views import moving
from streams.views.fold import Message
from tests.support.packets import build_sky, frame_packet
from tests.support.toolkits import fill, make_toolkit

CLAIM = Claim(uri="sha256/00/00", sha256="00", size=1)
FACT = OrbitDetermined(
    origin=OrbitOrigin.DISCOVERED, ss_object_id=7_000_000_000, epoch_mjd_tdb=61300.5,
    state=(2.0, 0.5, 0.1, -0.002, 0.011, 0.001), covariance=(), absolute_magnitude=None, slope=0.15, day_obs=20260921,
    tracklets=(1,), n_detections=6, arc_days=5.0, chi2=9.0, rms_arcsec=0.1, reportable=True, reasons=(),
)  # fmt: skip
TRACKLET = TrackletState(
    tracklet_id=5_000_000_000, instrument="i", day_obs=20260920, dia_source_ids=(1, 2), status=TrackletStatus.LINKED,
    holder="NC1", mjd_tai=61300.2, ra=1.0, dec=2.0, rate_ra=0.1, rate_dec=0.0, magnitude=21.0, decided_day_obs=20260921,
)  # fmt: skip
RUN = DayMopsDecision(
    instrument="i", day_obs=20260921, sequence=0, window=(20260921,), tracklets=CLAIM, orbits=CLAIM, reassigned=CLAIM,
    verdicts=CLAIM, counts={"links": 3.0}, detections=CLAIM,
)  # fmt: skip


@pytest.fixture
def toolkit(tmp_path: Path) -> Toolkit:
    return make_toolkit(tmp_path)


def put(toolkit: Toolkit, topic: str, *facts: tuple[bytes, Any], first: int = 0) -> None:
    fill(
        toolkit.view,
        [
            Message(
                topic=topic, partition=0, offset=first + k, key=key, timestamp_s=1.8e9,
                value=None if event is None else toolkit.view.codec.encode(topic, event),
            )
            for k, (key, event) in enumerate(facts)
        ],
    )  # fmt: skip


def orbit(name: str, **changes: Any) -> tuple[bytes, OrbitEvent]:
    return name.encode(), OrbitEvent(designation=name, fact=replace(FACT, **changes))


def test_the_newest_version_counts_and_a_withdrawn_orbit_is_gone(toolkit: Toolkit) -> None:
    put(toolkit, "orbit-store", orbit("NC1"), orbit("NC2", day_obs=20260922), orbit("NC1", n_detections=8))
    with toolkit.view.reading() as connection:
        found = moving.newest_orbits(connection, 10)
        assert [one.designation for one in found] == ["NC2", "NC1"]
        assert isinstance(found[1].fact, OrbitDetermined)
        assert found[1].fact.n_detections == 8
    put(toolkit, "orbit-store", (b"NC2", None), first=3)
    with toolkit.view.reading() as connection:
        assert moving.count_orbits(connection) == {"own": 1, "reportable": 1, "imported": None}


def test_a_merged_orbit_is_not_listed_and_the_one_that_stands_comes_first(toolkit: Toolkit) -> None:
    put(toolkit, "orbit-store", orbit("NC1", merged_into="NC2"), orbit("NC2"))
    with toolkit.view.reading() as connection:
        assert [one.designation for one in moving.newest_orbits(connection, 10)] == ["NC2"]
        found = moving.orbit_of(connection, ss_object_id=FACT.ss_object_id)
        assert found is not None
        assert found.designation == "NC2"
    assert orbit_view(toolkit, "NC1").own == replace(FACT, merged_into="NC2")


def test_the_catalogue_is_one_row_and_no_orbit_of_ours(toolkit: Toolkit) -> None:
    fact = CatalogueImported(name="MPCORB", count=1_400_000, orbits=CLAIM, refused=3)
    put(toolkit, "orbit-store", (b"catalogue", OrbitEvent(designation="catalogue", fact=fact)))
    with toolkit.view.reading() as connection:
        assert moving.count_orbits(connection) == {"own": 0, "reportable": 0, "imported": fact}
        assert moving.orbit_of(connection, designation="catalogue") is None


@pytest.mark.parametrize("key", [b"5000000000", (5_000_000_000).to_bytes(8, "big")])
def test_tracklets_go_from_holder_to_holder_and_end_in_a_tombstone(toolkit: Toolkit, key: bytes) -> None:
    put(toolkit, "tracklet-store", (key, TRACKLET), (key, replace(TRACKLET, holder="NC2")))
    with toolkit.view.reading() as connection:
        assert moving.tracklets_of(connection, "NC1") == []
        assert moving.tracklets_of(connection, "NC2") == [replace(TRACKLET, holder="NC2")]
    put(toolkit, "tracklet-store", (key, None), first=2)
    with toolkit.view.reading() as connection:
        assert moving.tracklets_of(connection, "NC2") == []


def test_a_repeated_run_takes_the_place_of_the_first(toolkit: Toolkit) -> None:
    put(toolkit, "daymops-log", (b"i", RUN), (b"i", replace(RUN, sequence=1, counts={"links": 4.0}, detections=None)))
    with toolkit.view.reading() as connection:
        (run,) = moving.newest_runs(connection, 5)
        assert (run.sequence, run.counts) == (1, {"links": 4.0})
        assert moving.detection_claims(connection, {20260921}) == []


def test_an_alert_without_an_orbit_has_a_page_that_says_so(toolkit: Toolkit) -> None:
    (story,) = build_sky(objects=1, epochs=1)
    source = {**story.alerts[0].record["diaSource"], "diaObjectId": None, "ssObjectId": 8_000_000_000}
    packet = frame_packet({**story.alerts[0].record, "diaSource": source, "diaObject": None})
    fill(toolkit.view, [Message(topic="alert-store", partition=0, offset=0, key=b"1", value=packet)])
    view = orbit_view(toolkit, "8000000000")
    assert (view.designation, view.orbit_class, view.elements, view.drawing) == ("8000000000", "unclassified", [], None)
    assert view.problem is not None
