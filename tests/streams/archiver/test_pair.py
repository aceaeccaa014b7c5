"""A replicator-distributor pair on real files: checksums, copies, duplicates, and what cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import DiskFullError
from infra.objects import ObjectStore
from processors.control.errors import ChecksumError
from schemas.tables import Claim
from streams.archiver.pair import ArchivePair, CameraFileError
from streams.archiver.structure import STRUCTURE_KEY
from tests.support.camera_files import put_exposure, raw_fits

EXPOSURE = 2027011500001
DATA = raw_fits(EXPOSURE, 4)


class Bench:
    """A camera's buffer, an outage buffer, a store, and the pair between them."""

    def __init__(self, folder: Path) -> None:
        self.buffer, self.outage = folder / "buffer", folder / "outage"
        self.store = ObjectStore.memory()
        self.pair = ArchivePair(buffer_of=lambda _: self.buffer, outage=self.outage, store=self.store, patience_s=0.0)

    def copies(self) -> list[str]:
        return sorted(p.name for p in self.outage.glob("*/*"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_file_is_verified_copied_stored_and_described(bench: Bench) -> None:
    put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    stored = bench.pair.archive(EXPOSURE, 4)
    assert bench.store.get(stored.claim) == DATA
    assert stored.header["DETECTOR"] == "4"
    assert bench.copies() == [f"{EXPOSURE}-004.fits", f"{EXPOSURE}-004.fits.sha256"]


def test_copy_goes_only_when_the_archive_has_the_file(bench: Bench) -> None:
    put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    stored = bench.pair.archive(EXPOSURE, 4)
    bench.pair.release(EXPOSURE, 4)
    assert bench.copies() == [f"{EXPOSURE}-004.fits.sha256"]
    bench.pair.release(EXPOSURE, 4)
    assert bench.pair.archive(EXPOSURE, 4) == stored


def test_completeness_is_the_marker(bench: Bench) -> None:
    put_exposure(bench.buffer, EXPOSURE, {4: DATA}, complete=False)
    assert not bench.pair.is_complete(EXPOSURE)
    put_exposure(bench.buffer, EXPOSURE, {})
    assert bench.pair.is_complete(EXPOSURE)


def test_wrong_checksum_is_refused_and_the_bytes_are_kept(bench: Bench) -> None:
    folder = put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    (folder / f"{EXPOSURE}-004.fits").write_bytes(DATA[: len(DATA) // 2])
    with pytest.raises(ChecksumError):
        bench.pair.archive(EXPOSURE, 4)
    assert bench.copies() == [f"{EXPOSURE}-004.fits.rejected"]


def test_file_that_is_right_a_moment_later_is_archived(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ArchivePair(buffer_of=lambda _: bench.buffer, outage=bench.outage, store=bench.store, patience_s=5.0)
    folder = put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    (folder / f"{EXPOSURE}-004.fits").write_bytes(DATA[:100])
    fetch = pair._fetch

    def heal(exposure: int, name: str) -> object:
        try:
            return fetch(exposure, name)
        finally:
            put_exposure(bench.buffer, EXPOSURE, {4: DATA})

    monkeypatch.setattr(pair, "_fetch", heal)
    assert bench.store.get(pair.archive(EXPOSURE, 4).claim) == DATA


def test_missing_file_is_a_typed_error(bench: Bench) -> None:
    put_exposure(bench.buffer, EXPOSURE, {})
    with pytest.raises(CameraFileError):
        bench.pair.archive(EXPOSURE, 4)


def test_broken_bytes_that_the_camera_vouches_for_are_archived_with_a_remark(bench: Bench) -> None:
    put_exposure(bench.buffer, EXPOSURE, {4: DATA[:5000]})
    stored = bench.pair.archive(EXPOSURE, 4)
    assert bench.store.get(stored.claim) == DATA[:5000]
    assert "truncated" in stored.header[STRUCTURE_KEY]


@pytest.mark.parametrize("released", [False, True])
def test_first_file_of_a_name_stays(bench: Bench, released: bool) -> None:
    put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    first = bench.pair.archive(EXPOSURE, 4)
    if released:
        bench.pair.release(EXPOSURE, 4)
    put_exposure(bench.buffer, EXPOSURE, {4: raw_fits(EXPOSURE, 5)})
    assert bench.pair.archive(EXPOSURE, 4) == first


def test_full_disk_may_pass_and_leaves_nothing_half(bench: Bench) -> None:
    class FullStore(ObjectStore):
        def put(self, data: bytes | bytearray | memoryview) -> Claim:
            raise DiskFullError("No space is left.")

    put_exposure(bench.buffer, EXPOSURE, {4: DATA})
    full = FullStore(ObjectStore.memory()._backend)
    pair = ArchivePair(buffer_of=lambda _: bench.buffer, outage=bench.outage, store=full, patience_s=0.0)
    with pytest.raises(DiskFullError):
        pair.archive(EXPOSURE, 4)
    assert bench.store.get(bench.pair.archive(EXPOSURE, 4).claim) == DATA
