"""The process pool of a detector worker: spawned, warmed, one BLAS thread each, replaced when a process dies."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Semaphore

from infra.logs import get_logger
from streams.detectors.task import JobFailure, JobProduct, JobTask

__all__ = ["JobPool", "product_of"]

log = get_logger(__name__)

_LOOK_S = 1.0
"""How often a start that waits looks whether a process has died."""


class JobPool:
    """Runs tasks in processes of their own.

    Parameters
    ----------
    processes
        How many tasks run at once.
    initialise
        Called once in each process with ``arguments``: opens stores, warms compiled code. Must be importable.
    run
        Called in a process with each task. Must be importable.
    arguments
        Picklable arguments of ``initialise``.
    """

    def __init__(
        self,
        processes: int,
        *,
        initialise: Callable[..., None],
        run: Callable[[JobTask], JobProduct],
        arguments: tuple[object, ...] = (),
    ) -> None:
        self.processes = processes
        self._initialise, self._run, self._arguments = initialise, run, arguments
        self._context = multiprocessing.get_context("spawn")
        self._warm = self._context.Semaphore(0)
        self._pool = self._make()

    def start(self) -> None:
        """Start and warm every process now, and wait for it, so that the first visit is as fast as the tenth.

        Raises
        ------
        BrokenProcessPool
            When a process does not get warm.
        """
        waiting = [self._pool.submit(_nothing) for _ in range(self.processes)]
        for future in waiting:
            future.result()
        for _ in range(self.processes):  # the first one that is warm may have done all that was asked of the others
            while not self._warm.acquire(timeout=_LOOK_S):
                self._pool.submit(_nothing).result()

    def submit(self, task: JobTask) -> Future[JobProduct]:
        """Queue a task."""
        try:
            return self._pool.submit(self._run, task)
        except BrokenProcessPool:
            log.error("worker processes replaced", job=task.job_id)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._make()
            return self._pool.submit(self._run, task)

    def close(self) -> None:
        """End the processes; tasks that run are given up, because their leases will expire or be granted anew."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(5.0)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.processes,
            mp_context=self._context,
            initializer=_initialise,
            initargs=(self._initialise, self._arguments, self._warm),
        )


def product_of(future: Future[JobProduct]) -> JobProduct:
    """Return what a finished future holds; a process that died is a failure that may pass."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        reason = "The process that ran the job died; the job may be run again."
        return JobProduct(failure=JobFailure(code="worker_process_died", reason=reason, retriable=True))
    return JobProduct(failure=JobFailure.of(error if isinstance(error, Exception) else RuntimeError(str(error))))


def _initialise(initialise: Callable[..., None], arguments: tuple[object, ...], warm: Semaphore) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    initialise(*arguments)
    warm.release()


def _nothing() -> None:
    """Do nothing, in a process that is warm when it gets here."""
