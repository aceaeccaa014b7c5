from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate2d

from processors.differencing.separable import REACH, TOLERANCE, correlate_products, separate


def square_of_psf(fwhm: float, stretch: float = 0.0, half: int = 20) -> np.ndarray:
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return (1 + (x**2 + y**2 + stretch * x * y) / (0.96 * fwhm**2)) ** -6.0


@pytest.mark.parametrize("fwhm", [3.0, 5.0])
@pytest.mark.parametrize("stretch", [0.0, 0.4])
def test_few_products_are_the_square_of_a_psf(fwhm: float, stretch: float) -> None:
    kernel = square_of_psf(fwhm, stretch)
    across, down = separate(kernel)
    assert len(across) <= 5
    middle = np.s_[20 - REACH : 20 + REACH + 1]
    np.testing.assert_allclose(down.T @ across, kernel[middle, middle], atol=2 * TOLERANCE)
    assert np.sum(down.T @ across) == pytest.approx(kernel.sum(), rel=1e-6)


def test_a_kernel_narrower_than_the_reach_is_kept_whole() -> None:
    kernel = np.outer([1.0, 2.0, 1.0], [0.0, 3.0, 1.0])
    across, down = separate(kernel)
    assert len(across) == 1
    inner = np.s_[REACH - 1 : REACH + 2]
    np.testing.assert_allclose((down.T @ across)[inner, inner], kernel, rtol=1e-6)
    assert separate(np.zeros((3, 3)))[0].shape == (1, 2 * REACH + 1)


def test_products_correlate_as_their_sum_does() -> None:
    rng = np.random.default_rng(71)
    image = rng.normal(size=(50, 61)).astype(np.float32)
    across, down = separate(rng.normal(size=(2 * REACH + 1, 2 * REACH + 1)))
    assert len(across) > 10
    found = correlate_products(image, REACH + 2, REACH + 3, (20, 31), across, down)
    expected = correlate2d(image, down.T @ across, mode="valid")[2:22, 3:34]
    np.testing.assert_allclose(found, expected, atol=2e-4)
