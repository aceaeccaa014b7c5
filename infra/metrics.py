"""Metrics: every process counts in files of its own, and the supervisor serves all of them at one Prometheus endpoint.

Processes that the supervisor starts find the folder in ``PROMETHEUS_MULTIPROC_DIR``; without it (in tests, in a notebook)
the same names count in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from infra.settings import Settings
from infra.supervisor.report import EngineStatus, ProcessState

__all__ = ["StageMetrics", "empty_metrics_dir", "forget_process", "serve_metrics", "show_completeness"]

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_EVENTS = Counter("nightcast_events", "Events that a stage has taken in", ["stage", "topic"])
_EMITTED = Counter("nightcast_emitted", "Events that a stage has put out", ["stage", "topic"])
_DEAD_LETTERS = Counter("nightcast_dead_letters", "Events that a stage could not use", ["stage", "code"])
_FAILURES = Counter("nightcast_failures", "Failures of a stage by code, those it recovered from too", ["stage", "code"])
_SECONDS = Histogram(
    "nightcast_event_seconds",
    "Time that a stage takes for an event or a batch",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
_LATENCY = Histogram(
    "nightcast_latency_seconds",
    "Time from the end of readout until a stage has put out its result",
    ["stage"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 40, 60, 90, 120, 300),
)
_QUEUE = Gauge("nightcast_in_flight", "Work that a stage holds", ["stage"], multiprocess_mode="livesum")
_INJECTED, _FOUND = (
    Gauge(
        f"nightcast_fakes_{what}",
        f"Fakes {what} on the newest visit of a band, by their signal-to-noise ratio",
        ["band", "snr"],
        multiprocess_mode="mostrecent",
    )
    for what in ("injected", "found")
)
_SNR50 = Gauge(
    "nightcast_completeness_snr50",
    "Signal-to-noise ratio at which half of the sources of the newest visit of a band are found",
    ["band"],
    multiprocess_mode="mostrecent",
)


class StageMetrics:
    """The figures of one stage.

    Parameters
    ----------
    stage
        Name of the stage, the label of all its figures.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def taken(self, topic: str, count: int = 1) -> None:
        """Count events taken in."""
        _EVENTS.labels(self._stage, topic).inc(count)

    def emitted(self, topic: str, count: int = 1) -> None:
        """Count events put out."""
        _EMITTED.labels(self._stage, topic).inc(count)

    def dead_letter(self, code: str) -> None:
        """Count an event that could not be used."""
        _DEAD_LETTERS.labels(self._stage, code).inc()

    def failure(self, code: str) -> None:
        """Count a failure."""
        _FAILURES.labels(self._stage, code).inc()

    def seconds(self, seconds: float) -> None:
        """Note how long an event or a batch took."""
        _SECONDS.labels(self._stage).observe(seconds)

    def latency(self, seconds: float) -> None:
        """Note the time from the end of readout to the stage's result."""
        _LATENCY.labels(self._stage).observe(seconds)

    def in_flight(self, count: int) -> None:
        """Set how much work the stage holds."""
        _QUEUE.labels(self._stage).set(count)


def show_completeness(band: str, values: Mapping[str, float]) -> None:
    """Show the completeness curve of a visit until the next one of its band; figures of other names are passed over.

    Parameters
    ----------
    band
        Filter of the visit.
    values
        ``fakes_injected_snr_5.0``, ``fakes_found_snr_5.0`` and so on, and ``fakes_snr50``. A visit without fakes shows nothing.
    """
    for gauge, prefix in ((_INJECTED, "fakes_injected_snr_"), (_FOUND, "fakes_found_snr_")):
        for name in values:
            level = name.removeprefix(prefix)
            if level != name and level.replace(".", "", 1).isdigit():
                gauge.labels(band, level).set(values[name])
    if "fakes_snr50" in values:
        _SNR50.labels(band).set(values["fakes_snr50"])


def empty_metrics_dir(folder: Path) -> None:
    """Make the folder of the processes' figures, empty: counts begin with the system's start."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def forget_process(folder: Path, pid: int) -> None:
    """Drop the gauges of a process that has ended; its counts stay."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


@contextmanager
def serve_metrics(settings: Settings, status: Callable[[], EngineStatus]) -> Iterator[None]:
    """Serve the figures of all processes, and of the supervisor itself, while the context lasts.

    Parameters
    ----------
    settings
        Host and port of the endpoint, folder of the figures.
    status
        Gives the supervisor's status when asked.
    """
    settings.metrics_dir.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(settings.metrics_dir))  # type: ignore[no-untyped-call]
    registry.register(_SupervisorCollector(status))
    server, thread = start_http_server(settings.metrics.port, addr=settings.metrics.host, registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _SupervisorCollector(Collector):
    def __init__(self, status: Callable[[], EngineStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield whether each process is ready, how often it was restarted, and its memory."""
        ready = GaugeMetricFamily("nightcast_process_ready", "Whether a process is ready", labels=["process"])
        restarts = CounterMetricFamily("nightcast_process_restarts", "Restarts of a process", labels=["process"])
        memory = GaugeMetricFamily("nightcast_process_resident_bytes", "Resident memory", labels=["process"])
        for row in self._status().processes:
            ready.add_metric([row.name], float(row.state in (ProcessState.READY, ProcessState.DONE)))
            restarts.add_metric([row.name], row.restarts)
            memory.add_metric([row.name], row.rss_mb * 1e6)
        yield from (ready, restarts, memory)
