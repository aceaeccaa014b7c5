"""The simulated visit on which calibration is compared: made once, kept in the system's folder for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.calibration_scenes import VisitScene, make_visit_scene

__all__ = ["CUT", "SIZE", "benchmark_scene"]

SEED, SIZE = 21, (4000, 4072)
CUT = 1024
"""Side of the corner on which slow peers are measured."""


def benchmark_scene(name: str = "nominal") -> VisitScene:
    """Return a full CCD of a scene."""
    return make_visit_scene(name, SEED, SIZE, folder=Path(tempfile.gettempdir()) / "nightcast-benchmarks")
