"""Takes the night's exposures ahead of their time in a process of its own, and puts them in the buffer when they are due."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.telescope.camera_buffer import CameraBuffer, Fault
from infra.telescope.night import Night
from infra.telescope.schedule import PlannedVisit
from infra.telescope.truth import write_static
from schemas.camera import Camera

__all__ = ["Darkroom", "NightShift"]

NICENESS = 5
"""Rendering yields to the pipeline that it feeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightShift:
    """What a darkroom needs to know of its night."""

    camera: Camera
    seed: int
    visits: tuple[PlannedVisit, ...]
    buffer: Path
    """Where the archiver fetches: one folder per exposure."""
    truth: Path
    """Where truth files go."""
    detectors: tuple[int, ...] | None
    faults: Mapping[int, Fault]

    @property
    def staging(self) -> Path:
        """Where exposures wait for their time, on the buffer's own file system."""
        return self.buffer.parent / f".{self.buffer.name}.staging"


class Darkroom:
    """One process that renders exposures in the order asked for.

    Parameters
    ----------
    shift
        The night.
    """

    def __init__(self, shift: NightShift) -> None:
        self._shift = shift
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_open, initargs=(shift,)
        )
        self._taken: dict[int, Future[bool]] = {}

    def take(self, visit: PlannedVisit) -> None:
        """Begin to take every snap of a visit, unless that was asked for before."""
        for snap in range(visit.n_snaps):
            exposure = visit.exposure(snap)
            if exposure not in self._taken:
                self._taken[exposure] = self._pool.submit(_take, visit.index, snap)

    def ready(self, visit: PlannedVisit) -> None:
        """Wait until the process has begun its work and the visit's first snap is taken."""
        self.take(visit)
        self._taken[visit.exposure(0)].result()

    def deliver(self, visit: PlannedVisit, snap: int) -> bool:
        """Wait until a snap is taken and put its folder into the buffer; return whether there is one."""
        self.take(visit)
        exposure = visit.exposure(snap)
        if not self._taken.pop(exposure).result():
            return False
        source, target = self._shift.staging / str(exposure), self._shift.buffer / str(exposure)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(source, target)
        return True

    def close(self) -> None:
        """Stop the process and forget what was taken but not delivered."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._shift.staging, ignore_errors=True)


class _Worker:
    """State of the rendering process."""

    def __init__(self, shift: NightShift) -> None:
        self.shift = shift
        night = Night(shift.camera, shift.seed, list(shift.visits))
        self.camera = CameraBuffer(night, shift.staging, detectors=shift.detectors, faults=shift.faults)
        write_static(night, shift.truth / "static.parquet")

    def take(self, index: int, snap: int) -> bool:
        visit = self.shift.visits[index]
        paths = self.camera.observe(visit, snap)
        if snap == visit.n_snaps - 1:
            self.camera.write_truth(visit, self.shift.truth / f"{visit.visit}.parquet")
        return bool(paths)


_workers: list[_Worker] = []


def _open(shift: NightShift) -> None:
    os.nice(NICENESS)
    _workers[:] = [_Worker(shift)]


def _take(index: int, snap: int) -> bool:
    return _workers[0].take(index, snap)
