"""The benchmarks' harness: a peer's failure is a row, results outlive their process, the page holds all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import _page, _results
from tests.benchmarks.__main__ import main, names
from tests.support.timing import Measured, PeerTooSlowError, attempt, beside, within


def test_a_peer_that_fails_or_is_too_slow_leaves_a_row_that_says_so() -> None:
    def fail() -> None:
        raise RuntimeError("no such thing")

    row = beside("nothing", lambda: sum(range(1000)), "a peer", fail, note="ours")
    assert math.isnan(row.peer_s)
    assert row.note == "ours; peer failed: RuntimeError no such thing"

    def spin() -> None:
        while True:
            pass

    assert attempt(spin, cpu=0.05) == (None, "stopped after 0 CPU s")
    with pytest.raises(PeerTooSlowError), within(0.05):
        spin()
    assert attempt(lambda: 3) == (3, "")


def test_results_go_to_files_and_from_there_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, path in (
        (_results, "FOLDER", tmp_path / "benchmarks"),
        (_page, "FOLDER", tmp_path / "benchmarks"),
        (_page, "PAGE", tmp_path / "benchmarks.md"),
        (_page, "IMAGES", tmp_path),
    ):
        monkeypatch.setattr(module, name, path)
    row = Measured(what="a", ours_s=0.5, peer="b", peer_s=1.0, error_of="x", ours_error=0.1, peer_error=0.4)
    failed = replace(row, peer="c", peer_s=float("nan"), ours_error=0.0, note="peer stopped | here")
    result = _results.Result(
        name="warp", summary="Warps.", machine="m", day="2026-01-01", seconds=3.0, rows=(row, failed)
    )
    _results.write(result)
    again = _results.read(tmp_path / "benchmarks" / "warp.json")
    assert again.rows[0] == row
    assert math.isnan(again.rows[1].peer_s)
    assert (row.ratio, round(row.error_ratio, 9)) == (2.0, 4.0)
    _results.record_problem("warp", "it ended with 1", math.inf)
    assert _results.read(tmp_path / "benchmarks" / "warp.json").problem == ""
    _results.record_problem("warp", "it ended with 1", 0.0)
    for name in ("isr", "psf"):
        _results.write(replace(result, name=name, run="2026-01-02 03:04 UTC"))
    assert main(["--page"]) == 0
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| a | 500 | b | 1,000 | 2 | x | 0.1 | 0.4 | 4 |  |" in page
    assert "| a | 500 | c |  |  | x | 0 | 0.4 |  | peer stopped / here |" in page
    assert "| 2026-01-02 03:04 UTC | isr, psf |\n" in page
    assert "| several of 2026-01-01, before runs had names | warp |" in page
    assert "Not whole: it ended with 1." in page
    assert (tmp_path / "benchmarks-templates-and-differences.png").read_bytes().startswith(b"\x89PNG")


def test_every_benchmark_of_a_section_exists_and_an_unknown_one_is_refused() -> None:
    assert {name for section in _page.SECTIONS.values() for name in section} <= set(names())
    assert {"isr", "cosmic_rays", "background", "detection", "psf", "warp", "difference", "forced"} <= set(names())
    with pytest.raises(SystemExit):
        main(["nonsense"])
