"""The reference page of a night's summary, from the keys that the summary documents."""

from __future__ import annotations

from streams.night.summary import KEYS
from streams.reference.topics_page import HEAD

__all__ = ["summary_page"]

INTRODUCTION = """# summary.json

`nightcast night --json` prints this document, and every night leaves it as `summary.json` in its folder,
`<data_dir>/nights/<day_obs>/`. A key whose figure could not be counted (no alert, no true change) is `null`.

| key | meaning |
|---|---|
"""

STAGES = """
## Stages of cpu_s_per_ccd

Each value is CPU seconds (user and system), divided by the number of science CCDs in accepted results.

| key | what is counted |
|---|---|
| `step.NAME` | one step of the detectors' work, measured around it by the worker: `read` the inputs, `single_frame`, `difference`, `forced`, `stamps`, `store` the products |
| `process.NAME` | everything that a process of the system spent between the start of observing and the last manifest, sampled from outside |
| `total` | the sum of all processes; the simulated telescope is not among them |
"""


def summary_page() -> str:
    """Return the page as Markdown."""
    rows = [f"| `{key}` | {meaning} |" for key, meaning in KEYS.items()]
    return f"{HEAD}\n{INTRODUCTION}" + "\n".join(rows) + "\n" + STAGES
