"""Measure our CPU beside named peers' and write docs/benchmarks.md: ``python -m tests.benchmarks [NAME...]``, or ``make bench``.

Every module of this folder has a ``measure`` that yields rows. Each runs in a process of its own, so that one which fails, or
does not end, costs the others nothing; its rows go to docs/benchmarks/NAME.json as they come, and the page is put together from
all these files. A ratio is of two CPU times of the same run on the same machine. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra.kernel_caches import discard_stale_kernels
from tests.benchmarks._page import write_page
from tests.benchmarks._results import measure_one, record_problem

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

LONGEST_SECONDS = 1800.0
"""Wall time after which a benchmark is ended."""


def names() -> list[str]:
    """Return the names of all benchmark modules."""
    return sorted(module.name for module in pkgutil.iter_modules([str(HERE)]) if not module.name.startswith("_"))


def run(chosen: Sequence[str]) -> list[str]:
    """Measure benchmarks one after the other, each in a process; write the page; return the names of those that failed."""
    failed = []
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    for number, name in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        started = time.time()
        try:
            command = [sys.executable, "-m", "tests.benchmarks", "--here", "--run", began, name]
            code = subprocess.run(command, cwd=ROOT, timeout=LONGEST_SECONDS, check=False).returncode
            problem = f"it ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            problem = f"it was ended after {LONGEST_SECONDS:.0f} s"
        if problem:
            failed.append(name)
            record_problem(name, problem, started)
        print(f"[{number}/{len(chosen)}] {name} {problem or 'done'} in {time.time() - started:.0f} s", flush=True)
    write_page()
    return failed


def main(arguments: Sequence[str]) -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="CPU and errors beside peers'.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all without any")
    parser.add_argument("--here", action="store_true", help="measure in this process and leave the page")
    parser.add_argument("--run", default="", help="with --here: name of the run of which this is a part")
    parser.add_argument("--page", action="store_true", help="measure nothing, put the page together")
    chosen = parser.parse_args(arguments)
    discard_stale_kernels()
    unknown = sorted(set(chosen.names) - set(names()))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    if chosen.page:
        write_page()
        return 0
    if chosen.here:
        for name in chosen.names:
            measure_one(name, chosen.run)
        return 0
    failed = run(chosen.names or names())
    print(f"Page written; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
