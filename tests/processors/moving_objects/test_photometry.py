"""Magnitudes against the published values and simple limits."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.photometry import SLOPE_G, SLOPE_G12, SLOPE_G12_STAR, v_magnitudes


def term(phase: float, slope: float, kind: int) -> float:
    one = np.ones(1)
    return float(
        v_magnitudes(0 * one, slope, helio_range_au=one, topo_range_au=one, phase_angle_deg=phase * one, kind=kind)[0]
    )


@pytest.mark.parametrize("kind", [SLOPE_G, SLOPE_G12, SLOPE_G12_STAR])
def test_no_phase_no_term_and_fainter_with_phase(kind: int) -> None:
    assert term(0.0, 0.15, kind) == pytest.approx(0.0, abs=1e-6)
    terms = [term(p, 0.3, kind) for p in (0.1, 1, 5, 7.5, 12, 20, 30, 60, 90, 120)]
    assert np.all(np.diff(terms) > 0)


@pytest.mark.parametrize(("phase", "g"), [(5.0, 0.15), (20.0, 0.15), (20.0, 0.4), (60.0, 0.25)])
def test_hg_is_near_the_simple_exponentials(phase: float, g: float) -> None:
    half = np.tan(np.radians(phase) / 2)
    simple = (1 - g) * np.exp(-3.33 * half**0.63) + g * np.exp(-1.87 * half**1.22)
    assert term(phase, g, SLOPE_G) == pytest.approx(-2.5 * np.log10(simple), abs=0.03)


def test_base_functions_take_their_knots() -> None:
    """G12* = 0 leaves 0.5351335 phi2 + 0.4648665 phi3 (Penttilae et al. 2016); at 30 degrees phi3 ends."""
    assert term(30.0, 0.0, SLOPE_G12_STAR) == pytest.approx(-2.5 * np.log10(0.5351335 * 6.2884169e-1), abs=1e-9)
    assert term(1.0, 0.0, SLOPE_G12_STAR) == pytest.approx(
        -2.5 * np.log10(0.5351335 * (1 - 1.8 / np.pi * np.radians(1)) + 0.4648665 * 5.7735424e-1), abs=1e-9
    )
    g1, g2 = 0.9529 * 0.5 + 0.02162, -0.6125 * 0.5 + 0.5572
    assert term(60.0, 0.5, SLOPE_G12) == pytest.approx(-2.5 * np.log10(g1 * 1.3410560e-1 + g2 * 3.1755495e-1), abs=1e-9)


def test_distances_dim_and_unknown_h_stays_unknown() -> None:
    h = np.array([15.0, np.nan])
    v = v_magnitudes(h, 0.15, helio_range_au=np.array([10.0, 1]), topo_range_au=np.ones(2), phase_angle_deg=np.zeros(2))
    assert v[0] == pytest.approx(20.0)
    assert np.isnan(v[1])
    assert v_magnitudes(np.empty(0), 0.15, helio_range_au=[], topo_range_au=[], phase_angle_deg=[]).shape == (0,)
