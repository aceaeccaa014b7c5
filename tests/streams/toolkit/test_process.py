"""The toolkit as a process: pages without a broker, annotations through a real one, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.ports import free_port
from infra.settings import Settings, load_settings
from tests.support.engine import RunningEngine
from tests.support.packets import build_sky
from tests.support.toolkits import put_into_kafka
from tests.support.waiting import PATIENCE_S, eventually


@contextmanager
def running_toolkit(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run the toolkit's process with SIGINT ignored, as a shell starts it in the background."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.toolkit"],
            env={**os.environ, **settings.environment()},
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, previous)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(url: str) -> bool:
    """Tell whether a page answers."""
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait for a condition while the toolkit lives."""

    def look() -> None:
        assert process.poll() is None, f"the toolkit ended with code {process.returncode}"

    eventually(condition, look=look)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pages_without_a_broker_and_a_clean_end_with_a_stream_open(tmp_path: Path, number: signal.Signals) -> None:
    settings = load_settings(
        data_dir=tmp_path,
        kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        registry={"port": free_port()},
        web={"port": free_port()},
    )
    url = f"http://127.0.0.1:{settings.web.port}"
    with running_toolkit(settings) as process:
        wait_for(process, lambda: answers(f"{url}/health"))
        wait_for(process, lambda: "does not answer" in httpx.get(url, timeout=60).text)
        with httpx.stream("GET", f"{url}/api/v1/live/alerts", timeout=60) as stream:
            assert next(stream.iter_lines()).startswith("retry")
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings(data_dir=tmp_path, web={"port": taken.getsockname()[1]})
        with running_toolkit(settings) as process:
            assert process.wait(PATIENCE_S) == 1
            assert process.stderr is not None
            assert b"NIGHTCAST_WEB__PORT" in process.stderr.read()


@pytest.mark.broker
def test_alerts_arrive_and_annotations_stay_through_a_restart(broker: RunningEngine, tmp_path: Path) -> None:
    stories = build_sky(objects=1, epochs=2, ra=210.0, dec=12.0)
    put_into_kafka(broker.bootstrap, broker.registry_url, stories)
    changes = {"data_dir": tmp_path, "web": broker.settings.web.model_copy(update={"port": free_port()})}
    kafka = broker.settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap})
    settings = broker.settings.model_copy(update=changes | {"kafka": kafka})
    url = f"http://127.0.0.1:{settings.web.port}"
    target = {"target_kind": "object", "target_id": str(stories[0].object_id)}
    with running_toolkit(settings) as process:
        wait_for(process, lambda: answers(f"{url}/objects/{stories[0].object_id}"))
        note = httpx.post(
            f"{url}/api/v1/annotations", json=target | {"author": "Ada", "explanation": "hello"}, timeout=60
        )
        assert note.status_code == 201
    for path in (tmp_path / "state" / "toolkit").iterdir():
        path.unlink()  # the view is gone; the topics are the truth
    with running_toolkit(settings) as process:
        wait_for(process, lambda: answers(f"{url}/api/v1/annotations/{note.json()['annotation_id']}"))
        listed = httpx.get(f"{url}/api/v1/annotations", params=target).json()
    assert [one["explanation"] for one in listed] == ["hello"]
