"""The rules of a replicator-distributor pair: what may be archived, what a second copy means, and how a raft becomes CCDs.

A replicator fetches a raft's files from the camera, checks each against the camera's digest and keeps a copy; its distributor checks
again, stores, and publishes one claim per CCD (LDM-230, 2013). Bytes are archived as they are, broken ones too, as long as they
are the bytes that the camera vouched for: whether they make an image is the detector job's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from processors.control.errors import ChecksumError, ConflictingCopyError
from schemas.events import AvailableExposure, ExposureEvent, LostExposure
from schemas.tables import Claim

__all__ = ["CopyKind", "Stored", "check_transfer", "judge_copy", "parse_sidecar", "split_raft", "unarchived"]


class CopyKind(StrEnum):
    """What a file is beside the copy that is kept of it."""

    FIRST = "first"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One CCD's file in the archive."""

    claim: Claim
    header: Mapping[str, str]


def parse_sidecar(text: str) -> str:
    """Return the digest that a checksum file states: its first word, 64 hexadecimal digits.

    Raises
    ------
    ChecksumError
        When it states none.
    """
    words = text.split()
    digest = words[0].lower() if words else ""
    if len(digest) != 64 or any(c not in "0123456789abcdef" for c in digest):
        raise ChecksumError(f"The checksum file states {text[:80]!r}, which is no SHA-256 digest.")
    return digest


def check_transfer(name: str, stated: str, found: str) -> None:
    """Check that a file arrived as the camera wrote it.

    Raises
    ------
    ChecksumError
        When the digest found is not the one stated.
    """
    if stated != found:
        raise ChecksumError(f"File {name} has the digest {found[:12]} where the camera states {stated[:12]}.")


def judge_copy(name: str, kept: str | None, new: str) -> CopyKind:
    """Say what a file is beside the kept copy of its name (None: there is none).

    Raises
    ------
    ConflictingCopyError
        When a file of the same name and another digest is kept: the first one stays.
    """
    if kept is None:
        return CopyKind.FIRST
    if kept != new:
        raise ConflictingCopyError(f"File {name} is kept with the digest {kept[:12]}; another with {new[:12]} came.")
    return CopyKind.SAME


def split_raft(
    *,
    instrument: str,
    visit: int,
    exposure: int,
    detectors: Sequence[int],
    stored: Mapping[int, Stored],
    lost: Mapping[int, str],
) -> list[ExposureEvent]:
    """Return what becomes of each CCD of a raft, in order of detectors.

    Parameters
    ----------
    instrument, visit, exposure
        Whose they are.
    detectors
        The raft's CCDs.
    stored
        Those in the archive.
    lost
        Those that are not, with the reason.
    """
    events = []
    for detector in sorted(detectors):
        found = stored.get(detector)
        fact = (
            LostExposure(reason=lost.get(detector, "not delivered"))
            if found is None
            else AvailableExposure(raw=found.claim, header=found.header)
        )
        events.append(
            ExposureEvent(
                instrument=instrument,
                visit=visit,
                exposure=exposure,
                snap=exposure - visit,
                detector=detector,
                fact=fact,
            )
        )
    return events


def unarchived(present: Sequence[tuple[int, int]], events: Sequence[ExposureEvent]) -> list[tuple[int, int]]:
    """Return the files, as (exposure, detector), that are in the camera's buffer and not in the archive: the oldest first.

    What was declared lost and is there after all counts as not archived.
    """
    archived = {(e.exposure, e.detector) for e in events if isinstance(e.fact, AvailableExposure)}
    return sorted(set(present) - archived)
