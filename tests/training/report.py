"""What a trained model is worth on seeds it has not seen: figures, a page, and a picture."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.reliability import ReliabilityModel
from processors.differencing.reliability_features import FEATURE_NAMES

__all__ = [
    "BINS",
    "calibration_bins",
    "calibration_error",
    "completeness_at_purity",
    "judge",
    "judge_all",
    "operating_curve",
    "purity_at_completeness",
    "write_report",
]

BINS = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0)
"""Edges of the bins of the reliability diagram: narrow where nearly all sources are."""

LEAST_SNR = 5.0
"""Score of a DIASource."""

PURITY = 0.98
"""Purity at which completeness is asked for, and completeness at which purity is."""

REGIMES = ("deployed", "plain", "bare")

Rows = NDArray[Any]


def judge(probability: Rows, label: Rows) -> dict[str, Any]:
    """Return how well probabilities tell real sources (1) from artefacts (0), and whether they are what they say."""
    probability = np.asarray(probability, np.float64)
    complete, threshold = completeness_at_purity(probability, label)
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return {
        "sources": len(label),
        "raw_purity": float(np.mean(label)),
        "completeness_at_98_purity": complete,
        "threshold_at_98_purity": threshold,
        "purity_at_98_completeness": purity_at_completeness(probability, label),
        "purity_at_0.5": float(np.mean(label[probability >= 0.5])),
        "completeness_at_0.5": float(np.mean(probability[label == 1] >= 0.5)),
        "brier": float(np.mean((probability - label) ** 2)),
        "log_loss": float(-np.mean(np.where(label == 1, np.log(clipped), np.log(1 - clipped)))),
        "calibration_error": calibration_error(probability, label),
        "bins": calibration_bins(probability, label),
    }


def judge_all(rows: Rows, probability: Rows) -> dict[str, Any]:
    """Return `judge` of DIASources for all regimes together, each regime, and each scene's deployed sources."""
    chosen = (rows["label"] >= 0) & (rows["snr"] >= LEAST_SNR) & np.isfinite(probability)
    rows, probability = rows[chosen], probability[chosen]
    parts = {"all": np.ones(len(rows), bool)} | {name: rows["regime"] == name for name in REGIMES}
    deployed = rows["regime"] == "deployed"
    parts |= {f"deployed, {name}": deployed & (rows["scene"] == name) for name in dict.fromkeys(rows["scene"].tolist())}
    return {name: judge(probability[part], rows["label"][part]) for name, part in parts.items() if part.any()}


def completeness_at_purity(probability: Rows, label: Rows, purity: float = PURITY) -> tuple[float, float]:
    """Return the largest part of the real sources above a threshold where so many are real, and that threshold."""
    thresholds, pure, complete = operating_curve(probability, label)
    good = np.flatnonzero(pure >= purity)
    return (float(complete[good[-1]]), float(thresholds[good[-1]])) if len(good) else (0.0, 1.0)


def purity_at_completeness(probability: Rows, label: Rows, complete: float = PURITY) -> float:
    """Return the purity of what is left when the threshold is as high as so many of the real sources allow."""
    _, pure, kept = operating_curve(probability, label)
    return float(pure[np.flatnonzero(kept >= complete)[0]])


def operating_curve(probability: Rows, label: Rows) -> tuple[Rows, Rows, Rows]:
    """Return thresholds, falling, with purity and completeness of what is not below each."""
    order = np.argsort(-probability, kind="stable")
    real = np.cumsum(label[order])
    last = np.r_[np.diff(probability[order]) != 0, True]  # sources of one score pass together
    pure = real / np.arange(1, len(label) + 1)
    return probability[order][last], pure[last], (real / max(real[-1], 1))[last]


def calibration_bins(probability: Rows, label: Rows) -> list[dict[str, float]]:
    """Return for each bin of `BINS` with sources: how many, their mean score, the part that is real, its error."""
    index = np.clip(np.searchsorted(BINS, probability, side="right") - 1, 0, len(BINS) - 2)
    out = []
    for k in np.unique(index):
        inside = index == k
        count, share = int(inside.sum()), float(np.mean(label[inside]))
        smoothed = (share * count + 1) / (count + 2)  # so that a bin of one sort has an error
        out.append(
            {
                "low": BINS[k],
                "high": BINS[k + 1],
                "sources": count,
                "mean_score": float(np.mean(probability[inside])),
                "real": share,
                "error": float(np.sqrt(smoothed * (1 - smoothed) / count)),
            }
        )
    return out


def calibration_error(probability: Rows, label: Rows) -> float:
    """Return the mean over sources of the distance of their bin's mean score from the part that is real."""
    bins = calibration_bins(probability, label)
    return float(sum(b["sources"] * abs(b["mean_score"] - b["real"]) for b in bins) / max(len(label), 1))


def importances(model: ReliabilityModel, rows: Rows) -> dict[str, float]:
    """Return by how much the log loss grows when a feature's values are dealt out anew among the sources."""
    rows = rows[(rows["label"] >= 0) & (rows["snr"] >= LEAST_SNR)]
    before = judge(model.score(rows), rows["label"])["log_loss"]
    out = {}
    for name in FEATURE_NAMES:
        mixed = rows.copy()
        mixed[name] = np.random.default_rng(0).permutation(rows[name])
        out[name] = judge(model.score(mixed), rows["label"])["log_loss"] - before
    return dict(sorted(out.items(), key=lambda item: -item[1]))


def counts_of(rows: Rows) -> dict[str, dict[str, int]]:
    """Return how many sources of each kind there are by regime."""
    out: dict[str, dict[str, int]] = {}
    for regime in dict.fromkeys(rows["regime"].tolist()):
        inside = rows[rows["regime"] == regime]
        names = [f"{('left out: ', 'artefact: ', 'real: ')[row['label'] + 1]}{row['kind']}" for row in inside]
        values, number = np.unique(names, return_counts=True)
        out[regime] = {str(value): int(n) for value, n in zip(values, number, strict=True)}
    return out


def write_report(
    folder: Path, model: ReliabilityModel, size: int, settings: Mapping[str, Any], train: Rows, fresh: Rows
) -> dict[str, Any]:
    """Write ``reliability-training.json`` and ``.md`` and ``images/reliability.png`` into a folder, and return the document.

    Parameters
    ----------
    folder
        The documentation's.
    model
        The model as it is shipped.
    size
        Bytes of its file.
    settings
        What it was trained with.
    train, fresh
        Sources of the training's seeds and of others, rows of `SAMPLE_DTYPE`.
    """
    document = {
        "model": {"name": model.name, "sha256": model.sha256, "bytes": size},
        **settings,
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "onnx", "onnxruntime")}
        | {"python": platform.python_version()},
        "counts": {"training": counts_of(train), "fresh": counts_of(fresh)},
        "fresh": judge_all(fresh, model.score(fresh)),
        "importances": importances(model, fresh),
        "score_cpu_us_per_source": round(_cost_us(model, fresh), 1),
    }
    (folder / "reliability-training.json").write_text(json.dumps(_rounded(document), indent=1) + "\n")
    (folder / "reliability-training.md").write_text(_page(document))
    _draw(folder / "images" / "reliability.png", fresh, model.score(fresh))
    return document


def _cost_us(model: ReliabilityModel, rows: Rows) -> float:
    batch, times = rows[:600], []
    for _ in range(5):
        started = time.process_time()
        model.score(batch)
        times.append(time.process_time() - started)
    return 1e6 * min(times) / max(len(batch), 1)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _page(document: Mapping[str, Any]) -> str:
    model, fresh = document["model"], document["fresh"]
    lines = [
        "# Training of the reliability model",
        "",
        "Written by `make train-reliability`. What it means is explained in [reliability](explanation/reliability.md).",
        "",
        f"Model `{model['name']}`, sha256 `{model['sha256']}`, {model['bytes']} bytes. Trained on the scenes "
        f"{', '.join(document['scenes'])} of seeds {_listed(document['training_seeds'])} ({document['training_size']} pixels), "
        f"judged on seeds {_listed(document['fresh_seeds'])} ({document['fresh_size']} pixels). Scoring takes "
        f"{document['score_cpu_us_per_source']} µs of CPU a source.",
        "",
        "## On seeds it has not seen, sources of |score| ≥ 5",
        "",
        "| sources | number | raw purity | complete at 98 % pure | pure at 98 % complete | Brier score | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {f['sources']} | {f['raw_purity']:.4f} | {f['completeness_at_98_purity']:.4f} "
        f"| {f['purity_at_98_completeness']:.4f} | {f['brier']:.4f} "
        f"| {f['calibration_error']:.4f} |"
        for name, f in fresh.items()
    ]
    lines += [
        "",
        "## Reliability diagram, all regimes",
        "",
        "| score | sources | mean score | real |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {b['low']:g} to {b['high']:g} | {b['sources']} | {b['mean_score']:.3f} | {b['real']:.3f} ± {b['error']:.3f} |"
        for b in fresh["all"]["bins"]
    ]
    lines += ["", "## What the features are worth", "", "| feature | growth of the log loss without it |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in document["importances"].items()]
    lines += ["", "## Sources", "", "| regime | kind | training | fresh |", "|---|---|---|---|"]
    for regime, kinds in document["counts"]["training"].items():
        other = document["counts"]["fresh"].get(regime, {})
        lines += [f"| {regime} | {k} | {kinds.get(k, 0)} | {other.get(k, 0)} |" for k in sorted(kinds | other)]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _draw(path: Path, rows: Rows, probability: Rows) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    chosen = (rows["label"] >= 0) & (rows["snr"] >= LEAST_SNR)
    label = rows["label"][chosen]
    bins = calibration_bins(probability[chosen], label)
    left.plot([0, 1], [0, 1], color="0.7")
    left.errorbar(
        [b["mean_score"] for b in bins], [b["real"] for b in bins], yerr=[b["error"] for b in bins], fmt="o-", ms=4
    )
    left.set(xlabel="reliability", ylabel="part that is real", title=f"{len(label)} sources of fresh seeds")
    for regime in REGIMES:
        part = chosen & (rows["regime"] == regime)
        _, pure, complete = operating_curve(probability[part], rows["label"][part])
        right.plot(complete, pure, label=f"{regime} (raw {rows['label'][part].mean():.3f})")
    right.plot([0.98], [0.98], "k+", ms=12, label="target")
    right.set(
        xlabel="complete", ylabel="pure", xlim=(0.9, 1.001), ylim=(0.9, 1.001), title="by the least reliability kept"
    )
    right.legend(loc="lower left")
    figure.savefig(path, metadata={"Software": None})
