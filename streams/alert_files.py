"""Alerts in files, ours and others': open, judge, and write them out in other forms.

Opened are Avro object containers, which carry their schema (ZTF's for one), and single messages in the Confluent wire
format, whose schema is looked up by its id: among the versions of this package, in the ``lsst-alert-packet`` package
where that is installed, or in a registry.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import functools
import gzip
import importlib
import io
import json
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fastavro
import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS

from processors.alerts.gate import Violation, check
from schemas.errors import UndecodableEventError, UnknownSchemaError
from schemas.public import BUNDLED_VERSIONS, bundled_alert_schema, schema_id
from schemas.wire import SchemaSource, unframe

__all__ = [
    "OpenedAlert",
    "SchemaLookup",
    "export_avro",
    "export_fits",
    "export_json",
    "installed_schema",
    "open_alert_bytes",
    "open_alert_file",
    "registry_lookup",
    "stamp_images",
    "stamps",
    "validate",
]

SchemaLookup = Callable[[int], "dict[str, Any] | None"]
"""Gives the parsed schema of a registry id, or None where it is not known."""

_CONTAINER_MAGIC = b"Obj\x01"
_FRAME_MAGIC = b"\x00"
_GZIP_MAGIC = b"\x1f\x8b"
_UNREGISTERED = 0
_BROKEN = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, StopIteration)
"""What fastavro raises on bytes that are not what they claim to be."""

_STAMP_FIELDS = (("difference", "cutoutDifference"), ("science", "cutoutScience"), ("template", "cutoutTemplate"))
_PSF_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAlert:
    """One alert as its file has it."""

    record: dict[str, Any]
    """Values by field name."""
    schema: dict[str, Any]
    """The schema that it was written with, parsed."""
    schema_id: int | None
    """Registry id of the schema; None in a container."""

    @property
    def schema_name(self) -> str:
        """Full name of the record, such as lsst.v11_1.alert or ztf.alert."""
        return str(self.schema["name"])

    @property
    def is_lsst(self) -> bool:
        """Whether the alert follows some version of the LSST schema."""
        return self.schema_name.startswith("lsst.v")

    @property
    def alert_id(self) -> int:
        """The alert's own number: diaSourceId, or candid in ZTF's alerts."""
        return int(self.record.get("diaSourceId") or self.record.get("candid") or 0)


def open_alert_file(path: Path, lookups: Sequence[SchemaLookup] = ()) -> list[OpenedAlert]:
    """Read every alert of a file.

    Parameters
    ----------
    path
        Object container or single framed message, whatever its name ends in.
    lookups
        Further places to ask for schemas, before those of this package.

    Raises
    ------
    UndecodableEventError
        When the file is neither, ends too early or does not follow its schema.
    UnknownSchemaError
        When nobody knows the schema's id.
    OSError
        When the file cannot be read.
    """
    return open_alert_bytes(path.read_bytes(), lookups)


def open_alert_bytes(data: bytes, lookups: Sequence[SchemaLookup] = ()) -> list[OpenedAlert]:
    """Read every alert of a file's bytes; see `open_alert_file`."""
    if data.startswith(_CONTAINER_MAGIC):
        return _open_container(data)
    if not data.startswith(_FRAME_MAGIC):
        raise UndecodableEventError(
            "The file is neither an Avro object container nor an alert in the Confluent wire format."
        )
    identifier, datum = unframe(data)
    if identifier == _UNREGISTERED:
        return [_open_unregistered(datum)]
    places: tuple[SchemaLookup, ...] = (*lookups, bundled_alert_schema, installed_schema)
    for lookup in places:
        schema = lookup(identifier)
        if schema is not None:
            return [OpenedAlert(record=_decode(datum, schema), schema=schema, schema_id=identifier)]
    raise UnknownSchemaError(f"No schema with the id {identifier} is known here; name a registry that has it.")


def registry_lookup(registry: SchemaSource) -> SchemaLookup:
    """Make a lookup of a schema registry."""

    def lookup(identifier: int) -> dict[str, Any] | None:
        try:
            text = registry.schema(identifier)
        except UnknownSchemaError:
            return None
        return cast("dict[str, Any]", fastavro.parse_schema(json.loads(text)))

    return lookup


@functools.cache
def installed_schema(identifier: int) -> dict[str, Any] | None:
    """Return a version's schema from the ``lsst-alert-packet`` package, or None where it or the version is missing."""
    try:
        package = importlib.import_module("lsst.alert.packet")
    except ImportError:
        return None
    major, minor = divmod(identifier, 100)
    path = Path(package.get_schema_path(major, minor)) / f"lsst.v{major}_{minor}.alert.avsc"
    return cast("dict[str, Any]", fastavro.schema.load_schema(str(path))) if path.is_file() else None


def validate(alert: OpenedAlert) -> list[Violation]:
    """Return what is wrong with an alert: the gate's rules for LSST alerts, and stamps that do not read as they should."""
    found = check(alert.record, stamps=False) if alert.is_lsst else list(_other_rules(alert.record))
    missing = [name for name, field in _STAMP_FIELDS if alert.record.get(field) is None]
    found += [Violation("stamp", f"The {name} stamp is missing.") for name in missing]
    try:
        unzipped = stamps(alert)
    except UndecodableEventError as error:
        return [*found, Violation("stamp", error.sentence)]
    for name, data in unzipped.items():
        found += _stamp_violations(name, data, whole=alert.is_lsst)
    return found


def stamps(alert: OpenedAlert) -> dict[str, bytes]:
    """Return the alert's stamps by name (difference, science, template) as FITS files, unpacked where they were zipped."""
    found = {name: _stamp(alert, name) for name in dict(_STAMP_FIELDS)}
    return {name: data for name, data in found.items() if data is not None}


def stamp_images(alert: OpenedAlert) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Return the images of each stamp that can be read, by stamp and by extension (PRIMARY, UNCERT, MASK, PSFIMAGE)."""
    found = {}
    for name in dict(_STAMP_FIELDS):
        with contextlib.suppress(UndecodableEventError):  # validate tells of stamps that cannot be read
            if (data := _stamp(alert, name)) is not None:
                found[name] = {hdu.name or "PRIMARY": hdu.data for hdu in _read_fits(name, data)}
    return found


def export_avro(alert: OpenedAlert) -> bytes:
    """Return the alert as an Avro object container that carries its schema; the same alert gives the same bytes."""
    buffer = io.BytesIO()
    marker = alert.alert_id.to_bytes(16, "big", signed=True)
    fastavro.writer(buffer, alert.schema, [alert.record], sync_marker=marker)
    return buffer.getvalue()


def export_json(alert: OpenedAlert, *, with_stamps: bool = False) -> str:
    """Return the alert as JSON: 64-bit integers as strings, times in ISO 8601, NaN as null, stamps in base64 or left out.

    Parameters
    ----------
    alert
        The alert.
    with_stamps
        Whether the stamps' bytes are in; otherwise only their sizes are.
    """
    convert = _JsonConverter(alert.schema, with_bytes=with_stamps)
    return json.dumps(convert(alert.record, alert.schema), allow_nan=False, ensure_ascii=False)


def export_fits(alert: OpenedAlert) -> bytes:
    """Return all stamps in one FITS file: an extension for each image, named such as SCIENCE and SCIENCE_MASK.

    Raises
    ------
    UndecodableEventError
        When a stamp is no FITS file.
    """
    primary = fits.PrimaryHDU()
    primary.header["ALERTID"] = (str(alert.alert_id), "identifier of the alert")
    primary.header["SCHEMA"] = (alert.schema_name, "schema of the alert")
    combined = fits.HDUList([primary])
    for name, data in stamps(alert).items():
        for hdu in _read_fits(name, data):
            extension = name.upper() if hdu.name in ("PRIMARY", "") else f"{name.upper()}_{hdu.name}"
            combined.append(fits.ImageHDU(data=hdu.data, header=hdu.header, name=extension))
    buffer = io.BytesIO()
    combined.writeto(buffer)
    return buffer.getvalue()


def _open_container(data: bytes) -> list[OpenedAlert]:
    try:
        reader = fastavro.reader(io.BytesIO(data))
        records = list(reader)
        schema = cast("dict[str, Any]", fastavro.parse_schema(cast("dict[str, Any]", reader.writer_schema)))
    except _BROKEN as error:
        raise UndecodableEventError(f"The Avro object container is broken: {error}.") from error
    return [OpenedAlert(record=cast("dict[str, Any]", record), schema=schema, schema_id=None) for record in records]


def _open_unregistered(datum: bytes) -> OpenedAlert:
    """Try the versions at hand, newest first: id 0 stands for a schema that nobody registered."""
    for version in reversed(BUNDLED_VERSIONS):
        schema = bundled_alert_schema(schema_id(version))
        try:
            return OpenedAlert(record=_decode(datum, schema or {}), schema=schema or {}, schema_id=_UNREGISTERED)
        except UndecodableEventError:
            continue
    raise UnknownSchemaError("The alert names no schema (id 0) and follows no version that is known here.")


def _decode(datum: bytes, schema: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO(datum)
    try:
        record = fastavro.schemaless_reader(buffer, schema, None)
    except _BROKEN as error:
        raise UndecodableEventError(f"The alert does not follow its schema {schema.get('name')}: {error}.") from error
    if buffer.tell() != len(datum):
        raise UndecodableEventError(f"{len(datum) - buffer.tell()} bytes follow the end of the alert.")
    return cast("dict[str, Any]", record)


def _stamp(alert: OpenedAlert, name: str) -> bytes | None:
    value = alert.record.get(dict(_STAMP_FIELDS)[name])
    data = value.get("stampData") if isinstance(value, dict) else value
    return _unzipped(data) if data else None


def _unzipped(data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise UndecodableEventError(f"A zipped stamp is broken: {error}.") from error


def _read_fits(name: str, data: bytes) -> list[Any]:
    try:
        # Other surveys' cards are not always in the standard's fixed format.
        quiet = warnings.catch_warnings(action="ignore", category=VerifyWarning)
        with quiet, fits.open(io.BytesIO(data), memmap=False) as hdus:
            return [hdu.copy() for hdu in hdus if hdu.data is not None]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UndecodableEventError(f"The {name} stamp is no FITS file: {error}.") from error


def _other_rules(record: dict[str, Any]) -> Iterator[Violation]:
    """Judge an alert of another survey by the little that all share: a place on the sky."""
    candidate = record.get("candidate") or record
    ra, dec = candidate.get("ra"), candidate.get("dec")
    if ra is None or dec is None:
        yield Violation("place", "The alert has no right ascension and declination.")
    elif not (0 <= ra < 360 and -90 <= dec <= 90):
        yield Violation("range", f"The place {ra:g}, {dec:g} is not on the sky.")


def _stamp_violations(name: str, data: bytes, *, whole: bool) -> Iterator[Violation]:
    try:
        hdus = _read_fits(name, data)
    except UndecodableEventError as error:
        yield Violation("stamp", error.sentence)
        return
    if not hdus:
        yield Violation("stamp", f"The {name} stamp has no image.")
        return
    if not whole:
        return
    by_name = {hdu.name: hdu for hdu in hdus}
    if "MASK" not in by_name:
        yield Violation("stamp-mask", f"The {name} stamp has no mask.")
    if not _has_sky(hdus[0].header):
        yield Violation("stamp-wcs", f"The {name} stamp has no WCS of the sky (CTYPE is missing).")
    psf = by_name["PSFIMAGE"].data if "PSFIMAGE" in by_name else np.array(np.nan)
    if not abs(float(np.sum(psf, dtype=np.float64)) - 1) <= _PSF_SUM_TOLERANCE:
        yield Violation("stamp-psf", f"The {name} stamp has no finite PSF of sum 1.")


def _has_sky(header: fits.Header) -> bool:
    return bool("CTYPE1" in header and WCS(header).has_celestial)


class _JsonConverter:
    """Turns a record into values that JSON has, by its schema.

    Parameters
    ----------
    schema
        The alert's schema; records inside it may be referred to by name.
    with_bytes
        Whether bytes become base64 text; otherwise only their number is kept.
    """

    def __init__(self, schema: dict[str, Any], *, with_bytes: bool) -> None:
        self._named: dict[str, dict[str, Any]] = {}
        self._with_bytes = with_bytes
        self._collect(schema)

    def __call__(self, value: Any, schema: Any) -> Any:
        schema = self._named.get(schema, schema) if isinstance(schema, str) else schema
        if isinstance(schema, list):
            return None if value is None else self(value, next(branch for branch in schema if branch != "null"))
        if isinstance(value, dict) and isinstance(schema, dict) and "fields" in schema:
            return {field["name"]: self(value.get(field["name"]), field["type"]) for field in schema["fields"]}
        if isinstance(value, list):
            return [self(item, schema["items"]) for item in value]
        return self._scalar(value, schema["type"] if isinstance(schema, dict) else schema)

    def _scalar(self, value: Any, kind: str) -> Any:
        if isinstance(value, bytes):
            return base64.b64encode(value).decode() if self._with_bytes else {"bytes": len(value)}
        if isinstance(value, dt.datetime):
            return value.isoformat()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return str(value) if kind == "long" and value is not None else value

    def _collect(self, node: Any) -> None:
        if isinstance(node, list):
            for branch in node:
                self._collect(branch)
        elif isinstance(node, dict):
            if "fields" in node:
                self._named[node["name"]] = node
            for key in ("type", "items", "fields"):
                self._collect(node.get(key))
