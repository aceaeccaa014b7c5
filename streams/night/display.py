"""Show a night as it goes: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from streams.night.watch import NightView, VisitView

__all__ = ["NightDisplay"]


class NightDisplay:
    """Context in which a night is shown.

    Parameters
    ----------
    console
        Where to; a table that is drawn anew on a terminal, plain lines otherwise.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._lines: dict[int, str] = {}

    def __enter__(self) -> NightDisplay:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the table."""
        self._console.print(sentence, markup=False)

    def show(self, view: NightView) -> None:
        """Show the night as it is now."""
        visits = [view.visits[key] for key in sorted(view.visits)]
        if self._live is not None:
            self._live.update(_table(view.day_obs, visits))
            return
        for visit in visits:
            line = _line(visit)
            if self._lines.get(visit.visit) != line:
                self._lines[visit.visit] = line
                self._console.print(line, markup=False, soft_wrap=True)


def _table(day_obs: int, visits: list[VisitView]) -> Table:
    table = Table(title=f"Night {day_obs}", title_justify="left", header_style="bold")
    for name in ("visit", "band", "stage", "exposures", "detectors", "alerts", "latency"):
        table.add_column(name, justify="right" if name in ("exposures", "detectors", "alerts", "latency") else "left")
    for visit in visits:
        table.add_row(*_cells(visit))
    return table


def _cells(visit: VisitView) -> tuple[Any, ...]:
    failed = f" [red]{len(visit.failed)} failed[/]" if visit.failed else ""
    alerts, latency = "", ""
    if visit.manifest is not None:
        alerts = f"{visit.manifest.published}/{visit.manifest.expected}"
        latency = f"{visit.manifest.latency_max_s:.1f} s" if visit.manifest.published else ""
    style = {"published": "green", "cancelled": "dim", "processing": "yellow", "associating": "cyan"}.get(visit.stage)
    stage = f"[{style}]{visit.stage}[/]" if style else visit.stage
    done = f"{len(visit.succeeded)}/{visit.detectors}{failed}"
    return str(visit.visit), visit.band, stage, f"{visit.readouts}/{visit.n_snaps}", done, alerts, latency


def _line(visit: VisitView) -> str:
    text = f"visit {visit.visit} {visit.band}: {visit.stage}"
    if visit.stage in ("processing", "associating", "published"):
        text += f", {len(visit.succeeded)}/{visit.detectors} detectors"
    if visit.failed:
        text += f", {len(visit.failed)} failed"
    if visit.manifest is not None:
        text += f", {visit.manifest.published} alerts"
        if visit.manifest.published:
            text += f", the last {visit.manifest.latency_max_s:.1f} s after read-out"
    return text
