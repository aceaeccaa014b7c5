"""Trails of moving bodies: drawn from a real profile, found in pieces, joined and measured."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from scipy.integrate import quad

from processors.differencing.chains import find_chains, join_chains
from processors.differencing.detection import PEAK_DTYPE, detect_peaks, psf_response
from processors.differencing.pipeline import difference
from processors.differencing.psf import adaptive_moments
from processors.differencing.trail_model import TrailPsf, trail_psf
from processors.differencing.trails import TrailFits, fit_trails
from tests.support.difference_scenes import Moffat, Scene, add_sources, make_scene
from tests.support.score_maps import score_white

SHAPE = (260, 420)
PSF = Moffat(4.0)
SIGMA = 10.0


def trail_image(x: float, y: float, length: float, degrees: float, flux: float, gap: float = 0.0) -> np.ndarray:
    """Draw a trail as many points; the shutter may have been closed in its middle."""
    steps = np.linspace(-0.5, 0.5, max(3, int(4 * length)))
    steps = steps[np.abs(steps) >= gap / 2] * length
    image, angle = np.zeros(SHAPE), np.radians(degrees)
    add_sources(
        image, PSF, x + steps * np.cos(angle), y + steps * np.sin(angle), np.full(len(steps), flux / len(steps))
    )
    return image


def fit(image: np.ndarray, start: list[float]) -> TrailFits:
    """Fit from x, y, flux, length and angle (degrees)."""
    x, y, flux, length, degrees = start
    vector = [length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees))]
    psf = trail_psf(PSF.draw(0, 0), (1.75**2, 1.75**2, 0.0))
    planes = image.astype("f4"), np.full(SHAPE, SIGMA**2, "f4"), np.ones(SHAPE, bool)
    found = fit_trails(planes, np.array([[x, y, flux, *vector]]), [psf])
    assert found.converged[0]
    return found


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=SIGMA, size=SHAPE)


@pytest.mark.parametrize(("length", "flux"), [(3.0, 2e4), (12.0, 2e4), (100.0, 6e4), (300.0, 2e5)])
def test_length_angle_and_flux_are_those_drawn(length: float, flux: float) -> None:
    drawn = trail_image(210.3, 130.7, length, 25.0, flux)
    found = fit(drawn + noise(11), [209.0, 131.0, flux, 1.15 * length, 27.0])
    x, y, fitted, dx, dy = found.values[0]
    length_error, angle_error = (float(e[0]) for e in found.errors)
    assert found.length[0] == pytest.approx(length, abs=max(0.06 * length, 4 * length_error))
    assert np.degrees(np.arctan2(dy, dx)) == pytest.approx(25.0, abs=4 * np.degrees(angle_error) + 0.1)
    assert fitted == pytest.approx(flux, rel=0.02)
    assert (x, y) == pytest.approx((210.3, 130.7), abs=0.3)
    assert found.chi2[0] < found.point_chi2[0] - 16
    assert np.isnan(found.turned_chi2[0])


def test_errors_are_those_of_repeated_fits() -> None:
    drawn = trail_image(210.0, 130.0, 15.0, -40.0, 8e3)
    fits = [fit(drawn + noise(seed), [210.0, 130.0, 8e3, 14.0, -40.0]) for seed in range(40, 70)]
    scatter = np.std([f.values[0] for f in fits], axis=0)
    claimed = np.sqrt(np.mean([np.diag(f.covariances[0]) for f in fits], axis=0))
    np.testing.assert_allclose(scatter / claimed, 1.0, atol=0.4)
    lengths = np.std([f.length[0] for f in fits]) / np.mean([f.errors[0][0] for f in fits])
    assert lengths == pytest.approx(1.0, abs=0.4)


def test_the_model_is_the_integral_of_a_gaussian_along_a_line() -> None:
    length, angle = 9.0, 0.6
    image = np.zeros((61, 61))
    for row in range(20, 41):
        for column in range(20, 41):
            dx, dy = column - 30.2, row - 29.7
            image[row, column] = quad(
                lambda t, dx=dx, dy=dy: (
                    np.exp(-((dx - t * np.cos(angle)) ** 2 + (dy - t * np.sin(angle)) ** 2) / 8) / (8 * np.pi * length)
                ),
                -length / 2,
                length / 2,
            )[0]
    usable = np.zeros((61, 61), bool)
    usable[20:41, 20:41] = True
    start = np.array([[30.0, 30.0, 0.9e4, 8.0 * np.cos(0.5), 8.0 * np.sin(0.5)]])
    psf = TrailPsf(mixture=np.array([[1.0, 2.0]]), stretch=np.eye(2))
    values = fit_trails(((1e4 * image).astype("f4"), np.ones((61, 61), "f4"), usable), start, [psf]).values[0]
    vector = [length * np.cos(angle), length * np.sin(angle)]
    np.testing.assert_allclose(values, [30.2, 29.7, 1e4, *vector], rtol=1e-3)


def test_an_elongated_point_is_no_trail() -> None:
    psf = Moffat(4.0, e1=0.08)
    image = np.zeros(SHAPE)
    add_sources(image, psf, [210.2], [130.4], [1e5])
    drawn = psf.draw(0, 0)
    half = float(drawn.shape[0] // 2)
    own = trail_psf(drawn, adaptive_moments(drawn, half, half, 1.5, half)[:3])
    round_psf = TrailPsf(mixture=own.mixture, stretch=np.eye(2))
    planes = (image + noise(16)).astype("f4"), np.full(SHAPE, SIGMA**2, "f4"), np.ones(SHAPE, bool)
    start = np.array([[210.0, 130.0, 1e5, 2.0, 0.0]])
    # With a round PSF its shape is taken for a trail of two pixels.
    assert fit_trails(planes, start, [round_psf]).length[0] > 1.5
    found = fit_trails(planes, start, [own])
    assert found.length[0] < 1.0


def scored(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    score = score_white(image, PSF.draw(0, 0), SIGMA**2)
    response = psf_response(PSF.draw(0, 0), 20)
    return score.snr, detect_peaks(score.snr, score.error, response=response, fwhm=4.0)


@pytest.mark.parametrize(("flux", "gap"), [(1.2e5, 0.0), (1.2e5, 0.0625), (1.2e4, 0.0625), (-5e4, 0.0625)])
def test_the_pieces_of_a_long_trail_are_one_chain(flux: float, gap: float) -> None:
    snr, peaks = scored(trail_image(200.0, 120.0, 250.0, 20.0, flux, gap) + noise(12))
    assert len(peaks) > 2
    chains = find_chains(snr, peaks, 4.0)
    assert len(chains) == 1
    chain = chains[0]
    assert chain.length == pytest.approx(250, abs=20)
    assert np.degrees(chain.angle) % 180 == pytest.approx(20, abs=1)
    left, by_index = join_chains(peaks, chains)
    assert len(left) == 1 + len(peaks) - len(chain.members)
    assert by_index == {0: chain}


def test_trails_that_meet_are_two_chains() -> None:
    image = trail_image(150.0, 120.0, 160.0, 10.0, 1e5) + trail_image(255.0, 160.0, 120.0, 80.0, 1e5)
    snr, peaks = scored(image + noise(17))
    angles = sorted(np.degrees(chain.angle) % 180 for chain in find_chains(snr, peaks, 4.0))
    assert angles == [pytest.approx(10.0, abs=2), pytest.approx(80.0, abs=3)]


def test_a_fainter_trail_on_the_line_of_another_is_another() -> None:
    image = trail_image(120.0, 120.0, 40.0, 0.0, 4e4) + trail_image(215.0, 120.0, 120.0, 0.0, 3e4)
    snr, peaks = scored(image + noise(18))
    chains = find_chains(snr, peaks, 4.0)
    assert [chain.x for chain in chains] == [pytest.approx(120.0, abs=6), pytest.approx(215.0, abs=6)]
    assert [chain.length for chain in chains] == [pytest.approx(40.0, abs=15), pytest.approx(120.0, abs=15)]


def test_a_source_that_the_trail_passes_is_left_alone() -> None:
    image = trail_image(200.0, 120.0, 150.0, 0.0, 8e4)
    add_sources(image, PSF, [180.0], [131.0], [5e3])
    snr, peaks = scored(image + noise(13))
    left, _ = join_chains(peaks, find_chains(snr, peaks, 4.0))
    assert (np.hypot(left["x"] - 180, left["y"] - 131) < 2).sum() == 1


def test_neighbours_and_glints_in_a_row_are_no_trail() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, PSF, 60.0 + 25.0 * np.arange(10), 100.0 + 8.0 * np.arange(10), np.full(10, 2e4))
    add_sources(image, PSF, [200.0, 209.0], [60.0, 60.0], [4e3, 9e3])
    snr, peaks = scored(image + noise(14))
    assert len(peaks) == 12
    assert find_chains(snr, peaks, 4.0) == []
    assert find_chains(snr, np.zeros(0, PEAK_DTYPE), 4.0) == []


@functools.cache
def plain() -> Scene:
    return make_scene(seed=15, shape=(420, 420), n_changes=0)


def test_a_long_trail_is_one_source_with_the_trails_flux() -> None:
    made = plain()
    steps = np.linspace(-90, 90, 500)
    steps = steps[np.abs(steps) > 6]
    angle, image = np.radians(65), np.array(made.science.image, dtype=float)
    add_sources(
        image, made.truth_psf, 210 + steps * np.cos(angle), 205 + steps * np.sin(angle), np.full(len(steps), 1000.0)
    )
    sources = difference(dataclasses.replace(made.science, image=image.astype("f4")), made.template).sources
    across = np.abs(-(sources["x"] - 210) * np.sin(angle) + (sources["y"] - 205) * np.cos(angle))
    rows = sources[across < 5]
    assert len(rows) == 1
    assert rows["trailLength"][0] == pytest.approx(180 * 0.2, rel=0.03)
    assert rows["trailFlux"][0] == pytest.approx(1000.0 * len(steps), rel=0.05)
    assert rows["trail_flag"][0] == 0
    assert rows["trail_flag_edge"][0] == 0


def with_trail(
    made: Scene, place: tuple[float, float], length: float, *others: tuple[float, float, float]
) -> np.ndarray:
    """Return the sources of a scene with a bright trail, its shutter closed in the middle, and points x, y, flux."""
    steps, angle = np.linspace(-0.5, 0.5, 96) * length, np.radians(30)
    steps = steps[np.abs(steps) > length / 32]
    image = np.array(made.science.image, dtype=float)
    x, y = place[0] + steps * np.cos(angle), place[1] + steps * np.sin(angle)
    add_sources(image, made.truth_psf, x, y, np.full(len(steps), 2e5 / len(steps)))
    for px, py, flux in others:
        add_sources(image, made.truth_psf, [px], [py], [flux])
    return difference(dataclasses.replace(made.science, image=image.astype("f4")), made.template).sources


@pytest.mark.parametrize("length", [16.0, 18.0])
def test_a_trail_that_peaks_at_both_ends_is_one_source_in_its_middle(length: float) -> None:
    sources = with_trail(plain(), (210.4, 205.8), length)
    near = sources[np.hypot(sources["x"] - 210.4, sources["y"] - 205.8) < 20]
    assert len(near) == 1
    # Without snaps the closed shutter is not known: the trail looks longer.
    assert near["trailLength"][0] == pytest.approx(0.2 * length, rel=0.08)
    for name, true in (("x", 210.4), ("y", 205.8)):
        assert near[name][0] == pytest.approx(true, abs=4 * float(near[f"{name}Err"][0]))
        assert near[f"{name}Err"][0] < 0.2
    assert near["centroid_flag"][0] == 0


def test_a_brighter_source_on_a_trail_is_not_its_piece() -> None:
    x, y = 210.4 + 7 * np.cos(np.radians(30)), 205.8 + 7 * np.sin(np.radians(30))
    sources = with_trail(plain(), (210.4, 205.8), 40.0, (x, y, 1e5))
    assert np.count_nonzero(np.hypot(sources["x"] - x, sources["y"] - y) < 2) == 1
