"""The object store: bytes named by their SHA-256, over obstore (a local folder, memory, S3, GCS, Azure).

An object is put once and never changes. A claim (`schemas.tables.Claim`) names it by hash, so whoever redeems the claim
gets exactly the bytes that were put, or a typed error. Keys do not depend on where the store is, so the same pixels
give the same claim in every replay.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, from_url

from infra.errors import CorruptObjectError, DiskFullError, ObjectMissingError, ObjectStoreError
from schemas.tables import Claim

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend

    from infra.settings import Settings

__all__ = ["ObjectStore", "object_key", "open_object_store"]


def object_key(sha256: str) -> str:
    """Return the key of the object with a hash: two levels of folders keep any one of them small."""
    return f"sha256/{sha256[:2]}/{sha256}"


class ObjectStore:
    """Content-addressed bytes.

    Parameters
    ----------
    backend
        An obstore store.
    fsync
        Whether a stored file is forced to disk before its claim is returned (local folder only).
    """

    def __init__(self, backend: Backend, *, fsync: bool = True) -> None:
        self._backend = backend
        self._folder = Path(str(backend.prefix)) if isinstance(backend, LocalStore) and backend.prefix else None
        self._fsync = fsync
        self._forcing = ThreadPoolExecutor(1, "fsync")
        self._storing = ThreadPoolExecutor(1, "store")

    @classmethod
    def local(cls, folder: Path, *, fsync: bool = True) -> ObjectStore:
        """Open a store in a local folder, which is made when missing."""
        with _translated("open", str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(folder), fsync=fsync)

    @classmethod
    def memory(cls) -> ObjectStore:
        """Open an empty store in memory, for tests."""
        return cls(MemoryStore())

    def put(self, data: bytes | bytearray | memoryview) -> Claim:
        """Store bytes and return the claim on them; storing the same bytes again changes nothing.

        Raises
        ------
        DiskFullError
            When no space is left; nothing is stored then, and trying again later may succeed.
        ObjectStoreError
            When the store fails otherwise.
        """
        claim = _claim_on(data)
        self._store(claim, data)
        return claim

    def put_aside(self, data: bytes) -> tuple[Claim, Future[None]]:
        """Begin to store bytes on another thread; return the claim, which holds when the other value has its result.

        That result raises what `put` raises. Who was given the claim must not hear of it before.
        """
        claim = _claim_on(data)
        return claim, self._storing.submit(self._store, claim, data)

    def get(self, claim: Claim) -> bytes:
        """Return the bytes of a claim, checked against its hash.

        Raises
        ------
        ObjectMissingError
            When the store has no such object.
        CorruptObjectError
            When the stored bytes have another hash.
        ObjectStoreError
            When the store fails otherwise.
        """
        data = self._read(claim.uri)
        if len(data) != claim.size or hashlib.sha256(data).hexdigest() != claim.sha256:
            raise CorruptObjectError(
                f"Object {claim.uri} holds {len(data)} bytes that do not have the hash it is named by; "
                "restore it from its source."
            )
        return data

    def find(self, sha256: str) -> Claim:
        """Return the claim on the object of a hash, for whoever knows nothing else of it.

        Raises
        ------
        ObjectMissingError
            When the store has no such object.
        ObjectStoreError
            When the store fails otherwise.
        """
        key = object_key(sha256)
        with _translated("look up", key):
            return Claim(uri=key, sha256=sha256, size=int(self._backend.head(key)["size"]))

    def has(self, claim: Claim) -> bool:
        """Tell whether the store holds an object of the claim's key and size, without reading it."""
        try:
            with _translated("look up", claim.uri):
                return int(self._backend.head(claim.uri)["size"]) == claim.size
        except ObjectMissingError:
            return False

    def delete(self, claim: Claim) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            with _translated("remove", claim.uri):
                self._backend.delete(claim.uri)
        except ObjectMissingError:
            return

    def _store(self, claim: Claim, data: bytes | bytearray | memoryview) -> None:
        if not self._holds(claim.uri, claim.sha256):
            with _translated("store", claim.uri):
                self._backend.put(claim.uri, bytes(data))
                self._force(claim.uri)

    def _read(self, key: str) -> bytes:
        with _translated("read", key):
            if self._folder is not None:
                return (self._folder / key).read_bytes()  # obstore would hold the bytes twice
            return self._backend.get(key).bytes().to_bytes()

    def _holds(self, key: str, sha256: str) -> bool:
        if self._folder is not None and not (self._folder / key).exists():
            return False
        try:
            return hashlib.sha256(self._read(key)).hexdigest() == sha256
        except ObjectMissingError:
            return False

    def _force(self, key: str) -> None:
        if self._folder is None or not self._fsync:
            return
        path = self._folder / key
        # Both at once: the file system waits once for its journal, which halves the time.
        folder = self._forcing.submit(_force, path.parent)
        try:
            _force(path)
        finally:
            folder.result()


def _claim_on(data: bytes | bytearray | memoryview) -> Claim:
    sha256 = hashlib.sha256(data).hexdigest()
    return Claim(uri=object_key(sha256), sha256=sha256, size=len(data))


def _force(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_object_store(settings: Settings) -> ObjectStore:
    """Open the object store that the settings name."""
    if settings.objects.url is None:
        return ObjectStore.local(settings.objects_dir, fsync=settings.objects.fsync)
    with _translated("open", settings.objects.url):
        return ObjectStore(from_url(settings.objects.url))


@contextmanager
def _translated(action: str, key: str) -> Iterator[None]:
    """Turn what obstore and the file system raise into our errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissingError(f"The object store has no {key}.") from error
    except (BaseError, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "os error 28" in first_line or getattr(error, "errno", None) == 28:
            raise DiskFullError(f"The disk is full: cannot {action} {key}; free some space.") from error
        raise ObjectStoreError(f"The object store cannot {action} {key}: {first_line}.") from error
