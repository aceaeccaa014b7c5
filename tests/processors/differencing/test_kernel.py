from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve2d

from processors.differencing.errors import TooFewKernelStarsError
from processors.differencing.kernel import Kernel, measure_stamps
from processors.differencing.kernel_basis import KernelBasis, convolve_stamps, make_basis
from processors.differencing.kernel_fit import fit_kernel
from processors.differencing.kernel_stars import select_kernel_stars, stands_out

PAD = 20


def gaussian_field(
    shape: tuple[int, int], x: np.ndarray, y: np.ndarray, flux: np.ndarray, sigma: np.ndarray | float
) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for px, py, f, s in zip(x, y, flux, np.broadcast_to(sigma, len(x)), strict=True):
        box = np.s_[max(int(py) - 25, 0) : int(py) + 26, max(int(px) - 25, 0) : int(px) + 26]
        r2 = (columns[box] - px) ** 2 + (rows[box] - py) ** 2
        image[box] += f * np.exp(-0.5 * r2 / s**2) / (2 * np.pi * s**2)
    return image


def fitted(
    n: int, *, ratio: float = 0.8, template_noise: float = 1.0, changed: int = 0, size: int = 400, wider: float = 0.0
) -> tuple[Kernel, KernelBasis]:
    rng = np.random.default_rng(n)
    side = int(np.ceil(np.sqrt(n)))
    spacing = (size - 60) / side
    grid = np.arange(side) * spacing + 30 + spacing / 2
    x, y = (a.ravel()[:n] + rng.uniform(-3, 3, n) for a in np.meshgrid(grid, grid))
    flux = rng.uniform(2e4, 2e5, n)
    shape = (size, size)
    template = np.pad(gaussian_field(shape, x, y, flux, 1.6), PAD)
    template_variance = np.full(template.shape, template_noise**2)
    template += rng.normal(size=template.shape) * template_noise
    now = flux * ratio
    now[:changed] *= 2.0
    science = gaussian_field(shape, x, y, now, 2.2 + wider * (x / size - 0.5)) + 5.0
    variance = np.full(shape, 100.0)
    science += rng.normal(size=shape) * 10
    basis = make_basis(np.sqrt(2.2**2 - 1.6**2))
    stamps = measure_stamps(
        science,
        variance,
        template,
        template_variance,
        np.ones(shape, bool),
        x=np.round(x).astype(int),
        y=np.round(y).astype(int),
        half=12,
        pad=PAD,
        basis=basis,
    )
    return fit_kernel(stamps, basis, shape), basis


def test_the_first_member_carries_the_whole_sum() -> None:
    sums = make_basis(1.5).images.sum(axis=(1, 2))
    assert sums[0] == pytest.approx(1)
    np.testing.assert_allclose(sums[1:], 0, atol=1e-12)
    assert len(sums) == 15 + 6 + 6


def test_stamps_are_convolved_as_scipy_does() -> None:
    image = np.random.default_rng(2).normal(size=(70, 70))
    basis = make_basis(1.2)
    raw = convolve_stamps(image, np.array([33, 40]), np.array([36, 31]), 8, basis.tables, basis.terms)
    members = np.einsum("mn,snij->smij", basis.mixing, raw)
    for s, (x, y) in enumerate(((33, 36), (40, 31))):
        for m in (0, 3, 8, 20, 26):
            whole = convolve2d(image, basis.images[m], mode="same")
            np.testing.assert_allclose(members[s, m], whole[y - 8 : y + 9, x - 8 : x + 9], atol=1e-9)


def test_two_gaussians_give_the_gaussian_between_them() -> None:
    kernel, basis = fitted(49)
    assert kernel.sum == pytest.approx(0.8, rel=2e-3)
    side = np.arange(-basis.half, basis.half + 1)
    variance = 2.2**2 - 1.6**2
    truth = np.exp(-0.5 * (side[:, None] ** 2 + side**2) / variance) / (2 * np.pi * variance)
    assert np.abs(kernel.at(200, 200) / 0.8 - truth).max() < 0.05 * truth.max()
    assert kernel.background[0] == pytest.approx(5.0, abs=0.5)


def test_noise_in_the_template_does_not_weaken_the_kernel() -> None:
    kernel, _ = fitted(49, template_noise=150.0, ratio=1.0)
    assert kernel.sum == pytest.approx(1.0, abs=0.01)


def test_stars_that_changed_are_left_out() -> None:
    kernel, _ = fitted(36, changed=4)
    assert kernel.sum == pytest.approx(0.8, rel=3e-3)
    assert kernel.stamps_used <= 32


def test_the_order_follows_the_number_of_stars_and_the_need() -> None:
    assert fitted(8)[0].order == 0
    assert fitted(49, wider=0.3)[0].order == 1
    assert fitted(81, wider=0.3)[0].order in (1, 2)


def test_constant_sum_at_every_place() -> None:
    kernel, _ = fitted(81, wider=0.3)
    assert kernel.at(10, 10).sum() == pytest.approx(kernel.at(390, 350).sum(), rel=1e-9)


def test_two_stars_are_too_few() -> None:
    with pytest.raises(TooFewKernelStarsError) as caught:
        fitted(2)
    assert caught.value.code == "too_few_kernel_stars"
    assert not caught.value.retriable


def test_stars_are_chosen_isolated_unmasked_and_bright() -> None:
    shape = (200, 200)
    x = np.array([50.0, 150.0, 156.0, 100.0, 40.0])
    y = np.array([50.0, 150.0, 152.0, 60.0, 150.0])
    image = gaussian_field(shape, x, y, np.array([1e5, 1e5, 1e5, 1e5, 300.0]), 2.0)
    mask = np.zeros(shape, "u2")
    mask[60, 100] = 2
    chosen = select_kernel_stars(image, np.full(shape, 100.0), mask, half=12)
    assert [tuple(map(int, place)) for place in zip(*chosen, strict=True)] == [(50, 50)]


def test_an_empty_image_has_no_stars() -> None:
    empty = np.zeros((100, 100)), np.ones((100, 100))
    assert len(select_kernel_stars(*empty, np.zeros((100, 100), "u2"), half=12)[0]) == 0


def test_a_star_that_the_template_lacks_or_masks_is_not_chosen() -> None:
    shape = (120, 120)
    x, y = np.array([30.0, 90.0, 60.0]), np.array([30.0, 30.0, 90.0])
    image = gaussian_field(shape, x, y, np.full(3, 1e5), 2.0)
    other = gaussian_field(shape, x[:2], y[:2], np.full(2, 1e5), 2.0)
    mask = np.zeros(shape, "u2")
    mask[33, 88] = 2
    found = stands_out(other, np.full(shape, 25.0), mask, np.append(x, -50.0), np.append(y, 3.0), 6)
    np.testing.assert_array_equal(found, [True, False, False, False])
    every = np.full(shape, 100.0)
    chosen = select_kernel_stars(image, every, np.zeros(shape, "u2"), half=12, accepts=lambda x, y: x < 50)
    assert list(zip(*chosen, strict=True)) == [(30, 30)]
