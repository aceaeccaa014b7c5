"""The PSF model and its fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.errors import InputError
from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.point_sources import model_traces, psf_fluxes, subtract_sources
from processors.single_frame.psf import PsfModel
from processors.single_frame.psf_fit import cut_stamps, fit_psf, order_for, stamp_half
from processors.single_frame.shapes import measure_shapes
from processors.single_frame.splines import shift_stamps
from processors.single_frame.stars import Candidates, select_stars, size_locus
from tests.support.scenes import draw_stars, moffat

SHAPE = (600, 600)


def star_field(
    count: int, seed: int, *, trend: float = 0.0, fwhm: float = 4.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Isolated stars whose width grows by ``trend`` from left to right."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    step = SHAPE[0] / side
    gy, gx = np.divmod(np.arange(count), side)
    x = (gx + 0.5) * step + rng.uniform(-0.15, 0.15, count) * step
    y = (gy + 0.5) * step + rng.uniform(-0.15, 0.15, count) * step
    flux = 10 ** rng.uniform(4.3, 5.3, count)
    clean = np.full(SHAPE, 700.0)
    for k in range(count):
        clean += draw_stars(SHAPE, x[k : k + 1], y[k : k + 1], flux[k : k + 1], fwhm * (1 + trend * (x[k] / 600 - 0.5)))
    image = (rng.poisson(clean) + rng.normal(0, 6, SHAPE) - 700).astype(np.float32)
    return x, y, flux, image, (clean + 36).astype(np.float32)


def windowed_trace(stamp: np.ndarray, sigma: float = 2.5) -> float:
    axis = np.arange(stamp.shape[0]) - stamp.shape[0] // 2
    radius2 = axis[:, None] ** 2 + axis**2
    weight = np.exp(-0.5 * radius2 / sigma**2)
    return float((stamp * weight * radius2).sum() / (stamp * weight).sum())


def fit(field: tuple[np.ndarray, ...], fwhm: float = 4.0) -> PsfModel:
    x, y, _, image, variance = field
    stamps = cut_stamps((image, variance, np.zeros(SHAPE, bool)), (x, y), stamp_half(fwhm))
    return fit_psf(stamps, SHAPE, fwhm)[0]


@pytest.mark.parametrize(("count", "size", "flux"), [(16, 0.012, 0.014), (121, 0.005, 0.008)])
def test_the_psf_of_a_varying_field_is_found(count: int, size: float, flux: float) -> None:
    trend = 0.1
    model = fit(star_field(count, 7, trend=trend))
    assert model.order == order_for(count)
    half = model.size // 2
    axis = np.arange(-half, half + 1)
    for x in (100.0, 300.0, 500.0):
        truth = moffat(axis, axis[:, None], 4.0 * (1 + trend * (x / 600 - 0.5)))
        stamp = model.at(x, 300.0).astype(float)
        assert stamp.sum() == pytest.approx(1, abs=1e-5)
        assert windowed_trace(stamp) == pytest.approx(windowed_trace(truth), rel=size)
        assert (stamp * truth).sum() / (stamp**2).sum() == pytest.approx(truth.sum(), abs=flux)


def test_sizes_of_the_model_are_those_of_stars_everywhere() -> None:
    field = star_field(121, 8, trend=0.1)
    x, y, _, image, variance = field
    shapes = measure_shapes(image, variance, (x, y), 4.0)
    traces = shapes[:, 4] + shapes[:, 5]
    ratio = traces / model_traces(fit(field), (x, y))
    left, right = x < 200, x > 400
    assert np.median(traces[right]) > 1.08 * np.median(traces[left])
    assert np.median(ratio[left]) == pytest.approx(1.0, abs=0.006)
    assert np.median(ratio[right]) == pytest.approx(1.0, abs=0.006)


def test_masked_pixels_and_a_galaxy_do_not_bend_the_psf() -> None:
    x, y, flux, image, variance = star_field(64, 3)
    clean_model = fit((x, y, flux, image, variance))
    spoiled, bad = image.copy(), np.zeros(SHAPE, bool)
    column = int(x[5]) + 2
    spoiled[:, column], bad[:, column] = 5e4, True
    spoiled += draw_stars(SHAPE, x[10:11], y[10:11], np.array([3e5]), 12.0).astype(np.float32)
    stamps = cut_stamps((spoiled, variance, bad), (x, y), stamp_half(4.0))
    model, used = fit_psf(stamps, SHAPE, 4.0)
    assert not used[10]
    assert windowed_trace(model.at(300, 300)) == pytest.approx(windowed_trace(clean_model.at(300, 300)), rel=0.005)


def test_two_stars_are_too_few() -> None:
    x, y, _, image, variance = star_field(2, 1)
    stamps = cut_stamps((image, variance, np.zeros(SHAPE, bool)), (x, y), 12)
    with pytest.raises(TooFewStarsError):
        fit_psf(stamps, SHAPE, 4.0)


def test_a_model_survives_its_bytes() -> None:
    model = fit(star_field(36, 2))
    data = model.to_bytes()
    again = PsfModel.from_bytes(data)
    assert again.to_bytes() == data
    np.testing.assert_array_equal(again.at(10, 500), model.at(10, 500))
    for broken in (b"", b"nonsense", data[:-3]):
        with pytest.raises(InputError):
            PsfModel.from_bytes(broken)


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-0.5, 0.5), dy=st.floats(-0.5, 0.5))
def test_a_shifted_star_is_the_star_elsewhere(dx: float, dy: float) -> None:
    axis = np.arange(-20, 21)
    there = moffat(axis - dx, axis[:, None] - dy, 4.0)
    back = shift_stamps(there[None], np.array([dx]), np.array([dy]))[0]
    inner = slice(4, -4)
    truth = moffat(axis, axis[:, None], 4.0)
    np.testing.assert_allclose(back[inner, inner], truth[inner, inner], atol=2e-3 * truth.max())
    assert windowed_trace(back) == pytest.approx(windowed_trace(truth), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(x=st.floats(20, 80), y=st.floats(20, 80))
def test_a_rendered_source_gives_back_its_flux_and_can_be_subtracted(x: float, y: float) -> None:
    axis = np.arange(-12, 13)
    stamp = moffat(axis, axis[:, None], 4.0)
    model = PsfModel(coefficients=stamp[None], order=0, width=100, height=100, fwhm=4.0, stars=9)
    image = np.zeros((100, 100), np.float32)
    source, x0, y0 = model.render(x, y)
    image[y0 : y0 + 25, x0 : x0 + 25] += 1000 * source
    place = (np.array([x]), np.array([y]))
    flux = psf_fluxes(model, image, np.ones_like(image), np.zeros(image.shape, bool), place)
    assert flux[0, 0] == pytest.approx(1000, rel=1e-4)
    assert flux[0, 3] == pytest.approx(1, abs=1e-6)
    assert np.abs(subtract_sources(model, image, place, flux[:, 0])).max() < 0.05


def test_a_source_off_the_good_pixels_has_no_flux() -> None:
    axis = np.arange(-8, 9)
    stamp = moffat(axis, axis[:, None], 4.0)
    model = PsfModel(coefficients=stamp[None], order=0, width=50, height=50, fwhm=4.0, stars=9)
    image = np.ones((50, 50), np.float32)
    places = (np.array([25.0, -30.0]), np.array([25.0, 10.0]))
    flux = psf_fluxes(model, image, image, np.ones((50, 50), bool), places)
    assert np.isnan(flux[:, 0]).all()


def test_stars_are_told_from_more_numerous_galaxies() -> None:
    rng = np.random.default_rng(12)
    trace = np.concatenate([rng.normal(11.5, 0.25, 12), rng.uniform(16, 60, 60)])
    significance = np.concatenate([rng.uniform(60, 700, 12), rng.uniform(20, 200, 60)])
    assert size_locus(trace, significance) == pytest.approx(11.5, rel=0.03)
    x, y = rng.uniform(0, 4000, 72), rng.uniform(0, 4000, 72)
    candidates = Candidates(x, y, significance=significance, trace=trace, clean=np.ones(72, bool))
    chosen = select_stars(candidates, isolation=10.0)
    assert set(chosen) <= set(range(12))
    assert len(chosen) >= 8


def test_crowded_stars_are_left_out_and_none_is_a_defined_answer() -> None:
    x, y = np.array([10.0, 14.0, 100.0]), np.array([10.0, 10.0, 100.0])
    candidates = Candidates(
        x, y, significance=np.array([100.0, 90.0, 80.0]), trace=np.full(3, 9.0), clean=np.ones(3, bool)
    )
    assert list(select_stars(candidates, isolation=10.0)) == [2]
    none = Candidates(x[:0], y[:0], significance=x[:0], trace=x[:0], clean=np.zeros(0, bool))
    assert len(select_stars(none, isolation=10.0)) == 0
