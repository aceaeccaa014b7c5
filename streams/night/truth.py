"""Judge a night's DIASources against the simulator's truth: completeness and false positives.

Only reports and tests read truth; no stage does. A true change counts when its predicted signal-to-noise ratio exceeds 8
and it lies outside masked pixels; it is found when a DIASource lies within one arcsecond of it. A DIASource is a false
positive when no true change of any strength lies within that radius. Stars that only moved since the template's epochs leave
a dipole without flux: they are counted apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["NightScore", "VisitScore", "read_truth", "score_night", "score_visit"]

MATCH_RADIUS_ARCSEC = 1.0
MINIMUM_SNR = 8.0
MOTION_KINDS = frozenset({"star_motion"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitScore:
    """Counts of one visit."""

    true_changes: int
    found: int
    moved_stars: int
    moved_stars_found: int
    diasources: int
    false_positives: int
    known_asteroids: int = 0
    """Detectable sightings of asteroids that the imported catalogue has."""
    known_asteroids_recognised: int = 0
    """Those whose DIASource carries the asteroid's own number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightScore:
    """Counts of a night, and the two figures made of them."""

    true_changes: int
    found: int
    moved_stars: int
    moved_stars_found: int
    diasources: int
    false_positives: int
    detectors: int
    known_asteroids: int = 0
    known_asteroids_recognised: int = 0

    @property
    def completeness(self) -> float | None:
        """Fraction of true changes found, or None without any."""
        return self.found / self.true_changes if self.true_changes else None

    @property
    def false_positives_per_ccd(self) -> float | None:
        """Mean number of false positives on one CCD of one visit, or None without any CCD."""
        return self.false_positives / self.detectors if self.detectors else None


def read_truth(path: Path) -> NDArray[Any]:
    """Read one visit's truth file as a structured array (columns of the simulator's contract)."""
    table = pq.read_table(path)
    wanted = ("visit", "detector", "kind", "ra", "dec", "predicted_snr", "masked", "key")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in wanted}
    dtype = [
        (name, "U24" if name in ("kind", "key") else "?" if name == "masked" else values.dtype)
        for name, values in columns.items()
    ]
    rows = np.zeros(table.num_rows, dtype=dtype)
    for name, values in columns.items():
        rows[name] = values
    return rows


def score_visit(
    truth: NDArray[Any],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    detectors: set[int],
    *,
    ss_object_id: NDArray[np.int64] | None = None,
    known: Mapping[str, int] | None = None,
) -> VisitScore:
    """Count what was found of one visit's truth.

    Parameters
    ----------
    truth
        Rows of `read_truth`.
    ra, dec
        Positions of the visit's DIASources, degrees.
    detectors
        Detectors that were processed; truth on others does not count.
    ss_object_id
        Solar System object that each DIASource was associated with, 0 for none.
    known
        Truth's key of each asteroid in the imported catalogue, and its number.
    """
    truth = truth[np.isin(truth["detector"], sorted(detectors))]
    countable = (truth["predicted_snr"] > MINIMUM_SNR) & ~truth["masked"]
    moved = np.isin(truth["kind"], sorted(MOTION_KINDS))
    hit = _has_neighbour(truth["ra"], truth["dec"], ra, dec)
    explained = _has_neighbour(ra, dec, truth["ra"], truth["dec"])
    return VisitScore(
        true_changes=int(np.sum(countable & ~moved)),
        found=int(np.sum(countable & ~moved & hit)),
        moved_stars=int(np.sum(countable & moved)),
        moved_stars_found=int(np.sum(countable & moved & hit)),
        diasources=len(ra),
        false_positives=int(np.sum(~explained)),
        **_recognised(truth[countable & hit], ra, dec, ss_object_id, known),
    )


def _recognised(
    found: NDArray[Any],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    ss_object_id: NDArray[np.int64] | None,
    known: Mapping[str, int] | None,
) -> dict[str, int]:
    """Count sightings of known asteroids among what was found, and those that carry the right number."""
    if not known or ss_object_id is None:
        return {}
    seen = recognised = 0
    for row in found:
        number = known.get(str(row["key"]))
        if number is None:
            continue
        seen += 1
        mine = ss_object_id == number
        recognised += bool(_has_neighbour(row["ra"][None], row["dec"][None], ra[mine], dec[mine])[0])
    return {"known_asteroids": seen, "known_asteroids_recognised": recognised}


def score_night(visits: list[tuple[VisitScore, int]]) -> NightScore:
    """Sum the scores of visits, each given with its number of processed detectors."""
    names = tuple(field.name for field in dataclasses.fields(VisitScore))
    sums = {name: sum(getattr(score, name) for score, _ in visits) for name in names}
    return NightScore(**sums, detectors=sum(count for _, count in visits))


def _has_neighbour(
    ra: NDArray[np.float64], dec: NDArray[np.float64], other_ra: NDArray[np.float64], other_dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    if len(ra) == 0 or len(other_ra) == 0:
        return np.zeros(len(ra), dtype=bool)
    chord = 2 * np.sin(np.radians(MATCH_RADIUS_ARCSEC / 3600) / 2)
    tree = cKDTree(_unit_vectors(other_ra, other_dec))
    distance, _ = tree.query(_unit_vectors(ra, dec), distance_upper_bound=chord)
    return np.asarray(np.isfinite(distance))


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    longitude, latitude = np.radians(ra), np.radians(dec)
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=-1)
