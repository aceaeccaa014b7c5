"""The committed pages are those that the code writes now."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from schemas import public
from schemas.topics import TOPICS
from streams.night.summary import KEYS
from streams.reference.__main__ import PAGES
from streams.reference.alert_schema_page import alert_schema_page
from streams.reference.errors_page import error_classes, errors_page
from streams.reference.flow import STAGES, flow_svg
from streams.reference.summary_page import summary_page

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs` and commit what it writes"


def test_the_picture_is_well_formed_and_shows_every_topic_and_stage() -> None:
    texts = {element.text for element in ET.fromstring(flow_svg()).iter("{http://www.w3.org/2000/svg}text")}
    assert {row.name for row in TOPICS if row.name != "stage-state"} <= texts
    assert set(STAGES) <= texts


def test_every_stage_of_the_table_has_a_column() -> None:
    assert {stage for row in TOPICS for stage in row.producers + row.consumers} <= set(STAGES)


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of every row of the page's tables, heads left out."""
    lines = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_an_error_code_means_one_error() -> None:
    codes = Counter(kind.code for kind in error_classes())
    assert [code for code, count in codes.items() if count > 1] == []


def test_every_error_is_told_in_a_sentence() -> None:
    told = {row[1]: row[3] for row in rows_of(errors_page())}
    assert {kind.__name__ for kind in error_classes()} <= set(told)
    assert [name for name, sentence in told.items() if name != "class" and not sentence.endswith(".")] == []


def test_the_packet_page_has_every_field_with_unit_and_meaning() -> None:
    rows = rows_of(alert_schema_page())
    for record in public.RECORD_NAMES:
        units, docs = public.field_units(record), public.field_docs(record)
        for name in units:
            unit = "" if units[name] == "none" else units[name]
            assert any([row[0], row[2], row[3]] == [name, unit, docs[name]] for row in rows), (record, name)


def test_every_key_of_the_summary_is_explained() -> None:
    assert {f"`{key}`" for key in KEYS} <= {row[0] for row in rows_of(summary_page())}
