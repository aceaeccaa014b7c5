"""The trail of a job: every fact in the log about it, as sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from schemas.events import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    Leased,
    Planned,
    Started,
    Succeeded,
    Superseded,
)

__all__ = ["TrailEntry", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """One fact."""

    at_unix_s: float
    """When the log took it."""
    what: str
    """Name of the fact, in lower case."""
    sentence: str
    refused: bool = False
    """Whether it came from a lease that was no longer the newest, or had expired, and so counted for nothing."""


def explain(events: Iterable[tuple[float, JobEvent]]) -> list[TrailEntry]:
    """Return the trail of one job.

    Parameters
    ----------
    events
        When the log took each fact (seconds since 1970), and the fact, in log order.
    """
    trail: list[TrailEntry] = []
    newest, lapsed = 0, False
    for at, event in events:
        fact = event.fact
        epoch = getattr(fact, "epoch", 0)
        refused = isinstance(fact, Started | Succeeded | Failed) and (epoch < newest or (epoch == newest and lapsed))
        if isinstance(fact, Leased) and epoch > newest:
            newest, lapsed = epoch, False
        elif isinstance(fact, Expired) and epoch == newest:
            lapsed = True
        what = type(fact).__name__.lower().removeprefix("job")
        trail.append(TrailEntry(at_unix_s=at, what=what, sentence=_sentence(fact), refused=refused))
    return trail


@singledispatch
def _sentence(fact: Any) -> str:
    return str(fact)


@_sentence.register
def _(fact: Planned) -> str:
    inputs = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(fact.inputs.items())) or "no inputs"
    exposures = ", ".join(str(e) for e in fact.exposures)
    return f"planned for exposures {exposures} with {inputs}, priority {fact.priority}"


@_sentence.register
def _(fact: Leased) -> str:
    return f"leased to {fact.worker}, epoch {fact.epoch}"


@_sentence.register
def _(fact: Started) -> str:
    return f"started by {fact.worker}, epoch {fact.epoch}"


@_sentence.register
def _(fact: Succeeded) -> str:
    where = "" if fact.result is None else f"; result {fact.result.sha256[:12]} at offset {fact.result.offset}"
    return f"succeeded on {fact.worker}, epoch {fact.epoch}{where}"


@_sentence.register
def _(fact: Failed) -> str:
    again = "may be tried again" if fact.retriable else "for good"
    return f"failed on {fact.worker}, epoch {fact.epoch}, {again}: {fact.code}: {fact.reason}"


@_sentence.register
def _(fact: Expired) -> str:
    return f"lease of {fact.worker} expired, epoch {fact.epoch}"


@_sentence.register
def _(fact: JobCancelled) -> str:
    return f"cancelled: {fact.reason}"


@_sentence.register
def _(fact: Superseded) -> str:
    return f"superseded by {fact.by}"
