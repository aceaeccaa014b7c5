"""Rows of detections in the search for moving objects: what a survey, simulated or real, hands to DayMOPS."""

from __future__ import annotations

import numpy as np

__all__ = ["DETECTION"]

DETECTION = np.dtype(
    [
        ("detection_id", "<i8"),
        ("visit", "<i8"),
        ("midpoint_mjd_tai", "<f8"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("ra_err_arcsec", "<f4"),
        ("dec_err_arcsec", "<f4"),
        ("mag", "<f4"),
        ("mag_err", "<f4"),
        ("band", "u1"),
        ("trail_length_arcsec", "<f4"),
        ("trail_angle_deg", "<f4"),
    ]
)
"""One detection: degrees ICRS; errors are sigmas on the great circle; mag NaN where unknown; trail length 0 where there is no
trail, its angle east of north modulo 180 degrees."""
