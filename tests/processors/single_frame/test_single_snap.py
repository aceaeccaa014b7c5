"""Cosmic rays of a lone snap: against truth, beside astroscrappy's L.A.Cosmic, and where the image ends or is broken."""

from __future__ import annotations

import astroscrappy
import numpy as np
import pytest

from infra.telescope.artefacts import cosmic_rays
from processors.single_frame.single_snap import reject_rays
from tests.support.scenes import draw_stars

SIDE, SKY, NOISE = 1400, 500.0, 7.0


@pytest.fixture(scope="module")
def struck() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, variance made of it, mean light, and the electrons of the rays."""
    rng = np.random.default_rng(31)
    x, y = rng.uniform(0, SIDE, (2, 300))
    light = draw_stars((SIDE, SIDE), x, y, 10 ** rng.uniform(3, 5.3, 300), 3.6) + SKY
    rays = sum(cosmic_rays((SIDE, SIDE), 15.0, rng) for _ in range(4))
    image = (rng.poisson(light) + rays + rng.normal(0, NOISE, light.shape)).astype(np.float32)
    return image, (np.maximum(image, 0) + NOISE**2).astype(np.float32), light, rays


def test_ninety_nine_of_a_hundred_strong_pixels_are_found_as_by_astroscrappy(struck) -> None:
    image, variance, light, rays = struck
    _, _, found = reject_rays(image, variance, np.zeros(image.shape, bool))
    strong = rays > 10 * np.sqrt(light + NOISE**2)
    assert np.count_nonzero(strong) > 500
    assert found[strong].mean() >= 0.99
    assert found[rays == 0].mean() <= 1e-4
    theirs, _ = astroscrappy.detect_cosmics(
        image, invar=variance, readnoise=NOISE, satlevel=np.inf, niter=4, sigclip=4.5, cleantype="medmask"
    )
    assert found[strong].mean() >= theirs[strong].mean() - 0.003
    assert found[theirs & (rays > 0)].mean() > 0.97


def test_what_is_filled_looks_like_its_surroundings(struck) -> None:
    image, variance, light, rays = struck
    filled, spread, found = reject_rays(image, variance, np.zeros(image.shape, bool))
    assert np.array_equal(filled[~found], image[~found])
    assert np.array_equal(spread[~found], variance[~found])
    sky = found & (light < SKY + 5) & (rays > 0)
    pull = (filled - light)[sky] / np.sqrt(light[sky] + NOISE**2)
    assert abs(np.median(pull)) < 0.2
    assert np.std(pull) < 0.8
    assert np.median(spread[sky]) == pytest.approx(SKY + NOISE**2, rel=0.05)


def test_sharp_stars_stay() -> None:
    rng = np.random.default_rng(5)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 144) for a in np.meshgrid(*[np.arange(20, 500, 40)] * 2))
    light = draw_stars((500, 500), x, y, 10 ** rng.uniform(3.5, 6, 144), 2.8) + SKY
    image = (rng.poisson(light) + rng.normal(0, NOISE, light.shape)).astype(np.float32)
    _, _, found = reject_rays(image, image + np.float32(NOISE**2), np.zeros(image.shape, bool))
    assert np.count_nonzero(found & (light > 1.1 * SKY)) == 0
    assert np.count_nonzero(found) <= 25


def test_rays_at_the_edge_beside_bad_pixels_and_in_thick_tracks_are_found() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(SKY, 22.0, (80, 90)).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:, 40:42] = True
    image[:, 40:42] = 0.0
    rays = np.zeros(image.shape, bool)
    rays[0, 5] = rays[79, 89] = rays[30, 42] = rays[31, 42] = True
    rays[50:70, 10:13] = rays[20:22, 60:80] = True
    image[rays] += 600
    filled, _, found = reject_rays(image, np.full(image.shape, 22.0**2, np.float32), bad)
    assert found[rays].all()
    assert np.count_nonzero(found & ~rays) <= 12
    assert not found[bad].any()
    assert np.abs(filled[rays] - SKY).max() < 60


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (40, 40)])
def test_nothing_is_found_where_nothing_is(shape: tuple[int, int]) -> None:
    flat, ones = np.full(shape, 7.0, np.float32), np.ones(shape, np.float32)
    assert not reject_rays(flat, ones, np.zeros(shape, bool))[2].any()
    everything_bad = reject_rays(flat * np.float32(np.nan), ones, np.ones(shape, bool))
    assert not everything_bad[2].any()
    with_nan = flat.copy()
    with_nan[0, 0] = np.nan
    bad = np.isnan(with_nan)
    assert not reject_rays(with_nan, ones, bad)[2].any()


def test_equal_input_gives_equal_bytes(struck) -> None:
    image, variance, _, _ = struck
    box = np.s_[:300, :300]
    pixels = image[box].copy(), variance[box].copy(), np.zeros((300, 300), bool)
    for one, other in zip(reject_rays(*pixels), reject_rays(*pixels), strict=True):
        assert one.tobytes() == other.tobytes()
