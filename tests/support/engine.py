"""A broker and a registry of their own for tests: real processes in a temporary folder, on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.broker import broker_process, prepare_broker
from infra.ports import free_port
from infra.registry import registry_process
from infra.settings import Settings, load_settings
from infra.supervisor.child import Child
from infra.topics_admin import ensure_topics


@dataclass(frozen=True, kw_only=True)
class RunningEngine:
    """A running broker and registry with all topics."""

    settings: Settings
    broker: Child
    registry: Child

    @property
    def bootstrap(self) -> str:
        """Address of the broker."""
        return self.settings.bootstrap

    @property
    def registry_url(self) -> str:
        """Address of the registry."""
        return self.settings.registry_url

    @property
    def data_dir(self) -> Path:
        """The data directory of both."""
        return self.settings.data_dir


def engine_settings(data_dir: Path, *, partitions: int = 4) -> Settings:
    """Return settings for an engine of a test: free ports, folders of its own, the user's cache of jars."""
    return load_settings(
        data_dir=data_dir,
        kafka={
            "bootstrap_servers": None,
            "port": free_port(),
            "controller_port": free_port(),
            "partitions": partitions,
            "heap_mb": 256,
        },
        registry={"url": None, "port": free_port()},
        metrics={"port": free_port()},
        web={"port": free_port()},
    )


@contextmanager
def running_engine(data_dir: Path, *, partitions: int = 4) -> Iterator[RunningEngine]:
    """Run a broker and a registry with all topics, and end both."""
    settings = engine_settings(data_dir, partitions=partitions)
    prepare_broker(settings)
    folders = {"logs_dir": settings.logs_dir, "run_dir": settings.run_dir}
    broker = Child(broker_process(settings), **folders)
    registry = Child(registry_process(settings), **folders)
    try:
        broker.start()
        broker.wait_ready()
        registry.start()
        registry.wait_ready()
        ensure_topics(settings)
        yield RunningEngine(settings=settings, broker=broker, registry=registry)
    finally:
        registry.stop()
        broker.stop()
