"""Log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from infra.logs import configure_logging, correlate, get_logger


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("test", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def _read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_the_ids_of_what_is_worked_on(lines: io.StringIO) -> None:
    with correlate(visit=7, detector=3, job="7-3"):
        get_logger("here").info("started", seconds=1.5)
    get_logger("here").info("idle")
    inside, outside = _read(lines)
    assert inside.pop("time")
    assert inside == {
        "event": "started",
        "level": "info",
        "logger": "here",
        "process": "test",
        "visit": 7,
        "detector": 3,
        "job": "7-3",
        "seconds": 1.5,
    }
    assert "visit" not in outside


def test_ids_nest_and_what_is_none_stays(lines: io.StringIO) -> None:
    with correlate(visit=7), correlate(detector=3, visit=None):
        get_logger("here").warning("odd")
    (line,) = _read(lines)
    assert (line["visit"], line["detector"], line["level"]) == (7, 3, "warning")


def test_lines_of_libraries_have_the_same_form(lines: io.StringIO) -> None:
    with correlate(visit=7):
        logging.getLogger("library").warning("odd %s", "thing")
    logging.getLogger("library").debug("not written")
    (line,) = _read(lines)
    assert (line["event"], line["logger"], line["visit"], line["process"]) == ("odd thing", "library", 7, "test")


def test_an_exception_is_one_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        get_logger("here").exception("failed")
    (line,) = _read(lines)
    assert "ValueError: bad" in str(line["exception"])
