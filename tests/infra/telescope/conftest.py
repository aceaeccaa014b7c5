"""A tiny night that the tests of the telescope share."""

from __future__ import annotations

import pytest

from infra.telescope import Night, Release, build_release, plan_night
from schemas.camera import load_camera

SEED = 7


@pytest.fixture(scope="session")
def tiny_night() -> Night:
    """Three visits of the tiny camera."""
    camera = load_camera("tiny")
    return Night(camera, SEED, plan_night(camera, SEED, n_visits=3))


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release of the tiny field in r."""
    return build_release(load_camera("tiny"), SEED, tmp_path_factory.mktemp("release"), bands=("r",))
