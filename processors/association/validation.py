"""What a detector's rows must satisfy before they may be associated; what does not is set aside with its reason.

A refused row is named by its identifier in the decision, so it is in the log for ever; it stops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.events import DetectorResult
from schemas.ids import PROCESSING_VERSION, pack_dia_source_id
from schemas.public import dia_source_dtype, forced_source_dtype

__all__ = ["ValidRows", "valid_forced", "valid_sources"]

Array = np.ndarray[Any, Any]
ValidRows = tuple[Array, dict[str, str]]
"""Rows in canonical order, and each refused row's identifier with its reason."""

_RANK_BITS = 20


def valid_sources(result: DetectorResult) -> ValidRows:
    """Return the DIASources of one detector that can be associated, in order of their identifiers.

    Refused are rows with a position that is not on the sky, a time that is none, an error that is zero or negative, an
    identifier of another visit, detector or processing version, and rows that share an identifier but not their values.
    The same row twice counts once.
    """
    rows = _same_fields(result.diasources.to_array(), dia_source_dtype())
    rows, refused = _single(rows, "diaSourceId")
    reasons = (
        (_on_sky(rows["ra"], rows["dec"]), "the position is not on the sky"),
        (_is_time(rows["midpointMjdTai"]), "the midpoint is no time"),
        (
            _positive_or_null(rows["raErr"]) & _positive_or_null(rows["decErr"]),
            "an error of the position is not positive",
        ),
        (_positive_or_null(rows["psfFluxErr"]), "the error of psfFlux is not positive"),
        (_belongs(rows["diaSourceId"], result), "the identifier is of another visit, detector or processing version"),
    )
    return _apart(rows, rows["diaSourceId"], reasons, refused)


def valid_forced(result: DetectorResult, known: Array) -> ValidRows:
    """Return the forced sources of one detector that belong to objects, in order of the objects.

    Parameters
    ----------
    result
        What the detector gave.
    known
        Ascending identifiers of the objects that exist.
    """
    rows = _same_fields(result.forced.to_array(), forced_source_dtype())
    rows, refused = _single(rows, "diaObjectId", prefix=f"forced:{result.detector}:")
    reasons = (
        (np.isin(rows["diaObjectId"], known), "there is no such object"),
        (_on_sky(rows["ra"], rows["dec"]), "the position is not on the sky"),
        (_is_time(rows["midpointMjdTai"]), "the midpoint is no time"),
        (_positive_or_null(rows["psfFluxErr"]), "the error of psfFlux is not positive"),
    )
    return _apart(rows, rows["diaObjectId"], reasons, refused, prefix=f"forced:{result.detector}:")


def _same_fields(rows: Array, dtype: np.dtype[Any]) -> Array:
    """Return rows in the public type; a table of no rows may have any columns."""
    if len(rows) == 0:
        return np.zeros(0, dtype)
    return rows.astype(dtype)


def _single(rows: Array, key: str, prefix: str = "") -> ValidRows:
    """Return rows in order of their key without repetitions, and the keys whose repetitions contradict each other."""
    rows = rows[np.argsort(rows[key], kind="stable")]
    refused: dict[str, str] = {}
    keys, first, counts = np.unique(rows[key], return_index=True, return_counts=True)
    keep = np.zeros(len(rows), bool)
    keep[first] = True
    for position in np.flatnonzero(counts > 1):
        start, stop = first[position], first[position] + counts[position]
        if len({row.tobytes() for row in rows[start:stop]}) > 1:
            keep[start] = False
            refused[f"{prefix}{keys[position]}"] = "several rows with different values share the identifier"
    return rows[keep], refused


def _apart(
    rows: Array, names: Array, reasons: Sequence[tuple[Array, str]], refused: dict[str, str], prefix: str = ""
) -> ValidRows:
    keep = np.ones(len(rows), bool)
    for good, reason in reasons:
        for name in names[keep & ~good].tolist():
            refused[f"{prefix}{name}"] = reason
        keep &= good
    return rows[keep], refused


def _on_sky(ra: Array, dec: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray((ra >= 0.0) & (ra < 360.0) & (np.abs(dec) <= 90.0))


def _is_time(mjd: Array) -> Array:
    return np.asarray(np.isfinite(mjd) & (mjd > 0.0))


def _positive_or_null(errors: Array) -> Array:
    return np.asarray(np.isnan(errors) | (errors > 0.0))


def _belongs(identifiers: Array, result: DetectorResult) -> Array:
    first = pack_dia_source_id(result.visit, result.detector, 0, PROCESSING_VERSION)
    return np.asarray((identifiers >> _RANK_BITS) == (first >> _RANK_BITS))
