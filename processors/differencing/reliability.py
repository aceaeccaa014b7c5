"""The probability that a DIASource is real: a trained model that turns the features of sources into calibrated scores.

The model is an ONNX file: decision trees, whose sum a monotonic curve turns into a probability. `make train-reliability` writes it;
docs/explanation/reliability.md tells how it is trained and how good it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from processors.differencing.errors import ReliabilityModelError
from processors.differencing.reliability_features import FEATURE_NAMES, Difference, reliability_features

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "ReliabilityModel", "score_sources"]

INPUT_NAME, OUTPUT_NAME = "features", "reliability"
"""Of the graph: float32 of shape (sources, features), and float32 of shape (sources,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityModel:
    """A model, ready to score; `from_bytes` makes one."""

    name: str
    """For ``reliabilityVersion``: the kind of model and the first digits of its hash."""
    sha256: str
    """Of the file."""
    _session: Any = field(repr=False, compare=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> ReliabilityModel:
        """Load a model from its file's bytes.

        Raises
        ------
        ReliabilityModelError
            When the bytes are no such model, or one of other features than `FEATURE_NAMES` in their order.
        """
        session = _open(data)
        _check(session)
        digest = hashlib.sha256(data).hexdigest()
        model = cls(name=f"trees-{digest[:8]}", sha256=digest, _session=session)
        trial = model.score(np.zeros(1, [(name, np.float32) for name in FEATURE_NAMES]))
        if not 0 <= trial[0] <= 1:
            raise ReliabilityModelError(f"The reliability model gives {trial[0]}, which is no probability.")
        return model

    def score(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability that each source is real.

        Parameters
        ----------
        features
            Result of `reliability_features`, any number of rows.

        Returns
        -------
        ndarray
            From 0 to 1, float32; NaN for a source with a feature that is not finite. A source's score does not depend on the others'.
        """
        out = np.full(len(features), np.nan, np.float32)
        if not len(features):
            return out
        table = np.column_stack([features[name] for name in FEATURE_NAMES]).astype(np.float32)
        known = np.isfinite(table).all(axis=1)
        if known.any():
            out[known] = self._session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(table[known])})[0]
        return out


def score_sources(model: ReliabilityModel, difference: Difference, sources: NDArray[Any]) -> NDArray[Any]:
    """Return DIASources with their ``reliability`` and ``reliabilityVersion``.

    Parameters
    ----------
    model
        The model.
    difference
        Images and score of the CCD.
    sources
        Rows of ``dia_source_dtype()``, found on it. They are not changed.

    Returns
    -------
    ndarray
        A copy; both fields are null for a source of which no pixel can be used or whose position is not on the image.
    """
    scored = sources.copy()
    scored["reliability"] = model.score(reliability_features(difference, sources["x"], sources["y"]))
    scored["reliabilityVersion"] = np.where(np.isnan(scored["reliability"]), "", model.name)
    return scored


def _open(data: bytes) -> Any:
    """Open a session that runs on one thread, so that sums have one order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises what its C++ code says, of no common base
        raise ReliabilityModelError("The reliability model is not an ONNX file that can be run.") from error


def _check(session: Any) -> None:
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if inputs != [INPUT_NAME] or outputs != [OUTPUT_NAME]:
        raise ReliabilityModelError(f"The reliability model maps {inputs} to {outputs}, not features to reliability.")
    features = session.get_modelmeta().custom_metadata_map.get("features", "")
    if tuple(features.split(",")) != FEATURE_NAMES:
        raise ReliabilityModelError(
            f"The reliability model was trained on other features than ours: {features or 'none'}."
        )
