"""The jobs that a visit and an exposure need: one per CCD and wavefront sensor, one per raft and one for all wavefront sensors.

Counts come from the camera description: 193 detector jobs a visit and 22 archive jobs an exposure for the full camera
(LDM-230, 2013: 189 + 4 and 21 + 1).
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.camera import Camera
from schemas.events import Announced, JobEvent, JobKind, Planned

__all__ = [
    "ARCHIVE_PRIORITY",
    "DETECTOR_PRIORITY",
    "EXHAUSTED",
    "EXPOSURE_LOST",
    "WAVEFRONT_RAFT",
    "archive_job_id",
    "archive_jobs",
    "detector_job_id",
    "detector_jobs",
    "exposure_of",
]

DETECTOR_PRIORITY = 50
"""Priority of a detector job that runs for the first time; a rerun gets less (LDM-230, failure modes)."""

ARCHIVE_PRIORITY = 100
"""Archiving comes before processing: an image that is not archived can be lost."""

EXPOSURE_LOST = "no_exposure"
"""Code with which a detector job fails when no image of its visit came: the outcome is then ``lost`` and not ``failed``."""

EXHAUSTED = "attempts_exhausted"
"""Code of the Orchestration Manager's verdict on a job whose attempts are used up."""

WAVEFRONT_RAFT = "WFS"
"""Stands for a raft in the archive job of all wavefront sensors."""


def detector_job_id(visit: int, detector: int) -> str:
    """Return the name of the job of one detector of one visit."""
    return f"d-{visit}-{detector:03d}"


def archive_job_id(exposure: int, raft: str) -> str:
    """Return the name of the job that archives one raft of one exposure."""
    return f"a-{exposure}-{raft}"


def exposure_of(job_id: str) -> int:
    """Return the exposure that an archive job is about, from its name."""
    return int(job_id.split("-")[1])


def detector_jobs(
    instrument: str, visit: int, announced: Announced, camera: Camera, inputs: Mapping[str, str]
) -> list[JobEvent]:
    """Plan the detector jobs of a visit, in order of detectors.

    Parameters
    ----------
    instrument, visit
        Whose they are.
    announced
        The announcement; only its detectors are planned.
    camera
        The camera it names.
    inputs
        Name of each input to its sha256: nothing ever reads the latest of anything.
    """
    exposures = tuple(range(visit, visit + announced.n_snaps))
    jobs = []
    for identifier in sorted(set(announced.detectors)):
        detector = camera.detector(identifier)
        plan = Planned(
            inputs=inputs,
            exposures=exposures,
            priority=DETECTOR_PRIORITY,
            parameters=_parameters(announced) | {"kind": detector.kind, "name": detector.name},
        )
        jobs.append(_job(detector_job_id(visit, identifier), JobKind.DETECTOR, instrument, visit, (identifier,), plan))
    return jobs


def archive_jobs(instrument: str, visit: int, exposure: int, camera: Camera, *, exposure_time: float) -> list[JobEvent]:
    """Plan the archive jobs of an exposure: one per raft in order of rafts, then one for the wavefront sensors.

    ``exposure_time`` is in seconds: for so long at least no file can be expected.
    """
    groups = {raft: tuple(d.id for d in detectors) for raft, detectors in sorted(camera.rafts.items())}
    if camera.wavefront_sensors:
        groups[WAVEFRONT_RAFT] = tuple(d.id for d in camera.wavefront_sensors)
    jobs = []
    for raft, detectors in groups.items():
        plan = Planned(
            inputs={},
            exposures=(exposure,),
            priority=ARCHIVE_PRIORITY,
            parameters={
                "camera": camera.name,
                "exposure_time": repr(exposure_time),
                "raft": raft,
                "snap": str(exposure - visit),
            },
        )
        jobs.append(_job(archive_job_id(exposure, raft), JobKind.ARCHIVE, instrument, visit, detectors, plan))
    return jobs


def _parameters(announced: Announced) -> dict[str, str]:
    return {
        "band": announced.band,
        "camera": announced.camera,
        "day_obs": str(announced.day_obs),
        "dec": repr(announced.dec),
        "exposure_time": repr(announced.exposure_time),
        "n_snaps": str(announced.n_snaps),
        "ra": repr(announced.ra),
        "rotation": repr(announced.rotation),
    }


def _job(
    job_id: str, kind: JobKind, instrument: str, visit: int, detectors: tuple[int, ...], plan: Planned
) -> JobEvent:
    return JobEvent(job_id=job_id, kind=kind, instrument=instrument, visit=visit, detectors=detectors, fact=plan)
