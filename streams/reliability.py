"""The reliability model that comes with the package: its file is read here, because processors read none."""

from __future__ import annotations

import functools
from importlib import resources

from processors.differencing.reliability import ReliabilityModel

__all__ = ["packaged_model"]


@functools.cache
def packaged_model() -> ReliabilityModel:
    """Return the model, read and loaded once in a process."""
    return ReliabilityModel.from_bytes((resources.files("processors.differencing") / "reliability.onnx").read_bytes())
