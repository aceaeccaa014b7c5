"""A replicator and its distributor: from the camera's buffer over the outage buffer into the object store.

The outage buffer keeps a copy of every file until the archive has it, and its digest for good: whatever else fails, an image
that arrived is not lost, and a second file of the same name is recognised.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.errors import DiskFullError
from infra.logs import get_logger
from infra.retry import retried
from processors.control.archive import CopyKind, Stored, check_transfer, judge_copy, parse_sidecar
from processors.control.errors import ChecksumError, ConflictingCopyError
from schemas.errors import TransientFailure
from schemas.tables import Claim
from streams.archiver.structure import describe

__all__ = ["COMPLETE_MARKER", "ArchivePair", "CameraFileError", "Store", "raw_name"]

COMPLETE_MARKER = "complete.json"
"""Last file that the camera writes into an exposure's folder."""

log = get_logger(__name__)


class CameraFileError(TransientFailure):
    """A file is not in the camera's buffer, or not whole yet."""

    code = "camera_file"


class Store(Protocol):
    """What a distributor asks of the object store."""

    def put(self, data: bytes) -> Claim:
        """Store bytes and return the claim on them."""

    def get(self, claim: Claim) -> bytes:
        """Return the bytes of a claim."""

    def find(self, sha256: str) -> Claim:
        """Return the claim on the object of a hash."""

    def has(self, claim: Claim) -> bool:
        """Tell whether an object is there."""


@dataclass(frozen=True, slots=True)
class _Replica:
    data: bytes
    digest: str


def raw_name(exposure: int, detector: int) -> str:
    """Return the name of the raw file of one CCD of an exposure."""
    return f"{exposure}-{detector:03d}.fits"


class ArchivePair:
    """One replicator-distributor pair.

    Parameters
    ----------
    buffer_of
        Folder of the camera's buffer for an exposure.
    outage
        The outage buffer.
    store
        The archive's object store.
    patience_s
        How long a file that is wrong or missing, although its exposure is complete, is fetched again.
    """

    def __init__(
        self, *, buffer_of: Callable[[int], Path], outage: Path, store: Store, patience_s: float = 1.0
    ) -> None:
        self._buffer_of, self._outage, self._store = buffer_of, outage, store
        self._patience_s = patience_s

    def is_complete(self, exposure: int) -> bool:
        """Tell whether the camera has written the whole exposure."""
        return (self._folder(exposure) / COMPLETE_MARKER).exists()

    def archive(self, exposure: int, detector: int) -> Stored:
        """Bring one CCD's file into the archive; again changes nothing.

        Raises
        ------
        CameraFileError
            When the file is not there.
        ChecksumError
            When its bytes are not those that the camera vouches for, however often it is fetched; they are kept beside the copies.
        DiskFullError, ObjectStoreError
            When it cannot be kept now; trying again later may succeed.
        """
        name = raw_name(exposure, detector)
        copy = self._outage / str(exposure) / name
        try:
            replica = retried(lambda: self._fetch(exposure, name), for_s=self._patience_s)
        except ChecksumError:
            _write(copy.with_name(f"{name}.rejected"), (self._folder(exposure) / name).read_bytes())
            raise
        kept = _kept_digest(copy)
        try:
            if judge_copy(name, kept, replica.digest) is CopyKind.FIRST:
                _write(copy, replica.data)
                _write(copy.with_name(f"{name}.sha256"), f"{replica.digest}\n".encode())
        except ConflictingCopyError as error:
            log.error("second file of one name", exposure=exposure, detector=detector, reason=str(error))
            return self._first(copy, str(kept))
        return self._distribute(name, replica)

    def release(self, exposure: int, detector: int) -> None:
        """Drop the outage buffer's copy of a file that the archive verifiably has; its digest stays."""
        copy = self._outage / str(exposure) / raw_name(exposure, detector)
        digest = _kept_digest(copy)
        if digest is None or not copy.exists():
            return
        if self._store.has(Claim(uri=self._store.find(digest).uri, sha256=digest, size=copy.stat().st_size)):
            copy.unlink(missing_ok=True)

    def _folder(self, exposure: int) -> Path:
        return self._buffer_of(exposure) / str(exposure)

    def _fetch(self, exposure: int, name: str) -> _Replica:
        """Fetch a file and check it against its checksum file."""
        path = self._folder(exposure) / name
        try:
            data = path.read_bytes()
            stated = parse_sidecar(path.with_name(f"{name}.sha256").read_text(errors="replace"))
        except FileNotFoundError as error:
            raise CameraFileError(f"The camera's buffer has no {name}.") from error
        except OSError as error:
            raise CameraFileError(f"The camera's buffer does not give {name}: {error.strerror}.") from error
        found = hashlib.sha256(data).hexdigest()
        check_transfer(name, stated, found)
        return _Replica(data, found)

    def _distribute(self, name: str, replica: _Replica) -> Stored:
        """Check once more, store, and describe."""
        claim = self._store.put(replica.data)
        check_transfer(name, replica.digest, claim.sha256)
        return Stored(claim=claim, header=describe(replica.data))

    def _first(self, copy: Path, digest: str) -> Stored:
        """Return the first file of a name of which another came."""
        data = copy.read_bytes() if copy.exists() else self._store.get(self._store.find(digest))
        return self._distribute(copy.name, _Replica(data, digest))


def _kept_digest(copy: Path) -> str | None:
    try:
        return parse_sidecar(copy.with_name(f"{copy.name}.sha256").read_text())
    except (FileNotFoundError, ChecksumError):
        return None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DiskFullError(f"The outage buffer cannot keep {path.name}: {error.strerror}; free some space.") from error
