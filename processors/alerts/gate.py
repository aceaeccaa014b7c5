"""The semantic gate: what a packet must mean before anybody may read it.

A schema only says that a value is a number. The rules here say that it is a possible one: units and ranges of every
field, ids that are no zeros, times in order, a history that is sorted, unique and of one object. A packet that breaks
a rule is quarantined under the rule's name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.alerts.field_rules import Violation, check_fields
from processors.alerts.layout import History, PacketLayout, locate
from schemas.events import CutoutSet
from schemas.public_avro import decode_record

__all__ = ["HISTORY_DAYS", "Violation", "check", "check_encoded", "check_stamps"]

HISTORY_DAYS = 366.0
"""Length of the history in a packet: twelve months, a leap year's at most."""

_STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
_FITS_START = b"SIMPLE  =                    T"
_BANDS = "ugrizy"
_VECTOR_TOLERANCE = 0.01
"""Relative difference between a vector's length and its components that float32 and rounding explain with ease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The values of a history array that rules look at."""

    ids: npt.NDArray[np.int64]
    object_ids: npt.NDArray[np.int64]
    visits: npt.NDArray[np.int64]
    detectors: npt.NDArray[np.int64]
    midpoint_mjd_tai: npt.NDArray[np.float64]


def check(packet: Mapping[str, Any], *, stamps: bool = True) -> list[Violation]:
    """Return every rule that a decoded packet breaks; empty means that it may be published.

    Parameters
    ----------
    packet
        Alert of our version, or of an older one, whose missing fields are passed over.
    stamps
        Whether the three stamps must be there.
    """
    found = _check_records(
        packet.get("diaSourceId"), packet["diaSource"], packet.get("diaObject"), packet.get("ssSource")
    )
    for name, record_name, key in _HISTORIES:
        records = packet.get(name) or ()
        found += _once_each(name, records, record_name)
        found += _history_rules(name, _columns(records, key), packet["diaSource"])
    found += _count_rules(packet.get("diaObject"), len(packet.get("prvDiaSources") or ()))
    if stamps:
        found += _stamp_rules([packet.get(name) for name in _STAMPS])
    return found


def check_encoded(packet: bytes | PacketLayout, *, stamps: bool = True) -> list[Violation]:
    """Return every rule that an encoded packet of our version breaks, at a fraction of the cost of decoding it.

    The fields of history records are not looked at again, only their ids, owners and times: each was the subject of its
    own alert.

    Raises
    ------
    MalformedPacketError
        When the bytes are not a packet of our version.
    UndecodableEventError
        When a record's bytes do not decode.
    """
    layout = locate(packet)
    source = decode_record(layout.dia_source, "diaSource")
    diaobject = None if layout.dia_object is None else decode_record(layout.dia_object, "diaObject")
    circumstances = None if layout.ss_source is None else decode_record(layout.ss_source, "ssSource")
    found = _check_records(layout.alert_id, source, diaobject, circumstances)
    for name, history in (("prvDiaSources", layout.prv_sources), ("prvDiaForcedSources", layout.prv_forced)):
        found += _history_rules(name, history, source) if history is not None else []
    found += _count_rules(diaobject, 0 if layout.prv_sources is None else len(layout.prv_sources))
    return found + (_stamp_rules(layout.cutouts) if stamps else [])


def check_stamps(cutouts: CutoutSet) -> list[Violation]:
    """Return what is wrong with stamps that are about to be added to a packet."""
    return _stamp_rules((cutouts.difference, cutouts.science, cutouts.template))


_HISTORIES = (
    ("prvDiaSources", "diaSource", "diaSourceId"),
    ("prvDiaForcedSources", "diaForcedSource", "diaForcedSourceId"),
)


def _check_records(
    alert_id: Any,
    source: Mapping[str, Any],
    diaobject: Mapping[str, Any] | None,
    circumstances: Mapping[str, Any] | None,
) -> list[Violation]:
    found = list(check_fields(source, "diaSource"))
    found += _source_rules(source)
    if alert_id != source["diaSourceId"]:
        found.append(Violation("same-id", f"The alert is {alert_id} and its DIASource {source['diaSourceId']}."))
    if diaobject is not None:
        found += check_fields(diaobject, "diaObject")
        found += _object_rules(diaobject, source)
    if circumstances is not None:
        found += check_fields(circumstances, "ssSource")
        found += _circumstance_rules(circumstances, source)
    if not source.get("diaObjectId") and not source.get("ssObjectId"):
        found.append(Violation("owner", "The DIASource belongs to no DIAObject and no Solar System object."))
    if bool(source.get("diaObjectId")) != (diaobject is not None):
        found.append(Violation("owner", "The DIASource names a DIAObject that is not in the packet, or the reverse."))
    return found


def _source_rules(source: Mapping[str, Any]) -> Iterator[Violation]:
    for flux, flag in (("psfFlux", None), ("apFlux", "apFlux_flag")):
        missing = source.get(flux) is None or source.get(f"{flux}Err") is None
        if missing and not (flag and source.get(flag)):
            yield Violation("required-flux", f"diaSource.{flux} or its error is null, which subscribers cannot read.")
    processed, withdrawn = source["timeProcessedMjdTai"], source.get("timeWithdrawnMjdTai")
    if processed < source["midpointMjdTai"]:
        yield Violation("time-order", f"diaSource was processed ({processed}) before it was seen.")
    if withdrawn is not None and withdrawn < processed:
        yield Violation("time-order", f"diaSource was withdrawn ({withdrawn}) before it was processed.")


def _object_rules(diaobject: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[Violation]:
    if diaobject["diaObjectId"] != source.get("diaObjectId"):
        yield Violation("owner", f"The packet carries DIAObject {diaobject['diaObjectId']}, not its DIASource's.")
    first, last = diaobject.get("firstDiaSourceMjdTai"), diaobject.get("lastDiaSourceMjdTai")
    seen = source["midpointMjdTai"]
    if first is not None and first > seen:
        yield Violation("time-order", f"diaObject.firstDiaSourceMjdTai ({first}) is after the DIASource ({seen}).")
    if last is not None and last < seen:
        yield Violation("time-order", f"diaObject.lastDiaSourceMjdTai ({last}) is before the DIASource ({seen}).")
    for band in _BANDS:
        values = [diaobject.get(f"{band}_psfFlux{part}") for part in ("Min", "Mean", "Max")]
        lowest, mean, highest = (math.nan if value is None else value for value in values)
        slack = 1e-5 * max(abs(lowest), abs(highest))
        if mean < lowest - slack or mean > highest + slack:
            yield Violation("summary-order", f"diaObject.{band}_psfFluxMean is outside its own minimum and maximum.")


def _circumstance_rules(circumstances: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[Violation]:
    if circumstances.get("diaSourceId", source["diaSourceId"]) != source["diaSourceId"]:
        yield Violation("same-id", "The ssSource is of another DIASource.")
    if circumstances.get("ssObjectId") != source.get("ssObjectId"):
        yield Violation("owner", "The ssSource is of another Solar System object than the DIASource.")
    for length, parts in (
        ("helioRange", ("helio_x", "helio_y", "helio_z")),
        ("topoRange", ("topo_x", "topo_y", "topo_z")),
        ("helio_vtot", ("helio_vx", "helio_vy", "helio_vz")),
        ("topo_vtot", ("topo_vx", "topo_vy", "topo_vz")),
        ("ephRate", ("ephRateRa", "ephRateDec")),
    ):
        components = [value for part in parts if (value := circumstances.get(part)) is not None]
        whole = circumstances.get(length)
        if whole is None or len(components) < len(parts):
            continue
        if not math.isclose(whole, math.hypot(*components), rel_tol=_VECTOR_TOLERANCE):
            yield Violation("vector-length", f"ssSource.{length} is not the length of {', '.join(parts)}.")


def _count_rules(diaobject: Mapping[str, Any] | None, earlier: int) -> list[Violation]:
    if diaobject is None:
        return []
    found, total = [], diaobject["nDiaSources"]
    if total < earlier + 1:
        found.append(Violation("count", f"diaObject.nDiaSources is {total}, yet the packet has {earlier + 1}."))
    summed = sum(diaobject.get(f"{band}_psfFluxNdata") or 0 for band in _BANDS)
    if summed > total:
        found.append(Violation("count", f"diaObject's bands count {summed} detections, more than all {total}."))
    return found


def _history_rules(name: str, history: _Columns | History, source: Mapping[str, Any]) -> list[Violation]:
    if len(history.ids) == 0:
        return []
    times, found = history.midpoint_mjd_tai, []
    if not (np.diff(times) >= 0).all():
        found.append(Violation("history-order", f"{name} is not in order of time."))
    if len(np.unique(history.ids)) != len(history.ids):
        found.append(Violation("history-unique", f"{name} has a record twice."))
    if (history.ids <= 0).any():
        found.append(Violation("zero-id", f"{name} has a record without an id."))
    if name == "prvDiaForcedSources" and len(np.unique(history.visits * 256 + history.detectors)) != len(times):
        found.append(Violation("history-unique", f"{name} has two records of one visit and detector."))
    if name == "prvDiaSources" and (history.ids == source["diaSourceId"]).any():
        found.append(Violation("history-unique", f"{name} repeats the DIASource of the alert."))
    if (history.object_ids != (source.get("diaObjectId") or 0)).any():
        found.append(Violation("history-owner", f"{name} has a record of another object."))
    if not (np.abs(times - source["midpointMjdTai"]) <= HISTORY_DAYS).all():
        found.append(Violation("history-window", f"{name} reaches beyond {HISTORY_DAYS:g} days."))
    return found


def _once_each(name: str, records: Sequence[Mapping[str, Any]], record_name: str) -> Iterator[Violation]:
    """Yield one violation for each rule and field, with the number of records that break it."""
    violations = [violation for record in records for violation in check_fields(record, record_name)]
    counts = Counter((violation.rule, violation.field) for violation in violations)
    for violation in violations:
        if count := counts.pop((violation.rule, violation.field), 0):
            where = f"(In {count} of {len(records)} records of {name}.)"
            yield replace(violation, sentence=f"{violation.sentence} {where}")


def _stamp_rules(stamps: Sequence[bytes | None]) -> list[Violation]:
    found = []
    for name, stamp in zip(_STAMPS, stamps, strict=True):
        if stamp is None:
            found.append(Violation("stamp", f"{name} is missing, which subscribers cannot read."))
        elif not stamp.startswith(_FITS_START) or len(stamp) % 2880:
            found.append(Violation("stamp", f"{name} is not a whole FITS file."))
    return found


def _columns(records: Sequence[Mapping[str, Any]], key: str) -> _Columns:
    def integers(name: str) -> npt.NDArray[np.int64]:
        return np.array([record.get(name) or 0 for record in records], dtype=np.int64)

    return _Columns(
        ids=integers(key),
        object_ids=integers("diaObjectId"),
        visits=integers("visit"),
        detectors=integers("detector"),
        midpoint_mjd_tai=np.array([record["midpointMjdTai"] for record in records], dtype=np.float64),
    )
