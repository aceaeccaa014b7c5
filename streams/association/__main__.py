"""Run association as a process: ``python -m streams.association --name NAME``."""

from __future__ import annotations

import sys

from streams.association.agent import SPEC, AssociationHandler
from streams.faust_process import run_stage

if __name__ == "__main__":
    sys.exit(run_stage(SPEC, lambda wiring, name, _stage: AssociationHandler(wiring, name=name)))
