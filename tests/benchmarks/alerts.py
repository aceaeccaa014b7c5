"""Cost of making and distributing one real long-history alert (345 detections, 395 forced sources), beside fastavro.

Run: ``python -m tests.benchmarks.alerts``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from processors.alerts import gate, oversize
from processors.alerts import packet as packets
from processors.alerts.cutouts import LocalWcs, cutout_bytes
from processors.alerts.layout import PacketLayout, locate
from schemas import public
from schemas.events import CutoutSet
from tests.support.alert_records import decode_plainly, encode_plainly, real_packet

LIMIT = 4_194_304
"""Largest message of the public topic, bytes."""


def cpu_seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the CPU seconds of one call, after a first one that compiles what needs compiling."""
    action()
    start = time.process_time()
    for _ in range(repeats):
        action()
    return (time.process_time() - start) / repeats


def distribute(bare: bytes, cutouts: CutoutSet) -> PacketLayout:
    """Do all that distribution does with one packet, Kafka apart."""
    layout = locate(bare)
    gate.check_encoded(layout, stamps=False)
    gate.check_stamps(cutouts)
    oversize.fit(packets.with_cutouts(layout, cutouts), LIMIT)
    packets.lite(layout)
    packets.delta(layout)
    return layout


def rows() -> Iterator[tuple[str, float]]:
    """Yield the name of each step and its CPU seconds an alert."""
    record = decode_plainly(real_packet("derived_wire_v11_1_0.bin")[1])
    parts = (
        packets.encode_dia_source(record["diaSource"]),
        [packets.encode_dia_source(source) for source in record["prvDiaSources"]],
        [packets.encode_forced(source) for source in record["prvDiaForcedSources"]],
        packets.encode_dia_object(record["diaObject"]),
    )
    bare = packets.assemble(*parts)
    stamps = {name: record[f"cutout{name.title()}"] for name in ("difference", "science", "template")}
    cutouts = CutoutSet(dia_source_id=record["diaSourceId"], **stamps)
    layout = locate(bare)
    image, mask, psf = np.ones((1024, 1024), np.float32), np.zeros((1024, 1024), np.uint16), np.ones((41, 41))
    place = LocalWcs(x=500.3, y=400.2, ra=1.0, dec=2.0, cd=(-5e-5, 0.0, 0.0, 5e-5))
    yield "peer: fastavro, whole packet", cpu_seconds(lambda: encode_plainly(public.alert_schema(), record), 20)
    yield "splice the packet", cpu_seconds(lambda: packets.assemble(*parts, cutouts), 500)
    yield "find its parts", cpu_seconds(lambda: locate(bare), 300)
    yield "gate", cpu_seconds(lambda: gate.check_encoded(layout, stamps=False), 300)
    yield "distribution, all of it", cpu_seconds(lambda: distribute(bare, cutouts), 200)
    yield "one stamp", cpu_seconds(lambda: cutout_bytes(image, image, mask, psf=psf, wcs=place, size=30), 1000)


def main() -> None:
    """Print CPU time, rate, and ratio to the peer."""
    peer = None
    for name, seconds in rows():
        peer = peer or seconds
        print(f"{name:32s} {seconds * 1e3:9.3f} ms {1 / seconds:9.0f} a second {peer / seconds:7.1f} x")


if __name__ == "__main__":
    main()
