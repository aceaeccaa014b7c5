"""Files of pixels: raw frames, master calibrations, templates and the reference catalogue, read from FITS.

PermanentFailure
└── FitsFileError            the bytes are no FITS file we understand
    ├── TruncatedFitsError   the file ends before its data do
    └── MissingHduError      an extension is not in the file
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from schemas.errors import PermanentFailure
from schemas.raw import AmplifierTable, ChargeTransfer, HeaderValue, MasterCalibrations, RawFile, RawHdu, TemplateImage

__all__ = [
    "FitsFileError",
    "MissingHduError",
    "TruncatedFitsError",
    "read_image",
    "read_masters",
    "read_raw",
    "read_refcat",
    "read_table",
    "read_template",
    "write_image",
]

UNITLESS = frozenset({"MASK", "SCORE", "PSF"})
"""Planes whose values have no unit."""

_GZIP_MAGIC = b"\x1f\x8b"


class FitsFileError(PermanentFailure):
    """The bytes are not a FITS file of the kind asked for."""

    code = "fits_file"


class TruncatedFitsError(FitsFileError):
    """The file ends before its data do."""

    code = "truncated_file"


class MissingHduError(FitsFileError):
    """An extension is not in the file."""

    code = "missing_hdu"


@contextmanager
def _opened(source: bytes | Path) -> Iterator[fits.HDUList]:
    """Open a whole FITS file, plain or gzipped, and check that none of its data are missing."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    name = "The file" if isinstance(source, bytes) else f"The file {source.name}"
    try:
        if data[:2] == _GZIP_MAGIC:
            data = gzip.decompress(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(io.BytesIO(data), lazy_load_hdus=False, memmap=False) as hdus:
                _check_length(hdus, data, name)
                yield hdus
    except FitsFileError as error:
        if isinstance(source, bytes) or source.name in str(error):
            raise
        raise type(error)(f"{source.name}: {error}") from error
    except (EOFError, zlib.error) as error:
        raise TruncatedFitsError(f"{name} is a gzip file that ends too early.") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
        raise FitsFileError(f"{name} cannot be read as FITS: {_first_sentence(error)}.") from error


def _first_sentence(error: Exception) -> str:
    """What went wrong, without the advice for programmers that follows it."""
    return str(error).split(". ")[0].strip().rstrip(".")


def _check_length(hdus: fits.HDUList, data: bytes, name: str) -> None:
    """Refuse a file whose last data are short, or that ends in a header cut short (astropy leaves that one out)."""
    end = 0
    for hdu in hdus:
        place = hdu.fileinfo()
        end = place["datLoc"] + place["datSpan"]
        if end > len(data):
            raise TruncatedFitsError(f"{name} ends before the data of its extension {hdu.name or 'PRIMARY'}.")
    if data[end:].strip(b"\0"):
        raise TruncatedFitsError(f"{name} ends within the header that follows {hdus[-1].name or 'PRIMARY'}.")


def _values(header: fits.Header) -> dict[str, HeaderValue]:
    """Cards with a value, in the order of the file."""
    kept = (str, int, float, bool)
    return {
        key: header[key] for key in header if key not in ("COMMENT", "HISTORY", "") and isinstance(header[key], kept)
    }


def _native(array: Any, dtype: Any = None) -> NDArray[Any]:
    """Copy into a C-contiguous array of the machine's byte order."""
    wanted = np.dtype(dtype) if dtype is not None else array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=wanted)


def _required(hdus: fits.HDUList, name: str) -> Any:
    if name not in hdus or hdus[name].data is None:
        raise MissingHduError(f"The file has no extension {name}.")
    return hdus[name]


def read_raw(source: bytes | Path) -> RawFile:
    """Read a raw frame: every image of the file is an amplifier; a lone image may be the primary HDU.

    An amplifier's name is its EXTNAME, else AMPID, else its place in the file.

    Raises
    ------
    TruncatedFitsError
        When the file ends too early.
    FitsFileError
        When it is not FITS.
    """
    with _opened(source) as hdus:
        amplifiers = []
        for index, hdu in enumerate(hdus):
            if isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) and hdu.data is not None:
                header = _values(hdu.header)
                name = str(header.get("EXTNAME", header.get("AMPID", f"HDU{index}"))).strip()
                if hdu.data.ndim != 2:
                    raise FitsFileError(f"The extension {name} is not a two-dimensional image.")
                amplifiers.append(RawHdu(name=name, header=header, data=_native(hdu.data)))
        return RawFile(header=_values(hdus[0].header), hdus=tuple(amplifiers))


def read_masters(source: bytes | Path) -> MasterCalibrations:
    """Read the master calibrations of one detector; an absent extension gives None.

    Raises
    ------
    FitsFileError
        When the file is truncated or not FITS.
    """
    with _opened(source) as hdus:

        def image(name: str, dtype: Any) -> NDArray[Any] | None:
            return _native(hdus[name].data, dtype) if name in hdus and hdus[name].data is not None else None

        flats = {
            hdu.name.removeprefix("FLAT-").lower(): _native(hdu.data, np.float32)
            for hdu in hdus
            if hdu.name.startswith("FLAT-") and hdu.data is not None
        }
        return MasterCalibrations(
            bias=image("BIAS", np.float32),
            dark=image("DARK", np.float32),
            flats=flats,
            defects=image("DEFECTS", np.uint8),
            amplifiers=_amplifiers(hdus["AMPLIFIERS"].data) if "AMPLIFIERS" in hdus else None,
            crosstalk=image("CROSSTALK", np.float32),
            brighter_fatter=image("BRIGHTERFATTER", np.float32),
            charge_transfer=_transfer(hdus["CHARGETRANSFER"].data) if "CHARGETRANSFER" in hdus else None,
        )


def _transfer(rows: Any) -> ChargeTransfer:
    """Read a table with a column for each constant and a row for each amplifier, in the order of AMPLIFIERS."""
    types = {field.name: np.int64 if field.name == "trap_column" else np.float64 for field in fields(ChargeTransfer)}
    return ChargeTransfer(**{name: _native(rows[name], dtype) for name, dtype in types.items()})


def _amplifiers(rows: Any) -> AmplifierTable:
    return AmplifierTable(
        names=tuple(str(name).strip() for name in rows["name"]),
        gain=_native(rows["gain"], np.float64),
        read_noise=_native(rows["read_noise"], np.float64),
        saturation=_native(rows["saturation"], np.float64),
        linearity=np.column_stack([_native(rows[name], np.float64) for name in ("lin1", "lin2")]),
    )


def read_template(source: bytes | Path) -> TemplateImage:
    """Read a template.

    Raises
    ------
    MissingHduError
        When IMAGE, VARIANCE, MASK or PSF is missing.
    FitsFileError
        When the file is truncated or not FITS, or its header lacks a card.
    """
    with _opened(source) as hdus:
        image = _required(hdus, "IMAGE")
        header = _values(image.header)
        airmass = float(header["AIRMASS"])
        return TemplateImage(
            image=_native(image.data, np.float32),
            variance=_native(_required(hdus, "VARIANCE").data, np.float32),
            mask=_native(_required(hdus, "MASK").data, np.uint16),
            psf=_native(_required(hdus, "PSF").data, np.float32),
            header=header,
            band=str(header["BAND"]),
            airmass=airmass,
            airmass_range=(float(header.get("AIRMMIN", airmass)), float(header.get("AIRMMAX", airmass))),
            n_epochs=int(header["NEPOCHS"]),
            noise_factor=_positive(header.get("NOISEFAC", 1.0)),
        )


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError(f"NOISEFAC is {number}, which no noise has")
    return number


def read_table(source: bytes | Path) -> NDArray[np.void]:
    """Read the first table of a FITS file as a structured array of the machine's byte order.

    Raises
    ------
    MissingHduError
        When there is no table.
    FitsFileError
        When the file is truncated or not FITS.
    """
    with _opened(source) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        if not tables:
            raise MissingHduError("The file has no table.")
        data = tables[0].data
        columns = {name: _column(np.asarray(data[name])) for name in data.names}
        rows = np.zeros(len(data), [(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            rows[name] = values
        return rows


def _column(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_refcat(source: bytes | Path) -> NDArray[np.void]:
    """Read a reference catalogue: ``read_table`` with its columns checked.

    Raises
    ------
    FitsFileError
        When a column that every reader needs is missing, or the file is damaged.
    """
    rows = read_table(source)
    needed = ("id", "ra", "dec", "pmra", "pmdec", "epoch_mjd", "isStar")
    missing = [name for name in needed if name not in (rows.dtype.names or ())]
    if missing:
        raise FitsFileError(f"The reference catalogue lacks the columns {', '.join(missing)}.")
    return rows


def read_image(source: bytes | Path) -> tuple[dict[str, HeaderValue], dict[str, NDArray[Any]]]:
    """Read every image of a file by its EXTNAME (PRIMARY for the first), with the cards of the first image.

    Raises
    ------
    FitsFileError
        When the file is truncated, not FITS, or has no image.
    """
    with _opened(source) as hdus:
        images = {hdu.name or f"HDU{k}": hdu for k, hdu in enumerate(hdus) if getattr(hdu, "is_image", False)}
        filled = {name: hdu for name, hdu in images.items() if hdu.data is not None}
        if not filled:
            raise MissingHduError("The file has no image.")
        first = next(iter(filled.values()))
        header = {**_values(hdus[0].header), **_values(first.header)}
        return header, {name: _native(hdu.data) for name, hdu in filled.items()}


def write_image(
    header: Mapping[str, HeaderValue], images: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[np.void]]
) -> bytes:
    """Encode images and tables as FITS; every image carries ``header``, BUNIT after its name. The same input gives the same bytes."""
    hdus: list[Any] = [fits.PrimaryHDU()]
    hdus += [fits.ImageHDU(data=data, header=_cards(header, name), name=name) for name, data in images.items()]
    hdus += [fits.BinTableHDU(data=rows, name=name) for name, rows in tables.items()]
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out)
    return out.getvalue()


def _cards(header: Mapping[str, HeaderValue], name: str) -> fits.Header:
    """Cards of one plane; a variance has the square of the unit, masks and signal-to-noise ratios have none."""
    cards = fits.Header()
    for key, value in header.items():
        if key == "BUNIT" and name in UNITLESS:
            continue
        cards[key] = f"{value}2" if key == "BUNIT" and name == "VARIANCE" else value
    return cards
