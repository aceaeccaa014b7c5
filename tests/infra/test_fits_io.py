"""Files of pixels: what is read back, and a typed error for every kind of damage."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.units import Unit

from infra.fits_io import (
    FitsFileError,
    MissingHduError,
    TruncatedFitsError,
    read_image,
    read_masters,
    read_raw,
    read_refcat,
    read_table,
    read_template,
    write_image,
)

SAMPLE = Path(__file__).parent.parent / "data/images/imsim_85751839_R23_S11_C00_E000.fits.gz"


def encode(*hdus: object) -> bytes:
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(out)
    return out.getvalue()


def image(name: str, array: np.ndarray, **cards: object) -> fits.ImageHDU:
    hdu = fits.ImageHDU(array, name=name)
    hdu.header.update(cards)
    return hdu


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65535, (50, 60)).astype(np.uint16)


def test_a_raw_file_is_read_as_it_is(pixels: np.ndarray, tmp_path: Path) -> None:
    data = encode(image("C00", pixels, GAIN=1.5, DATASEC="[1:60,1:50]"), image("C01", pixels + 1))
    path = tmp_path / "raw.fits"
    path.write_bytes(data)
    for source in (data, path, gzip.compress(data)):
        raw = read_raw(source)
        assert [hdu.name for hdu in raw.hdus] == ["C00", "C01"]
        assert raw.hdus[0].header["GAIN"] == 1.5
        assert raw.hdus[0].data.dtype == np.uint16
        assert raw.hdus[0].data.flags.c_contiguous
        np.testing.assert_array_equal(raw.hdus[0].data, pixels)


def test_a_lone_image_in_the_primary_hdu_is_an_amplifier() -> None:
    raw = read_raw(SAMPLE)
    assert len(raw.hdus) == 1
    assert raw.hdus[0].name == "C00"
    assert raw.hdus[0].data.shape == (2001, 513)
    assert raw.header["RDNOISE"] == pytest.approx(3.4295060868)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_named_so(pixels: np.ndarray, share: float) -> None:
    data = encode(image("C00", pixels), image("C01", pixels))
    with pytest.raises(FitsFileError):
        read_raw(data[: int(len(data) * share)])
    cut = len(data) - 5000
    with pytest.raises(TruncatedFitsError, match="C01"):
        read_raw(data[:cut])
    with pytest.raises(TruncatedFitsError):
        read_raw(gzip.compress(data)[:-2000])
    assert not TruncatedFitsError.retriable


@pytest.mark.parametrize("data", [b"", b"SIMPLE", b"not a FITS file" * 1000, bytes(2880)])
def test_what_is_not_fits_is_refused(data: bytes) -> None:
    with pytest.raises(FitsFileError):
        read_raw(data)


def test_masters_may_carry_charge_effects() -> None:
    names = ("loss", "trap_capacity", "trap_share", "trap_release", "offset_scale", "offset_limit", "offset_decay")
    table = np.zeros(2, [("trap_column", "i4"), *((name, "f8") for name in names)])
    table["trap_column"], table["loss"], table["offset_decay"] = [7, 9], [1e-6, 2e-6], 1.5
    kernel = np.full((3, 3), 1e-6, np.float32)
    masters = read_masters(encode(image("BRIGHTERFATTER", kernel), fits.BinTableHDU(table, name="CHARGETRANSFER")))
    np.testing.assert_array_equal(masters.brighter_fatter, kernel)
    assert masters.charge_transfer is not None
    assert masters.charge_transfer.trap_column.tolist() == [7, 9]
    assert masters.charge_transfer.loss.tolist() == [1e-6, 2e-6]
    assert masters.charge_transfer.loss.dtype == np.float64
    assert read_masters(encode(image("BIAS", kernel))).charge_transfer is None


def test_masters_may_be_incomplete() -> None:
    table = np.zeros(2, [("name", "U3"), *((n, "f8") for n in ("gain", "read_noise", "saturation", "lin1", "lin2"))])
    table["name"], table["gain"], table["lin1"] = ["C00", "C01"], [1.1, 1.2], 3e-7
    flat = np.ones((4, 5), np.float32)
    masters = read_masters(encode(image("FLAT-r", flat), fits.BinTableHDU(table, name="AMPLIFIERS")))
    assert masters.bias is None
    assert masters.crosstalk is None
    assert list(masters.flats) == ["r"]
    np.testing.assert_array_equal(masters.flats["r"], flat)
    assert masters.amplifiers is not None
    assert masters.amplifiers.names == ("C00", "C01")
    np.testing.assert_array_equal(masters.amplifiers.linearity, [[3e-7, 0], [3e-7, 0]])


def test_a_template_needs_all_its_planes() -> None:
    array = np.ones((4, 5), np.float32)
    cards = {"BAND": "r", "AIRMASS": 1.2, "AIRMMIN": 1.0, "AIRMMAX": 1.3, "NEPOCHS": 4}
    planes = [image("IMAGE", array, **cards), image("VARIANCE", array), image("MASK", array.astype(np.uint16))]
    template = read_template(encode(*planes, image("PSF", np.ones((3, 3), np.float32) / 9)))
    assert (template.band, template.airmass_range, template.n_epochs) == ("r", (1.0, 1.3), 4)
    assert template.mask.dtype == np.uint16
    with pytest.raises(MissingHduError, match="PSF"):
        read_template(encode(*planes))
    with pytest.raises(FitsFileError):
        read_template(encode(image("IMAGE", array), *planes[1:], image("PSF", array[:3, :3])))


def test_a_catalogue_is_checked_for_its_columns() -> None:
    names = ("ra", "dec", "pmra", "pmdec", "epoch_mjd", "flux_r")
    rows = np.zeros(3, [("id", "i8"), *((n, "f8") for n in names), ("isStar", "?")])
    rows["id"], rows["isStar"] = [2**60 + 1, 2, 3], [True, False, True]
    read = read_refcat(encode(fits.BinTableHDU(rows)))
    assert read["id"][0] == 2**60 + 1
    assert read["isStar"].dtype == bool
    assert all(read.dtype[n].isnative for n in read.dtype.names)
    with pytest.raises(FitsFileError, match="pmra"):
        read_refcat(encode(fits.BinTableHDU(rows[["id", "ra", "dec"]])))
    with pytest.raises(MissingHduError):
        read_table(encode())


def test_written_images_come_back_and_are_the_same_bytes_each_time() -> None:
    planes = {"IMAGE": np.eye(5, dtype=np.float32), "MASK": np.full((5, 5), 40000, np.uint16)}
    tables = {"SOURCES": np.zeros(2, [("x", "f8"), ("reference", "i8")])}
    data = write_image({"FILTER": "r", "CRVAL1": 1.25}, planes, tables)
    assert data == write_image({"FILTER": "r", "CRVAL1": 1.25}, planes, tables)
    header, images = read_image(data)
    assert header["FILTER"] == "r"
    np.testing.assert_array_equal(images["MASK"], planes["MASK"])
    assert images["IMAGE"].dtype.isnative
    assert len(read_table(data)) == 2
    assert b"CHECKSUM" not in data
    with pytest.raises(MissingHduError):
        read_image(write_image({}, {}, tables))


def test_each_plane_has_its_own_unit() -> None:
    planes = {name: np.ones((2, 3), np.float32) for name in ("IMAGE", "VARIANCE", "MASK", "SCORE")}
    with fits.open(io.BytesIO(write_image({"BUNIT": "nJy", "BAND": "r"}, planes, {}))) as hdus:
        units = [hdu.header.get("BUNIT") for hdu in hdus[1:]]
        assert [hdu.header["BAND"] for hdu in hdus[1:]] == ["r"] * 4
    assert units == ["nJy", "nJy2", None, None]
    assert Unit(units[1]) == Unit("nJy") ** 2
