"""The Moving Object Database: a catalogue is swapped in whole or not at all, and own orbits stand beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infra.errors import KafkaUnavailableError
from infra.kafka import producer
from infra.objects import ObjectStore
from infra.parquet import ParquetError
from processors.moving_objects.errors import InvalidDesignationError
from schemas.events import CatalogueImported, OrbitDetermined, OrbitEvent, OrbitOrigin
from schemas.orbits import covariances_of, orbit_rows, states_of
from streams.moving_objects.orbit_store import (
    CATALOGUE_KEY,
    TOPIC,
    WorseCatalogueError,
    import_catalogue,
    orbits_at_hand,
)
from streams.moving_objects.show import UnknownOrbitError, describe
from streams.stage_codec import Outgoing
from tests.streams.moving_objects.conftest import System

UPPER = np.triu_indices(6)


def catalogue(names: Iterable[str]) -> np.ndarray[Any, Any]:
    listed = list(names)
    rows = orbit_rows(len(listed))
    rows["designation"], rows["epoch_mjd_tdb"] = listed, 61000.0
    rows["x"], rows["vy"] = 2.0 + np.arange(len(listed)), 0.01
    return rows


def own(name: str, **changes: Any) -> OrbitEvent:
    fact = OrbitDetermined(
        origin=OrbitOrigin.DISCOVERED, ss_object_id=7, epoch_mjd_tdb=61300.5, state=(1.0, 2.0, 3.0, 0.01, 0.02, 0.03),
        covariance=tuple(float(k) for k in range(21)), absolute_magnitude=18.25, slope=0.2, day_obs=20260921,
        tracklets=(1, 2, 3), n_detections=6, arc_days=5.0, chi2=9.0, rms_arcsec=0.125, reportable=True, reasons=(),
    )  # fmt: skip
    return OrbitEvent(designation=name, fact=replace(fact, **changes))


def swap(system: System, names: Iterable[str], title: str = "new", **more: Any) -> CatalogueImported:
    return import_catalogue(
        catalogue(names), title, events=system.events(), objects=system.objects, producer=system.producer(), **more
    )


def names(system: System) -> list[str]:
    return list(system.at_hand().rows["designation"])


def test_an_empty_log_has_no_orbits(system: System) -> None:
    assert system.events() == []
    assert (len(system.at_hand().rows), system.at_hand().own) == (0, frozenset())


def test_an_imported_catalogue_is_read_back_in_order_with_packed_names_and_numbers(system: System) -> None:
    fact = swap(system, ["2014 AA3", "433"], refused=3)
    assert (fact.name, fact.count, fact.refused) == ("new", 2, 3)
    rows = system.at_hand().rows
    assert rows["designation"].tolist() == ["2014 AA3", "433"]
    assert rows["packed"].tolist() == ["K14A03A", "00433"]
    assert len(set(rows["ss_object_id"].tolist())) == 2
    assert rows["x"].tolist() == [2.0, 3.0]


def test_a_swap_is_one_record_and_the_same_catalogue_again_is_none(system: System) -> None:
    swap(system, ["1", "2"], "first")
    assert system.records() == 1
    swap(system, ["1", "2"], "first")
    assert system.records() == 1
    swap(system, ["2", "1", "3"], "second")
    assert system.records() == 2
    assert names(system) == ["1", "2", "3"]


def test_a_worse_catalogue_is_refused_and_the_old_one_stays(system: System) -> None:
    known = [str(number) for number in range(1, 101)]
    swap(system, known, "old")
    before = system.at_hand().sha256
    with pytest.raises(WorseCatalogueError, match="lacks 6 of the 100 objects of old; that one stays"):
        # More objects than before, but six of the old ones are not among them.
        swap(system, [*known[6:], *(str(n) for n in range(200, 300))])
    with pytest.raises(WorseCatalogueError, match="no orbits"):
        swap(system, [])
    assert (system.at_hand().sha256, system.records()) == (before, 1)


def test_a_twentieth_may_go_and_more_by_force(system: System) -> None:
    known = [str(number) for number in range(1, 101)]
    swap(system, known)
    swap(system, known[5:])
    assert len(names(system)) == 95
    swap(system, ["5"], force=True)
    assert names(system) == ["5"]


def test_a_first_catalogue_must_have_orbits_too(system: System) -> None:
    with pytest.raises(WorseCatalogueError):
        import_catalogue(catalogue([]), "none", events=[], objects=system.objects, producer=system.producer())


def test_a_name_without_packed_form_changes_nothing(system: System) -> None:
    swap(system, ["1"])
    with pytest.raises(InvalidDesignationError):
        swap(system, ["1", "my asteroid"])
    assert (names(system), system.records()) == (["1"], 1)


def test_what_the_broker_did_not_take_leaves_the_old_catalogue(system: System) -> None:
    swap(system, ["1", "2"])

    class Refusing:
        def put(self, records: Iterable[Outgoing]) -> int:
            return len(list(records))

        def confirm(self) -> None:
            raise KafkaUnavailableError("Kafka does not answer.")

    lost: Any = Refusing()
    with pytest.raises(KafkaUnavailableError):
        import_catalogue(
            catalogue(["1", "2", "3"]), "new", events=system.events(), objects=system.objects, producer=lost
        )
    assert names(system) == ["1", "2"]


def test_own_orbits_stand_beside_the_catalogue_with_all_their_numbers(system: System) -> None:
    swap(system, ["433"])
    system.put([own("2026 SA")])
    at_hand = system.at_hand()
    assert (at_hand.rows["designation"].tolist(), at_hand.own) == (["2026 SA", "433"], frozenset({"2026 SA"}))
    row = at_hand.rows[:1]
    assert states_of(row)[0].tolist() == [1.0, 2.0, 3.0, 0.01, 0.02, 0.03]
    assert covariances_of(row)[0][UPPER].tolist() == list(range(21))
    assert (row["h"][0], row["n_observations"][0], row["arc_days"][0], row["rms_arcsec"][0]) == (18.25, 6, 5.0, 0.125)
    assert row["g"][0] == np.float32(0.2)
    assert row["ss_object_id"][0] == 7


def test_an_own_orbit_gives_way_to_an_imported_one_of_its_name(system: System) -> None:
    swap(system, ["2026 SA"])
    system.put([own("2026 SA")])
    at_hand = system.at_hand()
    assert (at_hand.own, len(at_hand.rows), at_hand.rows["epoch_mjd_tdb"][0]) == (frozenset(), 1, 61000.0)


def test_merged_and_withdrawn_orbits_are_left_out_and_the_newest_version_counts(system: System) -> None:
    system.put([own("2026 SA"), own("2026 SB"), own("2026 SC"), own("2026 SA", epoch_mjd_tdb=61310.0)])
    system.put([own("2026 SB", merged_into="2026 SA")])
    raw = producer(system.settings.bootstrap, client_id="test")
    raw.produce(TOPIC, key=b"2026 SC", value=None)
    raw.flush(10)
    rows = system.at_hand().rows
    assert rows["designation"].tolist() == ["2026 SA"]
    assert rows["epoch_mjd_tdb"][0] == 61310.0


def test_a_merged_name_leads_to_the_object_that_stands_and_is_listed_there(system: System) -> None:
    swap(system, ["2025 KA"])
    system.put([own("NC000001", merged_into="NC000002"), own("NC000002", merged_into="2025 KA")])
    assert describe(system.settings, "2025 KA")["other_names"] == ["NC000001", "NC000002"]
    with pytest.raises(UnknownOrbitError, match="NC000001 was merged into 2025 KA"):
        describe(system.settings, "NC000001")


def test_an_orbit_without_magnitude_and_covariance_has_nan(system: System) -> None:
    system.put([own("2026 SA", absolute_magnitude=None, covariance=())])
    row = system.at_hand().rows
    assert np.isnan(row["h"][0])
    assert np.isnan(covariances_of(row)).all()


def test_the_order_of_events_does_not_matter_to_the_digest() -> None:
    events = [own("2026 SA"), own("2026 SB", ss_object_id=8), own("2026 SC", ss_object_id=9)]
    digests = {orbits_at_hand(listed, ObjectStore.memory()).sha256 for listed in (events, events[::-1])}
    assert len(digests) == 1
    assert orbits_at_hand(events[:2], ObjectStore.memory()).sha256 not in digests


def test_records_that_are_no_events_are_passed_over(system: System) -> None:
    system.put([own("2026 SA")])
    raw = producer(system.settings.bootstrap, client_id="test")
    raw.produce(TOPIC, key=b"2026 SB", value=b"nonsense")
    raw.flush(10)
    assert names(system) == ["2026 SA"]


def test_a_broken_catalogue_file_is_told() -> None:
    store = ObjectStore.memory()
    fact = CatalogueImported(name="x", count=1, orbits=store.put(b"no parquet"), refused=0)
    with pytest.raises(ParquetError):
        orbits_at_hand([OrbitEvent(designation=CATALOGUE_KEY, fact=fact)], store)
