from __future__ import annotations

import math

import numpy as np
import pytest

from processors.differencing.errors import NoTemplateError
from processors.differencing.templates import TemplateInfo, choose_template, template_from_image
from schemas.raw import TemplateImage
from tests.support.difference_scenes import tan_wcs


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
