"""Single records: ours against fastavro's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import public, public_avro
from schemas.errors import SchemaError, UndecodableEventError
from tests.support.alert_records import records

TABLES = ["diaSource", "diaForcedSource", "diaObject"]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(TABLES))
def test_rows_encode_to_the_bytes_of_their_records(data: st.DataObject, name: str) -> None:
    drawn = data.draw(st.lists(records(name), max_size=4))
    rows = public.from_public_records(drawn, name)
    one_by_one = [public_avro.encode_record(record, name) for record in public.to_public_records(rows, name)]
    assert public_avro.encode_rows(rows, name) == one_by_one


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from([*TABLES, "ssSource"]))
def test_records_come_back_as_they_went(data: st.DataObject, name: str) -> None:
    record = data.draw(records(name))
    assert public_avro.decode_record(public_avro.encode_record(record, name), name) == record


@pytest.mark.parametrize("value", [0, -1, 1, 63, 64, -64, -65, 2**31, 2**63 - 1, -(2**63)])
def test_numbers_have_avro_s_form(value: int) -> None:
    record = dict.fromkeys(public.field_docs("diaForcedSource"), 0) | {"diaForcedSourceId": value, "band": None}
    datum = public_avro.encode_record(record, "diaForcedSource")
    assert datum.startswith(public_avro.encode_long(value))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from([*TABLES, "ssSource"]))
def test_columns_encode_to_the_bytes_of_their_records(data: st.DataObject, name: str) -> None:
    rows = public.from_public_records(data.draw(st.lists(records(name), max_size=4)), name)
    left = {f for f, base, null in public.fields_of(name) if null and (base == "boolean" or f in public.NULLABLE_IDS)}
    plain = [field for field in rows.dtype.names or () if field not in left]
    for field in left:
        rows[field] = public.null_rows(name, 1)[field][0]
    one_by_one = [public_avro.encode_record(record, name) for record in public.to_public_records(rows, name)]
    assert public_avro.encode_columns({field: rows[field] for field in plain}, len(rows), name) == one_by_one


def test_columns_that_are_missing_or_of_no_field_are_refused() -> None:
    rows = public.null_rows("ssSource", 2)
    columns = {name: rows[name] for name in rows.dtype.names or ()}
    with pytest.raises(SchemaError, match=r"without.*diaSourceId"):
        public_avro.encode_columns({n: c for n, c in columns.items() if n != "diaSourceId"}, 2, "ssSource")
    with pytest.raises(SchemaError, match=r"no.*colour"):
        public_avro.encode_columns({**columns, "colour": np.zeros(2)}, 2, "ssSource")


def test_no_rows_give_no_bytes() -> None:
    assert public_avro.encode_rows(public.null_rows("diaObject", 0), "diaObject") == []


@pytest.mark.parametrize("change", [{"ra": None}, {"visit": "seven"}])
def test_values_of_another_type_are_refused(change: dict[str, Any]) -> None:
    record = public.to_public_record(public.null_rows("diaSource", 1)[0], "diaSource") | change
    with pytest.raises(SchemaError, match="diaSource record does not fit"):
        public_avro.encode_record(record, "diaSource")


def test_other_columns_and_broken_bytes_are_refused() -> None:
    with pytest.raises(SchemaError, match="columns are not those of diaObject"):
        public_avro.encode_rows(np.zeros(1, dtype=[("ra", "f8")]), "diaObject")
    with pytest.raises(UndecodableEventError):
        public_avro.decode_record(b"\x02\x04", "diaSource")
