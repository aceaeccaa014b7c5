"""Fixtures of all tests: the real broker once per session, and clusters of three tiers behind one interface."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infra.kernel_caches import discard_stale_kernels
from tests.support.clusters import Cluster, open_cluster
from tests.support.engine import RunningEngine, running_engine

for _name in [name for name in os.environ if name.startswith("NIGHTCAST_")]:
    del os.environ[_name]  # the settings of whoever runs the tests are not those of the tests

discard_stale_kernels()

settings.register_profile(
    "no clock", deadline=None
)  # a kernel that is compiled or loaded takes the first example's time
settings.load_profile("no clock")

if "PYTEST_XDIST_WORKER" in os.environ:
    from tests.support.compile_once import compile_once

    compile_once(Path(tempfile.gettempdir()) / f"nightcast-compiling-{os.getuid()}")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """The embedded broker and the registry with all topics: ``bootstrap``, ``registry_url``, ``data_dir``, ``settings``."""
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(
    params=[
        pytest.param("mock", id="mock"),
        pytest.param("child", id="child", marks=pytest.mark.broker),
        pytest.param("docker", id="docker", marks=pytest.mark.docker),
    ]
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Kafka cluster of each tier in turn: librdkafka's mock, the child process, a container where Docker runs."""
    engine = request.getfixturevalue("broker") if request.param == "child" else None
    with open_cluster(request.param, engine) as opened:
        yield opened
