"""The embedded broker as a process."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from infra.broker import broker_process, prepare_broker
from infra.broker.probe import broker_answers
from infra.broker.properties import server_properties
from infra.kafka import admin, producer
from infra.ports import free_port
from infra.supervisor.child import Child
from infra.topics_admin import create_topics
from schemas.topics import topic
from tests.support.engine import engine_settings


@pytest.mark.broker
def test_data_survive_a_kill_and_the_exit_is_clean(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path)
    prepare_broker(settings)
    child = Child(broker_process(settings), logs_dir=settings.logs_dir, run_dir=settings.run_dir)
    child.start()
    child.wait_ready()
    create_topics(settings.bootstrap, topics=[topic("jobs")])
    writer = producer(settings.bootstrap, client_id="test")
    writer.produce("jobs", b"value")
    assert writer.flush(10) == 0
    child.kill()
    prepare_broker(settings)
    child.start()
    child.wait_ready()
    assert "its session was fenced" in child.log_file.read_text()
    assert create_topics(settings.bootstrap, topics=[topic("jobs")]) == []
    assert child.stop() in child.spec.clean_exit_codes
    assert not child.pid_file.exists()


def test_the_probe_says_no_to_a_closed_port_and_to_a_stranger() -> None:
    assert not broker_answers(f"127.0.0.1:{free_port()}", timeout_s=0.2)
    assert not broker_answers("nonsense", timeout_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server,))
        thread.start()
        assert not broker_answers(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=1.0)
        thread.join()


@pytest.mark.broker
def test_the_probe_says_yes_when_any_address_is_a_broker(broker) -> None:
    assert broker_answers(f"127.0.0.1:{free_port()},{broker.bootstrap}")
    assert len(admin(broker.bootstrap).list_topics(timeout=5).brokers) == 1


def test_the_properties_bind_the_loopback_interface_only() -> None:
    text = server_properties(port=1, controller_port=2, log_dir=Path("/somewhere"))
    assert "listeners=INTERNAL://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n" in text
    assert "auto.create.topics.enable=false\n" in text


def _greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.sendall(b"220 hello, this is another protocol\r\n")
    connection.close()
