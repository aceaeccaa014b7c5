from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.differencing.detection import detect_peaks, footprint_sizes, mark_detections, psf_response
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, add_sources

FWHM = 4.0
PSF = Moffat(FWHM).draw(0, 0)
RESPONSE = psf_response(PSF, 24)
SHAPE = (160, 160)


def score_map(*sources: tuple[float, float, float]) -> np.ndarray:
    """Superpose the responses of point sources (column, row, score)."""
    snr = np.zeros((SHAPE[0] + 100, SHAPE[1] + 100))
    for x, y, strength in sources:
        top, left = int(y) + 26, int(x) + 26
        snr[top : top + 49, left : left + 49] += strength * RESPONSE
    return snr[50:-50, 50:-50].astype("f4")


def found(snr: np.ndarray) -> np.ndarray:
    return detect_peaks(snr, np.ones(SHAPE, "f4"), response=RESPONSE, fwhm=FWHM)


def test_the_response_of_a_gaussian_is_wider_by_root_two() -> None:
    side = np.arange(-12, 13)
    gaussian = np.exp(-0.5 * (side[:, None] ** 2 + side**2) / 2.0**2)
    response = psf_response(gaussian / gaussian.sum(), 8)
    wide = np.arange(-8, 9)
    np.testing.assert_allclose(response, np.exp(-0.25 * (wide[:, None] ** 2 + wide**2) / 2.0**2), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 149), st.integers(10, 149), st.floats(5.2, 500), st.sampled_from([1, -1]))
def test_one_source_gives_one_peak_wherever_it_is(x: int, y: int, strength: float, sign: int) -> None:
    peaks = found(score_map((x, y, sign * strength)))
    assert len(peaks) == 1
    assert (peaks["x"][0], peaks["y"][0]) == (x, y)
    assert np.sign(peaks["snr"][0]) == sign
    assert peaks["partner_snr"][0] == 0


def test_below_the_threshold_there_is_nothing() -> None:
    assert len(found(score_map((80, 80, 4.9)))) == 0


def test_ripples_of_a_brilliant_source_are_not_sources() -> None:
    snr = score_map((80, 80, 800.0))
    rng = np.random.default_rng(3)
    snr += rng.normal(size=SHAPE).astype("f4") * 0.5
    snr[80, 90] -= 12.0
    peaks = found(snr)
    assert len(peaks) == 1


def test_two_sources_apart_are_two_and_together_are_one() -> None:
    assert len(found(score_map((70, 80, 30.0), (84, 80, 20.0)))) == 2
    assert len(found(score_map((80, 80, 30.0), (82, 80, 29.0)))) == 1


def test_opposite_lobes_are_one_peak_with_a_partner() -> None:
    snr = score_map((78, 80, 40.0)) + score_map((82, 80, -38.0))
    peaks = found(snr)
    assert len(peaks) == 1
    assert peaks["partner_snr"][0] * peaks["snr"][0] < 0


def test_footprints_hold_the_source_and_detections_are_marked() -> None:
    snr = score_map((40, 40, 6.0), (100, 100, -200.0))
    peaks = found(snr)
    sizes = footprint_sizes(snr, peaks)
    assert sizes[0] > sizes[1] >= 5
    mask = mark_detections(np.zeros(SHAPE, "u2"), snr)
    assert mask[40, 40] == MaskPlane.DETECTED
    assert mask[100, 100] == MaskPlane.DETECTED_NEGATIVE


def test_a_flat_map_is_empty() -> None:
    peaks = found(np.zeros(SHAPE, "f4"))
    assert len(peaks) == 0
    assert len(footprint_sizes(np.zeros(SHAPE), peaks)) == 0


def test_scores_agree_with_a_filtered_image() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, Moffat(FWHM), [80.0], [80.0], [1.0])
    from scipy.signal import fftconvolve

    filtered = fftconvolve(image, PSF[::-1, ::-1], mode="same")
    np.testing.assert_allclose(filtered[68:93, 68:93] / filtered[80, 80], RESPONSE[12:37, 12:37], atol=1e-4)
