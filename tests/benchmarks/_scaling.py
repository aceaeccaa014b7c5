"""Measured inputs of docs/scaling.md that no night on a laptop gives: ``python -m tests.benchmarks._scaling``.

One LSST CCD of a simulated visit is calibrated and differenced, a visit of the size of the whole camera is associated with a year
of history in memory, and the bytes of an alert are counted. It takes some minutes (the simulated CCD is made once, in the
system's folder for temporary files) and 3 GB, so `make bench` leaves it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from processors.association.decide import VisitToDecide, decide, detectors_of
from processors.association.fold import fold, object_versions
from processors.association.known_objects import known_objects
from processors.association.updates import object_updates
from schemas import avro, public
from schemas.events import DetectorResult
from schemas.public_avro import encode_record
from streams.alert_files import open_alert_file
from tests.support.association_cases import FIRST_MJD, Night, detector_result, source_rows, visit_number
from tests.support.night_harness import calibrated, difference_of, simulate

OBJECTS, SEEN, NEW, HISTORY, DETECTORS = 30_000, 9_000, 1_000, 11, 189
"""Objects of a field, those detected in a visit, those founded in it, earlier detections of each object (architecture, section 6)."""

FIELD_DEG = 3.1
"""Side of a square of 9.6 square degrees."""

MONTH_DAYS = 30.0
REAL_ALERT = Path(__file__).parents[1] / "data" / "alerts" / "derived_wire_v11_1_0.bin"
Value = TypeVar("Value")
STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


def main() -> None:
    """Print the figures."""
    for measure in (ccd, association, packet):
        for what, figure in measure():
            print(f"{what:52s} {figure}")


def ccd() -> Iterator[tuple[str, str]]:
    """Yield CPU seconds of a detector job's science on one full CCD with two snaps, kernels compiled before."""
    folder = simulate("full-ccd", 1, 1)
    visit = int((folder / "visits.txt").read_text().split()[0])
    difference_of(folder, calibrated(folder, "full-ccd", visit, 0))
    image, cost = timed(lambda: calibrated(folder, "full-ccd", visit, 0))
    yield f"read and calibrate a CCD of {image.image.shape[1]} x {image.image.shape[0]}, two snaps", cost
    result, cost = timed(lambda: difference_of(folder, image))
    yield f"read its template, difference, {len(result.sources)} DIASources", cost


def association() -> Iterator[tuple[str, str]]:
    """Yield CPU seconds of the steps of one visit of the whole camera."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, (2, OBJECTS))
    night = Night()
    for index in range(HISTORY):
        night.decide(visit_number(index), results(rng, ra, dec, index))
    seen = rng.choice(OBJECTS, SEEN, replace=False)
    new = rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, (2, NEW))
    accepted = results(rng, np.append(ra[seen], new[0]), np.append(dec[seen], new[1]), HISTORY)
    visit = visit_number(HISTORY)
    asked = VisitToDecide(instrument="TestCam", visit=visit, processed_mjd_tai=FIRST_MJD + 1.0)
    as_of = (visit_number(HISTORY - 1), mjd_of(HISTORY))
    field = timed(lambda: known_objects(night.view, (0.0, 0.0), 1.75 * 3600, as_of=as_of, rules=night.rules))
    yield f"known objects of the field ({len(field[0]):,})", field[1]
    decision, cost = timed(lambda: decide(asked, accepted, night.view))
    yield f"decide {decision.diasources.rows:,} sources, {len(decision.new_objects):,} new objects", cost
    yield "  the event on association-log: bytes", f"{len(avro.encode(decision)):,}"
    changes, cost = timed(lambda: fold(night.blocks, decision, detectors_of(decision)))
    night.blocks.apply(changes)
    yield f"fold into {OBJECTS * HISTORY:,} rows of history", cost
    versions, cost = timed(lambda: object_versions(night.view, decision))
    yield f"{len(versions):,} new versions of objects", cost
    updates, cost = timed(lambda: list(object_updates(decision, versions)))
    yield f"encode {len(updates):,} object updates", cost


def packet() -> Iterator[tuple[str, str]]:
    """Yield the bytes of the parts of a real alert."""
    (alert,) = open_alert_file(REAL_ALERT)
    stamps = sum(len(alert.record[name] or b"") for name in STAMPS)
    yield "a real alert: bytes", f"{REAL_ALERT.stat().st_size:,}"
    yield "  three stamps", f"{stamps:,}"
    for name, record in (("prvDiaSources", "diaSource"), ("prvDiaForcedSources", "diaForcedSource")):
        sizes = [len(encode_record(row, record)) for row in alert.record[name]]
        yield f"  {len(sizes)} x {record}, mean", f"{np.mean(sizes):.0f}"
    empty = len(encode_record({**null_object(), "diaObjectId": 1 << 60}, "diaObject"))
    yield "  a diaObject of nulls", f"{empty}"


def null_object() -> dict[str, Any]:
    """Return a DIAObject that says nothing."""
    return public.to_public_record(public.null_rows("diaObject", 1)[0], "diaObject")


def results(rng: np.random.Generator, ra: Any, dec: Any, index: int) -> list[DetectorResult]:
    """Return a visit's results: positions with an error of 50 mas, shared out to the detectors."""
    scatter = rng.normal(0, 0.05 / 3600, (2, len(ra)))
    parts = np.array_split(np.argsort(dec, kind="stable"), DETECTORS)
    where = {"visit": visit_number(index), "mjd": mjd_of(index)}
    return [
        detector_result(
            source_rows((ra + scatter[0])[part] % 360.0, (dec + scatter[1])[part], detector=detector, **where),
            detector=detector,
            **where,
        )
        for detector, part in enumerate(parts)
    ]


def mjd_of(index: int) -> float:
    """Return a visit's midpoint: one visit a month."""
    return FIRST_MJD + index * MONTH_DAYS


def timed(action: Callable[[], Value]) -> tuple[Value, str]:
    """Return what an action gives and the CPU time it took."""
    start = time.process_time()
    value = action()
    return value, f"{time.process_time() - start:.2f} s"


if __name__ == "__main__":
    main()
