"""Decisions of whole visits: truth on a synthetic night, invariance, twins, late results, rows that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.association.blocks import MemoryBlocks
from processors.association.decide import VisitToDecide, decide, detectors_of
from processors.association.errors import UnknownVisitError
from processors.association.fold import fold, object_versions
from processors.association.history import History
from processors.association.rules import Rules
from schemas import avro
from schemas.events import AssociationDecision, DetectorResult
from schemas.tables import Claim
from tests.support.association_cases import (
    FIRST_MJD,
    Night,
    detector_result,
    forced_rows,
    midpoint_of,
    source_rows,
    visit_number,
)

Array = np.ndarray[Any, Any]


def field(place: tuple[float, float], count: int, seed: int) -> tuple[Array, Array]:
    """Return positions of objects at least 6 arcsec from each other about a place."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count**0.5))
    x, y = (grid.ravel()[:count] * 9.0 for grid in np.meshgrid(np.arange(side) - side / 2, np.arange(side) - side / 2))
    frame = SkyCoord(*place, unit="deg").skyoffset_frame()
    jitter = rng.uniform(-1.5, 1.5, (2, count))
    sky = SkyCoord(x + jitter[0], y + jitter[1], unit="arcsec", frame=frame).icrs
    return sky.ra.deg % 360.0, sky.dec.deg


def observed(ra: Array, dec: Array, index: int, seed: int, detectors: int = 2) -> list[DetectorResult]:
    """Return the results of a visit that sees 80 % of the objects, 0.05 arcsec off, with forced rows for none."""
    rng = np.random.default_rng([seed, index])
    visit, mjd = visit_number(index), midpoint_of(index)
    seen = rng.random(len(ra)) < 0.8
    results = []
    for detector in range(detectors):
        here = np.flatnonzero(seen & (np.arange(len(ra)) % detectors == detector))
        shift = rng.normal(0.0, 0.05 / 3600.0, (2, len(here)))
        rows = source_rows(
            (ra[here] + shift[0] / np.cos(np.radians(dec[here]))) % 360.0,
            dec[here] + shift[1],
            visit=visit,
            detector=detector,
            mjd=mjd,
            flux=1000.0 + here,
        )
        results.append(detector_result(rows, visit=visit, detector=detector, mjd=mjd))
    return results


@pytest.mark.parametrize("place", [(0.0, 0.0), (45.0, 41.8103), (200.0, 89.99)])
def test_every_object_of_a_night_is_found_once(place: tuple[float, float]) -> None:
    ra, dec = field(place, 60, 1)
    night, owners = Night(), {}
    for index in range(5):
        decision = night.decide(visit_number(index), observed(ra, dec, index, 4))
        for row in decision.diasources.to_array():
            owners.setdefault(round(float(row["psfFlux"]) - 1000.0), set()).add(int(row["diaObjectId"]))
    assert all(len(ids) == 1 for ids in owners.values())
    assert len(set.union(*owners.values())) == len(owners)


def test_a_founded_object_has_the_identifier_of_its_source() -> None:
    rows = source_rows([0.0, 10.0], [0.0, 0.0], visit=visit_number(0))
    decision = Night().decide(visit_number(0), [detector_result(rows, visit=visit_number(0))])
    assert decision.new_objects == tuple(rows["diaSourceId"].tolist())
    assert np.array_equal(decision.diasources.to_array()["diaObjectId"], rows["diaSourceId"])
    assert detectors_of(decision) == (0,)


def bytes_of(decision: AssociationDecision) -> bytes:
    """Return the datum that goes to the log."""
    return avro.encode(decision)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_results_and_rows_change_no_byte(seed: int, chance: Any) -> None:
    ra, dec = field((0.0, 0.0), 20, seed)
    plain, shuffled = Night(), Night()
    for index in range(3):
        results = observed(ra, dec, index, seed, detectors=3)
        if index:
            results = [with_forced(plain, result) for result in results]
        mixed = [mixed_rows(result, chance) for result in (*results, chance.choice(results))]
        chance.shuffle(mixed)
        one = plain.decide(visit_number(index), results)
        other = shuffled.decide(visit_number(index), mixed)
        assert bytes_of(one) == bytes_of(other)
        assert object_versions(plain.view, one).tobytes() == object_versions(shuffled.view, other).tobytes()
    assert plain.blocks.values == shuffled.blocks.values


def with_forced(night: Night, result: DetectorResult) -> DetectorResult:
    """Return the result with a forced row for every object of the night's state that it may own."""
    pixels = {key[1:9] for key in night.blocks.values if key.startswith(b"h")}
    heads = night.view.heads(np.array([int.from_bytes(pixel, "big") for pixel in pixels], np.int64))
    mine = heads[heads["diaObjectId"] % 3 == result.detector]
    rows = forced_rows(
        mine["diaObjectId"],
        mine["ra"],
        mine["dec"],
        visit=result.visit,
        detector=result.detector,
        mjd=result.midpoint_mjd_tai,
    )
    return detector_result(
        result.diasources.to_array(), rows, visit=result.visit, detector=result.detector, mjd=result.midpoint_mjd_tai
    )


def mixed_rows(result: DetectorResult, chance: Any) -> DetectorResult:
    """Return the result with its rows in another order and one of them twice."""
    tables = []
    for table in (result.diasources.to_array(), result.forced.to_array()):
        order = list(range(len(table)))
        order += order[:1]
        chance.shuffle(order)
        tables.append(table[order])
    return detector_result(*tables, visit=result.visit, detector=result.detector, mjd=result.midpoint_mjd_tai)


def test_folding_twice_changes_nothing_and_folding_is_all_that_does() -> None:
    night = Night()
    rows = source_rows([5.0], [1.0], visit=visit_number(0))
    before = dict(night.blocks.values)
    asked = VisitToDecide(instrument="TestCam", visit=visit_number(0), processed_mjd_tai=2.0)
    first = decide(asked, [detector_result(rows, visit=visit_number(0))], night.view)
    assert night.blocks.values == before
    assert bytes_of(decide(asked, [detector_result(rows, visit=visit_number(0))], night.view)) == bytes_of(first)
    night.fold(first)
    assert fold(night.blocks, first, detectors_of(first)) == {}


def test_a_state_folded_from_the_log_equals_the_one_that_decided() -> None:
    ra, dec = field((359.999, -3.0), 30, 3)
    night, log = Night(), []
    for index in range(4):
        results = observed(ra, dec, index, 3)
        log.append(night.decide(visit_number(index), [with_forced(night, r) for r in results] if index else results))
    again = Night()
    for decision in [*log, log[1]]:
        again.fold(avro.decode(AssociationDecision, bytes_of(decision)))
    assert again.blocks.values == night.blocks.values


def test_versions_of_an_earlier_decision_do_not_see_later_ones() -> None:
    ra, dec = field((20.0, -3.0), 30, 6)
    night, log, versions = Night(), [], []
    for index in range(3):
        log.append(night.decide(visit_number(index), observed(ra, dec, index, 6)))
        versions.append(object_versions(night.view, log[-1]).tobytes())
    assert [object_versions(night.view, decision).tobytes() for decision in log] == versions


def test_a_decision_that_is_not_folded_has_no_versions() -> None:
    rows = source_rows([5.0], [1.0], visit=visit_number(0))
    asked = VisitToDecide(instrument="TestCam", visit=visit_number(0), processed_mjd_tai=2.0)
    view = History(MemoryBlocks())
    with pytest.raises(UnknownVisitError):
        object_versions(view, decide(asked, [detector_result(rows, visit=visit_number(0))], view))


def test_a_second_view_of_one_source_founds_no_twin() -> None:
    visit, near = visit_number(0), 0.12 / 3600.0
    results = [
        detector_result(source_rows([0.0], [0.0], visit=visit, flux=900.0), visit=visit),
        detector_result(source_rows([near], [0.0], visit=visit, detector=1), visit=visit, detector=1),
    ]
    night = Night()
    decision = night.decide(visit, results)
    assert len(decision.new_objects) == 1
    assert decision.details["followers"] == 1.0
    brighter = results[1].diasources.to_array()["diaSourceId"][0]
    assert set(decision.diasources.to_array()["diaObjectId"].tolist()) == {brighter} == set(decision.new_objects)
    version = object_versions(night.view, decision)[0]
    assert (version["nDiaSources"], version["r_psfFluxNdata"]) == (2, 1)


def test_a_source_beside_a_taken_object_follows_it_unless_it_is_too_far() -> None:
    night, first, second = Night(), visit_number(0), visit_number(1)
    night.decide(first, [detector_result(source_rows([0.0], [0.0], visit=first), visit=first)])
    apart = np.array([-0.13, 0.13, 0.9]) / 3600.0
    rows = source_rows(apart % 360.0, [0.0, 0.0, 0.0], visit=second, flux=[1000.0, 900.0, 800.0])
    rows["raErr"] = rows["decErr"] = 0.03 / 3600.0
    decision = night.decide(second, [detector_result(rows, visit=second)])
    owners = decision.diasources.to_array()["diaObjectId"].tolist()
    assert owners[0] == owners[1] != owners[2] == rows["diaSourceId"][2]
    assert decision.new_objects == (owners[2],)


def test_a_late_result_joins_what_its_visit_decided() -> None:
    night, visit = Night(), visit_number(0)
    night.decide(visit, [detector_result(source_rows([0.0, 0.01], [0.0, 0.0], visit=visit), visit=visit)])
    late_rows = source_rows([0.03 / 3600.0, 0.02], [0.0, 0.0], visit=visit, detector=1)
    late = night.decide(visit, [detector_result(late_rows, visit=visit, detector=1)], sequence=1)
    owners = late.diasources.to_array()["diaObjectId"].tolist()
    assert owners[1] == late_rows["diaSourceId"][1]
    assert owners[0] not in late_rows["diaSourceId"].tolist()
    assert late.new_objects == (owners[1],)
    assert [one.detectors for one in night.view.folded(visit)] == [(0,), (1,)]
    assert object_versions(night.view, late)["nDiaSources"].tolist() == [2, 1]


def test_history_older_than_twelve_months_is_out_of_every_statistic() -> None:
    night = Night()
    for index, mjd in enumerate((FIRST_MJD - 370.0, FIRST_MJD - 360.0, FIRST_MJD)):
        visit = visit_number(index)
        rows = source_rows([7.0], [7.0], visit=visit, mjd=mjd, flux=100.0 * (index + 1))
        decision = night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)])
    version = object_versions(night.view, decision)[0]
    assert (version["nDiaSources"], version["r_psfFluxMin"], version["r_psfFluxMax"]) == (2, 200.0, 300.0)
    assert version["firstDiaSourceMjdTai"] == FIRST_MJD - 360.0


def test_an_object_unseen_for_a_year_keeps_its_place_in_a_forced_update() -> None:
    night, old, new = Night(), visit_number(0), visit_number(1)
    first = night.decide(old, [detector_result(source_rows([7.0], [7.0], visit=old, mjd=FIRST_MJD - 400.0), visit=old)])
    nothing = source_rows([], [], visit=new)
    forced = forced_rows(first.new_objects, 7.0, 7.0, visit=new)
    decision = night.decide(new, [detector_result(nothing, forced, visit=new)])
    version = object_versions(night.view, decision)[0]
    assert (version["nDiaSources"], version["ra"], version["dec"]) == (0, pytest.approx(7.0), pytest.approx(7.0))
    assert version["r_fpFluxMean"] == first.new_objects[0] % 997


def test_rows_that_cannot_be_associated_are_set_aside_with_the_reason() -> None:
    night, visit = Night(), visit_number(1)
    rows = source_rows(np.arange(9) * 0.01, np.zeros(9), visit=visit)
    rows["ra"][0], rows["dec"][1], rows["raErr"][2], rows["decErr"][3] = np.nan, -91.0, 0.0, -1.0
    rows["psfFluxErr"][4], rows["midpointMjdTai"][5] = 0.0, np.inf
    rows["diaSourceId"][6] += 1 << 20
    rows["diaSourceId"][8] = rows["diaSourceId"][7]
    more = source_rows([0.5], [0.0], visit=visit, detector=1)
    forced = forced_rows([12345], 0.5, 0.0, visit=visit, detector=1)
    decision = night.decide(
        visit,
        [detector_result(rows, visit=visit), detector_result(more, forced, visit=visit, detector=1)],
        refused={"detector:2": "the result is not in the log"},
    )
    assert decision.new_objects == tuple(more["diaSourceId"].tolist())
    assert detectors_of(decision) == (0, 1, 2)
    reasons = {
        0: "the position is not on the sky",
        1: "the position is not on the sky",
        2: "an error of the position is not positive",
        3: "an error of the position is not positive",
        4: "the error of psfFlux is not positive",
        5: "the midpoint is no time",
        6: "the identifier is of another visit, detector or processing version",
        7: "several rows with different values share the identifier",
    }
    expected = {str(rows["diaSourceId"][rank]): reason for rank, reason in reasons.items()}
    expected |= {"detector:2": "the result is not in the log", "forced:1:12345": "there is no such object"}
    assert decision.quarantined == expected


def test_a_visit_without_anything_is_decided_all_the_same() -> None:
    night, visit = Night(), visit_number(0)
    decision = night.decide(visit, [], band="g")
    assert (decision.diasources.rows, decision.forced.rows, decision.band) == (0, 0, "g")
    assert night.view.decisions() == 1
    assert len(object_versions(night.view, decision)) == 0


def test_stamps_are_named_by_detector() -> None:
    visit = visit_number(0)
    rows = source_rows([0.5], [0.0], visit=visit, detector=7)
    decision = Night(Rules(radius_arcsec=1.5)).decide(visit, [detector_result(rows, visit=visit, detector=7)])
    assert decision.cutouts == {"007": Claim(uri=f"sha256/{visit}-7", sha256=f"{7:064x}", size=1)}
