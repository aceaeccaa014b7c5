"""Our public topic as a subscriber sees it: stock clients, the community's own schema package, astropy for the stamps."""

from __future__ import annotations

import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from confluent_kafka import Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.objects import ObjectStore
from processors.alerts.cutouts import LocalWcs, cutout_bytes
from tests.support.assembled import STAMPS, assembled
from tests.support.packets import Story, build_story, frame_packet
from tests.support.publishing import publish_all

pytestmark = pytest.mark.broker
packet = pytest.importorskip("lsst.alert.packet")

CHIP = 128
PLACES = [(64.3, 60.8), (2.2, 1.9), (126.6, 40.1), (33.5, 127.0)]
"""Where the alerts lie on their chip: well inside, in a corner, at two edges."""

ROLES = pytest.mark.parametrize("role", STAMPS)


def with_our_stamps(story: Story) -> Story:
    """Give every alert stamps as the pipeline makes them, from a chip of noise with a PSF that does not sum to 1."""
    for number, alert in enumerate(story.alerts):
        x, y = PLACES[number % len(PLACES)]
        source = alert.record["diaSource"]
        place = LocalWcs(x=x, y=y, ra=source["ra"], dec=source["dec"], cd=(-5.5e-5, 3e-6, 3e-6, 5.5e-5))
        image = np.random.default_rng(number).normal(0, 10, (CHIP, CHIP)).astype("f4")
        mask = np.zeros((CHIP, CHIP), "u2")
        psf = np.exp(-((np.mgrid[-10:11, -10:11] / 2.0) ** 2).sum(0) / 2)
        stamp = cutout_bytes(image, np.full_like(image, 100.0), mask, psf=psf, wcs=place, size=30 + number)
        alert.record.update(dict.fromkeys(STAMPS, stamp))
    return story


STORY = with_our_stamps(build_story(900, 4, ra=359.9999, dec=-0.5))


@pytest.fixture(scope="module")
def messages(broker, tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    objects = ObjectStore.local(tmp_path_factory.mktemp("stamps"), fsync=False)
    found = publish_all(broker.settings, [assembled(alert, objects) for alert in STORY.alerts], objects)
    return [found[alert.alert_id] for alert in STORY.alerts]


@pytest.fixture(scope="module")
def packets(broker, messages: list[Message]) -> list[dict[str, Any]]:
    """The packets as the stock deserializer gives them, schema from our registry."""
    decode = AvroDeserializer(SchemaRegistryClient({"url": broker.registry_url}))
    context = SerializationContext("lsst-alerts-v11", MessageField.VALUE)
    return [decode(message.value(), context) for message in messages]


def test_a_broker_that_answers_queries_as_the_communitys_clients_ask_them(broker) -> None:
    def get(path: str) -> Any:
        with urllib.request.urlopen(broker.registry_url + path, timeout=10) as answer:
            return json.load(answer)

    text = get("/schemas/ids/1101")["schema"]
    assert (json.loads(text)["namespace"], json.loads(text)["name"]) == ("lsst.v11_1", "alert")
    assert get("/schemas/ids/1101?subject=alert-packet")["schema"] == text
    assert {"alert-packet", "lsst-alerts-v11.1-value", "lsst-alerts-v11-value"} <= set(get("/subjects"))
    assert get("/subjects/alert-packet/versions") == [1101]
    assert get("/subjects/alert-packet/versions/1101")["id"] == 1101


def test_the_stock_deserializer_reads_every_packet_back_whole(packets: list[dict[str, Any]]) -> None:
    ids = [(p["diaSourceId"], p["diaSource"]["diaObjectId"]) for p in packets]
    assert ids == [(alert.alert_id, alert.object_id) for alert in STORY.alerts]
    assert [frame_packet(p) for p in packets] == [frame_packet(alert.record) for alert in STORY.alerts]


def test_the_communitys_schema_package_reads_and_validates_every_packet(messages: list[Message]) -> None:
    schema = packet.Schema.from_file(str(Path(packet.get_schema_path(11, 1)) / "lsst.v11_1.alert.avsc"))
    for message, alert in zip(messages, STORY.alerts, strict=True):
        record = schema.deserialize((message.value() or b"")[5:])
        assert record["diaSourceId"] == alert.alert_id
        assert schema.validate(record)


def test_keys_are_text_and_headers_carry_the_time_of_production(messages: list[Message]) -> None:
    assert {(message.key() or b"").decode() for message in messages} == {str(STORY.object_id)}
    assert all(int(dict(message.headers() or ())["producer_timestamp"]) > 1.7e12 for message in messages)


def test_what_brokers_insist_on_is_there(packets: list[dict[str, Any]]) -> None:
    for record in packets:
        source = record["diaSource"]
        assert all(source[name] is not None for name in ("psfFlux", "psfFluxErr", "apFlux", "apFluxErr"))
        assert source["diaObjectId"]
        assert source["midpointMjdTai"] > 60000
        assert all(record[role] for role in STAMPS)
        earlier = record["prvDiaSources"] or []
        assert source["diaSourceId"] not in [prv["diaSourceId"] for prv in earlier]


@ROLES
def test_astropy_reads_a_stamp_whole(packets: list[dict[str, Any]], role: str) -> None:
    for record in packets:
        stamp = CCDData.read(io.BytesIO(record[role]), format="fits")
        assert stamp.unit == u.nJy
        assert min(stamp.shape) >= 30
        assert stamp.uncertainty is not None
        assert stamp.mask is not None
        assert stamp.mask.shape == stamp.shape
        outside = ~np.isfinite(stamp.data)
        assert (stamp.mask[outside] != 0).all()


@ROLES
def test_the_middle_of_a_stamp_is_the_alert(packets: list[dict[str, Any]], role: str) -> None:
    for record in packets:
        stamp = CCDData.read(io.BytesIO(record[role]), format="fits")
        middle = (np.array(stamp.shape[::-1]) - 1) / 2
        found = stamp.wcs.pixel_to_world(*middle)
        alert = SkyCoord(record["diaSource"]["ra"], record["diaSource"]["dec"], unit="deg")
        assert found.separation(alert).arcsec < 0.2


@ROLES
def test_the_psf_of_a_stamp_is_finite_and_of_sum_1(packets: list[dict[str, Any]], role: str) -> None:
    for record in packets:
        with fits.open(io.BytesIO(record[role])) as hdus:
            psf = hdus["PSFIMAGE"].data
            assert np.isfinite(psf).all()
            assert psf.sum(dtype=float) == pytest.approx(1.0, abs=1e-5)


@ROLES
def test_a_reader_of_the_first_header_block_finds_the_image(packets: list[dict[str, Any]], role: str) -> None:
    def cards(stamp: bytes) -> set[str]:
        return {stamp[start : start + 8].decode().strip() for start in range(0, 2800, 80)}

    assert all({"BITPIX", "NAXIS1", "NAXIS2"} <= cards(record[role]) for record in packets)


def test_a_stamp_at_an_edge_is_padded_and_masked(packets: list[dict[str, Any]]) -> None:
    corner = CCDData.read(io.BytesIO(packets[1]["cutoutScience"]), format="fits")
    assert np.isnan(corner.data).any()
    assert np.isfinite(corner.data).any()
