"""Stamps, read back by astropy alone."""

from __future__ import annotations

import io
import warnings
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS, Sip
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.alerts.cutouts import STAMP_PLANES, LocalWcs, cutout_bytes, cutout_size, local_wcs
from processors.alerts.errors import CutoutError
from schemas.masks import MaskPlane

SHAPE = (300, 260)


def distorted_wcs(ra: float = 359.99995, dec: float = -32.3, turn: float = 40.0) -> WCS:
    """Astropy's own TAN-SIP of 0.2 arcsec pixels whose distortion grows to some pixels at the corners."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [130.0, 150.0]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    wcs.wcs.cd = 0.2 / 3600 * np.array([[-c, s], [s, c]])
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], b[0, 2], a[0, 3] = 2e-4, -1e-4, 1e-7
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    image = rng.normal(5.0, 100.0, SHAPE).astype(np.float32)
    variance = rng.uniform(9e3, 1.1e4, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, dtype=np.uint16)
    mask[100, 90] = MaskPlane.SAT | MaskPlane.DETECTED
    mask[101, 91] = MaskPlane.DETECTED
    grid = np.arange(-20, 21)
    psf = 3.0 * np.exp(-(grid[:, None] ** 2 + grid**2) / 8.0)
    return image, variance, mask, psf


def stamp(x: float, y: float, size: int = 30, wcs: WCS | None = None) -> bytes:
    image, variance, mask, psf = scene()
    sky = wcs or distorted_wcs()
    place = local_wcs(lambda c, r: sky.all_pix2world(c, r, 0), x, y)[0]
    return cutout_bytes(image, variance, mask, psf=psf, wcs=place, size=size)


def opened(data: bytes) -> CCDData:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CCDData.read(io.BytesIO(data), format="fits")


def test_ccddata_reads_the_stamp_whole() -> None:
    image, variance, mask, psf = scene()
    ccd = opened(stamp(90.3, 99.8))
    x0, y0 = ccd.meta["CUTMINX"], ccd.meta["CUTMINY"]
    window = np.s_[y0 : y0 + 30, x0 : x0 + 30]
    assert ccd.unit == u.nJy
    assert isinstance(ccd.uncertainty, VarianceUncertainty)
    np.testing.assert_array_equal(ccd.data, image[window])
    np.testing.assert_array_equal(ccd.uncertainty.array, variance[window])
    np.testing.assert_array_equal(ccd.mask, (mask[window] & MaskPlane.SAT) != 0)
    assert ccd.psf.dtype == np.dtype(">f4")
    np.testing.assert_allclose(ccd.psf, psf / psf.sum(), rtol=1e-6, atol=1e-12)
    assert ccd.psf.sum(dtype=float) == pytest.approx(1, abs=1e-6)
    assert ccd.wcs.has_celestial


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(0, SHAPE[1] - 1),
    y=st.floats(0, SHAPE[0] - 1),
    size=st.integers(30, 102),
    dec=st.sampled_from([-32.3, 0.0, 88.5]),
    turn=st.floats(-180, 180),
)
def test_centre_of_the_wcs_is_the_source(x: float, y: float, size: int, dec: float, turn: float) -> None:
    sky = distorted_wcs(dec=dec, turn=turn)
    truth = SkyCoord(*sky.all_pix2world(x, y, 0), unit="deg")
    ccd = opened(stamp(x, y, size, sky))
    centre = ccd.wcs.pixel_to_world((size - 1) / 2, (size - 1) / 2)
    assert centre.separation(truth).arcsec < 0.2


def test_every_pixel_of_a_stamp_has_its_place_on_the_sky() -> None:
    sky = distorted_wcs()
    ccd = opened(stamp(40.2, 60.7, 41, sky))
    x0, y0 = ccd.meta["CUTMINX"], ccd.meta["CUTMINY"]
    rows, columns = np.mgrid[0:41, 0:41]
    truth = SkyCoord(*sky.all_pix2world(columns + x0, rows + y0, 0), unit="deg")
    assert ccd.wcs.pixel_to_world(columns, rows).separation(truth).arcsec.max() < 0.02


@pytest.mark.parametrize(("x", "y"), [(2.0, 150.0), (257.5, 4.0), (130.0, 299.0), (0.0, 0.0), (-200.0, 500.0)])
def test_beyond_the_edge_is_nan_and_masked(x: float, y: float) -> None:
    image, *_ = scene()
    ccd = opened(stamp(x, y))
    x0, y0 = ccd.meta["CUTMINX"], ccd.meta["CUTMINY"]
    rows, columns = np.mgrid[y0 : y0 + 30, x0 : x0 + 30]
    inside = (rows >= 0) & (rows < SHAPE[0]) & (columns >= 0) & (columns < SHAPE[1])
    assert (~inside).any()
    np.testing.assert_array_equal(np.isfinite(ccd.data), inside)
    np.testing.assert_array_equal(np.isfinite(ccd.uncertainty.array), inside)
    assert ccd.mask[~inside].all()
    np.testing.assert_array_equal(ccd.data[inside], image[rows[inside], columns[inside]])


def test_bytes_are_those_astropy_would_write() -> None:
    data = stamp(90.3, 99.8)
    with fits.open(io.BytesIO(data)) as hdus:
        hdus.verify("exception")
        again = io.BytesIO()
        hdus.writeto(again, checksum=False)
        names = [hdu.name for hdu in hdus]
        cards = {card for hdu in hdus for card in hdu.header}
    assert again.getvalue() == data
    assert names == ["PRIMARY", "UNCERT", "MASK", "PSFIMAGE"]
    assert not cards & {"DATE", "CHECKSUM", "DATASUM"}
    assert len(data) == 34_560


def test_first_header_block_shows_the_shape_as_brokers_expect() -> None:
    head = stamp(90.3, 99.8)[:2800]
    for card in (
        b"BITPIX  =                  -32",
        b"NAXIS1  =                   30",
        b"NAXIS2  =                   30",
    ):
        assert card in head


def test_mask_header_names_its_planes() -> None:
    with fits.open(io.BytesIO(stamp(90.3, 99.8))) as hdus:
        header, data = hdus["MASK"].header, hdus["MASK"].data
    assert data.dtype == np.uint8
    assert set(np.unique(data)) == {0, 1 << header["MP_SAT"]}
    assert [header[f"MP_{name}"[:8]] for name in STAMP_PLANES] == list(range(8))


def test_same_pixels_same_bytes_and_sizes() -> None:
    assert stamp(90.3, 99.8) == stamp(90.3, 99.8)
    assert [cutout_size(box) for box in (1, 30, 55, 400)] == [30, 30, 55, 102]


def test_nan_pixels_stay_nan() -> None:
    image, variance, mask, psf = scene()
    image[100, 90] = np.nan
    place = LocalWcs(x=90.0, y=100.0, ra=1.0, dec=2.0, cd=(-5e-5, 0.0, 0.0, 5e-5))
    ccd = opened(cutout_bytes(image, variance, mask, psf=psf, wcs=place, size=31))
    assert np.isnan(ccd.data[15, 15])
    assert np.isnan(ccd.data).sum() == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"variance": np.ones((3, 3))}, "differ in shape"),
        ({"size": 29}, "at least 30"),
        ({"psf": np.zeros((5, 5))}, "finite, positive sum"),
        ({"psf": np.full((5, 5), np.nan)}, "finite, positive sum"),
        ({"wcs": LocalWcs(x=9.0, y=9.0, ra=np.nan, dec=2.0, cd=(1.0, 0.0, 0.0, 1.0))}, "WCS"),
    ],
)
def test_what_cannot_be_a_stamp_is_refused(change: dict[str, Any], sentence: str) -> None:
    image, variance, mask, psf = scene()
    place = LocalWcs(x=9.0, y=9.0, ra=1.0, dec=2.0, cd=(-5e-5, 0.0, 0.0, 5e-5))
    arguments: dict[str, Any] = {
        "image": image,
        "variance": variance,
        "mask": mask,
        "psf": psf,
        "wcs": place,
        "size": 30,
    }
    arguments |= change
    with pytest.raises(CutoutError, match=sentence):
        cutout_bytes(arguments.pop("image"), arguments.pop("variance"), arguments.pop("mask"), **arguments)
