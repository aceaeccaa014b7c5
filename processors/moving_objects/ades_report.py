"""Our detections as observations of ADES."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.ades import AdesBlock, ContextGroup
from processors.moving_objects.detections import BANDS

__all__ = ["NAME_COLUMNS", "observation_block", "utc_texts"]

NAME_COLUMNS = ("trkSub", "provID", "permID")
"""Where the name of an object may stand: our own, provisional, or permanent."""

_MJD_ZERO_JD = 2400000.5


def utc_texts(mjd_tai: NDArray[Any]) -> list[str]:
    """Return TAI times as UTC of ISO 8601 with milliseconds and Z; leap seconds are written as second 60."""
    with warnings.catch_warnings():
        # ERFA calls years far from its own release dubious, since leap seconds may come.
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        days = erfa.taiutc(_MJD_ZERO_JD, np.asarray(mjd_tai, np.float64))
        years, months, dates, times = erfa.d2dtf("UTC", 3, *days)
    return [
        f"{y:04d}-{m:02d}-{d:02d}T{t['h']:02d}:{t['m']:02d}:{t['s']:02d}.{t['f']:03d}Z"
        for y, m, d, t in zip(years, months, dates, times, strict=True)
    ]


def observation_block(
    detections: NDArray[Any],
    names: Sequence[str],
    *,
    context: Sequence[ContextGroup],
    station: str,
    name_column: str = "trkSub",
    catalogue: str = "Gaia3",
) -> AdesBlock:
    """Return a block of detections, one observation each, in order of name and time.

    Parameters
    ----------
    detections
        Rows of dtype ``detections.DETECTION``; a magnitude that is NaN is left out.
    names
        Name of the object of each row.
    context
        Observatory, submitter, measurers, telescope: who observed.
    station
        Code of the observatory.
    name_column
        One of ``NAME_COLUMNS``.
    catalogue
        Star catalogue of positions and magnitudes.
    """
    times = utc_texts(detections["midpoint_mjd_tai"])
    order = sorted(range(len(detections)), key=lambda k: (names[k], times[k], int(detections["detection_id"][k])))
    fixed = {"mode": "CCD", "stn": station, "astCat": catalogue}
    records = [{name_column: names[k], **fixed, "obsTime": times[k], **_cells(detections[k], catalogue)} for k in order]
    return AdesBlock.of(context, records)


def _cells(row: Any, catalogue: str) -> dict[str, str]:
    # A right ascension just below 360 must not be rounded up to it.
    ra = f"{float(row['ra']):.8f}"
    cells = {
        "ra": "0.00000000" if ra == "360.00000000" else ra,
        "dec": f"{float(row['dec']):.8f}",
        "rmsRA": f"{float(row['ra_err_arcsec']):.4f}",
        "rmsDec": f"{float(row['dec_err_arcsec']):.4f}",
    }
    if np.isfinite(row["mag"]):
        cells |= {"mag": f"{float(row['mag']):.3f}", "band": "L" + BANDS[int(row["band"])], "photCat": catalogue}
        if np.isfinite(row["mag_err"]) and row["mag_err"] > 0.0:
            cells["rmsMag"] = f"{max(float(row['mag_err']), 0.001):.3f}"
    return cells
