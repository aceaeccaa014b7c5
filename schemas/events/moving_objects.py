"""Moving objects: the night's ephemerides, predictions for a visit, tracklets, orbits, and what DayMOPS decides.

States are heliocentric, on ICRF axes, in au and au per day, at an epoch in MJD TDB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from schemas.tables import Claim, Table

__all__ = [
    "CatalogueImported",
    "DayMopsDecision",
    "EphemerisCatalogue",
    "NightEnded",
    "OrbitDetermined",
    "OrbitEvent",
    "OrbitOrigin",
    "PredictedField",
    "PredictedSsObjects",
    "SsObjectVersion",
    "TrackletState",
    "TrackletStatus",
    "Verdict",
]


class TrackletStatus(StrEnum):
    """Who holds a tracklet: nobody, or exactly one orbit."""

    FREE = "free"
    LINKED = "linked"
    ATTRIBUTED = "attributed"
    PRECOVERED = "precovered"
    WITHDRAWN = "withdrawn"


class Verdict(IntEnum):
    """What DayMOPS says of a DIAObject that one unassociated source founded, as numbers in a table."""

    UNDECIDED = 0
    """Nothing was made of it: it may be anything."""
    TRACKLET = 1
    """It moved as a Solar System object could, in a free tracklet; no orbit holds it yet."""
    LINKED = 2
    """It is a detection of an object of ours, found by linking nights."""
    ATTRIBUTED = 3
    """It is a detection of an object that was known before."""
    STATIONARY = 4
    """It stands still, or recurs at its place: no Solar System object."""
    PRECOVERED = 5
    """It is a detection, found afterwards, of an object that was discovered later."""


class OrbitOrigin(StrEnum):
    """Where an orbit comes from."""

    IMPORTED = "imported"
    DISCOVERED = "discovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueImported:
    """A catalogue of known orbits was swapped in, whole, in one step."""

    name: str
    """What people call it, such as MPCORB."""
    count: int
    orbits: Claim
    """The catalogue's file."""
    refused: int
    """Lines that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitDetermined:
    """An orbit fitted to detections of ours, or given by hand."""

    origin: OrbitOrigin
    ss_object_id: int
    epoch_mjd_tdb: float
    state: tuple[float, ...]
    """x, y, z, vx, vy, vz."""
    covariance: tuple[float, ...]
    """Upper triangle, row by row: 21 numbers; empty when unknown."""
    absolute_magnitude: float | None
    slope: float
    """G of the H, G system."""
    day_obs: int
    """Night whose DayMOPS made this version; 0 for one given by hand."""
    tracklets: tuple[int, ...]
    """Tracklets that it holds, ascending."""
    n_detections: int
    arc_days: float
    chi2: float
    rms_arcsec: float
    reportable: bool
    """Whether the link satisfies the Minor Planet Center's rules."""
    reasons: tuple[str, ...]
    """Why not, in words."""
    merged_into: str | None = None
    """Designation of the object that took this one's tracklets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitEvent:
    """One change of the Moving Object Database: the newest of a designation counts."""

    designation: str
    fact: CatalogueImported | OrbitDetermined


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemerisCatalogue:
    """The coarse ephemerides of one night were built."""

    instrument: str
    day_obs: int
    mid_night_mjd_tai: float
    count: int
    file: Claim
    """Memory-mapped by every process that predicts."""
    orbits: Claim
    """The orbits themselves, as Parquet, in the order of their designations."""
    orbits_sha256: str
    """Digest of the orbits it was built from, in order of their designations."""
    refused: int
    """Orbits that could not be carried forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedField:
    """Content of a prediction's claim: the known moving objects of one visit's field."""

    mjd_tai: float
    """When the positions hold."""
    rows: Table
    """Public ssSource columns, diaSourceId 0 and offsets null, and the error ellipse (``schemas.predictions``)."""
    mpc_orbits: tuple[bytes, ...]
    """Public mpc_orbits record of each row, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSsObjects:
    """NightMOPS predicted the moving objects of an announced field."""

    instrument: str
    visit: int
    day_obs: int
    mjd_tai: float
    """The expected middle of the visit, for which positions hold."""
    count: int
    ephemeris_sha256: str
    """The night's coarse ephemerides."""
    predicted: Claim
    """A `PredictedField`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackletState:
    """Newest state of one tracklet."""

    tracklet_id: int
    instrument: str
    day_obs: int
    dia_source_ids: tuple[int, ...]
    """Members, ascending."""
    status: TrackletStatus
    holder: str | None
    """Designation of the orbit that holds it."""
    mjd_tai: float
    ra: float
    dec: float
    rate_ra: float
    """Degrees per day, times cos(dec)."""
    rate_dec: float
    magnitude: float
    decided_day_obs: int
    """Night whose DayMOPS put it into this state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightEnded:
    """A night is over, and DayMOPS may look at it: what it is to look at is named, so that a replay looks at the same."""

    instrument: str
    day_obs: int
    association_end: int
    """Offset after the last decision of association's log that is taken into account."""
    detections: Claim | None = None
    """Table of detections (``schemas.detections.DETECTION``) of the night in place of the log's, given by hand."""
    known_orbits: Claim | None = None
    """Orbits (``schemas.orbits.ORBIT_ROW``, as Parquet) that detections are attributed to besides DayMOPS' own."""
    reason: str = ""
    """Who said so: observed (the night was watched to its end), later (a later night began), late (a result of the night came
    after that), asked (a person)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMopsDecision:
    """What DayMOPS decided for one night; tracklets, orbits and verdicts follow from these, in order."""

    instrument: str
    day_obs: int
    sequence: int
    """0 for the night's own run, then one more for each repetition on new data."""
    window: tuple[int, ...]
    """Nights that were looked at, ascending."""
    tracklets: Claim
    """Table of tracklets that changed: tracklet_id (int64), day_obs (int64), status (text, a `TrackletStatus`), holder (text,
    empty for none), mjd_tai, ra, dec, rate_ra, rate_dec, magnitude (float64), members (int64, how many); those of all tracklets
    stand in ``tracklet_members``, in order."""
    orbits: Claim
    """Table of orbits that are new, better, merged or given up: the columns of ``schemas.orbits.ORBIT_ROW``, and change (text:
    new, better, merged, withdrawn), chi2 (float64), reportable (int8), reasons (text, one sentence after the other between line
    feeds), merged_into (text, empty for none), tracklets (int64, how many it holds: their identifiers stand in
    ``orbit_tracklets``)."""
    reassigned: Claim
    """Table of DIASources that now belong to a Solar System object, or no longer, in order of their identifiers:
    dia_source_id (int64), ss_object_id (int64, 0: it belongs to none any more), designation (text, empty for none), and how far
    it lies from the orbit's place: offset_ra_arcsec (on the great circle, eastward), offset_dec_arcsec (float64, NaN for none)."""
    verdicts: Claim
    """Table with a verdict for every DIAObject that one source of the night founded and nothing was associated with, in order of
    their identifiers: dia_object_id, dia_source_id (int64), verdict (int8, a `Verdict`)."""
    counts: Mapping[str, float]
    """Counts and costs that do not vary, for people."""
    tracklet_members: Claim | None = None
    """Table of one column, dia_source_id (int64): the members of the tracklets, tracklet by tracklet, each ascending."""
    orbit_tracklets: Claim | None = None
    """Table of one column, tracklet_id (int64): all tracklets of the orbits, orbit by orbit, each ascending."""
    nights: tuple[int, ...] = ()
    """Nights that were linked in this decision, ascending: its own, and later ones again where it came late."""
    detections: Claim | None = None
    """Table of the night's candidates (``schemas.detections.DETECTION``), in their canonical order."""
    association_end: int = 0
    """Offset after the last decision of association's log that was taken into account."""
    known_orbits: Claim | None = None
    """The orbits, as Parquet, that detections were attributed to besides our own; None where there were none."""
    state: Claim | None = None
    """DayMOPS' state after the night."""
    digest: str = ""
    """Digest of what the night was decided from: detections and state before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SsObjectVersion:
    """The newest version of a Solar System object."""

    ss_object_id: int
    designation: str
    day_obs: int
    record: bytes
    """Public ssObject record, encoded."""
    visit: int = 0
    """The visit that made this version; number 0 of the night for DayMOPS."""
    sequence: int = 0
    """Of the visit's decision."""
