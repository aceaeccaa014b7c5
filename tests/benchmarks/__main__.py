"""Measure our CPU beside named peers' and write the table of docs/benchmarks.md: ``python -m tests.benchmarks [NAME...]``.

Every module of this folder has a ``measure`` that yields rows. A ratio is of two CPU times of the same run on the same machine;
seconds are there for scale only. Nothing passes or fails by time.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.timing import Measured

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HERE = str(Path(__file__).parent)

HEAD = """# Benchmarks

Written by `make bench`: CPU time of ours beside a peer's, both measured in one run (the least of three repeats, kernels compiled before).
A ratio of 5 means that the peer takes five times as long. Compare ratios, not seconds: those are of {machine}.

| what | ours, ms | peer | peer's, ms | ratio | remarks |
|---|---|---|---|---|---|
"""


def names() -> list[str]:
    """Return the names of all benchmark modules."""
    return sorted(module.name for module in pkgutil.iter_modules([HERE]) if not module.name.startswith("_"))


def page(rows: Iterable[Measured]) -> str:
    """Return the page of a table."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"| {r.what} | {r.ours_s * 1e3:.3g} | {r.peer} | {r.peer_s * 1e3:.3g} | {r.ratio:.1f} | {r.note} |"
        for r in rows
    ]
    return HEAD.format(machine=machine) + "\n".join(lines) + "\n"


def main(chosen: Sequence[str]) -> None:
    """Measure, print, and write the page when everything was measured."""
    started, rows = time.monotonic(), []
    for name in chosen or names():
        for row in importlib.import_module(f"tests.benchmarks.{name}").measure():
            rows.append(row)
            print(
                f"{row.what:42s} {row.ours_s * 1e3:10.3f} ms   {row.peer:32s} {row.peer_s * 1e3:10.3f} ms "
                f"{row.ratio:7.1f} x"
            )
    if not chosen:
        PAGE.write_text(page(rows))
    print(f"{len(rows)} comparisons in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
