"""A data release in the object store, named by one hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.objects import ObjectStore
from schemas.tables import Claim
from streams.inputs import ReleaseError, announce_release, ingest_release, read_manifest, release_inputs


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    files = {"masters/det-000.fits": b"m", "templates/r.fits": b"t", "refcat.fits": b"r", "objects.fits": b"o"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    template = {"path": "templates/r.fits", "detector": 0, "band": "r", "airmass": 1.2}
    description = {
        "name": "R1",
        "masters": {"0": "masters/det-000.fits"},
        "templates": [template],
        "refcat": "refcat.fits",
        "objects": "objects.fits",
    }
    (folder / "release.json").write_text(json.dumps(description))
    return folder


def test_manifest_names_every_file_by_hash_and_is_the_same_each_time(release: Path) -> None:
    objects = ObjectStore.memory()
    claim = ingest_release(release, objects)
    assert ingest_release(release, objects) == claim
    manifest = read_manifest(objects, claim.sha256)
    assert objects.get(Claim(**manifest["masters"]["0"])) == b"m"
    assert manifest["templates"] == [
        {"detector": 0, "band": "r", "airmass": 1.2, "claim": manifest["templates"][0]["claim"]}
    ]
    assert objects.get(Claim(**manifest["templates"][0]["claim"])) == b"t"


def test_jobs_get_the_announced_release(tmp_path: Path, release: Path) -> None:
    file = tmp_path / "state" / "release.json"
    assert release_inputs(file) == {"release": ""}
    claim = ingest_release(release, ObjectStore.memory())
    announce_release(claim, file)
    assert release_inputs(file) == {"release": claim.sha256}


def test_release_that_names_a_missing_file_is_refused(release: Path) -> None:
    (release / "refcat.fits").unlink()
    with pytest.raises(ReleaseError, match=r"refcat\.fits"):
        ingest_release(release, ObjectStore.memory())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"masters": 3, "templates": []}'])
def test_broken_description_is_refused(release: Path, text: str) -> None:
    (release / "release.json").write_text(text)
    with pytest.raises(ReleaseError):
        ingest_release(release, ObjectStore.memory())


@pytest.mark.parametrize("sha256", ["", "ab" * 32])
def test_manifest_that_is_not_there_is_a_typed_error(sha256: str) -> None:
    with pytest.raises(ReleaseError):
        read_manifest(ObjectStore.memory(), sha256)
