"""The numbers that association works by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["YEAR_DAYS", "Rules"]

YEAR_DAYS = 365.25
"""Twelve months in days: the window of every statistic (DPDD, LSE-163)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers that association works by; a night keeps one set."""

    radius_arcsec: float = 1.0
    """Farthest that a source may lie from its object (Rubin's gate)."""
    moving_radius_arcsec: float = 1.0
    """Farthest that a source may lie from an exact prediction of a moving object (ap_association)."""
    error_floor_arcsec: float = 0.05
    """Least combined position error per axis: below it astrometric systematics rule (ap_association)."""
    default_error_arcsec: float = 0.2
    """Position error of what carries none (ap_association)."""
    new_source_density: float = 1e-4
    """Unrelated sources per square arcsecond to expect beside an object: 10,000 in a field of 9.6 square degrees."""
    window_days: float = YEAR_DAYS
    """How far history goes into statistics and packets."""
