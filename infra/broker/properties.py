"""The embedded broker's configuration: one node that is broker and controller, on the loopback interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["controller_properties", "server_properties"]


def server_properties(*, port: int, controller_port: int, log_dir: Path) -> str:
    """Return the text of the broker's properties file.

    Values beside the obvious come from architecture.md, section 5, and streaming.md, 9.1: few threads, small cleaner
    buffers, internal topics of one partition, and short quorum and session timeouts, so that a restart after a kill takes
    5 s instead of 15 s.
    """
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"INTERNAL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"INTERNAL://127.0.0.1:{port}",
        "listener.security.protocol.map": "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(log_dir),
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "num.partitions": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.segment.bytes": str(8 << 20),
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.segment.bytes": str(8 << 20),
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "num.network.threads": "1",
        "num.io.threads": "2",
        "num.recovery.threads.per.data.dir": "1",
        "background.threads": "2",
        "num.replica.fetchers": "1",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "log.cleaner.io.buffer.size": str(64 << 10),
        "message.max.bytes": str(16 << 20),
        "replica.fetch.max.bytes": str(16 << 20),
        "fetch.max.bytes": str(64 << 20),
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        "controller.quorum.election.backoff.max.ms": "500",
        "controlled.shutdown.max.retries": "1",
        "metadata.log.max.record.bytes.between.snapshots": str(4 << 20),
        "log.initial.task.delay.ms": "5000",
    }
    return _text(properties)


def controller_properties(*, controller_port: int, log_dir: Path) -> str:
    """Return the properties of the controller alone, which gives up a silent broker after half a second (see ``launch.py``)."""
    return _text(
        {
            "process.roles": "controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"CONTROLLER://127.0.0.1:{controller_port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(log_dir),
            "broker.session.timeout.ms": "500",
            "broker.heartbeat.interval.ms": "100",
            "controller.quorum.election.timeout.ms": "500",
            "controller.quorum.fetch.timeout.ms": "1000",
            "controller.quorum.election.backoff.max.ms": "500",
        }
    )


def _text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())
