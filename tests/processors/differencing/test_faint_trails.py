"""Trails that stay below the threshold: found where an ideal observer sees them, and nowhere else."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from processors.differencing.chains import Chain, find_chains
from processors.differencing.detection import PEAK_DTYPE, detect_peaks, psf_response
from processors.differencing.faint_trails import FAINT_TRAIL_SIGNIFICANCE, LOUD_SNR, find_faint_trails
from tests.support.difference_scenes import Moffat

SHAPE, FWHM, SIGMA = (448, 480), 4.0, 10.0
PSF = Moffat(FWHM).draw(0, 0)
RESPONSE = psf_response(PSF, 24)
NONE = np.zeros(0, PEAK_DTYPE)


@functools.cache
def noise(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(scale=SIGMA, size=SHAPE)


def score(light: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """Return the score map of light and noise."""
    matched = fftconvolve(light + noise(seed), PSF[::-1, ::-1], mode="same")
    return np.asarray(matched / (SIGMA * np.sqrt(np.sum(PSF**2))), np.float32)


def points(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light of equal points, of sum 1 in all, as the PSF shows it."""
    image = np.zeros(SHAPE)
    for shift_x, shift_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = np.abs(1 - shift_x - x % 1) * np.abs(1 - shift_y - y % 1) / x.size
        np.add.at(image, (np.floor(y).astype(int) + shift_y, np.floor(x).astype(int) + shift_x), weight)
    return np.asarray(fftconvolve(image, PSF, mode="same"))


def trail(x: float, y: float, length: float, angle_deg: float, snr: float) -> NDArray[np.float64]:
    """Return a trail's light, as bright as an ideal observer needs for a signal-to-noise."""
    along, angle = np.linspace(-0.5, 0.5, 4 * int(length)) * length, math.radians(angle_deg)
    light = points(x + along * math.cos(angle), y + along * math.sin(angle))
    return light * snr * SIGMA / np.sqrt(np.sum(light**2))


def found_in(snr: NDArray[np.float32], peaks: NDArray[np.void] = NONE) -> tuple[NDArray[np.void], list[Chain], int]:
    return find_faint_trails(snr, peaks, [], response=RESPONSE, fwhm=FWHM)


CASES = [
    (a, length)
    for a, length in zip((3, 25, 44, 63, 88, 110, 137, 171), (80, 90, 130, 180, 220, 260, 75, 150), strict=True)
]


@pytest.mark.parametrize(("angle", "length"), CASES)
def test_a_trail_is_found_that_no_pixel_shows(angle: float, length: float) -> None:
    snr = score(trail(240.3, 221.7, length, angle, 8.5 if length < 100 else 10.0), seed=11)
    assert snr.max() < LOUD_SNR + 0.5
    peaks, (chain,), new = found_in(snr)
    assert (len(peaks), new) == (1, 1)
    # The significance is that of an ideal observer, give or take the noise and the choice of the best line.
    assert float(peaks["snr"][0]) == pytest.approx(10.0, abs=3.0)
    turn = (math.degrees(chain.angle) - angle + 90) % 180 - 90
    assert abs(math.radians(turn)) * length < 12
    assert math.hypot(chain.x - 240.3, chain.y - 221.7) < 0.2 * length
    assert chain.length == pytest.approx(length, rel=0.35)
    assert chain.members.tolist() == [0]
    assert snr[peaks["y"][0], peaks["x"][0]] > 0


def test_what_an_ideal_observer_would_doubt_is_left_alone() -> None:
    assert found_in(score(trail(240.0, 220.0, 180.0, 30.0, 4.0), seed=12))[1] == []
    assert FAINT_TRAIL_SIGNIFICANCE > 5


@pytest.mark.parametrize("seed", range(21, 31))
def test_noise_has_no_trails(seed: int) -> None:
    peaks, chains, new = found_in(score(np.zeros(SHAPE), seed))
    assert (len(peaks), chains, new) == (0, [], 0)


def test_dark_trails_and_sources_on_a_line_are_none() -> None:
    assert found_in(score(-trail(240.0, 220.0, 180.0, 30.0, 14.0), seed=13))[1] == []
    unit = SIGMA / np.sqrt(np.sum(PSF**2))
    row = points(np.array([120.0, 200.0, 260.0]), np.array([150.0, 182.0, 206.0])) * 3
    for height in (4.5, 30.0):
        assert found_in(score(row * height * unit, seed=14))[1] == []


def test_light_that_is_wider_than_the_psf_is_no_trail() -> None:
    wide = sum(trail(240.0 - 4 * k, 220.0 + 7 * k, 180.0, 30.0, 9.0) for k in range(-4, 5))
    assert found_in(score(np.asarray(wide), seed=15))[1] == []


def test_a_known_trail_is_not_found_again_and_lone_peaks_on_a_new_one_are_its_own() -> None:
    snr = score(trail(240.0, 220.0, 230.0, 30.0, 16.0), seed=16)
    peaks = detect_peaks(snr, np.ones_like(snr), response=RESPONSE, fwhm=FWHM)
    assert 1 <= len(peaks) <= 4
    joined, chains, new = found_in(snr, peaks)
    assert new == 0
    assert len(joined) == len(peaks)
    assert sorted(chains[0].members.tolist()) == list(range(len(peaks)))
    known = find_faint_trails(snr, peaks, chains, response=RESPONSE, fwhm=FWHM)
    assert known[1] == chains
    assert find_chains(snr, peaks[:1], FWHM) == []


def test_small_and_empty_maps_have_none() -> None:
    assert found_in(np.zeros((10, 7), np.float32))[1] == []
    assert found_in(np.zeros(SHAPE, np.float32))[1] == []
