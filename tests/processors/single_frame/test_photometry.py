"""Zero point and aperture correction."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats

from processors.single_frame.errors import PhotometryError
from processors.single_frame.photometry import aperture_correction, zero_point


def stars(seed: int = 1, count: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 10 ** rng.uniform(3.5, 6, count)
    error = np.sqrt(truth + 200**2)
    return truth + rng.normal(0, error), error, 2.5 * truth * rng.normal(1, 0.005, count), 0.005 * 2.5 * truth


def test_the_scale_is_found_despite_variables_and_blends() -> None:
    flux, error, reference, reference_error = stars()
    reference[::9] *= 1.4
    point = zero_point(flux, error, reference, reference_error)
    assert point.scale == pytest.approx(2.5, rel=0.003)
    assert point.error < 0.002
    assert 80 <= point.stars <= 92
    mean, *_ = sigma_clipped_stats((reference / flux)[flux > 3e4])
    assert point.scale == pytest.approx(mean, rel=0.003)


def test_the_zero_point_does_not_depend_on_order_or_on_useless_rows() -> None:
    columns = stars(2)
    point = zero_point(*columns)
    turned = zero_point(*(c[::-1] for c in columns))
    assert turned.scale == pytest.approx(point.scale, rel=1e-12)
    useless = [
        np.concatenate([c, extra])
        for c, extra in zip(columns, ([np.nan, -5, 1e4], [1, 1, 10], [1, 1, np.nan], [1] * 3), strict=True)
    ]
    assert zero_point(*useless).scale == pytest.approx(point.scale, rel=1e-12)


def test_an_unknown_catalogue_error_counts_as_a_percent() -> None:
    flux, error, reference, reference_error = stars(3)
    point = zero_point(flux, error, reference, np.full_like(reference_error, np.nan))
    assert point.scale == pytest.approx(2.5, rel=0.004)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_stars_give_no_zero_point(count: int) -> None:
    with pytest.raises(PhotometryError):
        zero_point(*(c[:count] for c in stars(4)))


def test_three_stars_give_one() -> None:
    assert zero_point(*(c[:3] for c in stars(5))).stars == 3


def test_the_aperture_correction_is_the_ratio_of_bright_stars() -> None:
    flux, error, *_ = stars(6)
    assert aperture_correction(flux, flux / 1.04, error / 1.04) == pytest.approx(1.04)
    assert aperture_correction(flux[:0], flux[:0], flux[:0]) == 1.0
