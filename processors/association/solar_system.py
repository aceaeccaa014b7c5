"""Known moving objects come first: sources at predicted positions are theirs and never found a DIAObject.

A source may lie one arcsecond from the prediction plus three times the prediction's own uncertainty in that direction. Pairs are
taken closest first in units of what is expected, one to one (association.md, section A). What ephemerides say of the matched
sources becomes the ssSource record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.association.closest import allowed_arcsec, closest_first
from processors.association.matching import Points, candidate_pairs
from processors.association.rules import Rules
from processors.association.sphere import local_offsets, positions_of, unit_vectors
from schemas.public import record_dtype

__all__ = ["MovingMatches", "circumstances_of", "match_predicted"]

Array = np.ndarray[Any, Any]

UNCERTAINTY_SIGMAS = 3.0
"""How many sigmas of the prediction's ellipse the gate is widened by."""

WIDEST_ARCSEC = 10.0
"""No gate is wider: an orbit that is less well known is DayMOPS' to find (moving_objects.md, section 1)."""

DISTANCE_RANKS = 99
"""How far ranks are counted."""

_OBLIQUITY = np.radians(84381.448 / 3600.0)

ECLIPTIC = np.array(
    [[1.0, 0.0, 0.0], [0.0, np.cos(_OBLIQUITY), np.sin(_OBLIQUITY)], [0.0, -np.sin(_OBLIQUITY), np.cos(_OBLIQUITY)]]
)
"""From ICRF to the mean ecliptic of J2000 (IAU 1976 obliquity, 84381.448 arcsec)."""

GALACTIC = np.array(
    [
        [-0.0548755604162154, -0.8734370902348850, -0.4838350155487132],
        [0.4941094278755837, -0.4448296299600112, 0.7469822444972189],
        [-0.8676661490190047, -0.1980763734312015, 0.4559837761750669],
    ]
)
"""From ICRF to galactic coordinates (Hipparcos catalogue, volume 1, section 1.5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingMatches:
    """Which sources are known moving objects."""

    source: Array
    """Positions of matched sources in the visit, ascending."""
    predicted: Array
    """Row of the prediction for each."""
    rank: Array
    """1 when no other source is nearer to the prediction, 2 when one is, and so on."""

    def __len__(self) -> int:
        """Return the number of matches."""
        return len(self.source)


def match_predicted(sources: Array, predicted: Array, mjd_tai: float, rules: Rules) -> MovingMatches:
    """Give predicted objects their sources, closest first, one to one.

    Parameters
    ----------
    sources
        Public DIASource rows with finite positions.
    predicted
        Rows of `schemas.predictions.predicted_dtype`; those without a finite position are left out.
    mjd_tai
        When the predicted positions hold; rates carry them to each source's midpoint.
    rules
        ``moving_radius_arcsec``: how far a source may lie from an exact prediction.
    """
    known = np.flatnonzero(np.isfinite(predicted["ephRa"]) & np.isfinite(predicted["ephDec"]))
    if len(known) == 0 or len(sources) == 0:
        return _none()
    at, row, east, north = _near(sources, predicted[known], mjd_tai, rules)
    separation = np.hypot(east, north)
    rank = _ranks(row, separation, at)
    allowed = _gate(predicted[known][row], east, north, rules)
    inside = np.flatnonzero(separation <= allowed)
    closeness = separation[inside] / allowed[inside]
    kept = inside[closest_first(at[inside], row[inside], closeness, sources["diaSourceId"][at[inside]])]
    kept = kept[np.argsort(at[kept])]
    return MovingMatches(source=at[kept], predicted=known[row[kept]], rank=rank[kept])


def circumstances_of(sources: Array, predicted: Array, mjd_tai: float | Array, rank: Array) -> Array:
    """Return the public ssSource row of each matched source.

    Parameters
    ----------
    sources, predicted
        Matched rows, in the same order.
    mjd_tai
        When the predicted positions hold, all together or each.
    rank
        Rank of each source among those near its prediction.
    """
    rows = np.zeros(len(sources), record_dtype("ssSource"))
    for name in rows.dtype.names or ():
        rows[name] = predicted[name]
    rows["diaSourceId"] = sources["diaSourceId"]
    ra, dec = _moved(predicted, sources["midpointMjdTai"] - mjd_tai)
    rows["ephRa"], rows["ephDec"] = ra, dec
    east, north = local_offsets(ra, dec, unit_vectors(ra, dec), unit_vectors(sources["ra"], sources["dec"]))
    rows["ephOffset"], rows["ephOffsetRa"], rows["ephOffsetDec"] = np.hypot(east, north), east, north
    speed = np.hypot(predicted["ephRateRa"], predicted["ephRateDec"]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        along_east, along_north = predicted["ephRateRa"] / speed, predicted["ephRateDec"] / speed
    rows["ephOffsetAlongTrack"] = east * along_east + north * along_north
    rows["ephOffsetCrossTrack"] = -east * along_north + north * along_east
    _place(rows, sources)
    rows["diaDistanceRank"] = rank
    return rows


def _place(rows: Array, sources: Array) -> None:
    """Fill in ecliptic and galactic coordinates of the observed place."""
    vectors = unit_vectors(sources["ra"], sources["dec"])
    for matrix, longitude, latitude in ((ECLIPTIC, "eclLambda", "eclBeta"), (GALACTIC, "galLon", "galLat")):
        rows[longitude], rows[latitude] = positions_of(vectors @ matrix.T)


def _none() -> MovingMatches:
    nothing = np.zeros(0, np.int64)
    return MovingMatches(source=nothing, predicted=nothing, rank=nothing)


def _near(sources: Array, predicted: Array, mjd_tai: float, rules: Rules) -> tuple[Array, Array, Array, Array]:
    """Return pairs of source and prediction within the widest gate, and how far east and north the source lies, arcseconds."""
    when = float(np.median(sources["midpointMjdTai"]))
    ra, dec = _moved(predicted, np.full(len(predicted), when - mjd_tai))
    nothing = np.full(len(predicted), np.nan)
    places = Points(ra=ra, dec=dec, ra_err=nothing, dec_err=nothing, vectors=unit_vectors(ra, dec))
    widest = rules.moving_radius_arcsec + WIDEST_ARCSEC
    pairs = candidate_pairs(Points.of(sources), places, Rules(radius_arcsec=widest))
    own_ra, own_dec = _moved(predicted[pairs.object], sources["midpointMjdTai"][pairs.source] - mjd_tai)
    east, north = local_offsets(
        own_ra,
        own_dec,
        unit_vectors(own_ra, own_dec),
        unit_vectors(sources["ra"][pairs.source], sources["dec"][pairs.source]),
    )
    return pairs.source, pairs.object, east, north


def _moved(predicted: Array, days: Array) -> tuple[Array, Array]:
    """Return predicted positions carried along by their rates, on the tangent plane."""
    ra, dec = np.radians(predicted["ephRa"]), np.radians(predicted["ephDec"])
    east = np.radians(np.nan_to_num(predicted["ephRateRa"].astype(np.float64)) * days)
    north = np.radians(np.nan_to_num(predicted["ephRateDec"].astype(np.float64)) * days)
    to_east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    to_north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    there = unit_vectors(predicted["ephRa"], predicted["ephDec"]) + east[:, None] * to_east + north[:, None] * to_north
    return positions_of(there)


def _gate(predicted: Array, east: Array, north: Array, rules: Rules) -> Array:
    """Return how far a source may lie in its own direction from the prediction, arcseconds."""
    return allowed_arcsec(
        east,
        north,
        (predicted["semi_major_arcsec"], predicted["semi_minor_arcsec"], predicted["position_angle_deg"]),
        radius_arcsec=rules.moving_radius_arcsec,
        sigmas=UNCERTAINTY_SIGMAS,
        widest_arcsec=WIDEST_ARCSEC,
    )


def _ranks(row: Array, separation: Array, at: Array) -> Array:
    """Return each pair's rank by distance among the pairs of its prediction, from 1."""
    order = np.lexsort((at, separation, row))
    ranks = np.empty(len(row), np.int64)
    starts = np.flatnonzero(np.diff(row[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(row)))
    ranks[order] = np.minimum(np.arange(len(row)) - np.repeat(starts, lengths) + 1, DISTANCE_RANKS)
    return ranks
