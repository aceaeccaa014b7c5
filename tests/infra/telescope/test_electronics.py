"""Detectors: noise against its closed form, nonlinearity, bleeding, crosstalk, overscans, particles."""

from __future__ import annotations

import numpy as np
import pytest

from infra.telescope.artefacts import RAYS_PER_MEGAPIXEL, cosmic_rays, trail_distance, trail_light
from infra.telescope.electronics import collect, read_out, spill
from infra.telescope.response import DetectorResponse, make_response, measured_adu, read_out_view
from schemas.camera import load_camera

DEMO = load_camera("demo")


@pytest.fixture(scope="module")
def response() -> DetectorResponse:
    return make_response(DEMO, 5, DEMO.detectors[0])


def flat_field(level: float) -> np.ndarray:
    return np.full((1024, 1024), level, np.float32)


def imaging(response: DetectorResponse, frames: list[np.ndarray], index: int) -> np.ndarray:
    amplifier = response.detector.amplifiers[index]
    part = frames[index][: amplifier.height, amplifier.prescan : amplifier.prescan + amplifier.width]
    serial = frames[index][: amplifier.height, amplifier.prescan + amplifier.width + 4 :]
    return part.astype(float) - serial.mean(axis=1, keepdims=True)


def test_noise_is_poisson_and_read_noise(response):
    level = 800.0
    first = read_out(
        collect(flat_field(level), None, response, np.random.default_rng(1)), response, np.random.default_rng(11)
    )
    second = read_out(
        collect(flat_field(level), None, response, np.random.default_rng(2)), response, np.random.default_rng(12)
    )
    constants = response.amplifiers
    for index in range(8):
        difference = imaging(response, first, index) - imaging(response, second, index)
        gain, noise = constants.gain[index], constants.read_noise[index]
        # 28 overscan columns: their mean adds a little; rounding adds a twelfth of an ADU squared.
        expected = (level + noise**2 * (1 + 1 / 28)) / gain**2 + 1 / 12
        # Sampling error of a variance over 131072 pixels is 0.4 %.
        assert difference.var() / 2 == pytest.approx(expected, rel=0.02)


def test_bias_structure_and_read_noise_show_in_a_dark_frame(response):
    frames = read_out(flat_field(0.0), response, np.random.default_rng(3))
    for index, amplifier in enumerate(response.detector.amplifiers):
        constants = response.amplifiers
        overscan = frames[index][:, amplifier.prescan + amplifier.width :].astype(float)
        assert overscan.mean() == pytest.approx(constants.pedestal[index], abs=12)
        rows = overscan - overscan.mean(axis=1, keepdims=True)
        scatter = np.sqrt(rows.var() * 32 / 31 - 1 / 12)
        assert scatter == pytest.approx(constants.read_noise[index] / constants.gain[index], rel=0.02)
        residual = imaging(response, frames, index) - read_out_view(response.bias, amplifier)
        assert abs(residual.mean()) < 0.1
    assert response.bias.std() > 0.4


def test_nonlinearity_is_undone_by_its_polynomial(response):
    constants = response.amplifiers
    true = np.linspace(0, 60000, 50)
    for index in range(8):
        lin1, lin2 = constants.lin1[index], constants.lin2[index]
        adu = measured_adu(true, lin1, lin2)
        np.testing.assert_allclose(adu * (1 + lin1 * adu + lin2 * adu**2), true, rtol=1e-9)
        assert 0.003 < 1 - adu[-1] / true[-1] < 0.04


def test_charge_bleeds_along_columns_and_is_kept():
    electrons = np.zeros((201, 11), np.float32)
    electrons[100, 5] = 950_000
    spill(electrons, np.float32(90_000))
    assert electrons.sum(dtype=np.float64) == pytest.approx(950_000, rel=1e-6)
    assert electrons.max() == 90_000
    assert np.count_nonzero(electrons) == np.count_nonzero(electrons[:, 5]) == 11
    rows = np.flatnonzero(electrons[:, 5])
    assert (rows[0], rows[-1]) == (95, 105)


def test_saturated_amplifier_throws_mirrored_ghosts(response):
    scene = flat_field(0.0)
    source = response.detector.amplifiers[1]
    read_out_view(scene, source)[100:110, 40:50] = 80_000
    ghosts = read_out(scene, response, np.random.default_rng(4))
    without = read_out(flat_field(0.0), response, np.random.default_rng(4))
    expected = measured_adu(80_000 / response.amplifiers.gain[1], *_linearity(response, 1))
    for victim in (0, 2, 3):
        difference = imaging(response, ghosts, victim) - imaging(response, without, victim)
        share = difference[100:110, 40:50].mean() / expected
        assert share == pytest.approx(response.amplifiers.crosstalk[victim, 1], abs=3e-6)
    assert response.amplifiers.crosstalk[0, 1] >= 3e-4
    assert (np.diag(response.amplifiers.crosstalk) == 0).all()


def _linearity(response: DetectorResponse, index: int) -> tuple[float, float]:
    return float(response.amplifiers.lin1[index]), float(response.amplifiers.lin2[index])


def test_overscans_hold_no_light(response):
    frames = read_out(flat_field(50_000.0), response, np.random.default_rng(5))
    amplifier = response.detector.amplifiers[0]
    right = amplifier.prescan + amplifier.width
    serial, parallel = frames[0][: amplifier.height, right:].astype(float), frames[0][amplifier.height :, :right]
    assert serial[:, 0].mean() - serial[:, 4:].mean() > 10  # deferred charge
    assert abs(serial[:, 4:].mean() - parallel[4:].mean()) < 3


def test_flat_dark_and_defects(response):
    flat = response.flat("r")
    assert flat[~response.defects].mean() == pytest.approx(1.0, abs=1e-4)
    assert not np.array_equal(flat, response.flat("i"))
    assert (flat[response.defects] < 0.2).any()
    assert response.dark[response.defects].max() > 20
    assert response.dark[~response.defects].max() <= 2.0
    assert 1e-5 < response.defects.mean() < 5e-3


def test_cosmic_rays_have_their_rate_and_their_shape():
    random = np.random.default_rng(6)
    images = [cosmic_rays((1024, 1024), 15.0, random) for _ in range(20)]
    struck = sum(int((image > 100).sum()) for image in images) / 20
    assert 2 * RAYS_PER_MEGAPIXEL < struck < 20 * RAYS_PER_MEGAPIXEL
    total = sum(float(image.sum()) for image in images) / 20 / RAYS_PER_MEGAPIXEL
    assert 2_000 < total < 20_000  # electrons of one ray


def test_satellite_trail_is_straight_and_as_wide_as_told():
    detector = DEMO.detectors[0]
    track = (0.4, -300.0)
    light, distance = trail_light(detector, track), trail_distance(detector, track)
    assert light.max() == pytest.approx(180, rel=1e-3)
    assert light[np.abs(distance) > 20].max() < 0.01
