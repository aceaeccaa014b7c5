"""Deferred charge: what the simulated register does to a row comes undone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.telescope.charge import defer_charge
from processors.single_frame.charge_transfer import restore_rows, transfer_tables
from processors.single_frame.errors import InvalidCalibrationError, WrongShapeError
from processors.single_frame.frames import RawAmplifier, RawFrame, Section
from processors.single_frame.isr import correct
from schemas.camera import Amplifier
from schemas.raw import AmplifierTable, ChargeTransfer, MasterCalibrations
from tests.processors.single_frame.test_isr import EXPOSURE

COLUMNS, PRESCAN, OVERSCAN = 300, 5, 40
IDEAL = {
    "loss": 0.0,
    "trap_column": 40,
    "trap_capacity": 0.0,
    "trap_share": 0.05,
    "trap_release": 2.5,
    "offset_scale": 0.0,
    "offset_limit": 50_000.0,
    "offset_decay": 2.0,
}
PARTS = {
    "loss": {"loss": 2e-5},
    "trap": {"trap_capacity": 60.0},
    "offset": {"offset_scale": 3e-4},
    "all": {"loss": 2e-5, "trap_capacity": 60.0, "offset_scale": 3e-4},
}


def constants(**values: float) -> ChargeTransfer:
    return ChargeTransfer(**{name: np.array([value]) for name, value in (IDEAL | values).items()})


def amplifier(flip: bool = False) -> Amplifier:
    return Amplifier(
        name="A",
        box=(0, 0, COLUMNS, 64),
        flip_x=flip,
        flip_y=False,
        prescan=PRESCAN,
        serial_overscan=OVERSCAN,
        parallel_overscan=0,
    )


def stars_in_rows() -> NDArray[np.float32]:
    rng = np.random.default_rng(11)
    rows = rng.poisson(400, (64, COLUMNS)).astype(np.float32)
    for row in rows:
        row[rng.integers(5, COLUMNS - 5, 6)] += 10 ** rng.uniform(2, 4.8, 6)
    return rows


def restored(rows: NDArray[np.float32], transfer: ChargeTransfer) -> NDArray[np.float32]:
    tables = transfer_tables(transfer, [0], [PRESCAN], rows.shape[1])
    out = rows.copy()
    restore_rows(out, tables.late[0], tables.traps[0], tables.offsets[0])
    return out


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_and_all_together_come_undone(part: str) -> None:
    rows, transfer = stars_in_rows(), constants(**PARTS[part])
    read = defer_charge(rows, transfer, 0, amplifier())[:, :COLUMNS]
    assert np.abs(read - rows).max() > 5
    assert np.abs(restored(read, transfer) - rows).max() < 0.02


def test_no_charge_effect_changes_nothing() -> None:
    rows = stars_in_rows()
    np.testing.assert_allclose(restored(rows, constants()), rows, rtol=1e-6)


def test_read_noise_grows_by_no_more_than_the_share_that_the_trap_can_reach() -> None:
    rng = np.random.default_rng(12)
    rows, transfer = stars_in_rows(), constants(**PARTS["all"])
    noise = rng.normal(0, 7, rows.shape).astype(np.float32)
    residual = restored(defer_charge(rows, transfer, 0, amplifier())[:, :COLUMNS] + noise, transfer) - rows
    assert 6.9 < residual.std() < 7 * 1.055
    assert abs(residual.mean()) < 0.2


@pytest.mark.parametrize("flip", [False, True])
def test_a_corrected_frame_has_no_tails_in_either_direction_of_read_out(flip: bool) -> None:
    transfer, light = constants(**PARTS["all"]), np.full((64, COLUMNS), 400.0, np.float32)
    light[:, 60::50] = 30_000.0
    frame, masters = frame_of(light, transfer, flip)
    after = np.arange(60, COLUMNS, 50) + 1
    truth = light[:, ::-1] if flip else light
    place = COLUMNS - 1 - after if flip else after
    kept = correct(frame, masters, skip={"bias", "dark", "flat", "defects", "crosstalk", "charge_transfer"})
    done = correct(frame, masters, skip={"bias", "dark", "flat", "defects", "crosstalk"})
    assert (kept.image - truth)[:, place].mean() > 20
    assert abs((done.image - truth)[:, place].mean()) < 0.3
    assert abs((done.image - truth).mean()) < 0.2


def frame_of(light: NDArray[np.float32], transfer: ChargeTransfer, flip: bool) -> tuple[RawFrame, MasterCalibrations]:
    """A frame of one amplifier without shot noise, read out with deferred charge, and its masters."""
    read = defer_charge(light, transfer, 0, amplifier(flip))
    raw = np.random.default_rng(13).normal(1000.0, 2.0, (64, PRESCAN + COLUMNS + OVERSCAN))
    raw[:, PRESCAN:] += read
    imaging = Section(x0=PRESCAN, y0=0, x1=PRESCAN + COLUMNS, y1=64)
    part = RawAmplifier(
        name="A",
        data=np.rint(raw).astype(np.uint16),
        imaging=imaging,
        serial=Section(x0=imaging.x1 + 16, y0=0, x1=raw.shape[1], y1=64),
        parallel=None,
        detector=Section(x0=0, y0=0, x1=COLUMNS, y1=64, flip_x=flip),
        gain=1.0,
        read_noise=2.0,
        saturation=60000.0,
    )
    table = AmplifierTable(
        names=("A",),
        gain=np.ones(1),
        read_noise=np.full(1, 2.0),
        saturation=np.full(1, 60000.0),
        linearity=np.zeros((1, 2)),
    )
    frame = RawFrame(exposure=EXPOSURE, width=COLUMNS, height=64, amplifiers=(part,))
    return frame, MasterCalibrations(flats={}, amplifiers=table, charge_transfer=transfer)


def test_a_hole_does_not_spread_along_its_row() -> None:
    frame, masters = frame_of(np.full((64, COLUMNS), 400.0, np.float32), constants(**PARTS["all"]), False)
    data = frame.amplifiers[0].data.astype(np.float64)
    data[3, PRESCAN + 100] = np.nan
    holed = dataclasses.replace(frame, amplifiers=(dataclasses.replace(frame.amplifiers[0], data=data),))
    skip = {"bias", "dark", "flat", "defects", "crosstalk"}
    one, other = correct(frame, masters, skip=skip), correct(holed, masters, skip=skip)
    changed = np.argwhere(np.abs(one.image - other.image) > 0.5)
    np.testing.assert_array_equal(changed, [[3, 100]])


@pytest.mark.parametrize(
    "values", [{"loss": 0.2}, {"loss": np.nan}, {"trap_share": 1.0}, {"trap_release": 0.0}, {"trap_capacity": -1.0}]
)
def test_values_of_no_amplifier_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidCalibrationError):
        transfer_tables(constants(**values), [0], [PRESCAN], COLUMNS)


def test_a_missing_amplifier_is_refused() -> None:
    with pytest.raises(WrongShapeError):
        transfer_tables(constants(), [0, 1], [PRESCAN, PRESCAN], COLUMNS)
