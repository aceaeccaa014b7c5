"""The same jobs give the same bytes on one worker and on several, in whatever order and whichever process gets them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from infra.objects import ObjectStore
from schemas import avro
from schemas.events import DetectorResult
from streams.detectors import work
from streams.detectors.pool import JobPool
from streams.detectors.task import JobProduct, JobTask
from streams.detectors.work import DetectorBench
from streams.inputs import ingest_release
from tests.support.night_harness import simulate
from tests.support.pool_processes import do_nothing, fail_to_warm, warm_unequally

CAMERA, BAND, WORKERS = "tiny", "r", 2


def open_bench(folder: str) -> None:
    """Initialise a process of the pool, without compiling ahead."""
    work._bench[:] = [DetectorBench(ObjectStore.local(Path(folder), fsync=False))]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.local(tmp_path_factory.mktemp("objects"), fsync=False)


@pytest.fixture(scope="module")
def tasks(objects: ObjectStore) -> list[JobTask]:
    """The CCDs and the wavefront sensor of a visit, and one CCD of one snap."""
    folder = simulate(CAMERA, 1, 3)
    visit = int((folder / "visits.txt").read_text().split()[0])
    release = ingest_release(folder / "release", objects)

    def task(detector: int, n_snaps: int) -> JobTask:
        files = [folder / "raw" / str(e) / f"{e}-{detector:03d}.fits" for e in range(visit, visit + n_snaps)]
        return JobTask(
            job_id=f"d-{detector}-{n_snaps}", epoch=1, instrument="NightcastSim", visit=visit, detector=detector,
            is_wavefront=detector == 2, camera=CAMERA, band=BAND, n_snaps=n_snaps,
            raws=tuple(objects.put(file.read_bytes()) for file in files), release_sha256=release.sha256,
            known_objects=None,
        )  # fmt: skip

    return [task(0, 2), task(1, 2), task(2, 2), task(1, 1)]


@pytest.fixture(scope="module")
def pool(objects: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    folder = str(objects._folder)
    made = JobPool(WORKERS, initialise=open_bench, run=work.run, arguments=(folder,))
    yield made
    made.close()


def encoded(product: JobProduct) -> bytes:
    """The event with the digests of image and stamps in it."""
    assert isinstance(product.result, DetectorResult), product.failure
    return avro.encode(product.result)


def test_one_worker_and_several_give_the_same_bytes(objects: ObjectStore, tasks: list[JobTask], pool: JobPool) -> None:
    bench = DetectorBench(objects)
    alone = {task.job_id: encoded(bench.run(task)) for task in tasks}
    pool.start()
    order = [*reversed(tasks), tasks[1], tasks[0], tasks[1]]
    futures = [(task.job_id, pool.submit(task)) for task in order]
    for job_id, future in futures:
        assert encoded(future.result()) == alone[job_id], job_id
    assert len(set(alone.values())) == len(tasks)


def test_a_started_pool_has_all_its_processes_warm(tmp_path: Path) -> None:
    pool = JobPool(2, initialise=warm_unequally, run=do_nothing, arguments=(str(tmp_path),))
    try:
        pool.start()
        assert len(list(tmp_path.glob("warm-*"))) == 2
    finally:
        pool.close()


def test_a_pool_whose_processes_do_not_get_warm_does_not_start(tmp_path: Path) -> None:
    pool = JobPool(1, initialise=fail_to_warm, run=do_nothing, arguments=(str(tmp_path),))
    with pytest.raises(BrokenProcessPool):
        pool.start()
    pool.close()
