"""The object store: bytes named by their hash."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import CorruptObjectError, DiskFullError, ObjectMissingError, ObjectStoreError
from infra.objects import ObjectStore, object_key, open_object_store
from infra.settings import load_settings
from schemas.tables import Claim


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return ObjectStore.local(tmp_path / "objects") if request.param == "local" else ObjectStore.memory()


def test_what_is_put_is_got_back(store: ObjectStore) -> None:
    data = os.urandom(100_000)
    claim = store.put(data)
    digest = hashlib.sha256(data).hexdigest()
    assert claim == Claim(uri=f"sha256/{digest[:2]}/{digest}", sha256=digest, size=100_000)
    assert store.get(claim) == data
    assert store.has(claim)


def test_what_is_put_aside_has_the_same_claim_and_is_there_when_that_has_ended(store: ObjectStore) -> None:
    claim, storing = store.put_aside(b"later")
    assert claim == ObjectStore.memory().put(b"later")
    storing.result()
    assert store.get(claim) == b"later"


@given(data=st.binary(max_size=300))
def test_equal_bytes_have_one_claim_and_others_another(data: bytes) -> None:
    store = ObjectStore.memory()
    assert store.put(data) == store.put(bytearray(data)) == store.put(memoryview(data))
    assert store.put(data + b"x") != store.put(data)


def test_what_was_never_put_is_missing(store: ObjectStore) -> None:
    claim = ObjectStore.memory().put(b"elsewhere")
    assert not store.has(claim)
    with pytest.raises(ObjectMissingError):
        store.get(claim)
    store.delete(claim)


def test_what_is_deleted_is_missing(store: ObjectStore) -> None:
    claim = store.put(b"short-lived")
    store.delete(claim)
    assert not store.has(claim)


@pytest.mark.parametrize("damage", [b"", b"other byteS", b"other bytes and more"])
def test_damaged_bytes_are_refused_and_mended_by_putting_again(damage: bytes, tmp_path: Path) -> None:
    store = ObjectStore.local(tmp_path)
    claim = store.put(b"other bytes")
    (tmp_path / claim.uri).write_bytes(damage)
    with pytest.raises(CorruptObjectError, match=claim.uri):
        store.get(claim)
    assert store.put(b"other bytes") == claim
    assert store.get(claim) == b"other bytes"


def test_a_claim_of_another_size_is_refused(store: ObjectStore) -> None:
    claim = dataclasses.replace(store.put(b"abc"), size=4)
    assert not store.has(claim)
    with pytest.raises(CorruptObjectError):
        store.get(claim)


def test_the_settings_choose_the_folder(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    claim = open_object_store(settings).put(b"here")
    assert (tmp_path / "objects" / object_key(claim.sha256)).read_bytes() == b"here"


def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ObjectStoreError) as raised:
        ObjectStore.local(tmp_path / "file" / "objects")
    assert raised.value.retriable


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_retriable_and_loses_nothing(small_disk: Path) -> None:
    store = ObjectStore.local(small_disk)
    kept = store.put(b"kept")
    big = os.urandom(3_000_000)
    with pytest.raises(DiskFullError) as raised:
        store.put(big)
    assert raised.value.retriable
    assert store.get(kept) == b"kept"
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert store.get(store.put(big)) == big
