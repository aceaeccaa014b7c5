"""Compare two runs of the same night: what is missing, extra or changed, and by how much alerts came earlier or later.

Pure functions over what was read from the two logs. A record is known by its key and equal when its bytes are; a record that
differs is taken apart only then, to name the first field that does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "Change",
    "Comparison",
    "Key",
    "LatencyShift",
    "Log",
    "TopicComparison",
    "collect",
    "compare_topic",
    "first_difference",
    "latency_shift",
]

Key = tuple[int, ...]
"""What a record is known by, such as visit and detector."""

_SHOWN = 60
"""Characters of a value shown in a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The records of one topic of one run."""

    values: Mapping[Key, bytes]
    """Bare datum by key; the last one where a key came again."""
    conflicts: tuple[Key, ...] = ()
    """Keys that came again with other bytes, where one run must not contradict itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A record that both runs have, with other bytes."""

    key: Key
    field: str
    """Path of the first field that differs, such as ``diasources.psfFlux[3]``."""
    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicComparison:
    """How one topic of two runs differs."""

    topic: str
    same: int
    missing: tuple[Key, ...] = ()
    """Keys that only the first run has."""
    extra: tuple[Key, ...] = ()
    """Keys that only the second run has."""
    changed: tuple[Change, ...] = ()
    conflicts: tuple[Key, ...] = ()
    """Keys under which one of the runs has two different records."""

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.extra or self.changed or self.conflicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyShift:
    """Seconds from the last end of read-out to the alert, in two runs, over the alerts that both have."""

    alerts: int
    first_p50_s: float
    second_p50_s: float
    first_p95_s: float
    second_p95_s: float
    largest_shift_s: float
    """Largest difference of one alert, second run minus first, by absolute value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs side by side."""

    topics: tuple[TopicComparison, ...]
    latency: LatencyShift | None = field(default=None)

    @property
    def identical(self) -> bool:
        """The verdict: whether the second run gave the first one's records, byte for byte."""
        return all(topic.identical for topic in self.topics)


def collect(records: Iterable[tuple[Key, bytes]], *, versions: bool = False) -> Log:
    """Put the records of a topic in order of their keys.

    Parameters
    ----------
    records
        Key and datum of each record, in log order.
    versions
        Whether a key may come again with other bytes, as the newer version of an object does.
    """
    values: dict[Key, bytes] = {}
    conflicts: set[Key] = set()
    for key, value in records:
        if not versions and values.get(key, value) != value:
            conflicts.add(key)
        values[key] = value
    return Log(values={key: values[key] for key in sorted(values)}, conflicts=tuple(sorted(conflicts)))


def compare_topic(topic: str, first: Log, second: Log, *, decode: Callable[[bytes], Any]) -> TopicComparison:
    """Compare the records of one topic.

    Parameters
    ----------
    topic
        Its name.
    first, second
        The two runs.
    decode
        Takes a datum apart; called for records that differ only.
    """
    common = [key for key in first.values if key in second.values]
    differing = [key for key in common if first.values[key] != second.values[key]]
    return TopicComparison(
        topic=topic,
        same=len(common) - len(differing),
        missing=tuple(key for key in first.values if key not in second.values),
        extra=tuple(key for key in second.values if key not in first.values),
        changed=tuple(_change(key, first.values[key], second.values[key], decode) for key in differing),
        conflicts=tuple(sorted({*first.conflicts, *second.conflicts})),
    )


def first_difference(left: Any, right: Any) -> tuple[str, Any, Any] | None:
    """Return path and values of the first place where two trees of plain values differ, or None.

    Mappings are gone through in the first one's order, sequences from the front; two NaN are equal.
    """
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        names = [*left, *(name for name in right if name not in left)]
        return _first_of((f".{name}", left.get(name), right.get(name)) for name in names)
    if _is_sequence(left) and _is_sequence(right):
        if len(left) != len(right):
            return ".length", len(left), len(right)
        return _first_of((f"[{i}]", a, b) for i, (a, b) in enumerate(zip(left, right, strict=True)))
    return None if _equal(left, right) else ("", left, right)


def latency_shift(first: Mapping[int, float], second: Mapping[int, float]) -> LatencyShift | None:
    """Compare the latencies of the alerts that two runs share.

    Parameters
    ----------
    first, second
        Alert id to seconds.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    a, b = (np.array([run[alert] for alert in common]) for run in (first, second))
    shift = b - a
    return LatencyShift(
        alerts=len(common),
        first_p50_s=float(np.percentile(a, 50)),
        second_p50_s=float(np.percentile(b, 50)),
        first_p95_s=float(np.percentile(a, 95)),
        second_p95_s=float(np.percentile(b, 95)),
        largest_shift_s=float(shift[np.argmax(np.abs(shift))]),
    )


def _change(key: Key, left: bytes, right: bytes, decode: Callable[[bytes], Any]) -> Change:
    found = first_difference(decode(left), decode(right))
    if found is None:
        return Change(key=key, field="(encoding)", left=f"{len(left)} bytes", right=f"{len(right)} bytes")
    path, a, b = found
    return Change(key=key, field=path.lstrip(".") or "(all)", left=_shown(a), right=_shown(b))


def _first_of(parts: Iterable[tuple[str, Any, Any]]) -> tuple[str, Any, Any] | None:
    for step, left, right in parts:
        found = first_difference(left, right)
        if found is not None:
            path, a, b = found
            return step + path, a, b
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return type(left) is type(right) and bool(left == right)


def _shown(value: Any) -> str:
    text = f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
