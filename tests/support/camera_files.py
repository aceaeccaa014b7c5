"""Files as a camera leaves them, made with astropy alone."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits

__all__ = ["put_exposure", "raw_fits"]


def raw_fits(exposure: int, detector: int, *, amplifiers: int = 2) -> bytes:
    """Return a small raw file."""
    primary = fits.PrimaryHDU()
    for key, value in {"EXPID": exposure, "DETECTOR": detector, "FILTER": "r", "EXPTIME": 3.5}.items():
        primary.header[key] = value
    images = [fits.ImageHDU(np.full((8, 9), detector + a, np.uint16), name=f"C{a:02d}") for a in range(amplifiers)]
    stream = io.BytesIO()
    fits.HDUList([primary, *images]).writeto(stream)
    return stream.getvalue()


def put_exposure(buffer: Path, exposure: int, files: Mapping[int, bytes], *, complete: bool = True) -> Path:
    """Write an exposure's files with their checksums, then the marker of completeness; return its folder."""
    folder = buffer / str(exposure)
    folder.mkdir(parents=True, exist_ok=True)
    for detector, data in files.items():
        path = folder / f"{exposure}-{detector:03d}.fits"
        path.write_bytes(data)
        path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")
    if complete:
        (folder / "complete.json").write_text(json.dumps({}))
    return folder
