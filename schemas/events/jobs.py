"""What is said of jobs and of those who do them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.events.visits import ResultRef

__all__ = [
    "Expired",
    "Failed",
    "JobCancelled",
    "JobEvent",
    "JobFact",
    "JobKind",
    "JobLedgerEntry",
    "Leased",
    "Planned",
    "Started",
    "Succeeded",
    "Superseded",
    "WorkerHeartbeat",
]


class JobKind(StrEnum):
    """What a job does."""

    DETECTOR = "detector"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The DMCS wants the job done; its inputs are named by hash."""

    inputs: Mapping[str, str]
    """Name of each input to its sha256 in the object store, such as release."""
    exposures: tuple[int, ...]
    """Exposures the job works on."""
    priority: int
    """Larger runs first."""
    parameters: Mapping[str, str]
    """What the job must know beyond its inputs, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """The Orchestration Manager gave the job to a worker; a larger epoch fences smaller ones."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The worker has its inputs and began."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The worker did the job."""

    worker: str
    epoch: int
    result: ResultRef | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The worker could not do the job."""

    worker: str
    epoch: int
    code: str
    reason: str
    retriable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The lease ran out without a sign of life."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """Nobody wants the job any more."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Another job took this one's place."""

    by: str


JobFact = Planned | Leased | Started | Succeeded | Failed | Expired | JobCancelled | Superseded
"""What can be said of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One fact about a job, in the instrument's one ordered log of jobs."""

    job_id: str
    kind: JobKind
    instrument: str
    visit: int
    detectors: tuple[int, ...]
    fact: Planned | Leased | Started | Succeeded | Failed | Expired | JobCancelled | Superseded


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLedgerEntry:
    """The last state of a job, for restarts and queries."""

    job_id: str
    kind: JobKind
    instrument: str
    visit: int
    detectors: tuple[int, ...]
    state: str
    worker: str
    epoch: int
    attempts: int
    reason: str
    updated_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeartbeat:
    """A worker lives, offers slots, and holds leases."""

    worker: str
    kind: JobKind
    slots: int
    holding: tuple[str, ...]
    """Leases held, as job_id@epoch."""
    sent_unix_s: float
