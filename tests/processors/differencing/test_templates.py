from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from processors.differencing import subtraction
from processors.differencing.errors import NoTemplateError, TemplateCoverageError, TooFewKernelStarsError
from processors.differencing.pipeline import ScienceImage, difference
from processors.differencing.planes import has_plane
from processors.differencing.templates import (
    Template,
    TemplateInfo,
    choose_template,
    shallow_pixels,
    template_from_image,
)
from processors.differencing.warp import warp_template
from schemas.masks import MaskPlane
from schemas.raw import TemplateImage
from tests.support.difference_scenes import Moffat, make_scene, tan_wcs


def info(low: float, high: float, *, band: str = "r", detector: int = 3, epochs: int = 4) -> TemplateInfo:
    return TemplateInfo(
        path=f"{band}-{low}-{detector}-{epochs}",
        detector=detector,
        band=band,
        airmass=(low + high) / 2,
        airmass_min=low,
        airmass_max=high,
        n_epochs=epochs,
    )


BINS = [info(1.3, 1.8), info(1.0, 1.2), info(1.0, 1.2, band="i"), info(1.0, 1.2, detector=4)]


@pytest.mark.parametrize(
    ("airmass", "low", "distance"),
    [(1.1, 1.0, 0.0), (1.5, 1.3, 0.0), (2.4, 1.3, 0.6), (1.24, 1.0, 0.04), (1.27, 1.3, 0.03), (math.nan, 1.0, 0.0)],
)
def test_the_nearest_bin_is_taken_and_its_distance_recorded(airmass: float, low: float, distance: float) -> None:
    choice = choose_template(BINS, detector=3, band="r", airmass=airmass)
    assert choice.info.airmass_min == low
    assert (choice.info.band, choice.info.detector) == ("r", 3)
    assert choice.airmass_distance == pytest.approx(distance)


def test_of_equal_bins_the_deeper_wins_whatever_the_order() -> None:
    pair = [info(1.0, 1.2, epochs=4), info(1.0, 1.2, epochs=9)]
    for templates in (pair, pair[::-1]):
        assert choose_template(templates, detector=3, band="r", airmass=1.1).info.n_epochs == 9


@pytest.mark.parametrize("wanted", [{"detector": 3, "band": "y"}, {"detector": 99, "band": "r"}])
def test_without_a_template_there_is_a_permanent_error(wanted: dict[str, object]) -> None:
    with pytest.raises(NoTemplateError) as caught:
        choose_template(BINS, airmass=1.0, **wanted)  # type: ignore[arg-type]
    assert caught.value.code == "no_template"
    assert not caught.value.retriable


def test_a_file_becomes_a_template_with_its_wcs() -> None:
    wcs = tan_wcs((20, 30))
    raw = TemplateImage(
        image=np.zeros((20, 30), "f4"),
        variance=np.ones((20, 30), "f4"),
        mask=np.zeros((20, 30), "u2"),
        psf=np.ones((3, 3), "f4") / 9,
        header=dict(wcs.to_header()),
        band="g",
        airmass=1.2,
        airmass_range=(1.0, 1.4),
        n_epochs=5,
    )
    template = template_from_image(raw, path="a.fits", sha256="ab")
    np.testing.assert_allclose(
        template.wcs.all_pix2world(np.array([3.0]), np.array([4.0]), 0), wcs.all_pix2world([3.0], [4.0], 0)
    )
    assert (template.band, template.airmass_max, template.n_epochs, template.path) == ("g", 1.4, 5, "a.fits")


def test_the_noise_factor_of_the_file_reaches_the_warped_variance() -> None:
    wcs = tan_wcs((80, 80))
    raw = TemplateImage(
        image=np.zeros((80, 80), "f4"),
        variance=np.full((80, 80), 2.0, "f4"),
        mask=np.zeros((80, 80), "u2"),
        psf=Moffat(4.0).draw(0, 0).astype("f4"),
        header=dict(wcs.to_header()),
        band="g",
        airmass=1.2,
        airmass_range=(1.0, 1.4),
        n_epochs=5,
        noise_factor=1.3,
    )
    template = template_from_image(raw)
    assert template.noise_factor == 1.3
    warped = warp_template(template, wcs, (60, 60), 4)
    np.testing.assert_allclose(warped.variance[20:40, 20:40], 2.6, rtol=1e-5)


def depth_map() -> np.ndarray:
    """A template of depth 1 with a corner eight times as noisy, stars, and a gap."""
    variance = np.ones((400, 300), "f4")
    variance[:150, :130] = 8.0
    variance[200:206, 200:206] = 500.0
    return variance


def test_a_template_is_shallow_where_its_depth_is_low_not_where_stars_are() -> None:
    variance = depth_map()
    absent = np.zeros(variance.shape, bool)
    absent[300:] = True
    variance[300:] = 0.0
    found = shallow_pixels(variance, absent)
    np.testing.assert_array_equal(found[:300], (variance == 8.0)[:300])
    assert not found[300:].any()
    assert not shallow_pixels(variance[160:300, 140:]).any()
    assert not shallow_pixels(variance, np.ones(variance.shape, bool)).any()
    assert not shallow_pixels(np.zeros((0, 0), "f4")).any()


def test_shallow_pixels_reach_the_mask_and_the_flags_of_sources() -> None:
    made = make_scene(seed=31, shape=(384, 384), n_changes=24, change_snr=(20.0, 60.0))
    rng = np.random.default_rng(1)
    template = made.template
    variance, image = template.variance.copy(), template.image.copy()
    half = np.s_[:, : variance.shape[1] * 2 // 5]
    image[half] += rng.normal(size=image[half].shape) * np.sqrt(5.0 * variance[half])
    variance[half] *= 6.0
    result = difference(made.science, replace(template, image=image.astype("f4"), variance=variance.astype("f4")))
    shallow = has_plane(result.mask, MaskPlane.HIGH_VARIANCE)
    assert result.metrics["template_shallow_fraction"] == pytest.approx(shallow.mean())
    assert 0.2 < shallow.mean() < 0.5
    inside = shallow[np.rint(result.sources["y"]).astype(int), np.rint(result.sources["x"]).astype(int)]
    assert 2 <= np.count_nonzero(inside) < len(inside)
    np.testing.assert_array_equal(result.sources["pixelFlags_suspectCenter"] == 1, inside)


def covering(part: float) -> tuple[ScienceImage, Template]:
    """A pair whose template covers only so large a part of the detector, from the left."""
    made = make_scene(seed=32, shape=(384, 384), n_changes=0, n_stars=200, rotation_deg=0.0, shift=(0.0, 0.0))
    mask = made.template.mask.copy()
    margin = (mask.shape[1] - 384) // 2
    mask[:, margin + round(part * 384) :] |= np.uint16(MaskPlane.NO_DATA)
    return made.science, replace(made.template, mask=mask)


def test_below_a_tenth_of_coverage_a_ccd_ends_as_a_permanent_failure() -> None:
    with pytest.raises(TemplateCoverageError) as caught:
        difference(*covering(0.08))
    assert caught.value.code == "template_coverage"
    assert not caught.value.retriable


def test_between_a_tenth_and_a_fifth_a_ccd_is_differenced_where_the_template_is() -> None:
    result = difference(*covering(0.17))
    assert 0.1 < result.metrics["template_coverage"] < 0.2
    assert not has_plane(result.mask[:, :50], MaskPlane.NO_DATA).any()
    assert has_plane(result.mask[:, 90:], MaskPlane.NO_DATA).all()
    assert (result.sources["x"] < 80).all()


def test_between_a_tenth_and_a_fifth_a_kernel_without_stars_is_put_down_to_coverage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_stars(count: int) -> None:
        raise TooFewKernelStarsError("No star is left.")

    monkeypatch.setattr(subtraction, "require_stamps", no_stars)
    with pytest.raises(TemplateCoverageError, match="No star is left"):
        difference(*covering(0.17))
    with pytest.raises(TooFewKernelStarsError):
        difference(*covering(0.3))
