"""The semantic gate: a plausible alert passes, and every rule finds its own mistake."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from processors.alerts.errors import MalformedPacketError
from processors.alerts.field_rules import field_rules
from processors.alerts.gate import check, check_encoded, check_stamps
from schemas import public
from schemas.events import CutoutSet
from tests.support.alert_records import decode_plainly, encode_plainly, plausible_alert, real_packet

SOLAR_SYSTEM = {
    "diaSourceId": 1003, "ssObjectId": 77, "designation": "2004 JQ12", "eclLambda": 151.0, "eclBeta": -8.0, "galLon": 235.0,
    "galLat": 43.0, "elongation": 164.0, "phaseAngle": 4.5, "topoRange": 2.46, "helioRange": 3.42, "ephRa": 10.0,
    "ephDec": -5.0, "ephVmag": 21.5, "ephRate": 0.2, "ephRateRa": 0.2, "ephRateDec": 0.0, "helio_x": 3.42, "helio_y": 0.0,
    "helio_z": 0.0, "helio_vx": 0.0, "helio_vy": 18.6, "helio_vz": 0.0, "helio_vtot": 18.6, "diaDistanceRank": 1,
}  # fmt: skip


def moving_alert() -> dict[str, Any]:
    alert = plausible_alert(history=3, forced=0)
    alert["diaSource"] |= {"diaObjectId": None, "ssObjectId": 77}
    every = dict.fromkeys(public.field_docs("ssSource"))
    return alert | {
        "prvDiaSources": None, "prvDiaForcedSources": None, "diaObject": None, "ssSource": every | SOLAR_SYSTEM
    }  # fmt: skip


def changed(alert: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    alert = copy.deepcopy(alert)
    *parents, last = path.split(".")
    node: Any = alert
    for step in parents:
        node = node[int(step)] if step.lstrip("-").isdigit() else node[step]
    node[last] = value
    return alert


def rules(alert: dict[str, Any]) -> set[str]:
    return {violation.rule for violation in check(alert)}


def encoded_rules(alert: dict[str, Any]) -> set[str]:
    return {violation.rule for violation in check_encoded(encode_plainly(public.alert_schema(), alert))}


@pytest.mark.parametrize("alert", [plausible_alert(), plausible_alert(0, 0), moving_alert()])
def test_plausible_alerts_pass(alert: dict[str, Any]) -> None:
    assert check(alert) == []
    assert check_encoded(encode_plainly(public.alert_schema(), alert)) == []


NOT_A_NUMBER = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("diaSource.ra", 360.0, "range"),
        ("diaSource.dec", -90.5, "range"),
        ("diaSource.ra", NOT_A_NUMBER, "finite"),
        ("diaSource.psfFlux", float("inf"), "finite"),
        ("diaSource.psfFluxErr", 0.0, "range"),
        ("diaSource.psfFlux", None, "required-flux"),
        ("diaSource.apFluxErr", None, "required-flux"),
        ("diaSource.midpointMjdTai", 2461100.6, "range"),
        ("diaSource.reliability", 1.5, "range"),
        ("diaSource.detector", 256, "range"),
        ("diaSource.bboxSize", 0, "range"),
        ("diaSource.band", "Ks", "band"),
        ("diaSource.ssObjectId", 0, "zero-id"),
        ("diaSource.parentDiaSourceId", 0, "zero-id"),
        ("diaSource.visit", 0, "zero-id"),
        ("diaSource.timeProcessedMjdTai", 61000.0, "time-order"),
        ("diaSource.timeWithdrawnMjdTai", 61000.0, "time-order"),
        ("diaSource.diaObjectId", None, "owner"),
        ("diaSource.diaObjectId", 999, "owner"),
        ("diaSourceId", 4, "same-id"),
        ("diaObject", None, "owner"),
        ("diaObject.firstDiaSourceMjdTai", 61200.0, "time-order"),
        ("diaObject.lastDiaSourceMjdTai", 61100.0, "time-order"),
        ("diaObject.r_psfFluxMean", 2000.0, "summary-order"),
        ("diaObject.nDiaSources", 2, "count"),
        ("diaObject.g_psfFluxNdata", 2, "count"),
        ("prvDiaSources.0.midpointMjdTai", 61102.9, "history-order"),
        ("prvDiaSources.1.diaSourceId", 1000, "history-unique"),
        ("prvDiaSources.1.diaSourceId", 1003, "history-unique"),
        ("prvDiaSources.1.diaSourceId", 0, "zero-id"),
        ("prvDiaSources.2.diaObjectId", 7, "history-owner"),
        ("prvDiaSources.0.midpointMjdTai", 60000.0, "history-window"),
        ("prvDiaForcedSources.1.visit", 2026030100000, "history-unique"),
        ("prvDiaForcedSources.1.diaForcedSourceId", 5000, "history-unique"),
        ("cutoutTemplate", None, "stamp"),
        ("cutoutScience", b"SIMPLE  = nothing", "stamp"),
    ],
)
def test_each_rule_finds_its_mistake_decoded_and_encoded(path: str, value: Any, rule: str) -> None:
    alert = changed(plausible_alert(), path, value)
    assert rule in rules(alert)
    assert rule in encoded_rules(alert)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("ssSource.helioRange", 3.42 / 1.496e8, "range"),
        ("ssSource.topoRange", 2.46 / 1.496e8, "range"),
        ("ssSource.helio_vtot", 0.0107, "range"),
        ("ssSource.helio_vtot", 25.0, "vector-length"),
        ("ssSource.ephVmag", 0.0, "range"),
        ("ssSource.ephRate", 0.0, "range"),
        ("ssSource.ephRa", 400.0, "range"),
        ("ssSource.diaSourceId", 3, "same-id"),
        ("ssSource.ssObjectId", 3, "owner"),
        ("ssSource.ssObjectId", 0, "zero-id"),
    ],
)
def test_solar_system_circumstances_in_another_unit_are_found(path: str, value: Any, rule: str) -> None:
    alert = changed(moving_alert(), path, value)
    assert rule in rules(alert)
    assert rule in encoded_rules(alert)


def test_aperture_flux_may_be_null_only_when_its_flag_says_so() -> None:
    alert = changed(changed(plausible_alert(), "diaSource.apFlux", None), "diaSource.apFlux_flag", True)
    assert check(alert) == []


def test_history_fields_are_looked_at_in_decoded_packets() -> None:
    alert = changed(plausible_alert(), "prvDiaForcedSources.0.psfFlux", NOT_A_NUMBER)
    alert = changed(alert, "prvDiaForcedSources.2.psfFlux", NOT_A_NUMBER)
    (violation,) = check(alert)
    assert (violation.rule, violation.field) == ("finite", "diaForcedSource.psfFlux")
    assert violation.sentence.endswith("must be null. (In 2 of 4 records of prvDiaForcedSources.)")


def test_every_number_of_every_record_has_a_rule() -> None:
    for name in ("diaSource", "diaForcedSource", "diaObject", "ssSource"):
        numbers = {
            field["name"]
            for field in public.record_schema(name)["fields"]
            if {"float", "double"} & {field["type"] if isinstance(field["type"], str) else field["type"][1]}
        }
        assert numbers <= {rule.field for rule in field_rules(name) if rule.is_number}


def test_stamps_alone() -> None:
    good = plausible_alert()["cutoutScience"]
    assert check_stamps(CutoutSet(dia_source_id=1, difference=good, science=good, template=good)) == []
    found = check_stamps(CutoutSet(dia_source_id=1, difference=b"", science=good[:-1], template=good))
    assert [violation.rule for violation in found] == ["stamp", "stamp"]


def test_bytes_that_are_no_packet() -> None:
    with pytest.raises(MalformedPacketError):
        check_encoded(b"\x02\x00\x00")


def test_real_alerts_show_what_the_design_found_in_them() -> None:
    """Distances divided by the astronomical unit twice, zeros for null and NaN: alerts.md, section 1.4."""
    identifier, datum = real_packet("sso_4.bin")
    sentences = [violation.sentence for violation in check(decode_plainly(datum, identifier))]
    assert any("ssSource.topoRange is 1.64452e-08" in sentence for sentence in sentences)
    assert any("ssSource.helio_vtot" in sentence for sentence in sentences)
    assert any("diaSource.diaObjectId is 0" in sentence for sentence in sentences)
    _, long_history = real_packet("derived_wire_v11_1_0.bin")
    assert {violation.rule for violation in check_encoded(long_history)} == {"zero-id"}
