"""The public packet against the schemas that Rubin publishes, field by field, and its rows against their records."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import astropy.units as u
import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import public
from schemas.errors import SchemaError, UnknownSchemaError

packet = pytest.importorskip("lsst.alert.packet")


def wheel_record(version: tuple[int, int], name: str) -> dict[str, Any]:
    folder = Path(str(packet.get_schema_root())) / str(version[0]) / str(version[1])
    return json.loads((folder / "lsst.v{}_{}.{}.avsc".format(*version, name)).read_text())


def wheel_alert(version: tuple[int, int]) -> dict[str, Any]:
    name = "lsst.v{}_{}.alert.avsc".format(*version)
    folder = Path(str(packet.get_schema_root())) / str(version[0]) / str(version[1])
    return fastavro.schema.load_schema(str(folder / name), _write_hint=False)


def without_text(node: Any) -> Any:
    """Drop what Avro does not count as part of a type."""
    if isinstance(node, list):
        return [without_text(item) for item in node]
    if isinstance(node, dict):
        return {key: without_text(value) for key, value in node.items() if key not in ("doc", "unit")}
    return node


@pytest.mark.parametrize("name", public.RECORD_NAMES)
def test_every_field_is_that_of_the_published_schema(name: str) -> None:
    assert without_text(public.record_schema(name)) == without_text(wheel_record(public.PUBLIC_VERSION, name))


@pytest.mark.parametrize("name", public.RECORD_NAMES)
def test_every_field_has_a_unit_and_a_sentence_of_our_own(name: str) -> None:
    theirs = {field.get("doc", "").strip(" .").lower() for field in wheel_record(public.PUBLIC_VERSION, name)["fields"]}
    docs, units = public.field_docs(name), public.field_units(name)
    assert list(docs) == list(units) == [field["name"] for field in public.record_schema(name)["fields"]]
    for field, sentence in docs.items():
        assert sentence.endswith("."), field
        assert len(sentence.split()) < 4 or sentence.strip(" .").lower() not in theirs, field
    assert all(unit == "none" or u.Unit(unit) is not None for unit in units.values())


def test_units_of_the_quantities_that_subscribers_use_most() -> None:
    assert {name: public.field_units("diaSource")[name] for name in ("ra", "psfFlux", "midpointMjdTai", "ixx")} == {
        "ra": "deg",
        "psfFlux": "nJy",
        "midpointMjdTai": "d",
        "ixx": "arcsec^2",
    }
    assert public.field_units("ssSource")["topoRange"] == "AU"
    assert public.field_units("ssSource")["helio_vtot"] == "km / s"


def test_latest_version_of_the_wheel_is_ours() -> None:
    assert packet.get_latest_schema_version() == public.PUBLIC_VERSION
    assert public.schema_id() == 1101


@pytest.mark.parametrize("version", public.BUNDLED_VERSIONS)
def test_bundled_versions_have_the_published_canonical_form(version: tuple[int, int]) -> None:
    ours = public.bundled_alert_schema(public.schema_id(version))
    canonical = fastavro.schema.to_parsing_canonical_form
    assert canonical(ours) == canonical(wheel_alert(version))


def test_unknown_names_and_versions() -> None:
    assert public.bundled_alert_schema(704) is None
    with pytest.raises(UnknownSchemaError, match="no record 'nothing'"):
        public.record_schema("nothing")
    with pytest.raises(SchemaError, match=r"mpc_orbits\.created_at"):
        public.record_dtype("mpc_orbits")


def test_registry_text_is_one_self_contained_schema() -> None:
    parsed = fastavro.parse_schema(json.loads(public.alert_schema_json()))
    assert fastavro.schema.fingerprint(
        fastavro.schema.to_parsing_canonical_form(parsed), "SHA-256"
    ) == fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(public.alert_schema()), "SHA-256")


def test_dtypes_have_the_schema_s_names_and_widths() -> None:
    for name, dtype in (
        ("diaSource", public.dia_source_dtype()),
        ("diaForcedSource", public.forced_source_dtype()),
        ("diaObject", public.dia_object_dtype()),
    ):
        assert dtype.names == tuple(public.field_docs(name))
    assert public.dia_source_dtype()["diaSourceId"] == np.dtype("<i8")
    assert public.dia_source_dtype()["psfFlux"] == np.dtype("<f4")
    assert public.dia_source_dtype()["isDipole"] == np.dtype("i1")
    assert public.dia_source_dtype()["band"] == np.dtype("<U16")


def test_null_rows_become_none_wherever_the_schema_allows() -> None:
    record = public.to_public_record(public.null_rows("diaSource", 1)[0], "diaSource")
    required = {f["name"] for f in public.record_schema("diaSource")["fields"] if not isinstance(f["type"], list)}
    assert {name for name, value in record.items() if value is not None} == required
    assert len(public.null_rows("diaSource", 0)) == 0


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(["diaSource", "diaForcedSource", "diaObject"]))
def test_rows_survive_the_way_to_records_and_back(data: st.DataObject, name: str) -> None:
    rows = public.null_rows(name, 3)
    for column in rows.dtype.names or ():
        if rows.dtype[column].kind == "f":
            width = 8 * rows.dtype[column].itemsize
            values = hnp.arrays(
                rows.dtype[column], 3, elements=st.floats(allow_nan=False, width=width), fill=st.just(1.5)
            )
            rows[column] = data.draw(values)
    rows["diaObjectId"] = [2**62 + 1, 0, 5]
    records = public.to_public_records(rows, name)
    assert records == [public.to_public_record(row, name) for row in rows]
    assert public.from_public_records(records, name).tobytes() == rows.tobytes()


def test_mapping_with_nulls_of_either_kind() -> None:
    row = dict.fromkeys(public.field_docs("diaForcedSource"), 1)
    row |= {"psfFlux": float("nan"), "psfFluxErr": None, "band": "", "diaObjectId": 2**62 + 1}
    record = public.to_public_record(row, "diaForcedSource")
    assert (record["psfFlux"], record["psfFluxErr"], record["band"]) == (None, None, None)
    assert record["diaObjectId"] == 2**62 + 1


def test_text_too_long_for_its_column_is_refused() -> None:
    with pytest.raises(SchemaError, match="reliabilityVersion"):
        public.from_public_records([{"reliabilityVersion": "x" * 17}], "diaSource")


def minimal_alert(schema: dict[str, Any]) -> dict[str, Any]:
    """Zero in every required field of the alert, null elsewhere."""
    values: dict[str, Any] = {"long": 7, "int": 0, "double": 0.5, "float": 0.5, "string": ""}

    def build(record: dict[str, Any]) -> dict[str, Any]:
        return {
            field["name"]: build(field["type"]) if isinstance(field["type"], dict) else values[field["type"]]
            for field in record["fields"]
            if not isinstance(field["type"], list)
        }

    return build(schema)


def test_packets_of_the_version_before_resolve_to_ours() -> None:
    writer = public.bundled_alert_schema(1100)
    assert writer is not None
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, writer, minimal_alert(writer))
    buffer.seek(0)
    record = fastavro.schemaless_reader(buffer, writer, public.alert_schema())
    assert record["diaSourceId"] == 7
    assert record["diaSource"]["exposureTime"] is None
    assert record["diaSource"]["trail_flag"] is None


def test_our_packets_are_read_by_a_client_of_the_version_before() -> None:
    reader = public.bundled_alert_schema(1100)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, public.alert_schema(), minimal_alert(public.alert_schema()))
    buffer.seek(0)
    assert "trail_flag" not in fastavro.schemaless_reader(buffer, public.alert_schema(), reader)["diaSource"]


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("boom_lsst_7912941781254298.avro", 900), ("sso_4.bin", 1000), ("derived_wire_v11_1_0.bin", 1101)],
)
def test_alerts_made_by_others_decode_and_encode_to_the_same_bytes(name: str, identifier: int) -> None:
    raw = (Path(__file__).parents[1] / "data" / "alerts" / name).read_bytes()
    assert int.from_bytes(raw[1:5], "big") == identifier
    schema = public.bundled_alert_schema(identifier)
    assert schema is not None
    record = fastavro.schemaless_reader(io.BytesIO(raw[5:]), schema, None)
    again = io.BytesIO()
    fastavro.schemaless_writer(again, schema, record)
    assert again.getvalue() == raw[5:]
