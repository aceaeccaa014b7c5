"""Brighter-fatter effect and deferred charge against closed forms."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.telescope.charge import (
    BrighterFatter,
    ChargeEffects,
    accumulate,
    defer_charge,
    draw_charge_effects,
    face_transfers,
)
from infra.telescope.electronics import collect, read_out
from infra.telescope.response import make_response
from schemas.camera import Amplifier, load_camera
from schemas.raw import ChargeTransfer

WIDTH, PRESCAN = 200, 3


def register(overscan: int = 8, width: int = WIDTH) -> Amplifier:
    box = (0, 0, width, 4)
    return Amplifier(
        name="A",
        box=box,
        flip_x=False,
        flip_y=False,
        prescan=PRESCAN,
        serial_overscan=overscan,
        parallel_overscan=0,
    )


def constants(**values: float) -> ChargeTransfer:
    ideal = {
        "loss": 0.0,
        "trap_column": 10,
        "trap_capacity": 0.0,
        "trap_share": 0.05,
        "trap_release": 2.0,
        "offset_scale": 0.0,
        "offset_limit": 50_000.0,
        "offset_decay": 2.0,
    }
    return ChargeTransfer(**{name: np.array([value]) for name, value in (ideal | values).items()})


def star(flux: float, fwhm: float = 4.0, size: int = 61) -> NDArray[np.float32]:
    sigma, place = fwhm / 2.3548, np.arange(size) - size // 2
    profile = np.exp(-0.5 * (place / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return (flux * np.outer(profile, profile)).astype(np.float32)


def flats(mean: float, effect: BrighterFatter, seed: int, pairs: int = 24) -> NDArray[np.float64]:
    """Power spectrum of the noise of flats: differences of pairs, in units of one flat's variance."""
    random = np.random.default_rng(seed)
    expected = np.full((256, 256), mean, np.float32)
    power = np.zeros((256, 256))
    for _ in range(pairs):
        difference = accumulate(expected, effect, random).astype(float) - accumulate(expected, effect, random)
        power += np.abs(np.fft.fft2(difference)) ** 2 / difference.size / 2
    return power / pairs


def test_variance_and_covariances_of_flats_follow_the_closed_form() -> None:
    effect, mean = BrighterFatter(), 60_000.0
    power = flats(mean, effect, seed=11)
    a = np.zeros((256, 256))
    coefficients = effect.covariance_coefficients()
    half = coefficients.shape[0] // 2
    place = np.arange(-half, half + 1)
    a[np.ix_(place, place)] = coefficients
    growth = np.fft.fft2(a).real
    closed = np.where(np.abs(growth) > 1e-12, np.expm1(2 * growth * mean) / np.where(growth == 0, 1, 2 * growth), mean)
    covariance, expected = np.fft.ifft2(power).real, np.fft.ifft2(closed).real
    error = mean / np.sqrt(24 * power.size)
    assert covariance[0, 0] == pytest.approx(expected[0, 0], abs=6 * error)
    assert expected[0, 0] < 0.9 * mean
    for lag in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 2)):
        assert covariance[lag] == pytest.approx(expected[lag], abs=6 * error + 0.06 * expected[lag]), lag
    assert covariance[1, 0] > covariance[0, 1] > 10 * error
    assert power[0, 0] == pytest.approx(mean, rel=0.6)


def test_covariances_of_the_kernel_cancel_the_loss_of_variance() -> None:
    coefficients = BrighterFatter().covariance_coefficients()
    assert coefficients.sum() == pytest.approx(0.0, abs=1e-3 * abs(coefficients).max())
    half = coefficients.shape[0] // 2
    assert coefficients[half, half] == pytest.approx(-3e-6, rel=0.15)


def test_stars_grow_with_their_flux_and_keep_it() -> None:
    def size_and_flux(flux: float) -> tuple[float, float]:
        light = star(flux)
        random = np.random.default_rng(12)
        images = np.mean([accumulate(light, BrighterFatter(), random) for _ in range(40)], axis=0)
        place = np.arange(light.shape[0]) - light.shape[0] // 2
        weight = np.exp(-0.5 * (place[:, None] ** 2 + place[None, :] ** 2) / 4.0**2)
        moment = np.sum(images * weight * place[None, :] ** 2) / np.sum(images * weight)
        return float(moment), float(images.sum() / light.sum())

    faint, bright = size_and_flux(2e4), size_and_flux(1.2e6)
    assert bright[1] == pytest.approx(1.0, abs=1e-3)
    assert 1.005 < bright[0] / faint[0] < 1.05


def test_one_exposure_is_deflected_as_the_first_order_says() -> None:
    light, effect = star(8e5), BrighterFatter()
    random = np.random.default_rng(13)
    mean = np.mean([accumulate(light, effect, random) for _ in range(300)], axis=0)
    padded = np.pad(light, 8, mode="edge").astype(float)
    kernel = effect.kernel()
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    potential = np.einsum("yxqp,qp->yx", windows, kernel[::-1, ::-1])
    deflected = -0.5 * face_transfers(light.astype(float), potential)
    assert np.sum((mean - light) * deflected) / np.sum(deflected**2) == pytest.approx(1.0, abs=0.06)
    assert abs(deflected.sum()) < 1e-9 * light.sum()


def test_without_strength_the_charge_is_the_light() -> None:
    light = np.full((64, 64), 900.0, np.float32)
    charge = accumulate(light, BrighterFatter(strength=0.0), np.random.default_rng(14))
    assert charge.var() == pytest.approx(900.0, rel=0.1)


def test_an_ideal_register_gives_back_what_it_got() -> None:
    charge = np.random.default_rng(15).uniform(0, 9e4, (5, 40))
    out = defer_charge(charge, constants(), 0, register(width=40))
    np.testing.assert_array_equal(out[:, :40], charge.astype(np.float32))
    assert not out[:, 40:].any()


def test_charge_lost_in_transfers_arrives_in_the_overscan() -> None:
    loss, level = 2e-5, 40_000.0
    out = defer_charge(np.full((4, WIDTH), level), constants(loss=loss), 0, register()).astype(float)
    transfers = PRESCAN + WIDTH
    first = level * transfers * loss * (1 - loss) ** transfers
    second = comb(transfers + 1, 2) * loss**2 * (1 - loss) ** transfers * level
    # Charge of the last column but one, two late, reaches the first overscan column as well.
    first += comb(transfers, 2) * loss**2 * (1 - loss) ** (transfers - 1) * level
    np.testing.assert_allclose(out[:, WIDTH], first, rtol=1e-4)
    np.testing.assert_allclose(out[:, WIDTH + 1], second, rtol=0.02)
    np.testing.assert_allclose(out.sum(axis=1), WIDTH * level, rtol=1e-7)


def test_a_trap_takes_its_fill_and_gives_it_back_late() -> None:
    charge = np.full((3, WIDTH), 5000.0)
    out = defer_charge(charge, constants(trap_capacity=60.0, trap_release=3.0), 0, register(40)).astype(float)
    np.testing.assert_array_equal(out[:, :10], charge[:, :10])
    assert out[0, 10] == pytest.approx(5000.0 - 60.0, abs=1e-3)
    trail = 60.0 * np.exp(-np.arange(40) / 3.0) * (1 - np.exp(-1 / 3.0))
    np.testing.assert_allclose(out[0, WIDTH:], trail, rtol=1e-4)
    np.testing.assert_allclose(out.sum(axis=1), charge.sum(axis=1), rtol=1e-6)


def test_a_trap_that_reaches_a_share_takes_no_more() -> None:
    out = defer_charge(np.full((1, WIDTH), 100.0), constants(trap_capacity=60.0), 0, register()).astype(float)
    assert out[0, 10] == pytest.approx(95.0)


def test_the_output_remembers_for_a_few_pixels() -> None:
    charge = np.zeros((1, WIDTH))
    charge[0, 5] = 80_000.0
    out = defer_charge(charge, constants(offset_scale=2e-4, offset_decay=1.5), 0, register()).astype(float)
    tail = 2e-4 * 50_000.0 * np.exp(-np.arange(1, 10) / 1.5)
    np.testing.assert_allclose(out[0, 6:15], tail, rtol=1e-4)
    assert out[0, 5] == pytest.approx(80_000.0)


def test_effects_change_frames_only_where_they_are_switched_on() -> None:
    camera = load_camera("tiny")
    response = make_response(camera, 3, camera.detectors[0])
    expected = np.full(response.bias.shape, 30_000.0, np.float32)

    def frames(effects: ChargeEffects | None) -> list[NDArray[np.uint16]]:
        random = np.random.default_rng(16)
        return read_out(collect(expected, None, response, random, effects=effects), response, random, effects=effects)

    plain, off = frames(None), frames(ChargeEffects())
    assert all(np.array_equal(a, b) for a, b in zip(plain, off, strict=True))
    late = frames(ChargeEffects(transfer=draw_charge_effects(3, response.detector).transfer))
    assert any(not np.array_equal(a, b) for a, b in zip(plain, late, strict=True))
    amplifier = response.detector.amplifiers[0]
    kept = np.s_[: amplifier.height, amplifier.prescan : amplifier.prescan + amplifier.width]
    assert np.abs(plain[0][kept].astype(int) - late[0][kept]).max() < 60
