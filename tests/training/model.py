"""Fit the reliability model to labelled sources and write it as an ONNX graph.

Gradient-boosted trees give a margin; a straight line and the logistic function turn it into a probability (Platt 1999). The line is
fitted to margins of sources whose seed the trees had not seen. The graph is built here node by node, with thresholds rounded
down to float32, so that for float32 features it branches exactly as the trees do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from processors.differencing.reliability import INPUT_NAME, OUTPUT_NAME
from processors.differencing.reliability_features import FEATURE_NAMES
from tests.training.samples import table_of

__all__ = ["Curve", "Fitted", "fit_model", "onnx_bytes"]

TREES, LEAVES, RATE, LEAST_LEAF = 240, 12, 0.08, 60
"""Chosen by the cross-validated log loss of DIASources, seed by seed: 0.029; half as many trees give 0.031, a quarter 0.037."""

CALIBRATION_SNR = 5.0
"""Sources of at least this score calibrate: fainter ones are no DIASources."""

OPSETS = {"": 17, "ai.onnx.ml": 3}
"""Versions of the operators' sets: old enough for every onnxruntime that we allow."""

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Probability of a margin: the logistic function of ``slope * margin + offset``."""

    slope: float
    offset: float

    def __call__(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * margin + self.offset))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Trees fitted to all sources, the curve, and for each source its probability by trees that had not seen its seed."""

    trees: HistGradientBoostingClassifier
    curve: Curve
    unseen: NDArray[np.float64]


def fit_model(rows: Rows) -> Fitted:
    """Fit trees and curve to rows of `SAMPLE_DTYPE` with label 0 or 1, of at least two seeds."""
    table, label = table_of(rows), rows["label"]
    margin = np.zeros(len(rows))
    for seed in np.unique(rows["seed"]):
        held = rows["seed"] == seed
        margin[held] = _fit_trees(table[~held], label[~held]).decision_function(table[held])
    curve = _fit_curve(margin, label, rows["snr"] >= CALIBRATION_SNR)
    return Fitted(trees=_fit_trees(table, label), curve=curve, unseen=curve(margin))


def onnx_bytes(fitted: Fitted, properties: Mapping[str, str]) -> bytes:
    """Return the model as a file: always the same bytes for the same fit.

    Parameters
    ----------
    fitted
        Trees and curve.
    properties
        What the file says of its making; the names of the features are added.
    """
    names = ["margin", "flat", "scaled", "shifted"]
    constants = [
        helper.make_tensor("shape", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("slope", TensorProto.FLOAT, [1], [fitted.curve.slope]),
        helper.make_tensor("offset", TensorProto.FLOAT, [1], [fitted.curve.offset]),
    ]
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor", [INPUT_NAME], [names[0]], domain="ai.onnx.ml", **_tree_attributes(fitted.trees)
        ),
        helper.make_node("Reshape", [names[0], "shape"], [names[1]]),
        helper.make_node("Mul", [names[1], "slope"], [names[2]]),
        helper.make_node("Add", [names[2], "offset"], [names[3]]),
        helper.make_node("Sigmoid", [names[3]], [OUTPUT_NAME]),
    ]
    features = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["sources", len(FEATURE_NAMES)])
    score = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["sources"])
    graph = helper.make_graph(nodes, "reliability", [features], [score], initializer=constants)
    model = helper.make_model(
        graph,
        producer_name="nightcast",
        ir_version=8,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
    )
    helper.set_model_props(model, {"features": ",".join(FEATURE_NAMES), **properties})
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _fit_trees(table: NDArray[np.float32], label: NDArray[np.int8]) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST_LEAF,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(1):  # more threads than idle cores wait for each other
        return trees.fit(table, label)


def _fit_curve(margin: NDArray[np.float64], label: NDArray[np.int8], chosen: NDArray[np.bool_]) -> Curve:
    line = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(margin[chosen, None], label[chosen])
    return Curve(slope=float(line.coef_[0, 0]), offset=float(line.intercept_[0]))


def _tree_attributes(trees: HistGradientBoostingClassifier) -> dict[str, Any]:
    """Return the attributes of a TreeEnsembleRegressor; scikit-learn offers the nodes of its trees in private attributes alone."""
    nodes: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, (predictor,) in enumerate(trees._predictors):
        for index, node in enumerate(predictor.nodes):
            leaf = bool(node["is_leaf"])
            threshold = 0.0 if leaf else _rounded_down(float(node["num_threshold"]))
            branches = (0, 0) if leaf else (int(node["left"]), int(node["right"]))
            row = (number, index, int(node["feature_idx"]), "LEAF" if leaf else "BRANCH_LEQ", threshold, *branches)
            for column, value in zip(nodes.values(), row, strict=True):
                column.append(value)
            if leaf:
                for column, value in zip(leaves.values(), (number, index, 0, float(node["value"])), strict=True):
                    column.append(value)
    base = float(trees._baseline_prediction.ravel()[0])
    return {**nodes, **leaves, "n_targets": 1, "base_values": [base], "aggregate_function": "SUM"}


def _rounded_down(threshold: float) -> float:
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)
