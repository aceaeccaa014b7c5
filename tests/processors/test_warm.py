"""The first visit of a worker is as fast as the tenth: after warming up, a CCD compiles nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.telescope import CameraBuffer, Night, build_release, plan_night
from schemas.camera import load_camera

CAMERA, SEED = "tiny", 5

SCRIPT = """
import gc, json, sys
from pathlib import Path

import numpy as np
from numba.core.dispatcher import Dispatcher

from infra.fits_io import read_raw
from processors.detector import DetectorInputs, process_detector
from processors.differencing.warm import warm_up as warm_differencing
from processors.single_frame.frames import parse_raw
from processors.single_frame.warm import warm_up as warm_single_frame
from schemas.camera import load_camera
from streams.files.release_files import ReleaseFiles


def compiled():
    ours = (d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.py_func.__module__.startswith("processors"))
    return {f"{d.py_func.__module__}.{d.py_func.__name__}{s}" for d in ours for s in d.signatures}


warm_single_frame()
warm_differencing()
before = compiled()
release, snaps = ReleaseFiles(directory=Path(sys.argv[1])), sys.argv[2:]
camera = load_camera("tiny")
references = release.read_references()
known = np.zeros(20, [("diaObjectId", "<i8"), ("ra", "<f8"), ("dec", "<f8")])
known["ra"], known["dec"] = references["ra"][:20], references["dec"][:20]
detector = camera.detector(0)
frames = [parse_raw(read_raw(Path(path)), detector=detector) for path in snaps]
products = process_detector(
    DetectorInputs(
        frames=lambda: (frames, release.read_masters(0)),
        references=references,
        template_for=release.template_for(0, "r"),
        camera=camera,
        detector=detector,
        visit=frames[0].exposure.visit,
        known=known,
    )
)
print(json.dumps([len(before), sorted(compiled() - before), sorted(products.metrics)]))
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A release with charge effects and the two snaps of a visit."""
    folder, camera = tmp_path_factory.mktemp("warm"), load_camera(CAMERA)
    release = build_release(camera, SEED, folder, bands=("r",), detectors=[0], charge_effects=True)
    visits = plan_night(camera, SEED, n_visits=1, bands=("r",))
    buffer = CameraBuffer(Night(camera, SEED, visits, charge_effects=True), folder / "raw", detectors=[0])
    for snap in (0, 1):
        buffer.observe(visits[0], snap)
    return release.directory, sorted((folder / "raw").glob("*/*-000.fits"))


def test_a_warm_worker_compiles_nothing_for_its_first_ccd(night: tuple[Path, list[Path]]) -> None:
    release, snaps = night
    assert len(snaps) == 2
    command = [sys.executable, "-c", SCRIPT, str(release), *map(str, snaps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    kernels, late, metrics = json.loads(done.stdout.splitlines()[-1])
    assert kernels > 50
    assert "n_both_snaps" in metrics
    assert not late, "\n".join(late)
