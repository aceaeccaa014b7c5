"""What is done before a broker starts whose last life ended without a farewell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.broker import launch
from infra.broker.launch import ended_unclean, fence
from tests.support.waiting import PATIENCE_S

FENCES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("WARN QuorumController: Performing controller activation.", flush=True)
time.sleep({pause})
print("INFO ReplicationControlManager: handleBrokerFenced: changing 54 partition(s)", flush=True)
time.sleep(600)
"""
BROKER = "import os; print('the broker', os.getpid())"


def test_only_a_used_folder_without_the_mark_of_a_clean_end_is_unclean(tmp_path: Path) -> None:
    assert not ended_unclean(tmp_path)
    (tmp_path / "__cluster_metadata-0").mkdir()
    assert ended_unclean(tmp_path)
    (tmp_path / ".kafka_cleanshutdown").touch()
    assert not ended_unclean(tmp_path)


def test_the_controller_runs_until_it_has_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fence([sys.executable, "-c", FENCES.format(pause=0)])
    assert not fence([sys.executable, "-c", "print('Address already in use')"])
    monkeypatch.setattr(launch, "FENCE_S", 0.3)
    assert not fence([sys.executable, "-c", FENCES.format(pause=600)])
    monkeypatch.setattr(launch, "START_S", 0.3)
    assert not fence([sys.executable, "-c", "import time; time.sleep(600)"])


@pytest.mark.parametrize("unclean", [False, True])
def test_the_process_becomes_the_broker(tmp_path: Path, unclean: bool) -> None:
    if unclean:
        (tmp_path / "__cluster_metadata-0").mkdir()
    plan = {
        "log_dir": str(tmp_path),
        "fence": [sys.executable, "-c", FENCES.format(pause=0)],
        "broker": [sys.executable, "-c", BROKER],
    }
    command = [sys.executable, "-I", str(launch.__file__), json.dumps(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert out == f"the broker {process.pid}\n"
    assert ("its session was fenced" in err) is unclean
