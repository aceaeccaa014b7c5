"""Columns that belong together are null together, as the alert schema says, and flags agree with what they flag."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from processors.differencing.pipeline import difference
from tests.support.imaging_traps import science_of, snap_scene, template_of

TRAIL = ("Flux", "FluxErr", "Ra", "RaErr", "Dec", "DecErr", "Length", "LengthErr", "Angle", "AngleErr", "Chi2")
DIPOLE = ("MeanFlux", "MeanFluxErr", "FluxDiff", "FluxDiffErr", "Length", "Angle", "Chi2")
CENTRES = ("cr", "interpolated", "nodata", "saturated", "streak", "suspect", "injected", "injected_template")


@pytest.fixture(scope="module")
def rows() -> NDArray[np.void]:
    scene = snap_scene(72).scene
    return difference(science_of(scene), template_of(scene)).sources


def test_a_trail_is_measured_whole_or_not_at_all(rows: NDArray[np.void]) -> None:
    known = np.column_stack([np.isfinite(rows[f"trail{name}"]) for name in TRAIL])
    assert 3 <= known[:, 0].sum() < len(rows) / 2
    assert (known.all(axis=1) == known.any(axis=1)).all()
    measured = known[:, 0]
    assert (rows["trailLength"][measured] > 0).all()
    assert ((rows["trailAngle"][measured] >= 0) & (rows["trailAngle"][measured] < 180)).all()
    assert (rows["trail_flag"][measured] != 1).all()


def test_dipole_columns_are_those_of_dipoles(rows: NDArray[np.void]) -> None:
    known = np.column_stack([np.isfinite(rows[f"dipole{name}"]) for name in DIPOLE])
    assert (rows["isDipole"] == 1).any()
    assert (known.all(axis=1) == known.any(axis=1)).all()
    assert (known[:, 0] == (rows["isDipole"] == 1)).all()


def test_what_is_flagged_in_the_centre_is_flagged(rows: NDArray[np.void]) -> None:
    for name in CENTRES:
        centre, anywhere = (rows[f"pixelFlags_{name}{where}"] == 1 for where in ("Center", ""))
        assert not (centre & ~anywhere).any(), name
    assert not (rows["pixelFlags_injected"] == 1).any()


def test_signs_agree_and_required_fluxes_are_there(rows: NDArray[np.void]) -> None:
    # The middle of a faint long trail may hold no flux of its own.
    clear = np.abs(rows["psfFlux"]) > 3 * rows["psfFluxErr"]
    assert clear.sum() >= len(rows) - 3
    assert ((rows["isNegative"] == 1) == (rows["psfFlux"] < 0))[clear].all()
    for name in ("psfFlux", "psfFluxErr", "scienceFlux", "templateFlux", "ra", "dec", "snr"):
        assert np.isfinite(rows[name]).all(), name
    null = ~np.isfinite(rows["apFlux"])
    assert (rows["apFlux_flag"][null] == 1).all()
