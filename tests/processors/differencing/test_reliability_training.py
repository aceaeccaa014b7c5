"""Training: the file computes what the trees compute, a second fit gives the same bytes, labels and figures are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from processors.differencing.reliability import ReliabilityModel
from processors.differencing.reliability_features import FEATURE_NAMES
from tests.training.model import fit_model, onnx_bytes
from tests.training.report import (
    calibration_bins,
    calibration_error,
    completeness_at_purity,
    judge,
    purity_at_completeness,
)
from tests.training.samples import SAMPLE_DTYPE, label_sources, table_of

Rows = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Sources whose probability is known: a logistic function of two features, with a step in a third."""
    random = np.random.default_rng(11)
    out = np.zeros(4000, SAMPLE_DTYPE)
    for name in FEATURE_NAMES:
        out[name] = random.normal(size=len(out))
    out["snr"] += 9
    out["seed"] = np.arange(len(out)) % 3
    out["label"] = random.uniform(size=len(out)) < truth_of(out)
    return out


def truth_of(rows: Rows) -> Rows:
    return 1 / (1 + np.exp(-(1.5 * rows["chi2"] - rows["masked"] + 2 * (rows["static"] > 0))))


def test_the_file_computes_what_trees_and_curve_compute(rows: Rows) -> None:
    fitted = fit_model(rows)
    scores = ReliabilityModel.from_bytes(onnx_bytes(fitted, {})).score(rows)
    np.testing.assert_allclose(scores, fitted.curve(fitted.trees.decision_function(table_of(rows))), atol=2e-6)


def test_a_second_fit_gives_the_same_bytes(rows: Rows) -> None:
    assert onnx_bytes(fit_model(rows), {"a": "b"}) == onnx_bytes(fit_model(rows.copy()), {"a": "b"})


def test_unseen_probabilities_are_near_the_truth(rows: Rows) -> None:
    fitted = fit_model(rows)
    assert calibration_error(fitted.unseen, rows["label"]) < 0.03
    assert np.corrcoef(fitted.unseen, truth_of(rows))[0, 1] > 0.9


def test_sources_are_real_on_a_change_and_undecided_beside_it() -> None:
    changes = np.array(
        [("transient", 50.0, 50.0, 0.0, 0.0), ("trail", 150.0, 50.0, 40.0, 90.0), ("glint", 50.0, 150.0, 0.0, 0.0)],
        [("kind", "U12"), ("x", "f8"), ("y", "f8"), ("length", "f8"), ("angle", "f8")],
    )
    x = np.array([51.0, 56.0, 70.0, 150.5, 170.0, 50.0])
    y = np.array([50.5, 50.0, 50.0, 68.0, 50.0, 150.0])
    kind, label = label_sources(x, y, changes)
    assert label.tolist() == [1, -1, 0, 1, 0, -1]
    assert kind.tolist() == ["transient", "near", "none", "trail", "none", "glint"]
    assert label_sources(x, y, changes[:0])[1].tolist() == [0] * 6
    assert len(label_sources(x[:0], y[:0], changes)[1]) == 0


def test_completeness_at_a_purity_by_hand() -> None:
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.1])
    label = np.array([1, 1, 0, 1, 1, 0])
    assert completeness_at_purity(probability, label, 1.0) == (0.5, 0.8)
    assert completeness_at_purity(probability, label, 0.8) == (1.0, 0.6)
    assert purity_at_completeness(probability, label, 0.5) == 1.0
    assert purity_at_completeness(probability, label, 0.6) == 0.8
    assert completeness_at_purity(1 - probability, label, 0.9) == (0.0, 1.0)


def test_calibration_by_hand() -> None:
    probability = np.repeat([0.2, 0.8], 50)
    label = np.repeat([1, 0, 1, 0], [10, 40, 35, 15])
    bins = calibration_bins(probability, label)
    assert [(b["sources"], b["real"]) for b in bins] == [(50, 0.2), (50, 0.7)]
    assert calibration_error(probability, label) == pytest.approx(0.05)
    assert judge(probability, label)["brier"] == pytest.approx((10 * 0.64 + 40 * 0.04 + 35 * 0.04 + 15 * 0.64) / 100)
