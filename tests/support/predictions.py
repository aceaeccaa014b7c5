"""Predictions of moving objects for tests of what uses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.association.decide import Predicted
from schemas.predictions import predicted_rows, ss_object_id_of
from schemas.public_avro import encode_record

Array = np.ndarray[Any, Any]


def mpc_orbit(number: int) -> bytes:
    """Return an encoded mpc_orbits record."""
    name = f"2026 AA{number}"
    return encode_record(
        {
            "id": number,
            "designation": name,
            "packed_primary_provisional_designation": f"K26A{number:02d}A",
            "unpacked_primary_provisional_designation": name,
            "a": 2.5,
        },
        "mpc_orbits",
    )


def predicted(ra: Any, dec: Any, *, mjd: float, rates: tuple[float, float] = (0.0, 0.0), **columns: Any) -> Predicted:
    """Return predictions at positions in degrees; rates in degrees per day, eastward ones with cos(dec) in them."""
    rows = predicted_rows(len(np.atleast_1d(ra)))
    rows["ephRa"], rows["ephDec"] = ra, dec
    rows["ephRateRa"], rows["ephRateDec"] = rates
    rows["ssObjectId"] = [ss_object_id_of(f"K26A{number:02d}A") for number in range(len(rows))]
    for name, values in columns.items():
        rows[name] = values
    return Predicted(rows=rows, mjd_tai=mjd, mpc_orbits=tuple(mpc_orbit(number) for number in range(len(rows))))
