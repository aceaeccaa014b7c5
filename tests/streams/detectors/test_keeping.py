"""What a detector's process keeps between jobs is bounded by bytes."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from astropy.io import fits

from infra.objects import ObjectStore
from streams.detectors.inputs import JobInputs
from streams.detectors.keeping import array_bytes


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


def masters_of(side: int) -> bytes:
    """Return a file of masters with a bias of a size."""
    file = io.BytesIO()
    bias = fits.ImageHDU(np.zeros((side, side), np.float32), name="BIAS")
    fits.HDUList([fits.PrimaryHDU(), bias]).writeto(file)
    return file.getvalue()


def test_masters_are_kept_up_to_a_bound_and_larger_ones_read_for_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three of 40 kB two fit into 100 kB; one of 160 kB is never kept, and drives nothing out."""
    monkeypatch.setattr("streams.detectors.inputs.KEPT_BYTES", 100_000)
    objects = ObjectStore.memory()
    masters = {str(n): asdict(objects.put(masters_of(100) + bytes(2880 * n))) for n in range(3)}
    masters["3"] = asdict(objects.put(masters_of(200)))
    release = objects.put(json.dumps({"masters": masters}).encode()).sha256
    inputs = JobInputs(objects)
    first = inputs.masters(release, 0, "r")
    inputs.masters(release, 1, "r")
    assert inputs.masters(release, 0, "r") is first
    second = inputs.masters(release, 2, "r")
    assert inputs.masters(release, 3, "r") is not inputs.masters(release, 3, "r")
    assert inputs.masters(release, 0, "r") is first
    assert inputs.masters(release, 2, "r") is second
    again = inputs.masters(release, 1, "r")
    assert inputs.masters(release, 1, "r") is again
    assert inputs.masters(release, 0, "r") is not first
