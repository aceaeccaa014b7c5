"""What one value of a public record may be: finite, in the range its meaning and unit allow, an id that is no zero."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.public import record_schema

__all__ = ["FieldRule", "Violation", "check_fields", "field_rules"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a packet breaks."""

    rule: str
    """Stable name of the rule, such as range."""
    sentence: str
    """What is wrong, with the field and the value."""
    field: str = ""
    """The field, such as diaSource.ra, where the rule is of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """The range of one field."""

    field: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    """Whether low itself is forbidden."""
    open_high: bool = False
    """Whether high itself is forbidden."""
    is_id: bool = False
    """Whether the field is an identifier, for which null and not 0 says that there is none."""
    is_number: bool = False
    """Whether the field is a floating-point number, which must be finite."""
    texts: frozenset[str] = frozenset()
    """Texts that are allowed; empty allows any."""


_IDS = frozenset(
    {"diaSourceId", "visit", "diaObjectId", "ssObjectId", "parentDiaSourceId", "diaForcedSourceId"}
)  # fmt: skip
_LONGITUDES = frozenset({"ra", "trailRa", "ephRa", "eclLambda", "galLon"})
_LATITUDES = frozenset({"dec", "trailDec", "ephDec", "eclBeta", "galLat"})
_NOT_NEGATIVE = ("Err", "ErrMean", "Sigma", "Chi2", "Length", "Ndata", "Rank")
_NOT_NEGATIVE_FIELDS = frozenset({"ixx", "iyy", "ixxPSF", "iyyPSF", "ephOffset"})

_MJD_LOW, _MJD_HIGH = 51544.0, 88069.0
"""MJD of 2000-01-01 and of 2100-01-01: times outside are not times of this survey."""

_BRIGHTEST_NJY = 1e13
"""Flux of magnitude -1.1 (AB), brighter than any star in the survey."""

_FASTEST_KM_S = 700.0
"""More than the speed of escape at the perihelion of any sun-grazer that this survey can see."""

_SPECIAL: dict[str, dict[str, Any]] = {
    "detector": {"low": 0, "high": 255},
    "exposureTime": {"low": 0, "high": 3600, "open_low": True},
    "psfFluxErr": {"low": 0, "high": _BRIGHTEST_NJY, "open_low": True},
    "x": {"low": -100, "high": 20_000},
    "y": {"low": -100, "high": 20_000},
    "bboxSize": {"low": 1, "high": 20_000},
    "reliability": {"low": 0, "high": 1},
    "extendedness": {"low": 0, "high": 1},
    "nDiaSources": {"low": 1},
    "band": {"texts": frozenset("ugrizy")},
    "elongation": {"low": 0, "high": 180},
    "phaseAngle": {"low": 0, "high": 180},
    "topoRange": {"low": 1e-5, "high": 5000},
    "helioRange": {"low": 0.005, "high": 5000},
    "helio_vtot": {"low": 0.05, "high": _FASTEST_KM_S},
    "topo_vtot": {"low": 0.05, "high": _FASTEST_KM_S},
    "ephVmag": {"low": 3, "high": 45},
    "ephRate": {"low": 0, "high": 360, "open_low": True},
}
"""Ranges by name. The distances, speeds and magnitude of a Solar System object are those of bodies a survey telescope can
see, so that a value in another unit, or a zero in place of null, is found."""


def check_fields(record: Mapping[str, Any], record_name: str) -> Iterator[Violation]:
    """Yield a violation for each value that its field does not allow.

    Parameters
    ----------
    record
        Values by name; fields that are missing (packets of older versions) or null are passed over.
    record_name
        Name of the record in our version, such as ``diaSource``.
    """
    for rule in field_rules(record_name):
        value = record.get(rule.field)
        if value is not None and (found := _violation(rule, value, record_name)):
            yield found


@functools.cache
def field_rules(record_name: str) -> tuple[FieldRule, ...]:
    """Return the rule of every field that has one, in the schema's order."""
    rules = []
    for field in record_schema(record_name)["fields"]:
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        if kind in ("long", "int", "float", "double") or field["name"] == "band":
            rules.append(_rule(field["name"], kind, field["unit"]))
    return tuple(rules)


def _rule(name: str, kind: str, unit: str) -> FieldRule:
    number = kind in ("float", "double")
    if name in _IDS:
        return FieldRule(field=name, is_id=True)
    if name in _SPECIAL:
        return FieldRule(field=name, is_number=number, **_SPECIAL[name])
    if name in _LONGITUDES:
        return FieldRule(field=name, is_number=True, low=0, high=360, open_high=True)
    if name in _LATITUDES:
        return FieldRule(field=name, is_number=True, low=-90, high=90)
    if name.endswith("MjdTai"):
        return FieldRule(field=name, is_number=True, low=_MJD_LOW, high=_MJD_HIGH)
    low, high = _by_unit(unit)
    if name.endswith(_NOT_NEGATIVE) or name in _NOT_NEGATIVE_FIELDS:
        low = 0.0
    return FieldRule(field=name, is_number=number, low=low, high=high)


def _by_unit(unit: str) -> tuple[float, float]:
    limit = {"nJy": _BRIGHTEST_NJY, "deg": 360.0, "km / s": _FASTEST_KM_S}.get(unit, math.inf)
    return -limit, limit


def _violation(rule: FieldRule, value: Any, record_name: str) -> Violation | None:
    where = f"{record_name}.{rule.field}"
    if rule.is_id:
        wrong = value <= 0
        return Violation("zero-id", f"{where} is {value}; without one it must be null.", where) if wrong else None
    if rule.texts:
        return None if value in rule.texts else Violation("band", f"{where} is '{value}', which is no filter.", where)
    if rule.is_number and not math.isfinite(value):
        return Violation("finite", f"{where} is {value}; a value that does not exist must be null.", where)
    below = value < rule.low or (rule.open_low and value == rule.low)
    above = value > rule.high or (rule.open_high and value == rule.high)
    if below or above:
        return Violation("range", f"{where} is {value:g}, outside {rule.low:g} to {rule.high:g}.", where)
    return None
