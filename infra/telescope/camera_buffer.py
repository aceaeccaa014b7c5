"""The camera's buffer: takes exposures and leaves their raw files where the archiver fetches them; faults on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.telescope.night import Exposed, Night
from infra.telescope.raw_files import complete_exposure, encode_raw, raw_name, write_raw
from infra.telescope.schedule import PlannedVisit
from infra.telescope.truth import TruthBook
from schemas.camera import Detector

__all__ = ["CameraBuffer", "Fault", "spoil"]


class Fault(StrEnum):
    """What can be made to go wrong with a visit."""

    MISSING_SNAP = "missing_snap"
    """The last snap is never taken: no events, no files."""
    TRUNCATED_FITS = "truncated_fits"
    """The first detector's file of the first snap lacks its second half; its checksum is that of the whole."""
    MISSING_AMPLIFIER = "missing_amplifier"
    """The first detector's files lack their last amplifier; checksums are right."""
    DEAD_AMPLIFIER = "dead_amplifier"
    """The first detector's first amplifier reads zero."""
    SATURATED_CCD = "saturated_ccd"
    """The first detector reads full scale everywhere."""
    NO_IMAGE = "no_image"
    """Announced and integrated as ever, but no file appears."""
    MALFORMED_NEXT_VISIT = "malformed_next_visit"
    """An announcement that cannot be decoded comes before the right one."""
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    """An announcement for an instrument that is not ours comes before the right one."""
    CANCELLED = "cancelled"
    """Announced, then taken back."""


class CameraBuffer:
    """Takes exposures into a folder.

    Parameters
    ----------
    night
        What there is to see.
    folder
        The buffer: one folder per exposure, ``<exposure>/<exposure>-<detector>.fits``.
    detectors
        Ids of the detectors that are read out; all by default.
    faults
        Kind of fault by visit.
    """

    def __init__(
        self,
        night: Night,
        folder: Path,
        *,
        detectors: Sequence[int] | None = None,
        faults: Mapping[int, Fault] | None = None,
    ) -> None:
        self.night = night
        self.folder = folder
        self.detectors = [d for d in night.camera.detectors if detectors is None or d.id in detectors]
        self.faults = dict(faults or {})
        self.truth = TruthBook(night)

    def observe(self, visit: PlannedVisit, snap: int) -> list[Path]:
        """Take one snap and write its files; the folder's last file is its marker of completeness.

        Returns
        -------
        paths
            The FITS files, in order of detectors; none when a fault says so.
        """
        fault = self.faults.get(visit.visit)
        if fault is Fault.NO_IMAGE or (fault is Fault.MISSING_SNAP and snap == visit.n_snaps - 1):
            return []
        exposure = visit.exposure(snap)
        folder = self.folder / str(exposure)
        paths, digests = [], {}
        for place, detector in enumerate(self.detectors):
            exposed = self.night.expose(visit, snap, detector)
            self.truth.inspect(visit, snap, detector, exposed)
            content = self._encode(visit, snap, detector, exposed, fault if place == 0 else None)
            name = raw_name(exposure, detector.id)
            digests[name] = write_raw(folder, name, content)
            if fault is Fault.TRUNCATED_FITS and place == 0 and snap == 0:
                (folder / name).write_bytes(content[: len(content) // 2])
            paths.append(folder / name)
        complete_exposure(folder, digests)
        return paths

    def write_truth(self, visit: PlannedVisit, path: Path) -> None:
        """Write the truth of a visit, whose snaps were observed before, as Parquet."""
        self.truth.write(visit, path)

    def _encode(
        self, visit: PlannedVisit, snap: int, detector: Detector, exposed: Exposed, fault: Fault | None
    ) -> bytes:
        response = self.night.response(detector.id)
        frames = spoil(exposed.frames, fault)
        if fault is Fault.MISSING_AMPLIFIER:
            frames = frames[:-1]
        return encode_raw(visit, snap, response, frames)


def spoil(frames: list[NDArray[np.uint16]], fault: Fault | None) -> list[NDArray[np.uint16]]:
    """Return raw frames as a fault leaves their pixels."""
    if fault is Fault.DEAD_AMPLIFIER:
        return [np.zeros_like(frames[0]), *frames[1:]]
    if fault is Fault.SATURATED_CCD:
        return [np.full_like(frame, 65535) for frame in frames]
    return frames
