"""Public records and alerts for tests: hypothesis strategies from the schema itself, and a plausible alert."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import fastavro
from hypothesis import strategies as st

from schemas import public

ALERT_FILES = Path(__file__).parents[1] / "data" / "alerts"

_FLOATS = st.floats(allow_nan=False, width=32)
_SCALARS = {
    "long": st.integers(-(2**63), 2**63 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "float": _FLOATS,
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "string": st.text(max_size=16),
}


@st.composite
def records(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw any record that the schema allows; a few fields vary freely, the others take one of two values."""
    fields = public.record_schema(name)["fields"]
    wild = draw(st.sets(st.sampled_from([field["name"] for field in fields]), max_size=12))
    fill_null = draw(st.booleans())
    record = {}
    for field in fields:
        nullable = isinstance(field["type"], list)
        kind = field["type"][1] if nullable else field["type"]
        kind = kind["type"] if isinstance(kind, dict) else kind
        if field["name"] in wild:
            record[field["name"]] = draw(st.none() | _SCALARS[kind] if nullable else _SCALARS[kind])
        else:
            plain = {"boolean": True, "string": "r", "float": 1.5, "double": 2.5}.get(kind, 3)
            record[field["name"]] = None if nullable and fill_null else plain
    return record


def encode_plainly(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """Encode with fastavro and nothing of ours."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, record)
    return buffer.getvalue()


def decode_plainly(datum: bytes, identifier: int = 1101) -> dict[str, Any]:
    """Decode with fastavro and nothing of ours."""
    record = fastavro.schemaless_reader(io.BytesIO(datum), public.bundled_alert_schema(identifier), None)
    assert isinstance(record, dict)
    return record


def real_packet(name: str) -> tuple[int, bytes]:
    """Return schema id and datum of one of the framed alerts that others made."""
    raw = (ALERT_FILES / name).read_bytes()
    return struct.unpack(">I", raw[1:5])[0], raw[5:]


def plausible_alert(history: int = 3, forced: int = 4) -> dict[str, Any]:
    """Return an alert of one object seen in successive nights, with every rule of the gate kept."""
    sources = [_dia_source(k) for k in range(history + 1)]
    stamp = b"SIMPLE  =                    T".ljust(2880) + bytes(2880)
    return {
        "diaSourceId": sources[-1]["diaSourceId"],
        "observation_reason": None,
        "target_name": None,
        "diaSource": sources[-1],
        "prvDiaSources": sources[:-1],
        "prvDiaForcedSources": [_forced(k, history) for k in range(forced)],
        "diaObject": _dia_object(sources),
        "ssSource": None,
        "mpc_orbits": None,
        "cutoutDifference": stamp,
        "cutoutScience": stamp,
        "cutoutTemplate": stamp,
    }


def _dia_source(night: int) -> dict[str, Any]:
    record = public.to_public_record(public.null_rows("diaSource", 1)[0], "diaSource")
    return record | {
        "diaSourceId": 1000 + night, "visit": 2026030100000 + night, "detector": 94, "diaObjectId": 1000,
        "midpointMjdTai": 61100.1 + night, "exposureTime": 30.0, "ra": 10.0, "raErr": 1e-5, "dec": -5.0, "decErr": 1e-5,
        "x": 500.25, "y": 400.5, "apFlux": 900.0, "apFluxErr": 90.0, "snr": 10.0, "psfFlux": 1000.0, "psfFluxErr": 100.0,
        "psfChi2": 1600.0, "psfNdata": 1681, "scienceFlux": 5000.0, "scienceFluxErr": 120.0, "templateFlux": 4000.0,
        "templateFluxErr": 20.0, "extendedness": 0.0, "reliability": 0.5, "reliabilityVersion": "baseline-1", "band": "r",
        "apFlux_flag": False, "psfFlux_flag": False, "timeProcessedMjdTai": 61100.1005 + night, "bboxSize": 20,
    }  # fmt: skip


def _forced(number: int, last_night: int) -> dict[str, Any]:
    night = last_night - 3 + number
    return {
        "diaForcedSourceId": 5000 + number, "diaObjectId": 1000, "ra": 10.0, "dec": -5.0, "visit": 2026030100000 + night,
        "detector": 94, "psfFlux": 950.0, "psfFluxErr": 100.0, "midpointMjdTai": 61100.1 + night, "scienceFlux": 5000.0,
        "scienceFluxErr": 120.0, "band": "r", "timeProcessedMjdTai": 61100.1005 + night, "timeWithdrawnMjdTai": None,
    }  # fmt: skip


def _dia_object(sources: list[dict[str, Any]]) -> dict[str, Any]:
    record = public.to_public_record(public.null_rows("diaObject", 1)[0], "diaObject")
    return record | {
        "diaObjectId": 1000, "validityStartMjdTai": sources[-1]["timeProcessedMjdTai"], "ra": 10.0, "dec": -5.0,
        "r_psfFluxMean": 1000.0, "r_psfFluxMeanErr": 50.0, "r_psfFluxNdata": len(sources), "r_psfFluxMin": 900.0,
        "r_psfFluxMax": 1100.0, "firstDiaSourceMjdTai": sources[0]["midpointMjdTai"],
        "lastDiaSourceMjdTai": sources[-1]["midpointMjdTai"], "nDiaSources": len(sources),
    }  # fmt: skip
