from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from processors.differencing.fourier import FourierFrame
from processors.differencing.psf import ConstantPsf, PsfGrid
from processors.differencing.subtract import convolve_variance, plan_matching, remove_background, whiten, whitened_psf
from tests.support.difference_scenes import Moffat


def gaussian(sigma: float, half: int = 10) -> np.ndarray:
    side = np.arange(-half, half + 1)
    image = np.exp(-0.5 * (side[:, None] ** 2 + side**2) / sigma**2)
    return image / image.sum()


@settings(max_examples=10, deadline=None)
@given(st.integers(31, 90), st.integers(31, 90), st.floats(0.8, 3))
def test_the_frame_convolves_as_scipy_does(rows: int, columns: int, sigma: float) -> None:
    image = np.random.default_rng(rows).normal(size=(rows, columns)).astype("f4")
    kernel = gaussian(sigma)
    kernel[2, 5] += 0.1
    frame = FourierFrame((rows, columns), 12)
    ours = frame.back(frame.forward(image) * frame.kernel(kernel))
    np.testing.assert_allclose(ours, fftconvolve(image, kernel, mode="same"), atol=1e-5)


def matched_noise(smoothing: float, seed: int = 4) -> np.ndarray:
    """Whitened noise of a science image (variance 4) less a template (variance 1) convolved with a kernel of sum 1.1."""
    rng = np.random.default_rng(seed)
    frame = FourierFrame((512, 512), 24)
    kernel = 1.1 * gaussian(1.6)
    padded = rng.normal(size=frame.padded).astype("f4")
    science = frame.back(frame.forward(rng.normal(size=frame.padded).astype("f4") * 2) * frame.gaussian(smoothing))
    raw = science - frame.back(frame.forward(padded) * frame.kernel(kernel))
    return whiten(frame, raw, kernel=kernel, smoothing=smoothing, noise=(4.0, 1.0))[20:-20, 20:-20]


def test_whitening_makes_noise_white() -> None:
    white = matched_noise(0.0)
    assert white.var() == pytest.approx(4.0 + 1.1**2, rel=0.02)
    for shift in ((0, 1), (1, 0), (1, 1), (0, 3)):
        assert abs(np.mean(white * np.roll(white, shift, (0, 1))) / white.var()) < 0.012


@pytest.mark.parametrize("smoothing", [0.0, 0.7, 1.2])
def test_a_psf_sees_the_noise_that_the_variance_tells(smoothing: float) -> None:
    psf = Moffat(4.0).draw(0, 0)
    sums = fftconvolve(matched_noise(smoothing), psf, mode="valid")[::5, ::5]
    assert np.std(sums) == pytest.approx(np.sqrt((4.0 + 1.1**2) * np.sum(psf**2)), rel=0.03)


def test_the_whitened_psf_is_what_happens_to_a_star() -> None:
    frame = FourierFrame((128, 128), 24)
    psf, kernel = Moffat(4.0).draw(0, 0), gaussian(1.6)
    image = np.zeros((128, 128), "f4")
    image[44:85, 44:85] = psf
    smooth = frame.back(frame.forward(image) * frame.gaussian(1.0))
    white = whiten(frame, smooth, kernel=kernel, smoothing=1.0, noise=(3.0, 1.0))
    grid = PsfGrid.sample(ConstantPsf(psf), (128, 128), 20)
    predicted = whitened_psf(grid, kernel=kernel, smoothing=1.0, noise=(3.0, 1.0), half=24).mean
    np.testing.assert_allclose(white[40:89, 40:89], predicted, atol=2e-4 * psf.max())
    assert predicted.sum() == pytest.approx(1.0, abs=2e-3)


def test_variance_of_a_convolved_image() -> None:
    frame = FourierFrame((64, 64), 16)
    kernel = gaussian(1.5)
    spread = convolve_variance(frame, np.full(frame.padded, 9.0), kernel)
    np.testing.assert_allclose(spread, 9.0 * np.sum(kernel**2), rtol=1e-3)


def test_a_clearly_broader_science_image_is_not_smoothed() -> None:
    plan = plan_matching(gaussian(2.5), gaussian(1.8))
    assert plan.smoothing_sigma == 0
    assert plan.kernel_sigma == pytest.approx(np.sqrt(2.5**2 - 1.8**2), rel=0.02)
    assert plan.smoothing_noise == pytest.approx(1.0)


def test_a_sharper_science_image_is_smoothed_just_enough() -> None:
    plan = plan_matching(gaussian(1.7), gaussian(2.2))
    assert plan.smoothing_sigma**2 == pytest.approx(2.2**2 - 1.7**2 + 1, rel=0.02)
    assert plan.kernel_sigma == pytest.approx(1.0, rel=0.02)
    side = gaussian(plan.smoothing_sigma)
    assert plan.smoothing_noise == pytest.approx(np.sum(side**2), rel=0.01)


def test_a_tilted_background_goes_and_sources_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:512, :512]
    surface = 3 + 0.01 * columns - 0.02 * rows + 1e-5 * columns * rows
    image = surface + rng.normal(size=(512, 512))
    image[100:140, 100:140] += 1000
    flat, largest = remove_background(image, np.ones((512, 512), bool))
    sky = flat[200:, 200:]
    assert abs(sky.mean()) < 0.03
    assert largest == pytest.approx(np.abs(surface).max(), rel=0.1)


def test_without_usable_pixels_the_background_stays() -> None:
    image = np.ones((64, 64), "f4")
    flat, largest = remove_background(image, np.zeros((64, 64), bool))
    np.testing.assert_array_equal(flat, image)
    assert largest == 0
