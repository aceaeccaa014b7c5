"""Deferred charge: undo what serial read-out does to a row of an amplifier, in the reverse order of its three parts.

The model is that of `schemas.raw.ChargeTransfer` (after Snyder et al. 2021). Every part gives a pixel from the pixels read before
it, so each can be undone pixel by pixel along the row, exactly: nothing is iterated and no charge is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import InvalidCalibrationError, WrongShapeError
from schemas.raw import ChargeTransfer

__all__ = ["TransferTables", "restore_row", "restore_rows", "transfer_tables"]

LATEST = 3
"""Pixels by which late charge can be late: at 500 transfers of 1e-5 a later arrival has a share of 1e-10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferTables:
    """A `ChargeTransfer` as `restore_row` wants it; no rows where charge transfer is not corrected."""

    late: NDArray[np.float64]
    """Shape (amplifiers, columns, `LATEST` + 1): one over the share of a column's charge that arrives in its own pixel; then the
    shares that arrive 1, 2, 3 pixels late."""
    traps: NDArray[np.float64]
    """Shape (amplifiers, 4): column, capacity, share, part kept from one pixel to the next."""
    offsets: NDArray[np.float64]
    """Shape (amplifiers, 3): scale, limit, part kept from one pixel to the next."""

    @classmethod
    def none(cls) -> TransferTables:
        """Return tables that correct nothing."""
        return cls(late=np.zeros((0, 1, LATEST + 1)), traps=np.zeros((0, 4)), offsets=np.zeros((0, 3)))


def transfer_tables(
    transfer: ChargeTransfer, order: Sequence[int], prescans: Sequence[int], columns: int
) -> TransferTables:
    """Tabulate charge transfer for a frame's amplifiers.

    Parameters
    ----------
    transfer
        One value an amplifier.
    order
        Row of ``transfer`` for each amplifier of the frame.
    prescans
        Columns read before the first imaging column, for each amplifier of the frame.
    columns
        Imaging columns of an amplifier.

    Raises
    ------
    WrongShapeError
        When an array lacks an amplifier.
    InvalidCalibrationError
        When a value cannot be that of an amplifier.
    """
    _check(transfer, max(order, default=-1) + 1)
    rows = list(order)
    transfers = np.asarray(prescans)[:, None] + 1.0 + np.arange(columns)
    traps = (transfer.trap_column, transfer.trap_capacity, transfer.trap_share, np.exp(-1 / transfer.trap_release))
    offsets = (transfer.offset_scale, transfer.offset_limit, np.exp(-1 / transfer.offset_decay))
    return TransferTables(
        late=_late_shares(transfer.loss[rows][:, None], transfers),
        traps=np.column_stack(traps)[rows].astype(np.float64),
        offsets=np.column_stack(offsets)[rows],
    )


def _check(transfer: ChargeTransfer, count: int) -> None:
    t = transfer
    limited = ((t.loss, 0.1), (t.trap_share, 1.0), (t.offset_scale, 1.0))
    positive = (t.trap_release, t.offset_decay)
    free = (t.trap_column, t.trap_capacity, t.offset_limit)
    if min(len(a) for a in (*(a for a, _ in limited), *positive, *free)) < count:
        raise WrongShapeError("The charge transfer lacks an amplifier of the frame.")
    good = all(np.all((a >= 0) & (a < limit)) for a, limit in limited)
    good = good and all(np.all(a > 0) for a in positive) and all(np.all(a >= 0) for a in free)
    if not good:
        raise InvalidCalibrationError("The charge transfer holds values that no amplifier can have.")


def _late_shares(loss: NDArray[np.float64], transfers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative binomial shares of late charge as in `TransferTables`; the last one takes the rest."""
    shares = np.empty((*transfers.shape, LATEST + 1))
    shares[..., 0] = (1 - loss) ** transfers
    for k in range(1, LATEST):
        shares[..., k] = shares[..., k - 1] * (transfers + k - 1) / k * loss
    shares[..., LATEST] = 1 - shares[..., :LATEST].sum(axis=-1)
    shares[..., 0] = 1 / shares[..., 0]
    return shares


@numba.njit(cache=True)
def restore_row(
    row: NDArray[np.float32], late: NDArray[np.float64], trap: NDArray[np.float64], offset: NDArray[np.float64]
) -> None:
    """Give the charge of one row back to the pixels that it came from, in place.

    Parameters
    ----------
    row
        Electrons in read-out order, from the first imaging column.
    late, trap, offset
        An amplifier's part of `TransferTables`.
    """
    column, capacity, share, keep = trap[0], trap[1], trap[2], trap[3]
    memory, held = 0.0, 0.0
    late1, late2, late3, next2, next3 = 0.0, 0.0, 0.0, 0.0, 0.0
    last3 = 0.0
    scale, limit, fade = offset[0], offset[1], offset[2]
    trapped = capacity > 0
    for x in range(row.shape[0]):
        added = memory * fade
        arrived = row[x] - added
        memory = max(scale * min(arrived, limit), added)
        sent = (arrived - late1 - late2 - late3) * late[x, 0]
        late1, late2, late3 = sent * late[x, 1], next2, next3
        next2, next3, last3 = sent * late[x, 2], last3, sent * late[x, 3]
        if trapped and x >= column:
            released = held * (1.0 - keep)
            held -= released
            met = _before_trap(sent, held, share, capacity)
            held += met - sent
            sent = met - released
        row[x] = sent


@numba.njit(cache=True)
def _before_trap(left: float, held: float, share: float, capacity: float) -> float:
    """Charge that a trap met, given what it left of it and what it held before."""
    if min(share * left, capacity) <= held:
        return left
    met = (left - held) / (1.0 - share)
    return met if share * met <= capacity else left + capacity - held


@numba.njit(cache=True)
def restore_rows(
    rows: NDArray[np.float32], late: NDArray[np.float64], trap: NDArray[np.float64], offset: NDArray[np.float64]
) -> None:
    """Restore every row of an amplifier in place; see `restore_row`."""
    for y in range(rows.shape[0]):
        restore_row(rows[y], late, trap, offset)
