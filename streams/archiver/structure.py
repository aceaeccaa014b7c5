"""A look at a raw file's structure without reading its pixels: its primary header, and whether its units are all there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from astropy.io import fits

__all__ = ["STRUCTURE_KEY", "describe"]

BLOCK = 2880
"""Bytes of a FITS block (FITS standard 4.0, section 3.1)."""

STRUCTURE_KEY = "STRUCTURE"
"""Name under which a header map carries what is wrong with the file; absent where nothing is."""


def describe(data: bytes) -> Mapping[str, str]:
    """Return the cards of the primary header as text, with what is wrong with the file under `STRUCTURE_KEY`.

    Empty, truncated and other broken files give a map too: bytes are archived as they are.
    """
    cards: dict[str, str] = {}
    end, problem = 0, ""
    for header, length in _headers(data):
        if end == 0:
            cards = {k: str(v) for k, v in header.items() if k and k not in {"COMMENT", "HISTORY"}}
        end = length
    if end == 0:
        problem = "no FITS header"
    elif end > len(data):
        problem = f"truncated: {len(data)} bytes of at least {end}"
    return cards | ({STRUCTURE_KEY: problem} if problem else {})


def _headers(data: bytes) -> Iterator[tuple[fits.Header, int]]:
    """Yield each header with where its unit ends by what the header says."""
    start = 0
    while start < len(data):
        header, size = _header_at(data, start)
        if header is None:
            if start > 0:
                yield fits.Header(), len(data) + BLOCK
            return
        start += size + _padded(_data_bytes(header))
        yield header, start


def _header_at(data: bytes, start: int) -> tuple[fits.Header | None, int]:
    for stop in range(start + BLOCK, len(data) + 1, BLOCK):
        block = data[stop - BLOCK : stop]
        if any(block[i : i + 8] == b"END     " for i in range(0, BLOCK, 80)):
            try:
                return fits.Header.fromstring(data[start:stop].decode("ascii")), stop - start
            except (UnicodeDecodeError, ValueError, fits.VerifyError):
                return None, 0
    return None, 0


def _data_bytes(header: fits.Header) -> int:
    try:
        axes = [int(header[f"NAXIS{n + 1}"]) for n in range(int(header.get("NAXIS", 0)))]
        groups, parameters = int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
        return abs(int(header.get("BITPIX", 8))) // 8 * groups * (parameters + prod(axes)) if axes else 0
    except (KeyError, ValueError, TypeError, fits.VerifyError):
        return 0


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
