"""Give a replay's system what the night had: the camera's files and the data release, linked where that is possible."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.objects import ObjectStore, object_key
from schemas.errors import NightcastError
from schemas.tables import Claim
from streams.replay.corrections import claims_of
from streams.replay.errors import RecordingError
from streams.replay.recording import RawFile, RecordingHeader

__all__ = ["provide_claims", "provide_files", "provide_release"]


def provide_files(header: RecordingHeader, nights_folder: Path) -> None:
    """Put the recorded files of the camera's buffer where a replay's archiver looks for them.

    A frame that the buffer no longer has is taken from the recorded object store, which names it by the same hash.

    Raises
    ------
    RecordingError
        When a file is gone, or is not what was recorded.
    """
    for file in header.files:
        target = nights_folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.text is not None:
            target.write_text(file.text)
        else:
            _link(_source(header, file), target)


def provide_release(header: RecordingHeader, source: ObjectStore, target: ObjectStore, target_folder: Path) -> None:
    """Bring the recorded data release, manifest and all it names, into a replay's object store.

    Raises
    ------
    RecordingError
        When a part of it is gone.
    """
    try:
        manifest = source.get(header.release)
        for claim in (header.release, *_claims(json.loads(manifest))):
            _provide(claim, header, source, target, target_folder)
    except NightcastError as error:
        if error.retriable:
            raise
        raise RecordingError(f"The data release of the recording cannot be had: {error}") from error


def provide_claims(header: RecordingHeader, source: ObjectStore, target: ObjectStore, target_folder: Path) -> None:
    """Bring the files of the recorded coarse ephemerides and of DayMOPS' decisions into a replay's object store.

    Raises
    ------
    RecordingError
        When one of them is gone.
    """
    try:
        claims = [claim for one in header.ephemerides for claim in (one.file, one.orbits)]
        claims += [claim for one in header.corrections for claim in claims_of(one.decision)]
        for claim in claims:
            _provide(claim, header, source, target, target_folder)
    except NightcastError as error:
        if error.retriable:
            raise
        raise RecordingError(f"The ephemerides or corrections of the recording cannot be had: {error}") from error


def _provide(
    claim: Claim, header: RecordingHeader, source: ObjectStore, target: ObjectStore, target_folder: Path
) -> None:
    local = Path(header.objects_folder) / claim.uri if header.objects_folder else None
    if local is not None and local.is_file():
        (target_folder / claim.uri).parent.mkdir(parents=True, exist_ok=True)
        _link(local, target_folder / claim.uri)
    else:
        target.put(source.get(claim))


def _source(header: RecordingHeader, file: RawFile) -> Path:
    """Return a file with the recorded bytes, in the buffer or among the archived frames."""
    places = [Path(header.nights_folder) / file.path]
    if header.objects_folder is not None:
        places.append(Path(header.objects_folder) / object_key(file.sha256))
    for place in places:
        if place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == file.sha256:
            return place
    raise RecordingError(f"The raw file {file.path} of the recording is gone, or its bytes have changed.")


def _claims(node: Any) -> Iterator[Claim]:
    if isinstance(node, dict) and node.keys() == {"uri", "sha256", "size"}:
        yield Claim(**node)
    elif isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _claims(item)


def _link(source: Path, target: Path) -> None:
    """Link a file that is never changed in place; copy it where it lies on another disk."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
