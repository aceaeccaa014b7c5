"""A plain reduction of raw files, written from the FITS conventions alone, to judge what the simulated camera writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

__all__ = ["reduce_raw", "section"]


def section(text: str) -> tuple[int, int, int, int]:
    """Return the four numbers of a FITS section."""
    across, upward = text.strip("[]").split(",")
    (x0, x1), (y0, y1) = ((int(n) for n in part.split(":")) for part in (across, upward))
    return x0, x1, y0, y1


def reduce_raw(raw: Path, masters: Path, band: str) -> NDArray[np.float64]:
    """Return electrons of light per pixel of the trimmed CCD."""
    with fits.open(raw) as file, fits.open(masters) as master:
        amplifiers: list[Any] = list(file[1:])
        width, height = section(amplifiers[0].header["DETSIZE"])[1::2]
        signals = []
        for hdu in amplifiers:
            first, last, _, _ = section(hdu.header["BIASSEC"])
            data = hdu.data.astype(np.float64)
            signals.append(data - data[:, first + 3 : last].mean(axis=1, keepdims=True))
        stack = np.array(signals)
        stack = stack - np.tensordot(master["CROSSTALK"].data.astype(np.float64), stack, 1)
        image = np.zeros((height, width))
        for hdu, signal, row in zip(amplifiers, stack, master["AMPLIFIERS"].data, strict=True):
            x0, x1, y0, y1 = section(hdu.header["DATASEC"])
            a0, a1, b0, b1 = section(hdu.header["DETSEC"])
            part = signal[y0 - 1 : y1, x0 - 1 : x1][:: -1 if b0 > b1 else 1, :: -1 if a0 > a1 else 1]
            box = slice(min(b0, b1) - 1, max(b0, b1)), slice(min(a0, a1) - 1, max(a0, a1))
            adu = part - master["BIAS"].data[box]
            image[box] = adu * (1 + row["lin1"] * adu + row["lin2"] * adu**2) * row["gain"]
        seconds = float(file[0].header["EXPTIME"])
        return (image - seconds * master["DARK"].data) / master[f"FLAT-{band}"].data
