"""What a detector's process keeps between jobs is bounded by bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.detectors.keeping import Kept, array_bytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """Arrays at two depths."""

    image: np.ndarray
    flats: dict[str, np.ndarray]
    name: str = "part"


def part(values: int) -> Part:
    return Part(image=np.zeros(values, np.float32), flats={"r": np.zeros(values, np.uint8)})


def test_bytes_of_arrays_are_counted_however_deep() -> None:
    assert array_bytes(part(100)) == 500
    assert array_bytes({"a": [part(100), (part(10), None)], "b": "text"}) == 550


def test_what_is_used_stays_and_the_longest_unused_goes() -> None:
    read: list[str] = []

    def values(name: str, count: int) -> Part:
        read.append(name)
        return part(count)

    kept = Kept(values, 1100)
    first = kept("a", 100)
    kept("b", 100)
    assert kept("a", 100) is first
    kept("c", 100)
    assert kept("a", 100) is first
    kept("b", 100)
    assert read == ["a", "b", "c", "b"]


def test_what_is_kept_and_what_is_read_never_pass_the_bound_together() -> None:
    alive: list[int] = []
    kept: Kept[Part]

    def values(count: int, number: int) -> Part:
        alive.append(sum(array_bytes(value) for value in kept._values.values()))
        return part(count)

    kept = Kept(values, 1600)
    for number in range(6):
        kept(100, number)
    assert max(alive) == 1000


def test_what_alone_is_larger_than_the_bound_is_read_each_time_and_drives_nothing_out() -> None:
    kept = Kept(lambda count, number: part(count), 1600)
    small = kept(100, 0)
    assert kept(1000, 1) is not kept(1000, 1)
    assert kept(100, 0) is small
