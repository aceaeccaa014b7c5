"""Run alert assembly as a process: ``python -m streams.alerts --name NAME``."""

from __future__ import annotations

import sys

from streams.alerts.agent import SPEC, AlertAssemblyHandler, prepare
from streams.faust_process import run_stage

if __name__ == "__main__":
    sys.exit(
        run_stage(
            SPEC,
            lambda wiring, name, stage: AlertAssemblyHandler.wired(wiring, name=name, table=stage.table),
            prepare=prepare,
        )
    )
