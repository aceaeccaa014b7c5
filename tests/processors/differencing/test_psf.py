from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.differencing.errors import InvalidImageError
from processors.differencing.psf import ConstantPsf, PsfGrid, adaptive_moments, render_psf, resize_psf, spline_weights
from tests.support.difference_scenes import Moffat


def rendered(grid: PsfGrid, x: float, y: float, half: int = 10) -> tuple[np.ndarray, tuple[int, int]]:
    out = np.empty((3, 2 * half + 1, 2 * half + 1))
    place = render_psf(grid.x_nodes, grid.y_nodes, grid.coefficients, x, y, out)
    return out, place


@given(st.floats(0, 1))
def test_spline_weights_sum_to_one_and_their_slopes_to_zero(t: float) -> None:
    weights, slopes = np.empty(6), np.empty(6)
    spline_weights(t, weights, slopes)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert slopes.sum() == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_rendered_psf_is_the_profile_drawn_at_that_place(dx: float, dy: float) -> None:
    profile = Moffat(4.0)
    grid = PsfGrid.sample(ConstantPsf(profile.draw(0, 0)), (100, 100), 20)
    stamp, (ix, iy) = rendered(grid, 50 + dx, 40 + dy)
    expected = profile.draw(50 + dx - ix, 40 + dy - iy)[10:-10, 10:-10]
    assert np.abs(stamp[0] - expected).max() < 5e-4 * expected.max()


def test_slopes_are_the_derivatives_by_the_stars_position() -> None:
    grid = PsfGrid.sample(ConstantPsf(Moffat(3.5).draw(0, 0)), (100, 100), 20)
    middle, _ = rendered(grid, 50.2, 40.1)
    step = 1e-4
    by_x = (rendered(grid, 50.2 + step, 40.1)[0][0] - rendered(grid, 50.2 - step, 40.1)[0][0]) / (2 * step)
    by_y = (rendered(grid, 50.2, 40.1 + step)[0][0] - rendered(grid, 50.2, 40.1 - step)[0][0]) / (2 * step)
    np.testing.assert_allclose(middle[1], by_x, atol=1e-7)
    np.testing.assert_allclose(middle[2], by_y, atol=1e-7)


class LinearlyWideningPsf:
    """A PSF whose image is linear in x, so that a grid reproduces it exactly."""

    def at(self, x: float, y: float) -> np.ndarray:
        share = x / 99
        return (1 - share) * Moffat(3.0).draw(0, 0) + share * Moffat(5.0).draw(0, 0)


def test_a_grid_mixes_its_nodes() -> None:
    model = LinearlyWideningPsf()
    grid = PsfGrid.sample(model, (100, 100), 20, spacing=50)
    np.testing.assert_allclose(grid.at(30.0, 77.0), model.at(30.0, 77.0), atol=1e-12)
    np.testing.assert_allclose(grid.at(-5.0, 300.0), model.at(0.0, 99.0), atol=1e-12)
    stamp, _ = rendered(grid, 30.0, 77.0)
    np.testing.assert_allclose(stamp[0], model.at(30.0, 77.0)[10:-10, 10:-10], atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.floats(1.6, 4), st.floats(0.65, 1.0), st.floats(-1.5, 1.5))
def test_adaptive_moments_of_a_gaussian_are_its_covariance(sigma: float, ratio: float, angle: float) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = turn @ np.diag([sigma**2, (ratio * sigma) ** 2]) @ turn.T
    y, x = np.mgrid[-25:26, -25:26]
    inverse = np.linalg.inv(covariance)
    image = np.exp(-0.5 * (inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2))
    for sign in (1, -3):
        xx, yy, xy, good = adaptive_moments(sign * image, 25.0, 25.0, 1.5, 20.0)
        assert good
        np.testing.assert_allclose([xx, yy, xy], covariance[[0, 1, 0], [0, 1, 1]], atol=0.02 * sigma**2)


def test_moments_of_nothing_fail() -> None:
    assert not adaptive_moments(np.zeros((11, 11)), 5.0, 5.0, 1.5, 4.0)[3]


@pytest.mark.parametrize(
    "image", [np.ones((4, 4)), np.ones((3, 5)), np.zeros((3, 3)), np.full((3, 3), np.nan), np.ones(9)]
)
def test_what_is_no_psf_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InvalidImageError):
        resize_psf(image, 2)


def test_resizing_keeps_the_sum_and_the_centre() -> None:
    psf = Moffat(3.0).draw(0, 0)
    for half in (5, 20, 30):
        changed = resize_psf(psf, half)
        assert changed.shape == (2 * half + 1, 2 * half + 1)
        assert changed.sum() == pytest.approx(1)
        assert changed.argmax() == changed.size // 2
