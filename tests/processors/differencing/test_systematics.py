from __future__ import annotations

import numpy as np
import pytest

from processors.differencing.systematics import (
    LEAST_STARS,
    Systematics,
    bounded_systematics,
    measure_scatter,
    own_light_noise,
)
from tests.support.difference_scenes import Moffat, add_sources

STEP, SIDE = 24, 20
"""Stars stand on a lattice, so that none disturbs another."""

SHAPE = (STEP * (SIDE + 1), STEP * (SIDE + 1))
NOISE = 20.0


def stars_left(
    seed: int, *, fraction: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), count: int = SIDE**2
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Residuals of stars whose fluxes and places differ from their template's by random parts of known scatter."""
    rng = np.random.default_rng(seed)
    y, x = (STEP * (1 + a.ravel()) for a in np.divmod(np.arange(SIDE**2), SIDE))
    x, y = x[:count], y[:count]
    place_x, place_y = (a + rng.uniform(-0.5, 0.5, count) for a in (x, y))
    flux = 10 ** rng.uniform(4.3, 5.5, count)
    template, science = np.zeros(SHAPE), rng.normal(scale=NOISE, size=SHAPE)
    add_sources(template, Moffat(4.0), place_x, place_y, flux)
    moved = (place + size * rng.normal(size=count) for place, size in zip((place_x, place_y), shift, strict=True))
    add_sources(science, Moffat(4.0), *moved, flux * (1 + fraction * rng.normal(size=count)))
    return science - template, template, np.full(SHAPE, NOISE**2), x, y


def measured(*args: np.ndarray) -> Systematics:
    raw, template, variance, x, y = args
    found = measure_scatter(raw, template, variance, x=x, y=y)
    assert found is not None
    return found


@pytest.mark.parametrize(("seed", "fraction"), [(11, 0.01), (12, 0.02), (13, 0.05)])
def test_the_scatter_of_fluxes_is_found(seed: int, fraction: float) -> None:
    found = measured(*stars_left(seed, fraction=fraction))
    assert found.flux_fraction == pytest.approx(fraction, rel=0.2)
    assert found.centroid_pixels < 0.004


@pytest.mark.parametrize(("seed", "x", "y"), [(11, 0.03, 0.03), (12, 0.06, 0.0), (13, 0.0, 0.1)])
def test_the_scatter_of_places_is_found_whatever_its_direction(seed: int, x: float, y: float) -> None:
    found = measured(*stars_left(seed, shift=(x, y)))
    assert found.centroid_pixels == pytest.approx(np.hypot(x, y) / np.sqrt(2), rel=0.25)
    assert found.flux_fraction < 0.15 * max(x, y)


@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_noise_alone_is_no_scatter(seed: int) -> None:
    found = measured(*stars_left(seed))
    # The better half's errors are some 0.2 % and 0.005 pixel; 200 stars tell a quarter of that.
    assert found.flux_fraction < 8e-4
    assert found.centroid_pixels < 2e-3


def test_a_few_variable_stars_do_not_count() -> None:
    raw, template, variance, x, y = stars_left(14, fraction=0.01)
    for n in range(0, len(x), 15):
        box = np.s_[y[n] - 8 : y[n] + 9, x[n] - 8 : x[n] + 9]
        raw[box] += 0.5 * template[box]
    assert measured(raw, template, variance, x, y).flux_fraction == pytest.approx(0.01, rel=0.3)


def test_few_stars_tell_nothing_and_the_defaults_hold() -> None:
    raw, template, variance, x, y = stars_left(11, fraction=0.05, count=LEAST_STARS - 1)
    assert measure_scatter(raw, template, variance, x=x, y=y) is None
    none = np.zeros(0, np.int64)
    assert measure_scatter(raw, template, variance, x=none, y=none) is None
    least = Systematics(flux_fraction=0.001, centroid_pixels=0.2, saturated_fraction=0.07)
    bounded = bounded_systematics(None, least)
    assert bounded == Systematics(flux_fraction=0.003, centroid_pixels=0.2, saturated_fraction=0.07)


def test_stars_at_the_edge_and_places_without_light_are_left_out() -> None:
    raw, template, variance, x, y = stars_left(12, fraction=0.02)
    outside = np.array([0, 3, SHAPE[1] - 2, SHAPE[1] // 2]), np.array([50, SHAPE[0] - 1, 40, 1])
    more = (np.concatenate([a, b]) for a, b in zip((x, y), outside, strict=True))
    assert measured(raw, template, variance, *more) == measured(raw, template, variance, x, y)


def test_bounds_hold_only_below_them() -> None:
    least = Systematics(flux_fraction=0.01, centroid_pixels=0.01, saturated_fraction=0.02)
    found = bounded_systematics(Systematics(flux_fraction=0.004, centroid_pixels=0.03), least)
    assert found == Systematics(flux_fraction=0.01, centroid_pixels=0.03, saturated_fraction=0.02)


def test_the_noise_of_a_changes_own_light_is_what_it_adds_to_a_fitted_flux() -> None:
    rng, gain, sky, flux, most = np.random.default_rng(14), 3.0, 50.0, 300.0, 20_000
    psf = Moffat(4.0).draw(0, 0)
    image = np.full(SHAPE, sky)
    y, x = (STEP * (1 + a.ravel()) for a in np.divmod(np.arange(SIDE**2), SIDE))
    add_sources(image, Moffat(4.0), x.astype(float), y.astype(float), np.full(x.size, 2e4))
    counts = rng.poisson(image).astype(float)
    own = own_light_noise((counts - sky) / gain, counts / gain**2, (x, y), psf, psf)
    small = Moffat(4.0).draw(0, 0, 6)
    light = rng.poisson(sky + gain * flux * small, (most, *small.shape)) - sky
    fitted = np.tensordot(light, small, 2) / np.sum(small**2) / gain
    empty = sky / gain**2 / np.sum(small**2)
    assert own * flux == pytest.approx(np.var(fitted) - empty, rel=0.06)


def test_light_without_noise_of_its_own_and_no_stars_tell_nothing() -> None:
    psf, none = Moffat(4.0).draw(0, 0), np.zeros(0, np.int64)
    image, flat = np.zeros((64, 64)), np.full((64, 64), 9.0)
    add_sources(image, Moffat(4.0), [30.0], [30.0], [1e5])
    assert own_light_noise(image, flat, (none, none), psf, psf) == 0.0
    assert own_light_noise(image, flat, (np.array([30]), np.array([30])), psf, psf) == 0.0
