"""When the Minor Planet Center takes a link of unknown tracklets for a discovery, and why it would not.

Source: "Criteria for Accepting or Rejecting Identifications" of the Minor Planet Center's operations documentation, part
ITF-to-ITF. A fourth night lifts everything that is asked of links of exactly three. Two rules are our own and stricter: the
orbit must have converged without a prior, and its chi2 must not be one that a true link has once in ten thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from processors.moving_objects.arcs import TIME, Arcs
from processors.moving_objects.cometary import cometary_elements, element_sigmas
from processors.moving_objects.detections import night_numbers
from processors.moving_objects.orbit_fit import CONVERGED, OrbitFits
from processors.moving_objects.timescales import tai_from_tdb

__all__ = ["LinkQuality", "link_qualities", "reasons_against"]

MIN_NIGHTS = 3
"""Distinct nights of any link."""

MIN_ARC_DAYS = 3.0
"""Shortest arc of any link."""

MAX_ARC_OF_THREE_DAYS = 15.0
"""Longest arc of a link of three nights."""

MAX_RMS_OF_THREE_ARCSEC = 0.25
"""Largest root mean square residual of a link of three nights."""

SIGMAS_OF_THREE = (("a", 0.05, "au"), ("q", 0.05, "au"), ("i", 0.5, "deg"), ("e", 0.05, ""))
"""One-sigma errors that the orbit of a link of three nights must stay below."""

MAX_ECCENTRICITY_OF_THREE = 0.5
"""The orbit of a link of three nights must be rounder than this."""

CHANCE = 1e-4
"""Our own: a chi2 that is exceeded less often by true links is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkQuality:
    """What the rules ask of a link.

    ``sigmas`` are the one-sigma errors of a, q (au), i (degrees) and e, in this order; NaN where they are not known.
    ``ends_are_single``: the first and the last night have one detection each.
    """

    nights: int
    arc_days: float
    ends_are_single: bool
    converged: bool
    rms_arcsec: float
    chi2: float
    dof: int
    e: float
    sigmas: tuple[float, float, float, float]


def reasons_against(link: LinkQuality) -> list[str]:
    """Return why a link may not be reported, a sentence each; an empty list: it may.

    Numbers that are NaN count as not met.
    """
    reasons = _before_any_fit(link)
    if not link.converged:
        return [*reasons, "No orbit converged from the detections alone."]
    if not (link.dof > 0 and link.chi2 <= chdtri(link.dof, CHANCE)):
        reasons.append(f"The residuals are too large for their errors: chi2 {link.chi2:.1f} of {link.dof}.")
    return reasons + (_of_three(link) if link.nights == MIN_NIGHTS else [])


def _before_any_fit(link: LinkQuality) -> list[str]:
    reasons = []
    if link.nights < MIN_NIGHTS:
        reasons.append(f"{link.nights} nights are fewer than {MIN_NIGHTS}.")
    if not link.arc_days >= MIN_ARC_DAYS:
        reasons.append(f"The arc of {link.arc_days:.2f} days is shorter than {MIN_ARC_DAYS:g}.")
    if link.nights == MIN_NIGHTS and link.arc_days > MAX_ARC_OF_THREE_DAYS:
        reasons.append(
            f"Three nights over {link.arc_days:.2f} days: at most {MAX_ARC_OF_THREE_DAYS:g} without a fourth."
        )
    if link.ends_are_single:
        reasons.append("The arc begins and ends with a night of one detection.")
    return reasons


def _of_three(link: LinkQuality) -> list[str]:
    """What a fourth night would lift."""
    reasons = []
    if not link.rms_arcsec <= MAX_RMS_OF_THREE_ARCSEC:
        reasons.append(f'Three nights with an RMS of {link.rms_arcsec:.3f}" above {MAX_RMS_OF_THREE_ARCSEC}".')
    for (name, limit, unit), sigma in zip(SIGMAS_OF_THREE, link.sigmas, strict=True):
        if not sigma < limit:
            reasons.append(
                f"Three nights leave {name} uncertain by {sigma:.3g} {unit}".rstrip() + f", not below {limit:g}."
            )
    if not link.e < MAX_ECCENTRICITY_OF_THREE:
        reasons.append(f"Three nights with an eccentricity of {link.e:.3f}, not below {MAX_ECCENTRICITY_OF_THREE:g}.")
    return reasons


def link_qualities(grouped: Arcs, fits: OrbitFits) -> list[LinkQuality]:
    """Return what the rules ask of each link, from its arc and its final orbit.

    Nights are those of `detections.night_numbers`; detections set aside as outliers count neither as nights nor for the arc.
    """
    used = fits.used[grouped.order]
    elements = cometary_elements(fits.states, fits.epochs_mjd_tdb)
    sigmas = element_sigmas(fits.states, fits.epochs_mjd_tdb, fits.covariances)
    mjd_tai = tai_from_tdb(grouped.rows[:, TIME])
    return [_quality(k, mjd_tai[lo:hi][used[lo:hi]], fits, elements[k], sigmas[k]) for k, lo, hi in _spans(grouped)]


def _spans(grouped: Arcs) -> list[tuple[int, int, int]]:
    bounds = grouped.offsets.tolist()
    return [(k, lo, hi) for k, (lo, hi) in enumerate(pairwise(bounds))]


def _quality(k: int, times: NDArray[np.float64], fits: OrbitFits, elements: Any, sigmas: Any) -> LinkQuality:
    _, counts = np.unique(night_numbers(times), return_counts=True)
    return LinkQuality(
        nights=len(counts),
        arc_days=float(np.ptp(times)) if len(times) else 0.0,
        ends_are_single=bool(len(counts) and counts[0] == 1 and counts[-1] == 1),
        converged=bool(fits.status[k] == CONVERGED),
        rms_arcsec=float(fits.rms_arcsec[k]),
        chi2=float(fits.chi2[k]),
        dof=int(fits.dof[k]),
        e=float(elements["e"]),
        sigmas=(float(sigmas["a"]), float(sigmas["q"]), float(sigmas["i"]), float(sigmas["e"])),
    )
