"""What association decides, and what becomes of objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.tables import NO_ROWS, Claim, Table

__all__ = ["AssociationDecision", "Correction", "DiaObjectVersion", "DiaSourceEvent", "ObjectUpdate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What DayMOPS' decision for a night takes away from objects, and what becomes of them."""

    released: Table
    """Sources that lost their object, in order of their identifiers: diaSourceId, the diaObjectId or ssObjectId (int64, 0 for
    none) that each had, and midpointMjdTai (float64); which object each belongs to now, ``diasources`` and ``moving`` of the
    decision say."""
    closed: Table
    """DIAObjects that are left without sources, ascending: diaObjectId, and ssObjectId (int64): where most of its sources went."""
    verdicts: Table
    """Of DayMOPS, for DIAObjects that nothing else was associated with, ascending: diaObjectId, verdict (int8, a `Verdict`)."""
    orbits: Mapping[str, bytes]
    """Each Solar System object touched, as text, to its public mpc_orbits record, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationDecision:
    """What association decided for one visit, or in answer to DayMOPS; its state changes only by folding these."""

    instrument: str
    visit: int
    """Of a correction: number 0 of its night (``schemas.ids.day_visit``), which no visit of the telescope has."""
    sequence: int
    """0 for the visit's own decision, then one more for each late result; of a correction: DayMOPS' own."""
    day_obs: int
    band: str
    processed_mjd_tai: float
    """Last end of read-out: the time of processing that records carry."""
    diasources: Table
    """Accepted rows with diaObjectId filled, in order of diaSourceId."""
    forced: Table
    """Forced rows of existing objects, in order of object and detector."""
    new_objects: tuple[int, ...]
    """Objects founded by this visit, ascending."""
    quarantined: Mapping[str, str]
    """Identifier of a refused row to the reason."""
    cutouts: Mapping[str, Claim]
    """Detector to its pack of stamps."""
    details: Mapping[str, float]
    """Counts and separations, for people."""
    moving: Table = NO_ROWS
    """Accepted rows of known moving objects, with ssObjectId filled and no diaObjectId, in order of diaSourceId."""
    circumstances: Table = NO_ROWS
    """Public ssSource columns of each row of ``moving``."""
    mpc_orbits: tuple[bytes, ...] = ()
    """Public mpc_orbits record of each row of ``moving``, encoded."""
    last_readout_sent_unix_s: float = 0.0
    """When the telescope sent the visit's last end of read-out; only carried through, for latencies."""
    correction: Correction | None = None
    """What DayMOPS corrects; then ``diasources`` and ``moving`` hold rows of earlier visits under their new objects, and nothing
    in the decision was newly seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectUpdate:
    """One object touched by one visit or correction: its new rows and its new version."""

    dia_object_id: int
    """0 where the object is a known one of the Solar System."""
    visit: int
    sequence: int
    diasources: tuple[bytes, ...]
    """Public DIASource records of this visit, encoded, in order of their ids; each makes an alert unless the cause is a
    correction's."""
    forced: tuple[bytes, ...]
    """Public DIAForcedSource records of this visit, encoded, in order of detectors."""
    dia_object: bytes
    """Public DIAObject record, encoded, after this visit; empty for a Solar System object."""
    cause: str
    """detected, forced or late; of a correction: reassigned (sources came or went), closed (no source is left; there is no newer
    version) or verdict (nothing changed)."""
    cutouts: Mapping[str, Claim]
    """Detector to its pack of stamps, for the detectors of diasources."""
    dia_source_ids: tuple[int, ...]
    midpoint_mjd_tai: float
    last_readout_sent_unix_s: float = 0.0
    ss_object_id: int = 0
    """0 where the object is a DIAObject."""
    circumstances: tuple[bytes, ...] = ()
    """Public ssSource record of each DIASource of a Solar System object, encoded."""
    mpc_orbits: bytes = b""
    """Public mpc_orbits record of a Solar System object, encoded."""
    midpoints_mjd_tai: tuple[float, ...] = ()
    """Of a correction: the midpoint of each DIASource, then that of each one released."""
    released: tuple[int, ...] = ()
    """Of a correction: DIASources that are not the object's any more, ascending."""
    successor: int = 0
    """Of a closed DIAObject: the Solar System object that its sources went to."""
    correction: int = 0
    """Of a correction: its place among all decisions of the instrument; of two that tell of one source, the later is right, and
    either is against a visit."""
    verdict: int = -1
    """What DayMOPS says of a DIAObject that nothing else was associated with (`Verdict`); -1 where it says nothing."""

    @property
    def owner(self) -> int:
        """Identifier of whichever object it is."""
        return self.dia_object_id or self.ss_object_id

    @property
    def corrects(self) -> bool:
        """Whether it follows from a correction: then nothing in it was newly seen."""
        return self.cause in ("reassigned", "closed", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaSourceEvent:
    """One DIASource with its association."""

    dia_source_id: int
    dia_object_id: int
    visit: int
    """The visit that made it so: its own, or number 0 of the night for DayMOPS."""
    detector: int
    record: bytes
    """Public DIASource record, encoded."""
    ss_object_id: int = 0
    """The Solar System object that it is of; then there is no DIAObject."""
    sequence: int = 0
    """Of the visit's decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaObjectVersion:
    """The newest version of a DIAObject."""

    dia_object_id: int
    visit: int
    """The visit that made this version; number 0 of the night for DayMOPS."""
    record: bytes
    """Public DIAObject record, encoded."""
    sequence: int = 0
    """Of the visit's decision."""
