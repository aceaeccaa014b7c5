"""Snap combination: cosmic rays go, stars stay."""

from __future__ import annotations

import numpy as np
import pytest

from processors.single_frame.errors import MismatchedSnapsError
from processors.single_frame.frames import parse_raw
from processors.single_frame.isr import DetectorImage, correct
from processors.single_frame.snaps import combine
from schemas.masks import MaskPlane
from tests.support.scenes import draw_stars, make_scene


def frame(image: np.ndarray, variance: np.ndarray | float, mask: np.ndarray | None = None) -> DetectorImage:
    return DetectorImage(
        image=image.astype(np.float32),
        variance=np.broadcast_to(np.asarray(variance, np.float32), image.shape).copy(),
        mask=np.zeros(image.shape, np.uint16) if mask is None else mask,
        read_noise={"A": 5.0},
        dead=(),
    )


@pytest.fixture(scope="module")
def scene():
    return make_scene("tiny", seed=11, stars=80, cosmic_rays=60)


def test_cosmic_rays_are_found_and_little_else(scene) -> None:
    corrected = [correct(parse_raw(raw, scene.detector), scene.masters) for raw in scene.raws]
    combined = combine(corrected)
    for snap in (0, 1):
        rays = scene.cosmic_rays[snap]
        usable = (combined.mask & (MaskPlane.BAD | MaskPlane.SAT)) == 0
        strong = (rays > 10 * np.sqrt(corrected[snap].variance)) & usable & (scene.cosmic_rays[1 - snap] == 0)
        rejected = (combined.snaps.rejected >> snap) & 1 == 1
        assert rejected[strong].mean() >= 0.99
        assert np.count_nonzero(rejected & (rays == 0)) <= 6
    truth = sum(scene.electrons)
    hit = (combined.snaps.rejected != 0) & ((combined.mask & (MaskPlane.BAD | MaskPlane.SAT)) == 0)
    hit &= (scene.cosmic_rays[0] == 0) | (scene.cosmic_rays[1] == 0)
    pull = (combined.image - truth)[hit] / np.sqrt(combined.variance[hit])
    assert abs(np.median(pull)) < 0.3
    assert 0.7 < pull.std() < 1.5
    assert np.all(combined.mask[hit] & MaskPlane.CR)


def test_a_rejected_pixel_takes_twice_the_other_with_four_times_its_variance() -> None:
    first, second = np.full((40, 40), 100.0), np.full((40, 40), 100.0)
    first[20, 20] += 900
    combined = combine([frame(first, 110), frame(second, 110)])
    assert combined.image[20, 20] == 200
    assert combined.variance[20, 20] == 440
    assert combined.snaps.rejected[20, 20] == 1
    assert combined.image[5, 5] == 200
    assert combined.variance[5, 5] == 220


def test_the_order_of_snaps_only_swaps_their_bits() -> None:
    rng = np.random.default_rng(4)
    images = [rng.normal(500, 22, (60, 60)) for _ in range(2)]
    images[0][10, 10:20] += 2000
    images[1][40:45, 30] += 2000
    images[1] += 30
    one = combine([frame(i, 500) for i in images])
    other = combine([frame(i, 500) for i in reversed(images)])
    swapped = np.array([0, 2, 1, 3], np.uint8)[other.snaps.rejected]
    np.testing.assert_array_equal(one.snaps.rejected, swapped)
    np.testing.assert_allclose(one.image, other.image, atol=0.02)


def test_stars_survive_a_change_of_seeing() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.uniform(10, 190, 60), rng.uniform(10, 190, 60)
    flux = 10 ** rng.uniform(4, 5.3, 60)
    images = []
    for fwhm in (3.6, 4.1):
        clean = draw_stars((200, 200), x, y, flux, fwhm) + 500
        images.append(frame(rng.poisson(clean) + rng.normal(0, 6, clean.shape), clean + 36))
    combined = combine(images)
    assert np.count_nonzero(combined.snaps.rejected) <= 4


def test_what_is_saturated_in_one_snap_is_saturated_in_the_sum() -> None:
    mask = np.zeros((30, 30), np.uint16)
    mask[3, 4] = MaskPlane.SAT
    image = np.full((30, 30), 100.0)
    combined = combine([frame(image, 100, mask), frame(image, 100)])
    assert combined.mask[3, 4] & MaskPlane.SAT


def test_one_snap_is_cleaned_alone() -> None:
    rng = np.random.default_rng(3)
    clean = draw_stars((200, 200), np.array([60.0, 130.0]), np.array([70.0, 120.0]), np.array([4e4, 8e4]), 4.0) + 500
    image = rng.poisson(clean) + rng.normal(0, 6, clean.shape)
    rays = np.zeros(clean.shape, bool)
    rays[20, 30:45] = rays[150:160, 90] = True
    combined = combine([frame(np.where(rays, image + 1500, image), clean + 36)])
    found = (combined.mask & MaskPlane.CR) != 0
    assert found[rays].mean() > 0.9
    assert np.count_nonzero(found & ~rays) < 25
    assert combined.snaps.count == 1
    assert combined.snaps.difference is None
    assert np.abs(combined.image - clean)[rays].max() < 250


def test_no_snap_three_snaps_or_unlike_snaps_are_refused() -> None:
    image = frame(np.ones((5, 5)), 1)
    for frames in ([], [image] * 3, [image, frame(np.ones((5, 6)), 1)]):
        with pytest.raises(MismatchedSnapsError):
            combine(frames)


def moved(shift: float, fwhm: float = 3.6) -> list[np.ndarray]:
    """Two snaps of noise with bright objects that moved to the right by some pixels between them."""
    rng = np.random.default_rng(int(10 * shift))
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 64) for a in np.meshgrid(*[np.arange(25, 275, 32)] * 2))
    flux = 10 ** rng.uniform(4.5, 5.3, 64)
    return [
        rng.poisson(draw_stars((300, 300), x + step, y, flux, fwhm) + 500) + rng.normal(0, 6, (300, 300))
        for step in (0.0, shift)
    ]


@pytest.mark.parametrize("shift", [0.5, 1.5, 3.0, 12.0])
def test_what_moves_between_the_snaps_is_no_cosmic_ray(shift: float) -> None:
    combined = combine([frame(image, np.maximum(image, 0) + 36) for image in moved(shift)])
    assert np.count_nonzero(combined.snaps.rejected) <= 3
    assert not np.any(combined.mask & MaskPlane.CR)


@pytest.mark.parametrize("angle", [0.0, 0.4, 0.8, 1.57])
def test_a_trail_seen_in_one_snap_stays(angle: float) -> None:
    rng = np.random.default_rng(17)
    along = np.linspace(-40, 40, 161)
    trail = draw_stars((200, 200), 100 + along * np.cos(angle), 100 + along * np.sin(angle), np.full(161, 700.0), 3.6)
    images = [rng.poisson(500 + light) + rng.normal(0, 6, (200, 200)) for light in (trail, 0 * trail)]
    combined = combine([frame(image, np.maximum(image, 0) + 36) for image in images])
    assert trail.max() > 5 * 2**0.5 * 23
    assert np.count_nonzero(combined.snaps.rejected) <= 3


def test_seeing_that_changes_by_a_tenth_harms_no_star() -> None:
    rng = np.random.default_rng(9)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 100) for a in np.meshgrid(*[np.arange(25, 425, 40)] * 2))
    flux = 10 ** rng.uniform(4.0, 6.0, 100)
    lights = [draw_stars((425, 425), x, y, flux, fwhm) + 500 for fwhm in (3.6, 4.0)]
    images = [rng.poisson(light) + rng.normal(0, 6, light.shape) for light in lights]
    combined = combine([frame(image, np.maximum(image, 0) + 36) for image in images])
    cores = np.minimum(*lights) > 600
    assert np.count_nonzero((combined.snaps.rejected != 0) & cores) == 0


def test_faint_by_chance_is_not_bright_in_the_other_snap() -> None:
    rng = np.random.default_rng(10)
    images = [rng.poisson(500, (1500, 1500)) + rng.normal(0, 6, (1500, 1500)) for _ in range(2)]
    combined = combine([frame(image, np.maximum(image, 0) + 36) for image in images])
    assert np.count_nonzero(combined.snaps.rejected) <= 7


def test_a_ray_beside_dead_pixels_and_at_the_border_is_found() -> None:
    rng = np.random.default_rng(12)
    images = [rng.normal(500, 22, (50, 50)) for _ in range(2)]
    mask = np.zeros((50, 50), np.uint16)
    mask[20:25, 10] = mask[20:25, 12] = MaskPlane.BAD
    for row, column in ((22, 11), (0, 0), (49, 30)):
        images[1][row, column] += 900
    combined = combine([frame(image, 500, mask) for image in images])
    assert {(int(y), int(x)) for y, x in np.argwhere(combined.snaps.rejected == 2)} == {(22, 11), (0, 0), (49, 30)}
