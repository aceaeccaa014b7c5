"""Cost of making and distributing one real long-history alert (345 detections, 395 forced sources), beside fastavro."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from astropy.nddata import CCDData
from lsst.alert import packet

from processors.alerts import gate, oversize
from processors.alerts import packet as packets
from processors.alerts.cutouts import LocalWcs, cutout_bytes
from processors.alerts.layout import PacketLayout, locate
from schemas import public
from schemas.events import CutoutSet
from tests.support.alert_records import decode_plainly, encode_plainly, real_packet
from tests.support.timing import Measured, beside

LIMIT = 4_194_304
"""Largest message of the public topic, bytes."""


def distribute(bare: bytes, cutouts: CutoutSet) -> PacketLayout:
    """Do all that distribution does with one packet, Kafka apart."""
    layout = locate(bare)
    gate.check_encoded(layout, stamps=False)
    gate.check_stamps(cutouts)
    oversize.fit(packets.with_cutouts(layout, cutouts), LIMIT)
    packets.lite(layout)
    packets.delta(layout)
    return layout


def measure() -> Iterator[Measured]:
    """Yield each step of an alert beside the plain way of doing it."""
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
    community = packet.Schema.from_file(packet.get_path_to_latest_schema())
    size = "an alert of 345 + 395 history records"
    plain = "fastavro, whole packet"
    yield beside(
        f"encode {size}",
        lambda: packets.assemble(*parts, cutouts),
        plain,
        lambda: encode_plainly(public.alert_schema(), record),
        note="ours splices records that were encoded once in their life",
        calls=200,
    )
    yield beside(
        f"find the parts of {size}", lambda: locate(bare), plain, lambda: decode_plainly(bare), note="", calls=100
    )
    yield beside(
        f"judge {size}",
        lambda: gate.check_encoded(layout, stamps=False),
        "lsst-alert-packet validate",
        lambda: community.validate(record),
        note="ours units, ranges, times, history; theirs types alone",
        calls=100,
    )
    yield beside(
        f"distribute {size}",
        lambda: distribute(bare, cutouts),
        "fastavro decode and encode",
        lambda: encode_plainly(public.alert_schema(), decode_plainly(bare)),
        note="ours stamps, gate, limit, lite and delta forms, Kafka apart",
        calls=50,
    )
    yield from _stamp()


def _stamp() -> Iterator[Measured]:
    image, mask, psf = np.ones((1024, 1024), np.float32), np.zeros((1024, 1024), np.uint16), np.ones((41, 41))
    place = LocalWcs(x=500.3, y=400.2, ra=1.0, dec=2.0, cd=(-5e-5, 0.0, 0.0, 5e-5))
    ours = cutout_bytes(image, image, mask, psf=psf, wcs=place, size=30)
    stamp = CCDData.read(io.BytesIO(ours), format="fits")

    def by_astropy() -> None:
        stamp.write(io.BytesIO(), format="fits")

    yield beside(
        "one stamp",
        lambda: cutout_bytes(image, image, mask, psf=psf, wcs=place, size=30),
        "astropy CCDData.write",
        by_astropy,
        note="headers prepared once in ours",
        calls=500,
    )
