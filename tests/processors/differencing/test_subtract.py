from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from processors.differencing.background import remove_background
from processors.differencing.fourier import FourierFrame, TileGrid
from processors.differencing.kernel import Kernel
from processors.differencing.kernel_basis import make_basis
from processors.differencing.subtract import LEAST_KERNEL_SIGMA, Whitening, match_images, plan_matching
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
    white = Whitening(kernel=kernel, smoothing=smoothing, noise=(4.0, 1.0))
    return frame.back(frame.forward(raw) * white.transfer(frame.size))[20:-20, 20:-20]


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
    whitening = Whitening(kernel=kernel, smoothing=1.0, noise=(3.0, 1.0))
    white = frame.back(frame.forward(smooth) * whitening.transfer(frame.size))
    predicted = whitening.psf(psf, 24)
    np.testing.assert_allclose(white[40:89, 40:89], predicted, atol=2e-4 * psf.max())
    assert predicted.sum() == pytest.approx(1.0, abs=2e-3)


def linear_kernel(shape: tuple[int, int], turn: float) -> Kernel:
    """Return a kernel whose lowest skew member grows across the image."""
    basis = make_basis(1.5)
    coefficients = np.zeros((len(basis.terms), 3))
    coefficients[0, 0] = 0.9
    coefficients[3, 2] = turn
    return Kernel(
        basis=basis,
        shape=shape,
        order=1,
        members=np.arange(len(basis.terms)),
        coefficients=coefficients,
        background=np.array([2.0, 0.0, 0.0]),
        sum=0.9,
        degrees=(4, 2, 2),
        stamps_used=0,
        stamps_offered=0,
        chi2_per_pixel=1.0,
        stamp_x=np.zeros(0, np.int64),
        stamp_y=np.zeros(0, np.int64),
    )


@pytest.mark.parametrize("smoothing", [0.0, 1.1])
def test_tiles_match_as_one_convolution_of_the_whole_does(smoothing: float) -> None:
    shape, margin = (440, 100), 24
    rng = np.random.default_rng(6)
    science = rng.normal(size=shape).astype("f4")
    template = rng.normal(size=(shape[0] + 2 * margin, shape[1] + 2 * margin)).astype("f4")
    kernel = linear_kernel(shape, 0.05)
    known = rng.random(shape) > 0.05
    grid = TileGrid(shape, kernel.basis.half + 6)
    assert grid.rows == 2
    variance = np.full(template.shape, 9.0, "f4")
    matched = match_images(
        grid, (science, known), (template, variance), margin=margin, kernel=kernel, smoothing=smoothing
    )
    u = np.linspace(-1, 1, shape[1])[None, :]
    inner = np.s_[margin:-margin, margin:-margin]
    constant, by_y, by_x = (fftconvolve(template, part, mode="same")[inner] for part in kernel.components())
    assert not by_y.any()
    np.testing.assert_allclose(matched.template, constant + u * by_x, atol=2e-5)
    np.testing.assert_allclose(matched.template_variance, 9.0 * 0.9**2, rtol=1e-4)
    image = science
    if smoothing > 0:
        filled = template.copy()
        filled[inner][known] = science[known]
        image = fftconvolve(filled, gaussian(smoothing), mode="same")[inner]
    # Beneath 1.2 pixels a sampled Gaussian differs from its transfer function by a thousandth.
    np.testing.assert_allclose(matched.raw, image - matched.template - 2.0, atol=3e-3 if smoothing else 3e-5)


@pytest.mark.parametrize(("shape", "tolerance"), [((500, 120), 1e-6), ((2960, 2960), 2e-3)])
def test_a_kernel_of_second_order_is_a_plane_within_small_tiles(shape: tuple[int, int], tolerance: float) -> None:
    rng = np.random.default_rng(9)
    basis = make_basis(1.5)
    coefficients = np.concatenate([[[0.95, 0, 0, 0, 0, 0]], rng.normal(0, 0.02, (len(basis.terms) - 1, 6))])
    kernel = replace(linear_kernel(shape, 0.0), order=2, coefficients=coefficients)
    margin = 24
    template = rng.normal(size=(shape[0] + 2 * margin, shape[1] + 2 * margin)).astype("f4")
    grid = TileGrid(shape, kernel.basis.half)
    known, blank = np.ones(shape, bool), np.zeros(shape, "f4")
    variance = np.ones_like(template)
    found = match_images(grid, (blank, known), (template, variance), margin=margin, kernel=kernel, smoothing=0.0)
    for x, y in ((30, 40), (shape[1] - 20, shape[0] // 2), (70, 410)):
        half = kernel.basis.half
        around = template[y + margin - half : y + margin + half + 1, x + margin - half : x + margin + half + 1]
        expected = np.sum(around[::-1, ::-1] * kernel.at(x, y))
        assert found.template[y, x] == pytest.approx(expected, abs=tolerance)


def test_a_clearly_broader_science_image_is_not_smoothed() -> None:
    plan = plan_matching(gaussian(2.5), gaussian(1.8))
    assert plan.smoothing_sigma == 0
    assert plan.kernel_sigma == pytest.approx(np.sqrt(2.5**2 - 1.8**2), rel=0.02)
    assert plan.smoothing_noise == pytest.approx(1.0)


def test_a_sharper_science_image_is_smoothed_just_enough() -> None:
    plan = plan_matching(gaussian(1.7), gaussian(2.2))
    assert plan.smoothing_sigma**2 == pytest.approx(2.2**2 - 1.7**2 + LEAST_KERNEL_SIGMA**2, rel=0.02)
    assert plan.kernel_sigma == pytest.approx(LEAST_KERNEL_SIGMA, rel=0.03)
    side = gaussian(plan.smoothing_sigma)
    assert plan.smoothing_noise == pytest.approx(np.sum(side**2), rel=0.01)


def test_a_tilted_background_goes_and_sources_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:512, :512]
    surface = 3 + 0.01 * columns - 0.02 * rows + 1e-5 * columns * rows
    image = surface + rng.normal(size=(512, 512))
    image[100:140, 100:140] += 1000
    flat = image.astype("f4")
    largest = remove_background(flat, np.ones((512, 512), bool))
    sky = flat[200:, 200:]
    assert abs(sky.mean()) < 0.03
    assert largest == pytest.approx(np.abs(surface).max(), rel=0.1)


def test_without_usable_pixels_the_background_stays() -> None:
    image = np.ones((64, 64), "f4")
    flat = image.copy()
    largest = remove_background(flat, np.zeros((64, 64), bool))
    np.testing.assert_array_equal(flat, image)
    assert largest == 0
