"""The packaged model: it tells real sources from artefacts on scenes of its own seeds, its probabilities are what they say, its bytes rule."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from infra.telescope.imaging_scenes import make_scene
from processors.differencing import reliability_features as features_module
from processors.differencing.errors import ReliabilityModelError
from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import difference
from processors.differencing.reliability import ReliabilityModel, score_sources
from processors.differencing.reliability_features import FEATURE_NAMES
from schemas.public import to_public_records
from streams.reliability import packaged_model
from tests.support.difference_scenes import make_scene as make_pair
from tests.training.report import calibration_error, completeness_at_purity
from tests.training.samples import sample_scene

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "processors" / "differencing" / "reliability.onnx"
SEEDS = {"nominal": 11, "sharper": 12, "crowded": 13, "bright": 14}
"""Apart from the seeds of the training and of its report."""

SIZE = (640, 768)

Rows = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def sources() -> Rows:
    """DIASources and artefacts of a thirtieth of a CCD of each scene."""
    rows = np.concatenate([sample_scene(make_scene(name, seed, size=SIZE)) for name, seed in SEEDS.items()])
    return rows[(rows["label"] >= 0) & (rows["snr"] >= 5)]


def judged(sources: Rows, regime: str = "") -> tuple[Rows, Rows]:
    rows = sources[sources["regime"] == regime] if regime else sources
    return packaged_model().score(rows), rows["label"]


def made(names: tuple[str, ...] = FEATURE_NAMES, **changes: float) -> Rows:
    """One bright point source on empty sky."""
    row = np.zeros(1, [(name, np.float32) for name in names])
    usual = {"snr": 25.0, "chi2": 1.0, "explained": 0.9, "core_residual": 1.0, "ring_residual": 1.0, "width": 1.0}
    usual |= {"score_scatter": 1.0, "saturated_distance": 65.0, "brightest_distance": 20.0, "brightest": 1.0}
    for name, value in {**usual, "asymmetry": 0.2, "static": 0.2, **changes}.items():
        row[name] = value
    return row


def test_the_sources_of_the_pipeline_are_nearly_all_kept_when_98_of_100_shall_be_real(sources: Rows) -> None:
    probability, label = judged(sources, "deployed")
    assert label.sum() > 100
    assert completeness_at_purity(probability, label)[0] >= 0.98


def test_artefacts_that_the_pipeline_would_hide_are_told_from_real_sources(sources: Rows) -> None:
    probability, label = judged(sources)
    assert (label == 0).sum() > 100
    assert completeness_at_purity(probability, label)[0] >= 0.95
    assert np.mean(probability[label == 1]) > 0.95
    assert np.mean(probability[label == 0]) < 0.25


def test_scores_are_probabilities(sources: Rows) -> None:
    probability, label = judged(sources)
    assert calibration_error(probability, label) < 0.03
    middle = (probability > 0.1) & (probability < 0.9)
    error = np.sqrt(np.sum(probability[middle] * (1 - probability[middle])))
    assert abs(np.sum(probability[middle]) - np.sum(label[middle])) < 4 * error + 2


def test_each_kind_of_change_counts_as_real_and_each_kind_of_artefact_as_none(sources: Rows) -> None:
    probability, _ = judged(sources)
    for kind in ("transient", "vanished", "variable", "moving_star", "trail"):
        assert np.median(probability[(sources["kind"] == kind) & (sources["label"] == 1)]) > 0.9, kind
    for kind in ("cosmic_ray", "bright_star", "streak"):
        assert np.median(probability[(sources["kind"] == kind) & (sources["label"] == 0)]) < 0.3, kind


def test_a_bright_point_is_real_and_a_sharp_spike_is_not() -> None:
    model = packaged_model()
    assert model.score(made())[0] > 0.95
    assert model.score(made(sharpness=0.9, explained=0.3, chi2=8.0, core_residual=8.0, width=0.3))[0] < 0.3


def test_a_score_depends_on_nothing_but_its_own_source(sources: Rows) -> None:
    model = packaged_model()
    whole = model.score(sources)
    assert whole.dtype == np.float32
    assert model.score(sources[::-1])[::-1].tobytes() == whole.tobytes()
    assert np.concatenate([model.score(sources[n : n + 1]) for n in range(50)]).tobytes() == whole[:50].tobytes()
    assert ReliabilityModel.from_bytes(MODEL.read_bytes()).score(sources).tobytes() == whole.tobytes()


def test_what_is_unknown_has_no_score() -> None:
    rows = np.concatenate([made(), made(width=np.nan), made(snr=np.inf), made(masked=np.nan), made()])
    scores = packaged_model().score(rows)
    assert np.isnan(scores).tolist() == [False, True, True, True, False]
    assert scores[0] == scores[4]
    assert len(packaged_model().score(rows[:0])) == 0


def test_sources_carry_score_and_model_and_null_where_there_is_no_stamp() -> None:
    pair = make_pair(seed=21, shape=(256, 256), n_stars=40, n_galaxies=5, n_changes=6)
    result = difference(pair.science, pair.template, info=VisitInfo(visit=2026092100001))
    sources = result.sources.copy()
    sources["x"][0], sources["y"][1] = np.nan, 1e5
    before = sources.tobytes()
    scored = score_sources(packaged_model(), result, sources)
    assert sources.tobytes() == before
    records = to_public_records(scored, "diaSource")
    assert [r["reliability"] for r in records[:2]] == [None, None]
    assert [r["reliabilityVersion"] for r in records[:2]] == [None, None]
    assert all(0 <= r["reliability"] <= 1 for r in records[2:])
    assert {r["reliabilityVersion"] for r in records[2:]} == {packaged_model().name}
    assert len(score_sources(packaged_model(), result, sources[:0])) == 0


@pytest.mark.parametrize("data", [b"", b"no model", MODEL.read_bytes()[:5000]], ids=["empty", "text", "cut"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ReliabilityModelError, match="not an ONNX file") as caught:
        ReliabilityModel.from_bytes(data)
    assert caught.value.code == "reliability_model"
    assert not caught.value.retriable


def test_a_model_of_other_features_or_in_another_order_is_refused() -> None:
    model = onnx.load_model_from_string(MODEL.read_bytes())
    stated = {entry.key: entry.value for entry in model.metadata_props}
    assert tuple(stated["features"].split(",")) == FEATURE_NAMES
    onnx.helper.set_model_props(model, {"features": ",".join(FEATURE_NAMES[::-1])})
    with pytest.raises(ReliabilityModelError, match="other features"):
        ReliabilityModel.from_bytes(model.SerializeToString())
    model.graph.output[0].name = "logit"
    model.graph.node[-1].output[0] = "logit"
    with pytest.raises(ReliabilityModelError, match="not features to reliability"):
        ReliabilityModel.from_bytes(model.SerializeToString())


def test_the_file_is_small_packaged_and_the_one_that_was_reported() -> None:
    data = MODEL.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert len(data) < 300_000
    assert packaged_model().sha256 == digest
    assert packaged_model().name == f"trees-{digest[:8]}"
    assert len(packaged_model().name) <= 16  # what a column of the public schema holds
    assert json.loads((ROOT / "docs" / "reliability-training.json").read_text())["model"]["sha256"] == digest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "**/*.onnx" in project["tool"]["setuptools"]["package-data"]["processors"]


def test_every_feature_is_documented_in_order() -> None:
    described = [line.split()[0] for line in (features_module.__doc__ or "").splitlines() if line[:1].isalpha()][1:]
    assert tuple(name for name in described if name in FEATURE_NAMES) == FEATURE_NAMES
