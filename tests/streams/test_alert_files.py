"""Alert files of ours and of others: opened, judged, shown and written out again."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from rich.console import Console, RenderableType

from processors.alerts.cutouts import LocalWcs, cutout_bytes
from schemas import public
from schemas.errors import UndecodableEventError, UnknownSchemaError
from schemas.wire import frame
from streams import alert_files, alert_text
from streams.alert_files import OpenedAlert, open_alert_bytes, open_alert_file
from tests.support.alert_records import ALERT_FILES, encode_plainly, plausible_alert

RUBIN = ["boom_lsst_7912941781254298.avro", "sso_4.bin", "derived_wire_v11_1_0.bin"]
ZTF = "ztf_v4_02_ZTF17aaarzyp.avro"


def real(name: str) -> OpenedAlert:
    (alert,) = open_alert_file(ALERT_FILES / name)
    return alert


def our_alert() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    image = rng.normal(0, 50, (120, 120)).astype(np.float32)
    variance, mask = np.full((120, 120), 2500.0, np.float32), np.zeros((120, 120), np.uint16)
    grid = np.arange(-10, 11)
    psf = np.exp(-(grid[:, None] ** 2 + grid**2) / 6.0)
    place = LocalWcs(x=50.2, y=60.7, ra=10.0, dec=-5.0, cd=(-5.6e-5, 0.0, 0.0, 5.6e-5))
    stamp = cutout_bytes(image, variance, mask, psf=psf, wcs=place, size=30)
    return plausible_alert() | {"cutoutDifference": stamp, "cutoutScience": stamp, "cutoutTemplate": stamp}


def framed(record: dict[str, Any], identifier: int = 1101) -> bytes:
    return frame(identifier, encode_plainly(public.alert_schema(), record))


def printed(text: RenderableType) -> str:
    console = Console(width=140, file=io.StringIO(), color_system=None)
    console.print(text)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("name", "schema_name", "identifier", "alert_id"),
    [
        (RUBIN[0], "lsst.v9_0.alert", 900, 7912941781254298),
        (RUBIN[1], "lsst.v10_0.alert", 1000, 170094456480989258),
        (RUBIN[2], "lsst.v11_1.alert", 1101, 170094456272322680),
        (ZTF, "ztf.alert", None, 2982177112815010003),
    ],
)
def test_alerts_made_by_others_open(name: str, schema_name: str, identifier: int | None, alert_id: int) -> None:
    alert = real(name)
    assert (alert.schema_name, alert.schema_id, alert.alert_id) == (schema_name, identifier, alert_id)
    assert set(alert_files.stamps(alert)) == {"difference", "science", "template"}


def test_versions_that_are_not_bundled_come_from_the_installed_package() -> None:
    pytest.importorskip("lsst.alert.packet")
    schema = alert_files.installed_schema(704)
    assert schema is not None
    assert schema["name"] == "lsst.v7_4.alert"
    assert alert_files.installed_schema(9999) is None


def test_our_own_alert_keeps_every_rule() -> None:
    (alert,) = open_alert_bytes(framed(our_alert()))
    assert alert_files.validate(alert) == []
    assert "Every rule is kept." in printed(alert_text.show(alert))


def test_findings_in_real_alerts_are_those_the_design_measured() -> None:
    """Stamps without mask and sky WCS, ids of 0 and NaN for null, distances in no known unit: alerts.md, 1.3 and 1.4."""
    rules = {name: Counter(violation.rule for violation in alert_files.validate(real(name))) for name in [*RUBIN, ZTF]}
    assert rules[RUBIN[2]] == {"zero-id": 3, "stamp-mask": 3, "stamp-wcs": 3}
    assert rules[RUBIN[1]] >= Counter({"zero-id": 2, "range": 6, "stamp-mask": 3})
    assert rules[RUBIN[0]]["finite"] > 50
    assert rules[ZTF] == {}


@pytest.mark.parametrize("name", [*RUBIN, ZTF])
def test_container_export_reads_back_equal(name: str) -> None:
    alert = real(name)
    container = alert_files.export_avro(alert)
    assert container == alert_files.export_avro(alert)
    (again,) = open_alert_bytes(container)
    assert encode_plainly(again.schema, again.record) == encode_plainly(alert.schema, alert.record)
    assert next(iter(fastavro.reader(io.BytesIO(container)))).keys() == alert.record.keys()


@pytest.mark.parametrize("name", [*RUBIN, ZTF])
def test_json_export_is_strict_and_keeps_64_bit_ids(name: str) -> None:
    alert = real(name)
    decoded = json.loads(alert_files.export_json(alert), parse_constant=pytest.fail)
    key = "diaSourceId" if alert.is_lsst else "candid"
    assert decoded[key] == str(alert.alert_id)
    assert decoded.keys() == alert.record.keys()


def test_json_values() -> None:
    moving = json.loads(alert_files.export_json(real(RUBIN[1])))
    assert moving["cutoutScience"] == {"bytes": 34560}
    assert moving["ssSource"]["ssObjectId"] == "21163624394469969"
    assert moving["mpc_orbits"]["updated_at"].endswith("+00:00")
    whole = json.loads(alert_files.export_json(real(RUBIN[1]), with_stamps=True))
    assert whole["cutoutScience"].startswith("U0lNUExF")
    history = json.loads(alert_files.export_json(real(RUBIN[2])))["prvDiaForcedSources"]
    assert len(history) == 395
    assert isinstance(history[0]["diaForcedSourceId"], str)
    assert json.loads(alert_files.export_json(real(RUBIN[0])))["diaSource"]["psfLnL"] is None


@pytest.mark.parametrize(("name", "extensions"), [(RUBIN[2], 9), (ZTF, 3)])
def test_fits_export_has_every_image(name: str, extensions: int) -> None:
    alert = real(name)
    with fits.open(io.BytesIO(alert_files.export_fits(alert))) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["ALERTID"] == str(alert.alert_id)
        assert len(hdus) == 1 + extensions
        with fits.open(io.BytesIO(alert_files.stamps(alert)["science"]), ignore_missing_simple=True) as single:
            np.testing.assert_array_equal(hdus["SCIENCE"].data, single[0].data)


def test_fits_export_of_our_alert_keeps_mask_and_wcs() -> None:
    (alert,) = open_alert_bytes(framed(our_alert()))
    with fits.open(io.BytesIO(alert_files.export_fits(alert))) as hdus:
        assert [hdu.name for hdu in hdus][1:5] == [
            "DIFFERENCE",
            "DIFFERENCE_UNCERT",
            "DIFFERENCE_MASK",
            "DIFFERENCE_PSFIMAGE",
        ]
        assert hdus["SCIENCE"].header["CTYPE1"] == "RA---TAN"


@pytest.mark.parametrize("name", [*RUBIN, ZTF])
def test_show_tells_what_the_alert_is_of(name: str) -> None:
    alert = real(name)
    text = printed(alert_text.show(alert))
    assert str(alert.alert_id) in text
    assert alert.schema_name in text
    assert "Stamps" in text


def test_show_gives_units_history_and_findings() -> None:
    text = printed(alert_text.show(real(RUBIN[2])))
    assert "Forced sources: 395, the newest 8" in text
    assert "nJy" in text
    assert "9 findings" in text
    assert "2004 JQ12" in printed(alert_text.show(real(RUBIN[1])))


def test_registry_is_asked_first_and_may_not_know() -> None:
    class Registry:
        def register(self, subject: str, schema: str) -> int:
            raise AssertionError("a reader registers nothing")

        def schema(self, identifier: int) -> str:
            if identifier == 42:
                return public.alert_schema_json()
            raise UnknownSchemaError("not here")

    lookup = alert_files.registry_lookup(Registry())
    (alert,) = open_alert_bytes(framed(plausible_alert(), identifier=42), [lookup])
    assert alert.alert_id == 1003
    assert open_alert_bytes(framed(plausible_alert()), [lookup])[0].schema_id == 1101


def test_id_zero_is_tried_with_the_known_versions() -> None:
    (alert,) = open_alert_bytes(framed(plausible_alert(), identifier=0))
    assert alert.schema_name == "lsst.v11_1.alert"
    with pytest.raises(UnknownSchemaError, match="follows no version"):
        open_alert_bytes(frame(0, b"\x02"))


def test_unknown_id_and_broken_files_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UnknownSchemaError, match="id 4711"):
        open_alert_bytes(framed(plausible_alert(), identifier=4711))
    with pytest.raises(UndecodableEventError, match="neither"):
        open_alert_file(ALERT_FILES / "lasair_sample_cutout.fits")
    with pytest.raises(UndecodableEventError, match="does not follow its schema"):
        open_alert_bytes(framed(plausible_alert())[:500])
    with pytest.raises(UndecodableEventError, match="2 bytes follow"):
        open_alert_bytes(framed(plausible_alert()) + b"\x00\x00")
    with pytest.raises(UndecodableEventError, match="container is broken"):
        open_alert_bytes((ALERT_FILES / ZTF).read_bytes()[:40_000])
    with pytest.raises(OSError, match="No such file"):
        open_alert_file(tmp_path / "none.avro")


def test_container_of_many_alerts_opens_in_order() -> None:
    records = [plausible_alert() | {"diaSourceId": number} for number in (3, 1, 2)]
    buffer = io.BytesIO()
    fastavro.writer(buffer, public.alert_schema(), records, codec="deflate")
    assert [alert.alert_id for alert in open_alert_bytes(buffer.getvalue())] == [3, 1, 2]


@pytest.mark.parametrize(
    ("stamp", "rule"),
    [
        (b"no FITS at all", "stamp"),
        (gzip.compress(b"SIMPLE", mtime=0)[:-9], "stamp"),
        (None, "stamp"),
    ],
)
def test_stamps_that_cannot_be_read_are_findings(stamp: bytes | None, rule: str) -> None:
    (alert,) = open_alert_bytes(framed(our_alert() | {"cutoutTemplate": stamp}))
    assert rule in {violation.rule for violation in alert_files.validate(alert)}
    assert str(alert.alert_id) in printed(alert_text.show(alert))


def test_psf_that_does_not_sum_to_one_is_a_finding() -> None:
    record = our_alert()
    with fits.open(io.BytesIO(record["cutoutScience"])) as hdus:
        hdus["PSFIMAGE"].data *= 2
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    (alert,) = open_alert_bytes(framed(record | {"cutoutScience": buffer.getvalue()}))
    assert [violation.rule for violation in alert_files.validate(alert)] == ["stamp-psf"]


@pytest.mark.parametrize(("ra", "dec", "rules"), [(400.0, 0.0, {"range"}), (None, None, {"place"}), (10.0, 5.0, set())])
def test_alerts_of_other_surveys_are_judged_by_their_place(
    ra: float | None, dec: float | None, rules: set[str]
) -> None:
    alert = real(ZTF)
    alert.record["candidate"] |= {"ra": ra, "dec": dec}
    assert {violation.rule for violation in alert_files.validate(alert)} == rules
