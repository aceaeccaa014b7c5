"""Dead letters and the state of stages."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DeadLetter", "StageState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that could not be processed, with its cause and origin."""

    origin_topic: str
    origin_partition: int
    origin_offset: int
    key: bytes | None
    payload: bytes | None
    stage: str
    code: str
    reason: str
    attempts: int
    failed_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """The state of a stage, written in the transaction that moved it."""

    stage: str
    payload: bytes
    version: int = field(default=1)
