"""The committed pages are those that the code writes now."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from schemas.topics import TOPICS
from streams.reference.__main__ import PAGES
from streams.reference.flow import STAGES, flow_svg

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
