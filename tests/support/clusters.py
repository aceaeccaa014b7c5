"""Kafka clusters of three tiers behind one interface."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from infra.broker import ensure_jars, load_lock
from infra.broker.embedded import java_executable
from infra.broker.probe import broker_answers
from infra.broker.properties import server_properties
from infra.kafka import admin
from infra.ports import free_port
from infra.settings import load_settings
from tests.support.engine import RunningEngine
from tests.support.optional import missing
from tests.support.waiting import eventually

IMAGE = "nightcast-kafka-test"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that answers."""

    tier: str
    bootstrap: str
    can_create_topics: bool = True

    def create_topic(self, name: str, *, partitions: int = 1) -> None:
        """Create a topic where the cluster does not do so by itself at first use (as the mock does)."""
        if self.can_create_topics:
            client = admin(self.bootstrap)
            client.create_topics([NewTopic(name, partitions, 1)])[name].result()


@contextmanager
def open_cluster(tier: str, engine: RunningEngine | None) -> Iterator[Cluster]:
    """Open a cluster of a tier, or skip the test with the reason."""
    if tier == "mock":
        holder = Producer({"test.mock.num.brokers": 1})
        brokers = holder.list_topics(timeout=5).brokers.values()
        yield Cluster(tier=tier, bootstrap=f"{next(iter(brokers))}".split("/")[0], can_create_topics=False)
    elif tier == "child":
        assert engine is not None
        yield Cluster(tier=tier, bootstrap=engine.bootstrap)
    else:
        with _container() as bootstrap:
            yield Cluster(tier=tier, bootstrap=bootstrap)


@contextmanager
def _container() -> Iterator[str]:
    try:
        import docker

        client = docker.from_env()
        client.ping()
    except Exception as error:  # the client raises what its transport raises
        missing("docker", f"No Docker daemon answers here: {str(error).splitlines()[0]}")
    from testcontainers.core.container import DockerContainer

    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    port, controller = free_port(), free_port()
    with tempfile.TemporaryDirectory() as context:
        _build_context(Path(context), port, controller)
        client.images.build(path=context, tag=IMAGE, rm=True)
    container = DockerContainer(IMAGE).with_bind_ports(port, port)
    with container:
        bootstrap = f"127.0.0.1:{port}"
        eventually(lambda: broker_answers(bootstrap))
        yield bootstrap


def _build_context(folder: Path, port: int, controller: int) -> None:
    """Lay out an image from nothing: our Java, our jars, and the system libraries that Java needs."""
    root = folder / "root"
    java = java_executable().parents[1]
    shutil.copytree(java, root / "java", symlinks=False)
    lock = load_lock()
    settings = load_settings()
    jars = ensure_jars(settings.cache_dir / f"kafka-{lock.kafka}", lock)
    (root / "jars").mkdir()
    for jar in jars:
        shutil.copy(jar, root / "jars")
    _copy_libraries(java, root)
    (root / "tmp").mkdir()
    text = server_properties(port=port, controller_port=controller, log_dir=Path("/tmp/log"))
    text = text.replace(f"INTERNAL://127.0.0.1:{port},", f"INTERNAL://0.0.0.0:{port},", 1)
    (root / "server.properties").write_text(text)
    command = "/java/bin/java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/jars/*'"
    start = (
        f"{command} kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c /server.properties\n"
        f"exec {command} kafka.Kafka /server.properties\n"
    )
    (root / "start.sh").write_text(start)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY root/ /\nENTRYPOINT ["/bin/sh", "/start.sh"]\n')


def _copy_libraries(java: Path, root: Path) -> None:
    import subprocess

    shell = Path("/bin/sh").resolve()
    programs = [shell, java / "bin" / "java", *sorted((java / "lib").rglob("*.so"))]
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    for word in sorted(set(listed.split())):
        source = Path(word)
        if word.startswith("/") and source.is_file() and not source.is_relative_to(java):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source.resolve(), target)
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy(shell, root / "bin" / "sh")
