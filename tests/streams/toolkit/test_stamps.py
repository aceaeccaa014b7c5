"""Stamps as pictures: one stretch for a history, differences symmetric about zero, directions as astropy sees them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from streams.toolkit.stamps import Stretch, difference_stretch, direct_stretch, png, read_stamp, stretches
from streams.views.errors import RequestError
from tests.support.packets import make_stamp

ALERT_FILES = Path(__file__).parents[2] / "data" / "alerts"
RNG = np.random.default_rng(5)


def grey(pixels: np.ndarray, stretch: Stretch) -> np.ndarray:
    """Return the grey levels of the picture, first row at the bottom again."""
    return np.asarray(Image.open(io.BytesIO(png(pixels, stretch))))[::-1, :, 0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 30.0, 117.0, 200.0, 359.0])
def test_compass_agrees_with_astropys_wcs(rotation: float, flip: bool) -> None:
    file = make_stamp(np.zeros((31, 31)), np.ones((31, 31)), ra=0.0001, dec=-40.0, rotation_deg=rotation, flip=flip)
    stamp = read_stamp(file)
    with fits.open(io.BytesIO(file)) as hdus:
        wcs = WCS(hdus[0].header)
    centre = wcs.world_to_pixel_values(0.0001, -40.0)
    north = np.subtract(wcs.world_to_pixel_values(0.0001, -40.0 + 0.5 / 3600), centre)
    east = np.subtract(wcs.world_to_pixel_values(0.0001 + 0.5 / 3600 / math.cos(math.radians(40)), -40.0), centre)
    assert stamp.north == pytest.approx(tuple(north / np.hypot(*north)), abs=1e-4)
    assert stamp.east == pytest.approx(tuple(east / np.hypot(*east)), abs=1e-4)
    assert stamp.scale_arcsec == pytest.approx(0.2)
    assert stamp.mirrored is flip


@pytest.mark.parametrize("flip", [False, True])
def test_north_up_puts_north_up_and_east_left(flip: bool) -> None:
    file = make_stamp(np.zeros((9, 9)), np.ones((9, 9)), ra=10, dec=5, rotation_deg=123.0, flip=flip)
    stamp = read_stamp(file)
    a, b, c, d, _, _ = (float(cell) for cell in (stamp.north_up or "")[7:-1].split(","))
    turn = np.array([[a, c], [b, d]])
    on_screen = {
        name: np.array([vector[0], -vector[1]]) for name, vector in (("n", stamp.north), ("e", stamp.east)) if vector
    }
    assert turn @ on_screen["n"] == pytest.approx([0, -1], abs=1e-4)
    assert turn @ on_screen["e"] == pytest.approx([-1, 0], abs=1e-4)


def test_a_real_cutout_without_ctype_still_has_its_compass() -> None:
    file = next(iter(sorted(ALERT_FILES.glob("*cutout*.fits"))), None)
    if file is None:
        pytest.skip("the real cutout is not among the test data")
    stamp = read_stamp(file.read_bytes())
    assert stamp.scale_arcsec == pytest.approx(0.2, abs=0.01)
    assert stamp.north_up is not None


def test_what_is_no_fits_file_is_refused() -> None:
    with pytest.raises(RequestError, match="no FITS image"):
        read_stamp(b"not a stamp at all")


def test_zero_is_the_same_mid_grey_in_every_difference() -> None:
    epochs = [RNG.normal(0, scale, (21, 21)) + offset for scale, offset in ((1, 0), (30, 200), (5, -80))]
    stretch = difference_stretch(epochs)
    assert stretch.low == -stretch.high
    assert grey(np.zeros((3, 3)), stretch) == pytest.approx(127.5, abs=0.51)
    positive, negative = grey(np.full((1, 1), 40.0), stretch), grey(np.full((1, 1), -40.0), stretch)
    assert int(positive[0, 0]) + int(negative[0, 0]) == pytest.approx(255, abs=1)


def test_equal_fluxes_are_equally_grey_in_every_epoch() -> None:
    quiet, bright = RNG.normal(100, 3, (21, 21)), RNG.normal(100, 3, (21, 21))
    bright[10, 10] = 900.0
    stamps = [
        {"science": read_stamp(_plain(image)), "template": read_stamp(_plain(quiet))} for image in (quiet, bright)
    ]
    common = stretches(stamps)
    assert common["science"] == common["template"]
    probe = np.array([[90.0, 110.0, 500.0]])
    assert (grey(probe, common["science"]) == grey(probe, common["template"])).all()
    assert not math.isclose(common["science"].low, -common["science"].high)


def test_grey_rises_with_flux_from_black_to_white() -> None:
    stretch = direct_stretch([RNG.normal(0, 1, (51, 51)) + 500 * (np.hypot(*np.mgrid[-25:26, -25:26]) < 2)])
    levels = grey(np.linspace(stretch.low - 5, stretch.high + 5, 64)[None, :], stretch)[0]
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert (levels[0], levels[-1]) == (0, 255)


def test_first_row_is_at_the_bottom_and_holes_are_transparent() -> None:
    pixels = np.zeros((4, 4))
    pixels[0, 1], pixels[3, 2] = 10.0, np.nan
    picture = np.asarray(Image.open(io.BytesIO(png(pixels, Stretch(low=0, high=10, soft=1, centre=0)))))
    assert picture[3, 1, 0] == 255
    assert picture[0, 2, 1] == 0
    assert picture[:, :, 1].sum() == 15 * 255


def test_stretch_survives_its_address() -> None:
    stretch = direct_stretch([RNG.normal(10, 2, (9, 9))])
    again = Stretch.decoded(stretch.encoded())
    assert again.encoded() == stretch.encoded()


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "2,1,1,0", "0,1,0,0", "0,inf,1,0", "nan,1,1,0"])
def test_a_senseless_stretch_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="no stretch"):
        Stretch.decoded(text)


@pytest.mark.parametrize("images", [[], [np.full((3, 3), np.nan)], [np.zeros((3, 3))]])
def test_nothing_to_measure_still_gives_a_stretch(images: list[np.ndarray]) -> None:
    for stretch in (direct_stretch(images), difference_stretch(images)):
        assert stretch.high > stretch.low
        assert stretch.soft > 0


def _plain(image: np.ndarray) -> bytes:
    return make_stamp(image, np.ones(image.shape), ra=1, dec=1, rotation_deg=0)
