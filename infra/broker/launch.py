"""Start the broker; where its last life ended without a farewell, fence that life first.

Kafka 4.3.1 loses the end of transactions after an unclean restart of its only broker (KAFKA-20734). The new process begins as
the leader that its predecessor was, until the controller, some seconds later, finds that the predecessor's session is over and
fences it. A transaction whose end was decided but not yet written is then taken for one of deleted partitions: its markers are
skipped, and readers of committed records stand before it for ever. So the controller is first run alone, for the moment
that it takes to fence the predecessor; the broker then starts without being anybody's leader, and keeps every marker.

This file is run as a program, with nothing but the standard library, and becomes the broker's process itself:
``python -I launch.py JSON``, with ``log_dir``, ``fence`` (the command of the lone controller) and ``broker``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ended_unclean", "fence", "main"]

CLEAN_MARK = ".kafka_cleanshutdown"
METADATA = "__cluster_metadata-0"
ACTIVE, FENCED = "Performing controller activation", "handleBrokerFenced"
"""What the controller says when it begins, and when it has fenced the broker."""

START_S = 30.0
FENCE_S = 3.0
"""How long a controller that works may take to find a dead session; without one there is nothing to fence."""
STOP_S = 10.0


def ended_unclean(log_dir: Path) -> bool:
    """Tell whether a broker used the folder and did not end by itself."""
    return (log_dir / METADATA).is_dir() and not (log_dir / CLEAN_MARK).exists()


def fence(command: Sequence[str]) -> bool:
    """Run the controller alone until it has fenced the broker's last life, and tell whether it did."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as controller:
        limit = threading.Timer(START_S, controller.terminate)
        limit.start()
        done = False
        assert controller.stdout is not None
        for line in controller.stdout:
            if ACTIVE in line:
                limit.cancel()
                limit = threading.Timer(FENCE_S, controller.terminate)
                limit.start()
            elif FENCED in line:
                done = True
                time.sleep(0.2)  # what it says it has decided is in the log by then
                controller.terminate()
                break
        limit.cancel()
        try:
            controller.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            controller.kill()
    return done


def main(arguments: Sequence[str]) -> None:
    """Do it; does not return."""
    plan = json.loads(arguments[0])
    if ended_unclean(Path(plan["log_dir"])):
        fenced = fence(plan["fence"])
        sys.stderr.write(
            f"the last broker ended without a farewell; its session was {'' if fenced else 'not '}fenced\n"
        )
        sys.stderr.flush()
    os.execv(plan["broker"][0], plan["broker"])


if __name__ == "__main__":
    main(sys.argv[1:])
