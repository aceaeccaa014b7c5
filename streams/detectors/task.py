"""What goes into the process pool and what comes out of it: values only, cheap to pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.errors import MissingInputError
from schemas.errors import NightcastError
from schemas.events import DetectorResult
from schemas.tables import Claim

__all__ = ["JobFailure", "JobProduct", "JobTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTask:
    """One job with the claims on everything it needs."""

    job_id: str
    epoch: int
    instrument: str
    visit: int
    detector: int
    is_wavefront: bool
    camera: str
    band: str
    n_snaps: int
    raws: tuple[Claim, ...]
    """Raw frames in order of snaps; lost ones are not in it."""
    release_sha256: str
    """Name of the data release's manifest in the object store."""
    known_objects: Claim | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailure:
    """Why a job gave no result."""

    code: str
    reason: str
    retriable: bool

    @classmethod
    def of(cls, error: Exception) -> JobFailure:
        """Describe an error: ours by its own words, any other as permanent, because the same input would raise it again.

        What the data release lacks is lacking for good: a job names its inputs by hash, and a release never changes.
        """
        if isinstance(error, NightcastError):
            passes = error.retriable and not isinstance(error, MissingInputError)
            return cls(code=error.code, reason=str(error), retriable=passes)
        return cls(code="unexpected", reason=f"{type(error).__name__}: {error}", retriable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProduct:
    """What a job gave: a result or a failure, and what it cost."""

    result: DetectorResult | None = None
    failure: JobFailure | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds by step, and counts; never part of the result, which is the same in every run."""
