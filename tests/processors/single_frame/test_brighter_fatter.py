"""Brighter-fatter effect: stars of every flux get their width back, flats their noise, and no charge is made or lost."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.telescope.charge import BrighterFatter, accumulate
from processors.single_frame.brighter_fatter import correct_brighter_fatter
from processors.single_frame.errors import InvalidCalibrationError
from processors.single_frame.frames import parse_raw
from processors.single_frame.isr import correct
from tests.support.scenes import make_scene

EFFECT = BrighterFatter()
KERNEL = EFFECT.kernel().astype(np.float32)


def star(flux: float, fwhm: float = 3.8, size: int = 41) -> NDArray[np.float32]:
    """A star on sky, off the middle of its pixel."""
    sigma, place = fwhm / 2.3548, np.arange(size) - size // 2
    profile = [np.exp(-0.5 * ((place - shift) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)) for shift in (0.3, -0.2)]
    return (400 + flux * np.outer(*profile)).astype(np.float32)


def exposures(light: NDArray[np.float32], number: int, seed: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [accumulate(light, EFFECT, rng) for _ in range(number)]


def corrected(charge: NDArray[np.float32]) -> NDArray[np.float32]:
    return correct_brighter_fatter(charge, KERNEL, np.ones(charge.shape, bool))


def width(image: NDArray[np.float64]) -> float:
    """Second moment within a circle around the star, sky taken off."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] - image.shape[0] // 2
    weight = (image - 400) * np.exp(-(x**2 + y**2) / (2 * 3.0**2))
    return float((weight * (x**2 + y**2)).sum() / weight.sum())


@pytest.mark.parametrize("flux", [2e5, 6e5, 1.2e6])
def test_a_star_of_any_flux_gets_its_width_back(flux: float) -> None:
    light = star(flux)
    charges = exposures(light, 60, int(flux / 1e5))
    before, after = (np.mean(images, axis=0, dtype=np.float64) for images in (charges, [corrected(c) for c in charges]))
    true, grown = width(light.astype(np.float64)), width(before) / width(light.astype(np.float64)) - 1
    assert grown > 0.002 * flux / 2e5
    assert abs(width(after) / true - 1) < 0.04 * grown + 3e-4
    assert before.max() / light.max() < 1 - 0.003 * flux / 2e5
    assert after.max() / light.max() == pytest.approx(1, abs=1.5e-3)


def test_flats_get_their_noise_and_their_neighbours_independence_back() -> None:
    mean = 40_000.0
    (charge,) = exposures(np.full((500, 500), mean, np.float32), 1, 5)
    light = corrected(charge)

    def noise(image: NDArray[np.float32]) -> tuple[float, float]:
        rest = (image - image.mean(dtype=np.float64))[8:-8, 8:-8]
        return float(rest.var(dtype=np.float64) / mean), float((rest[1:] * rest[:-1]).mean() / mean)

    assert noise(charge)[0] < 0.92
    assert noise(charge)[1] > 0.015
    assert noise(light)[0] == pytest.approx(1, abs=0.02)
    assert noise(light)[1] == pytest.approx(0, abs=0.007)


def test_no_charge_is_made_or_lost_and_a_flat_sky_stays() -> None:
    (charge,) = exposures(star(1e6), 1, 6)
    assert corrected(charge).sum(dtype=np.float64) == pytest.approx(charge.sum(dtype=np.float64), rel=1e-6)
    even = np.full((60, 70), 500.0, np.float32)
    np.testing.assert_allclose(corrected(even), even, atol=1e-3)


def test_what_is_not_known_keeps_its_value_and_draws_nothing() -> None:
    image, known = np.full((50, 50), 500.0, np.float32), np.ones((50, 50), bool)
    image[20:25, 20:25], known[20:25, 20:25] = 0.0, False
    out = correct_brighter_fatter(image, KERNEL, known)
    np.testing.assert_array_equal(out[~known], 0.0)
    np.testing.assert_allclose(out[known], 500.0, atol=1e-3)
    np.testing.assert_array_equal(correct_brighter_fatter(image, KERNEL, np.zeros_like(known)), image)


@pytest.mark.parametrize("kernel", [np.zeros((4, 4)), np.zeros((3, 5)), np.zeros(9), np.full((3, 3), np.nan)])
def test_a_kernel_that_is_none_is_refused(kernel: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidCalibrationError):
        correct_brighter_fatter(np.ones((9, 9), np.float32), kernel.astype(np.float32), np.ones((9, 9), bool))


def test_it_is_off_without_a_kernel_and_can_be_skipped() -> None:
    scene = make_scene("tiny", seed=12, cosmic_rays=0)
    frame, masters = (
        parse_raw(scene.raws[0], scene.detector),
        dataclasses.replace(scene.masters, brighter_fatter=KERNEL),
    )
    plain = correct(frame, scene.masters)
    done, skipped = correct(frame, masters), correct(frame, masters, skip={"brighter_fatter"})
    np.testing.assert_array_equal(skipped.image, plain.image)
    peak = np.unravel_index(np.argmax(np.where(plain.mask == 0, plain.image, 0)), plain.image.shape)
    assert done.image[peak] > plain.image[peak] + 8
    np.testing.assert_array_equal(done.mask, plain.mask)
    np.testing.assert_allclose(done.variance, plain.variance, rtol=1e-5)
