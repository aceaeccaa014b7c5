"""The data release that jobs are given: its files in the object store, and a manifest that names each by hash.

The manifest is the release's own description with every path replaced by a claim (``uri``, ``sha256``, ``size``); the
manifest's hash names everything in it, so a job plan carries that one hash and nothing ever reads the latest of anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.errors import ObjectMissingError
from infra.objects import ObjectStore
from schemas.errors import PermanentFailure
from schemas.tables import Claim

__all__ = ["ReleaseError", "announce_release", "ingest_release", "read_manifest", "release_inputs"]

DESCRIPTION = "release.json"


class ReleaseError(PermanentFailure):
    """A data release is incomplete, or its description is not one."""

    code = "release"


def ingest_release(directory: Path, objects: ObjectStore, *, progress: Callable[[str], None] = lambda _: None) -> Claim:
    """Put a data release into the object store and return the claim on its manifest; again changes nothing.

    Parameters
    ----------
    directory
        Folder with ``release.json`` and the files that it names.
    objects
        Where they go.
    progress
        Called with the name of each file.

    Raises
    ------
    ReleaseError
        When the description is missing or broken, or names a file that is not there.
    DiskFullError, ObjectStoreError
        When the store fails.
    """
    description = _description(directory)

    def put(path: str) -> dict[str, Any]:
        progress(path)
        try:
            return asdict(objects.put((directory / path).read_bytes()))
        except FileNotFoundError as error:
            raise ReleaseError(f"The release of {directory} names {path}, which is not there.") from error

    try:
        manifest = {
            **description,
            "masters": {detector: put(path) for detector, path in sorted(description["masters"].items())},
            "templates": [_with_claim(entry, put) for entry in description["templates"]],
            "refcat": put(description["refcat"]),
            "objects": put(description["objects"]),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(f"The release of {directory} has no usable {DESCRIPTION}: {error!r}.") from error
    return objects.put(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())


def announce_release(claim: Claim, file: Path) -> None:
    """Make a release the one that jobs are given from now on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_text(json.dumps(asdict(claim)) + "\n")
    os.replace(temporary, file)


def release_inputs(file: Path) -> Mapping[str, str]:
    """Return the inputs of jobs planned now: the release's manifest by its sha256, empty where there is none.

    A job without a release fails by itself with a reason, and its images are archived all the same.
    """
    try:
        return {"release": str(json.loads(file.read_text())["sha256"])}
    except (OSError, ValueError, KeyError):
        return {"release": ""}


def read_manifest(objects: ObjectStore, sha256: str) -> dict[str, Any]:
    """Return the manifest of a release.

    Raises
    ------
    ReleaseError
        When the job was given none, or the store has none of that hash.
    CorruptObjectError, ObjectStoreError
        When the store fails.
    """
    if not sha256:
        raise ReleaseError("No data release was announced when the job was planned; ingest one.")
    try:
        manifest: dict[str, Any] = json.loads(objects.get(objects.find(sha256)))
    except ObjectMissingError as error:
        raise ReleaseError(f"The object store has no release manifest {sha256}.") from error
    return manifest


def _description(directory: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((directory / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"The release of {directory} has no readable {DESCRIPTION}: {error}.") from error
    return description


def _with_claim(entry: Mapping[str, Any], put: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    rest = {name: value for name, value in entry.items() if name != "path"}
    return {**rest, "claim": put(entry["path"])}
