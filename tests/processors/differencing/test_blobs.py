from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from processors.differencing.blobs import region_boxes, region_centres


def speckled(seed: int, shape: tuple[int, int] = (90, 70)) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5) * 5


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_centres_are_those_of_scipys_regions(seed: int) -> None:
    plane = speckled(seed) > 1.2
    labels, count = ndimage.label(plane, np.ones((3, 3)))
    assert count > 10
    expected = np.array(ndimage.center_of_mass(plane, labels, np.arange(1, count + 1)))[:, ::-1]
    np.testing.assert_allclose(region_centres(plane), expected, atol=1e-9)


@pytest.mark.parametrize("seed", [11, 14])
def test_boxes_are_those_of_scipys_regions_of_each_sign(seed: int) -> None:
    image = speckled(seed)
    y, x = (a[::5] for a in np.nonzero(np.abs(image) > 1.0))
    sign = np.sign(image[y, x]).astype(np.int64)
    boxes = region_boxes(image, x, y, sign, 1.0)
    labels = {s: ndimage.label(s * image > 1.0)[0] for s in (-1, 1)}
    for n in range(len(x)):
        rows, columns = np.nonzero(labels[sign[n]] == labels[sign[n]][y[n], x[n]])
        assert boxes[n].tolist() == [columns.min(), columns.max(), rows.min(), rows.max()]


def test_a_pixel_below_the_level_has_no_box() -> None:
    image = np.zeros((8, 8))
    image[3, 3] = 2.0
    one = np.array([1])
    assert region_boxes(image, one * 3, one * 3, one, 1.0).tolist() == [[3, 3, 3, 3]]
    assert region_boxes(image, one * 3, one * 3, -one, 1.0).tolist() == [[-1, -1, -1, -1]]
    assert region_boxes(image, one * 4, one * 3, one, 1.0).tolist() == [[-1, -1, -1, -1]]


def test_corners_join_centres_and_an_empty_plane_has_none() -> None:
    plane = np.zeros((6, 6), bool)
    plane[1, 1] = plane[2, 2] = plane[5, 0] = True
    assert region_centres(plane).tolist() == [[1.5, 1.5], [0.0, 5.0]]
    assert region_centres(np.zeros((4, 5), bool)).shape == (0, 2)


def test_regions_reach_around_corners_to_the_edge() -> None:
    image = np.zeros((5, 5))
    image[0, :] = image[:, 4] = image[4, :] = 3.0
    place = np.array([0])
    assert region_boxes(image, place, place, place + 1, 1.0).tolist() == [[0, 4, 0, 4]]
