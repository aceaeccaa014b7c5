from __future__ import annotations

import numpy as np
import pytest

from processors.differencing.artefacts import is_sharper_than_psf, streak_pixels
from processors.differencing.fitting import fit_point_sources
from processors.differencing.halos import brilliant_stars, flatten_halos
from processors.differencing.planes import combine_masks, grow, has_plane, is_lost, set_plane
from processors.differencing.psf import ConstantPsf, PsfGrid
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, add_sources
from tests.support.score_maps import score_white

SHAPE = (256, 256)
GRID = PsfGrid.sample(ConstantPsf(Moffat(4.0).draw(0, 0)), SHAPE, 20)


def noise(seed: int = 1, sigma: float = 10.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=sigma, size=SHAPE).astype("f4")


def score_of(image: np.ndarray) -> np.ndarray:
    return score_white(image, Moffat(4.0).draw(0, 0), 100.0).snr


def judged(image: np.ndarray, x: float, y: float) -> bool:
    variance, usable = np.full(SHAPE, 100.0, "f4"), np.ones(SHAPE, bool)
    fits = fit_point_sources(
        image, variance, usable, GRID.x_nodes, GRID.y_nodes, GRID.coefficients, np.array([x]), np.array([y]), 10
    )
    return bool(is_sharper_than_psf(image, variance, usable, GRID, fits=fits)[0])


@pytest.mark.parametrize("pixels", [[(100, 100)], [(100, 100), (101, 100)]])
def test_hits_of_cosmic_rays_are_sharper_than_the_psf(pixels: list[tuple[int, int]]) -> None:
    image = noise()
    for x, y in pixels:
        image[y, x] += 300.0
    assert judged(image, 100.0, 100.0)


@pytest.mark.parametrize("flux", [600.0, 2000.0, -3e4])
def test_stars_are_not(flux: float) -> None:
    sharp = 0
    for seed in range(10):
        image = noise(seed).astype(float)
        add_sources(image, Moffat(4.0), [100.3], [99.6], [flux])
        sharp += judged(image.astype("f4"), 100.0, 100.0)
    assert sharp == 0


@pytest.mark.parametrize("angle", [0.1, 1.0, 2.2])
def test_a_satellite_streak_is_masked_and_little_else(angle: float) -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    across = (columns - 128) * np.cos(angle) + (rows - 128) * np.sin(angle)
    image = noise() + 40.0 * np.exp(-0.5 * (across / 1.8) ** 2)
    mask = streak_pixels(score_of(image), np.zeros(SHAPE, bool), 4.0)
    on = np.abs(across) < 3
    assert mask[on].mean() > 0.9
    assert mask[np.abs(across) > 25].mean() < 0.01


def test_a_streak_across_a_corner_is_masked() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    across = np.abs(columns + rows - 440) / np.sqrt(2)
    image = noise() + 40.0 * np.exp(-0.5 * (across / 1.8) ** 2)
    assert streak_pixels(score_of(image), np.zeros(SHAPE, bool), 4.0)[across < 3].mean() > 0.8


def test_a_streak_that_was_rejected_in_its_core_is_still_seen() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    across = np.abs(columns - rows + 40) / np.sqrt(2)
    mask = streak_pixels(score_of(noise() + 7.0 * (across < 6)), across < 2, 4.0)
    assert mask[across < 5].mean() > 0.9


def test_stars_make_no_streak() -> None:
    image = noise().astype(float)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(10, 245, (2, 60))
    add_sources(image, Moffat(4.0), x, y, np.full(60, 8000.0))
    rejected = rng.random(SHAPE) < 0.003
    assert not streak_pixels(score_of(image), rejected, 4.0).any()


def test_halos_go_and_sources_on_them_stay() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(columns - 120, rows - 130)
    halo = 60 * np.exp(-radius / 12)
    image = noise(sigma=3.0) + halo
    source = np.zeros(SHAPE)
    add_sources(source, Moffat(4.0), [145.0], [130.0], [2000.0])
    before = (image + source).astype("f4")
    flat = before.copy()
    star, none = np.array([[120.0, 130.0]]), np.zeros((0, 2))
    flatten_halos(flat, np.ones(SHAPE, bool), (none, star), 6.0, template=np.zeros(SHAPE, "f4"), noise=3.0)
    ring = (radius > 8) & (radius < 40) & (source < 1)
    assert abs(flat[ring].mean()) < 0.4
    assert flat[126:135, 141:150].sum() == pytest.approx(source[126:135, 141:150].sum(), rel=0.1)
    assert (flat[radius < 5] == before[radius < 5]).all()


def test_wings_of_another_ellipticity_go_around_saturated_stars_and_sources_on_them_stay() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    dx, dy = columns - 120, rows - 130
    radius = np.maximum(np.hypot(dx, dy), 1.0)
    wings = 3e5 * radius**-2.5
    image = noise(sigma=3.0) + wings * (0.25 * (dx**2 - dy**2) / radius**2 + 0.1 * dy / radius - 0.1)
    source = np.zeros(SHAPE)
    add_sources(source, Moffat(4.0), [150.0], [130.0], [2000.0])
    ring = (radius > 10) & (radius < 60) & (source < 1)
    star, none = np.array([[120.0, 130.0]]), np.zeros((0, 2))
    left = {}
    for name, stars in (("saturated", (star, none)), ("not", (none, star))):
        flat = (image + source).astype("f4")
        flatten_halos(flat, np.ones(SHAPE, bool), stars, 6.0, template=wings.astype("f4"), noise=3.0)
        left[name] = float(np.std(flat[ring]))
        if name == "saturated":
            assert flat[126:135, 146:155].sum() == pytest.approx(source[126:135, 146:155].sum(), rel=0.1)
    assert left["saturated"] < 3.5
    assert left["not"] > 10.0


def test_brilliant_and_saturated_stars_have_halos() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, Moffat(4.0), [60.0, 180.0], [70.0, 90.0], [5e6, 1e4])
    mask = np.zeros(SHAPE, "u2")
    mask[200:204, 50:54] = MaskPlane.SAT_TEMPLATE
    saturated, others = brilliant_stars(image, 10.0, mask, 4.0)
    assert np.round(saturated).astype(int).tolist() == [[52, 202]]
    assert np.round(others).astype(int).tolist() == [[60, 70]]


def test_masks_join_and_grow() -> None:
    science, template = np.zeros((50, 50), "u2"), np.zeros((60, 60), "u2")
    science[20, 20] = MaskPlane.SAT
    template[35, 35] = MaskPlane.SAT
    template[10, 45] = MaskPlane.NO_DATA
    joined = combine_masks(science, template, science_growth=2, template_growth=3, pad=5)
    assert has_plane(joined[20, 22], MaskPlane.SAT)
    assert not has_plane(joined[20, 23], MaskPlane.SAT)
    assert has_plane(joined[30, 33], MaskPlane.SAT_TEMPLATE)
    assert has_plane(joined[5, 40], MaskPlane.NO_DATA)
    assert (science == joined)[40:, :20].all()


def test_growing_is_a_disc() -> None:
    plane = np.zeros((31, 31), bool)
    plane[15, 15] = True
    rows, columns = np.mgrid[:31, :31]
    np.testing.assert_array_equal(grow(plane, 6), (rows - 15) ** 2 + (columns - 15) ** 2 <= 36)
    assert grow(plane, 0) is plane
    assert not grow(np.zeros((5, 5), bool), 3).any()


def test_an_interpolated_pixel_is_not_lost() -> None:
    mask = np.zeros((1, 4), "u2")
    set_plane(mask, np.s_[0, 0], MaskPlane.BAD | MaskPlane.INTRP)
    set_plane(mask, np.s_[0, 1], MaskPlane.SAT | MaskPlane.INTRP)
    set_plane(mask, np.s_[0, 2], MaskPlane.BAD)
    np.testing.assert_array_equal(is_lost(mask), [[False, True, True, False]])
