"""Pages and API over a view of built alerts: what was published is what is shown, to the last digit."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pytest
from astropy.io import fits
from fastapi.testclient import TestClient

from schemas import public
from schemas.events import ObjectUpdate
from streams.toolkit.app import create_app
from streams.toolkit.service import Toolkit
from streams.views.fold import Message
from tests.support.corrections import NAMES, number_of
from tests.support.packets import build_sky
from tests.support.toolkits import fill, make_toolkit

STORIES = build_sky(objects=3, epochs=4)
STORY = STORIES[0]
ALERT = STORY.alerts[2]
REAL = Path(__file__).parents[2] / "data" / "alerts"


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Toolkit:
    """A toolkit of three objects."""
    return make_toolkit(tmp_path_factory.mktemp("toolkit"), STORIES)


@pytest.fixture(scope="module")
def client(toolkit: Toolkit) -> Iterator[TestClient]:
    """A client of its application."""
    with TestClient(create_app(toolkit, follow=False)) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    ["/", "/nights", "/nights/20270101", "/open", "/api", f"/objects/{STORY.object_id}", f"/alerts/{ALERT.alert_id}"],
)
def test_every_page_has_a_title_and_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert re.search(r"<title>[^<]{4,} · Nightcast</title>", answer.text)
    assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_packet_is_given_exactly_as_sent(client: TestClient) -> None:
    answer = client.get(f"/api/v1/alerts/{ALERT.alert_id}/packet?form=sent")
    assert answer.content == ALERT.framed
    assert "immutable" in answer.headers["cache-control"]


def test_avro_and_fits_downloads_read_back(client: TestClient) -> None:
    container = client.get(f"/api/v1/alerts/{ALERT.alert_id}/packet?form=avro").content
    (record,) = fastavro.reader(io.BytesIO(container))
    sent = fastavro.schemaless_reader(io.BytesIO(ALERT.framed[5:]), public.alert_schema(), None)
    assert record == sent
    with fits.open(io.BytesIO(client.get(f"/api/v1/alerts/{ALERT.alert_id}/packet?form=fits").content)) as hdus:
        assert {"SCIENCE", "TEMPLATE", "DIFFERENCE"} <= {hdu.name for hdu in hdus}
    stamp = client.get(f"/api/v1/alerts/{ALERT.alert_id}/stamps/science.fits").content
    assert stamp == ALERT.record["cutoutScience"]


def test_identifiers_in_json_are_text_and_whole(client: TestClient) -> None:
    answer = client.get(f"/api/v1/alerts/{ALERT.alert_id}").json()
    assert (answer["alert_id"], answer["object_id"]) == (str(ALERT.alert_id), str(ALERT.object_id))
    packet = json.loads(client.get(f"/api/v1/alerts/{ALERT.alert_id}/packet").text)
    assert packet["diaSource"]["diaSourceId"] == str(ALERT.alert_id)
    now = client.get(f"/api/v1/objects/{STORY.object_id}").json()
    assert now["record"]["diaObjectId"] == str(STORY.object_id)
    assert now["record"]["nDiaSources"] == 4


def test_light_curve_has_every_measurement_once(client: TestClient) -> None:
    points = client.get(f"/api/v1/objects/{STORY.object_id}/light-curve").json()["points"]
    truth = {str(alert.alert_id): alert.record["diaSource"] for alert in STORY.alerts}
    detections = [point for point in points if point["kind"] == "detection"]
    assert [point["source_id"] for point in detections] == list(truth)
    assert all(point["alert_id"] == point["source_id"] for point in detections)
    assert [point["flux"] for point in detections] == pytest.approx(
        [row["psfFlux"] for row in truth.values()], rel=1e-6
    )
    # one forced measurement is newer than the newest packet: association published it, and the object page knows it
    assert len(points) - len(detections) == len(STORY.alerts[-1].record["prvDiaForcedSources"]) + 1
    assert len({point["source_id"] for point in points}) == len(points)
    assert points[0]["utc"].startswith("2027-01-01 02:23:23")
    rows = list(csv.DictReader(io.StringIO(client.get(f"/api/v1/objects/{STORY.object_id}/light-curve.csv").text)))
    assert [row["source_id"] for row in rows] == [point["source_id"] for point in points]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 12), (f"q={ALERT.alert_id}", 1), (f"q={STORY.object_id}", 4), (f"q=LSST-AP-DO-{STORY.object_id}", 4),
        ("q=359.999 -1.25", 4), ("q=23:59:59.76 -01:15:00&radius=20", 8), ("band=g", 6), ("band=g&band=i", 9),
        ("snr_min=1e9", 0), ("visit=2027010100010", 3), ("mjd_min=61407", 6),
    ],
)  # fmt: skip
def test_search_by_anything(client: TestClient, query: str, count: int) -> None:
    answer = client.get(f"/api/v1/alerts?{query}")
    assert len(answer.json()["alerts"]) == count
    assert client.get(f"/?{query}").text.count("<tr data-alert") == count


def test_pages_of_a_list_join(client: TestClient) -> None:
    first = client.get("/api/v1/alerts?limit=7").json()
    second = client.get("/api/v1/alerts", params={"limit": 7, "before": first["next"]}).json()
    ids = [alert["alert_id"] for alert in first["alerts"] + second["alerts"]]
    assert len(set(ids)) == 12
    assert second["next"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/alerts/1", 404), ("/objects/1", 404), ("/alerts/x", 422), ("/alerts/99999999999999999999", 422),
        ("/nowhere", 404), ("/find?q=hello", 422), (f"/api/v1/alerts/{ALERT.alert_id}/stamps/side.png", 404),
        ("/api/v1/alerts?snr_min=much", 422), ("/api/v1/alerts?band=k", 422), ("/api/v1/alerts?q=12 100", 422),
        ("/api/v1/visits/2", 404), ("/api/v1/nowhere", 404), ("/api/v1/alerts?limit=0", 422),
        (f"/api/v1/alerts/{ALERT.alert_id}/stamps/science.png?stretch=1", 422), ("/?visit=abc", 422),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_answered_in_a_sentence(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    if path.startswith("/api/v1"):
        assert answer.json()["sentence"].endswith(".")
    else:
        assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        (str(STORY.object_id), f"/objects/{STORY.object_id}"), (f"lsst-ap-ds-{ALERT.alert_id}", f"/alerts/{ALERT.alert_id}"),
        ("359.999 -1.25", "/?q=359.999+-1.25"),
    ],
)  # fmt: skip
def test_find_leads_on(client: TestClient, typed: str, where: str) -> None:
    answer = client.get("/find", params={"q": typed}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, where)


def test_the_page_of_a_closed_object_says_where_it_went(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path, STORIES[:1])
    closed = closing_update(STORY.object_id, number_of(NAMES[0]))
    value = toolkit.view.codec.encode("object-updates", closed)
    fill(toolkit.view, [Message(topic="object-updates", partition=0, offset=10_000, key=b"k", value=value)])
    with TestClient(create_app(toolkit, follow=False)) as client:
        text = client.get(f"/objects/{STORY.object_id}").text
    assert NAMES[0] in text[text.index('id="fate"') :]
    assert str(number_of(NAMES[0])) in text


def closing_update(object_id: int, successor: int) -> ObjectUpdate:
    """Return the update that closes an object."""
    return ObjectUpdate(
        dia_object_id=object_id,
        visit=2027011500000,
        sequence=0,
        diasources=(),
        forced=(),
        dia_object=b"",
        cause="closed",
        cutouts={},
        dia_source_ids=(),
        midpoint_mjd_tai=61420.0,
        successor=successor,
    )


def test_alert_page_sets_then_beside_now(client: TestClient) -> None:
    text = client.get(f"/alerts/{ALERT.alert_id}").text
    row = re.search(r"<code>nDiaSources</code></th><td class=\"num\">(\d+)</td><td class=\"num\">(\d+)</td>", text)
    assert row is not None
    assert row.groups() == ("3", "4")
    assert "the ledger's" in text


def test_property_sheet_takes_units_and_meaning_from_the_schema(client: TestClient) -> None:
    text = client.get(f"/alerts/{ALERT.alert_id}").text
    assert f"<td>nJy</td><td>{public.field_docs('diaSource')['psfFlux']}</td>" in text


def test_every_epoch_has_three_stamps_on_one_stretch(client: TestClient) -> None:
    text = client.get(f"/objects/{STORY.object_id}").text
    found = re.findall(r'/api/v1/alerts/(\d+)/stamps/(\w+)\.png\?stretch=([^"]+)"', text)
    assert {alert for alert, _, _ in found} == {str(alert.alert_id) for alert in STORY.alerts}
    assert len(found) == 12
    assert len({stretch for _, role, stretch in found if role != "difference"}) == 1
    assert len({stretch for _, role, stretch in found if role == "difference"}) == 1
    picture = client.get(f"/api/v1/alerts/{found[0][0]}/stamps/{found[0][1]}.png?stretch={found[0][2]}")
    assert picture.content.startswith(b"\x89PNG")


def test_annotations_are_added_superseded_and_retracted_but_never_lost(client: TestClient) -> None:
    target = {"target_kind": "object", "target_id": str(STORIES[1].object_id), "author": "Ada"}
    first = client.post("/api/v1/annotations", json=target | {"explanation": "a nova?"}).json()
    second = client.post(
        "/api/v1/annotations", json=target | {"explanation": "a supernova", "supersedes": first["annotation_id"]}
    ).json()
    form = client.post("/annotations", data=target | {"retracts": second["annotation_id"]}, follow_redirects=False)
    assert form.status_code == 303
    listed = client.get(
        "/api/v1/annotations", params={"target_kind": "object", "target_id": target["target_id"]}
    ).json()
    by_text = {note["explanation"]: note for note in listed}
    assert by_text["a nova?"]["superseded_by"] == second["annotation_id"]
    assert by_text["a supernova"]["retracted_by"] is not None
    assert len(listed) == 3
    text = client.get(f"/objects/{target['target_id']}").text
    assert "a nova?" in text
    assert "retracted" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"explanation": ""}, "says something"), ({"author": "  "}, "author"), ({"data": "{"}, "JSON"),
        ({"url": "javascript:alert(1)"}, "http"), ({"target_id": "5"}, "no object 5"),
        ({"supersedes": "nothing"}, "no annotation"), ({"target_kind": "galaxy"}, "target_kind"),
    ],
)  # fmt: skip
def test_a_senseless_annotation_is_refused(client: TestClient, change: dict[str, str], sentence: str) -> None:
    new = {"target_kind": "object", "target_id": str(STORY.object_id), "author": "Ada", "explanation": "x"}
    answer = client.post("/api/v1/annotations", json=new | change)
    assert answer.status_code in (404, 422)
    assert sentence in answer.json()["sentence"]


def test_a_form_of_another_web_site_is_refused(client: TestClient) -> None:
    data = {"target_kind": "object", "target_id": str(STORY.object_id), "author": "Eve", "explanation": "x"}
    answer = client.post("/annotations", data=data, headers={"Origin": "http://elsewhere.example"})
    assert answer.status_code == 422
    assert "another web site" in answer.text


def test_markup_in_an_annotation_is_text(client: TestClient) -> None:
    data = {
        "target_kind": "alert",
        "target_id": str(ALERT.alert_id),
        "author": "Eve",
        "explanation": "<script>alert(1)</script>",
    }
    assert client.post("/annotations", data=data).status_code == 200
    assert "<script>alert(1)" not in client.get(f"/alerts/{ALERT.alert_id}").text


@pytest.mark.parametrize("file", sorted(path.name for path in REAL.glob("*") if path.suffix in (".avro", ".bin")))
def test_alerts_that_others_made_open(client: TestClient, file: str) -> None:
    answer = client.post("/open", files={"file": (file, (REAL / file).read_bytes())})
    assert answer.status_code == 200
    assert answer.text.count('src="data:image/png') == 3
    (opened,) = client.post("/api/v1/packets", files={"file": (file, (REAL / file).read_bytes())}).json()
    assert opened["alert_id"] in answer.text


@pytest.mark.parametrize("data", [b"", b"hello", ALERT.framed[:500], b"Obj\x01nonsense"])
def test_a_file_that_is_no_alert_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post("/open", files={"file": ("x.avro", data)})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_health_tells_of_trouble_and_pages_still_work(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path, STORIES[:1])
    toolkit.view.reader.trouble = "Kafka does not answer."  # type: ignore[misc]
    with TestClient(create_app(toolkit, follow=False)) as client:
        health = client.get("/health")
        text = client.get("/").text
    assert (health.status_code, health.json()["status"]) == (200, "behind")
    assert "Kafka does not answer." in text
    assert "<tr data-alert" in text


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with TestClient(create_app(make_toolkit(tmp_path), follow=False)) as client:
        assert "nightcast night" in client.get("/").text
        assert "No visit yet" in client.get("/nights").text
        assert client.get("/api/v1/nights/latest").json() == {"day_obs": None, "visits": []}
