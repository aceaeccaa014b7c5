"""What measuring a detector's charge effects gives: masters near the truth, as arrays and as extensions of the masters' file."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from infra.telescope.charge import ChargeEffects
from schemas.raw import ChargeTransfer

__all__ = ["charge_hdus", "measured_effects"]

MASTER_ERROR = 0.01
"""Relative error of the masters of brighter-fatter effect and charge transfer, about what flats and their overscans give."""

MEASURED = ("loss", "trap_capacity", "trap_release", "offset_scale", "offset_decay")
"""Constants of charge transfer that have that error."""


def measured_effects(
    effects: ChargeEffects, random: np.random.Generator
) -> tuple[NDArray[np.float32] | None, ChargeTransfer | None]:
    """Return brighter-fatter kernel and charge transfer as they are measured: the truth to a percent; None where an effect is off."""
    kernel, transfer = None, effects.transfer
    if effects.brighter_fatter is not None:
        kernel = (effects.brighter_fatter.kernel() * random.normal(1.0, MASTER_ERROR)).astype(np.float32)
    if transfer is not None:
        shape = transfer.loss.shape
        measured = {name: getattr(transfer, name) * random.normal(1.0, MASTER_ERROR, shape) for name in MEASURED}
        transfer = replace(transfer, **measured)
    return kernel, transfer


def charge_hdus(kernel: NDArray[np.float32] | None, transfer: ChargeTransfer | None) -> list[Any]:
    """Return the extensions BRIGHTERFATTER and CHARGETRANSFER of what is there."""
    hdus: list[Any] = []
    if kernel is not None:
        hdus.append(fits.ImageHDU(kernel, name="BRIGHTERFATTER"))
    if transfer is not None:
        columns = {field.name: np.asarray(getattr(transfer, field.name)) for field in dataclasses.fields(transfer)}
        rows = np.zeros(len(transfer.loss), [(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            rows[name] = values
        hdus.append(fits.BinTableHDU(rows, name="CHARGETRANSFER"))
    return hdus
