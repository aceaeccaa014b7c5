from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from processors.differencing.psf import ConstantPsf, PsfGrid
from processors.differencing.reliability_features import FEATURE_NAMES, reliability_features
from processors.differencing.score import ScoreMap
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, add_sources
from tests.support.score_maps import score_white

SHAPE = (300, 300)
PSF = Moffat(4.0).draw(0, 0)
SIGMA = 10.0


@dataclass(frozen=True)
class Images:
    image: np.ndarray[Any, Any]
    variance: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any]
    psf: PsfGrid
    template: np.ndarray[Any, Any]
    score: ScoreMap


PLACES = {"point": (60.3, 60.6), "negative": (150.0, 60.0), "hit": (240.0, 60.0), "dipole": (58.0, 150.0)}
PLACES |= {"trail": (150.0, 150.0), "on_star": (240.0, 150.0), "masked": (60.0, 240.0), "noise": (150.0, 240.0)}


@functools.cache
def images() -> Images:
    image, template = np.random.default_rng(11).normal(scale=SIGMA, size=SHAPE), np.zeros(SHAPE)
    moffat = Moffat(4.0)
    add_sources(image, moffat, [60.3, 150.0, 240.0, 60.0], [60.6, 60.0, 150.0, 240.0], [3e3, -3e3, 3e3, 3e3])
    image[60, 240] += 600.0
    add_sources(image, moffat, [59.0, 61.0], [150.0, 150.0], [2e4, -2e4])
    steps = np.linspace(-7, 7, 60)
    add_sources(image, moffat, 150 + steps, np.full(60, 150.0), np.full(60, 8e3 / 60))
    add_sources(template, moffat, [241.0], [152.0], [4e5])
    mask = np.zeros(SHAPE, np.uint16)
    mask[235:238, 50:75] = MaskPlane.SAT
    usable = mask == 0
    return Images(
        image=image.astype("f4"),
        variance=np.full(SHAPE, SIGMA**2, "f4"),
        mask=mask,
        psf=PsfGrid.sample(ConstantPsf(PSF), SHAPE, 20),
        template=template.astype("f4"),
        score=score_white(image, PSF, SIGMA**2, usable=usable, static=template),
    )


@functools.cache
def features() -> dict[str, Any]:
    x, y = np.array(list(PLACES.values())).T
    return dict(zip(PLACES, reliability_features(images(), x, y), strict=True))


def test_a_point_source_looks_like_one_whatever_its_sign() -> None:
    for name in ("point", "negative"):
        row = features()[name]
        assert row["snr"] == pytest.approx(3e3 / SIGMA * np.sqrt(np.sum(PSF**2)), rel=0.08)
        assert row["chi2"] == pytest.approx(1.0, abs=0.4)
        assert row["explained"] > 0.9
        assert row["width"] == pytest.approx(1.0, abs=0.1)
        assert row["elongation"] < 0.1
        assert row["opposite"] < 0.15
        assert row["masked"] == 0
        assert row["static"] < 0.5


def test_each_kind_of_artefact_shows_in_its_own_feature() -> None:
    every = features()
    others = {name: row for name, row in every.items() if name != "noise"}

    def stands_out(feature: str) -> str:
        return max(others, key=lambda name: float(others[name][feature]))

    assert stands_out("sharpness") == "hit"
    assert stands_out("opposite") == "dipole"
    assert stands_out("elongation") == "trail"
    assert stands_out("static") == "on_star"
    assert stands_out("static_slope") == "on_star"
    assert stands_out("masked") == "masked"
    assert min(others, key=lambda name: float(others[name]["saturated_distance"])) == "masked"
    assert every["masked"]["saturated_distance"] < 6
    assert every["point"]["saturated_distance"] == 65
    assert every["dipole"]["asymmetry"] > 1 > every["point"]["asymmetry"]
    assert every["on_star"]["brightest_distance"] == pytest.approx(np.hypot(1, 2))
    assert every["noise"]["explained"] < 0.3


def test_all_features_are_finite_where_there_is_a_stamp_and_unknown_elsewhere() -> None:
    assert len(set(FEATURE_NAMES)) == 19
    x = np.array([0.0, 299.0, np.nan, -5.0, 150.0])
    rows = reliability_features(images(), x, np.array([0.0, 299.0, 3.0, 7.0, np.inf]))
    assert rows.dtype.names == FEATURE_NAMES
    table = np.array([rows[name] for name in FEATURE_NAMES])
    assert np.isfinite(table[:, :2]).all()
    assert np.isnan(table[:, 2:]).all()
    hidden = replace(images(), mask=np.full(SHAPE, MaskPlane.SAT, np.uint16))
    assert np.isnan(reliability_features(hidden, np.array([60.0]), np.array([60.0]))["snr"]).all()
    assert len(reliability_features(images(), np.zeros(0), np.zeros(0))) == 0


def test_a_move_of_the_image_changes_nothing() -> None:
    made = images()
    rolled = Images(
        image=np.roll(made.image, 7, axis=1),
        variance=made.variance,
        mask=np.roll(made.mask, 7, axis=1),
        psf=made.psf,
        template=np.roll(made.template, 7, axis=1),
        score=ScoreMap(
            **{name: np.roll(getattr(made.score, name), 7, axis=1) for name in ("flux", "error", "static_flux", "snr")}
        ),
    )
    x, y = np.array(list(PLACES.values())).T
    for before, after in zip(reliability_features(made, x, y), reliability_features(rolled, x + 7, y), strict=True):
        np.testing.assert_allclose(before.tolist(), after.tolist(), rtol=1e-5)
