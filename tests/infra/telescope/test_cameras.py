"""The bundled camera descriptions: made by their generator, and what the issue asks for."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from infra.telescope.camera_files import descriptions, main
from infra.telescope.optics import detector_to_plane, plane_to_detector
from schemas.camera import load_camera


def test_the_bundled_files_are_what_the_generator_makes(tmp_path):
    main(tmp_path)
    for name in descriptions():
        bundled = (resources.files("schemas") / "cameras" / f"{name}.json").read_text()
        assert (tmp_path / f"{name}.json").read_text() == bundled
        assert json.loads(bundled)["name"] == name


def test_lsstcam_has_189_ccds_in_21_rafts_and_four_wavefront_sensors():
    camera = load_camera("lsstcam")
    assert len(camera.rafts) == 21
    assert {len(raft) for raft in camera.rafts.values()} == {9}
    assert len(camera.wavefront_sensors) == 4
    assert {len(d.amplifiers) for d in camera.detectors} == {16}


@pytest.mark.parametrize("name", ["tiny", "demo", "full-ccd", "lsstcam"])
def test_amplifiers_tile_and_detectors_do_not_overlap(name):
    camera = load_camera(name)
    for layout in {d.amplifiers: d for d in camera.detectors}.values():
        seen = np.zeros((layout.height, layout.width), int)
        for amplifier in layout.amplifiers:
            x0, y0, x1, y1 = amplifier.box
            seen[y0:y1, x0:x1] += 1
        assert (seen == 1).all()
    for one in camera.detectors:
        for other in camera.detectors:
            if one.id < other.id:
                apart_x = abs(one.centre[0] - other.centre[0]) >= (one.width + other.width) / 2
                apart_y = abs(one.centre[1] - other.centre[1]) >= (one.height + other.height) / 2
                assert apart_x or apart_y


def test_detector_and_plane_are_inverse_for_every_mounting():
    for detector in load_camera("lsstcam").wavefront_sensors:
        x, y = np.array([0.0, 17.5, 4071.0]), np.array([3.0, 3999.0, 12.0])
        u, v = detector_to_plane(detector, x, y)
        back = plane_to_detector(detector, u, v)
        np.testing.assert_allclose(back, (x, y), atol=1e-9)
