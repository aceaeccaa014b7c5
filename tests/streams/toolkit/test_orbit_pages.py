"""Pages of moving objects: what the view holds is what is shown, with the orbit's own numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from processors.moving_objects.kepler import two_body
from schemas.events import DiaObjectVersion, Verdict
from schemas.ids import day_visit
from schemas.predictions import ss_object_id_of
from streams.toolkit.app import create_app
from streams.toolkit.orbit_drawing import draw_residuals
from streams.toolkit.orbit_view import orbit_view
from streams.toolkit.service import Toolkit
from streams.views.errors import NotInViewError
from streams.views.fold import Message
from tests.support.packets import build_sky, encode_record
from tests.support.toolkits import fill, make_toolkit

pytest.importorskip("heyoka")

from tests.support.moving_view import DECIDED, NAMES, VERDICTS, MovingSky, fill_moving

STORY = build_sky(objects=1, epochs=4)[0]


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Toolkit:
    """A toolkit of an empty view."""
    return make_toolkit(tmp_path_factory.mktemp("toolkit"))


@pytest.fixture(scope="module")
def sky(toolkit: Toolkit) -> MovingSky:
    """The same with three discoveries and a known asteroid."""
    return fill_moving(toolkit, STORY)


@pytest.fixture(scope="module")
def client(toolkit: Toolkit, sky: MovingSky) -> Iterator[TestClient]:
    """A client of its application."""
    with TestClient(create_app(toolkit, follow=False)) as made:
        yield made


def test_pages_have_titles_and_nothing_from_elsewhere(client: TestClient, sky: MovingSky) -> None:
    for path in ("/orbits", f"/orbits/{NAMES[0]}", f"/orbits/{sky.known_id}", f"/verdicts/{DECIDED}"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert re.search(r"<title>[^<]{4,} · Nightcast</title>", answer.text)
        assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []


def test_the_list_has_runs_and_discoveries(client: TestClient) -> None:
    text = client.get("/orbits").text
    assert all(name in text for name in NAMES)
    assert text.count("may be reported</span>") == 2
    assert "held back</span>" in text
    assert "1,200" in text
    assert "free tracklets" in text
    held = client.get("/orbits?reportable=false").text
    assert [name in held for name in NAMES] == [False, False, True]


def test_an_empty_view_says_what_to_do(tmp_path: Any) -> None:
    with TestClient(create_app(make_toolkit(tmp_path), follow=False)) as empty:
        text = empty.get("/orbits").text
    assert "DayMOPS has not decided a night yet" in text
    assert "Nothing discovered yet" in text


def test_a_discovery_is_shown_with_the_numbers_of_its_fit(toolkit: Toolkit, sky: MovingSky) -> None:
    view, fit = orbit_view(toolkit, NAMES[0]), sky.fits[NAMES[0]]
    assert view.orbit_class in ("main belt", "Mars crosser")
    found = {line.name: line for line in view.elements}
    for name in ("a", "e", "i"):
        assert found[name].value == pytest.approx(float(fit.elements[name]), abs=1e-9)
        assert found[name].sigma == pytest.approx(float(fit.sigmas[name]), rel=1e-6)
    residuals = np.array([[seen.residual_east, seen.residual_north] for seen in view.detections])
    np.testing.assert_allclose(residuals, fit.residuals_arcsec, atol=2e-4)
    assert len(view.tracklets) == len(np.unique(np.floor(sky.rows(NAMES[0])["midpoint_mjd_tai"] - 0.5)))
    assert (view.missing, view.problem) == (0, None)


def test_the_ephemeris_goes_through_the_truth(toolkit: Toolkit, sky: MovingSky) -> None:
    view = orbit_view(toolkit, NAMES[0])
    assert len(view.ephemeris) == 10
    first, last = view.ephemeris[0], view.ephemeris[-1]
    moved = np.asarray(two_body(sky.truth.states[:1], sky.truth.later_mjd_tdb - sky.truth.epoch_mjd_tdb))[0]
    # A week after the last night, where the simulation tells the distance to the Sun.
    assert float(np.linalg.norm(moved[:3])) == pytest.approx(view.ephemeris[6]["helio_range_au"], abs=0.01)
    assert last["semi_major_arcsec"] > first["semi_major_arcsec"] > 0.0


def test_the_drawing_has_the_planets_that_fit(toolkit: Toolkit) -> None:
    drawing = orbit_view(toolkit, NAMES[0]).drawing
    assert drawing is not None
    names = [track.name for track in drawing.plane]
    assert names[-1] == "object"
    assert {"Venus", "Earth", "Mars"} <= set(names)
    assert "Neptune" not in names
    earth = drawing.plane[names.index("Earth")]
    assert np.hypot(earth.x, earth.y) * drawing.extent_au / 100 == pytest.approx(1.0, abs=0.02)


def test_a_discovery_that_is_held_back_says_why_and_what_is_missing(
    client: TestClient, toolkit: Toolkit, sky: MovingSky
) -> None:
    text = client.get(f"/orbits/{NAMES[2]}").text
    assert "not to be reported yet" in text
    assert "Three nights leave a uncertain" in text
    assert "None of its detections is at hand" in text
    assert orbit_view(toolkit, NAMES[2]).missing == len(sky.rows(NAMES[2]))


def test_a_known_asteroid_is_shown_from_its_newest_alert(client: TestClient, toolkit: Toolkit, sky: MovingSky) -> None:
    view, fit = orbit_view(toolkit, str(sky.known_id)), sky.fits["2014 AA3"]
    assert view.designation == "2014 AA3"
    assert view.own is None
    found = {line.name: line for line in view.elements}
    assert found["a"].value == pytest.approx(float(fit.elements["a"]), rel=1e-7)
    assert found["a"].sigma == pytest.approx(float(fit.sigmas["a"]), rel=1e-4)
    assert [row.alert_id for row in view.alerts] == sky.known_alerts[::-1]
    text = client.get(f"/orbits/{sky.known_id}").text
    assert "from the imported catalogue" in text
    assert f"/alerts/{sky.known_alerts[0]}" in text


def test_alerts_and_search_lead_to_the_orbit(client: TestClient, sky: MovingSky) -> None:
    assert f'href="/orbits/{sky.known_id}"' in client.get(f"/alerts/{sky.known_alerts[0]}").text
    assert f'href="/orbits/{sky.known_id}"' in client.get("/").text
    found = client.get("/find", params={"q": f" {NAMES[1]} "}, follow_redirects=False)
    assert (found.status_code, found.headers["location"]) == (303, f"/orbits/{NAMES[1]}")
    number = ss_object_id_of(NAMES[1])
    assert NAMES[1] in client.get(f"/orbits/{number}").text


def test_an_object_that_nobody_knows_is_not_found(client: TestClient, toolkit: Toolkit) -> None:
    assert client.get("/orbits/NCzzzzzz").status_code == 404
    with pytest.raises(NotInViewError):
        orbit_view(toolkit, "433")


def test_residuals_that_are_unknown_or_wild_are_drawn_without_harm() -> None:
    assert draw_residuals(np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)), []) is None
    assert draw_residuals(np.zeros(1), np.full((1, 2), np.nan), np.ones((1, 2)), ["a"]) is None
    off = np.array([[0.1, -0.2], [0.05, 0.1], [900.0, 0.0], [np.nan, 0.0]])
    plot = draw_residuals(np.array([1.0, 2.0, 3.0, 4.0]), off, np.full((4, 2), 0.1), list("abcd"))
    assert plot is not None
    assert [mark.label for mark in plot.east] == ["a", "b", "c"]
    assert {mark.y for mark in plot.north} <= set(np.linspace(-40, 40, 8001).round(2).tolist())
    one = draw_residuals(np.array([5.0]), np.zeros((1, 2)), np.full((1, 2), 0.05), ["a"])
    assert one is not None
    assert one.limit_arcsec >= 0.15


def test_verdicts_of_a_night_are_counted_explained_and_chosen(client: TestClient, sky: MovingSky) -> None:
    runs = client.get("/orbits").text
    link = runs[runs.index(f'href="/verdicts/{DECIDED}"') :]
    assert re.findall(r"<b>(\d+)</b> ([a-z ]+)<", link[: link.index("</a>")]) == [
        ("1", "undecided"), ("2", "tracklet"), ("1", "linked"), ("1", "stationary"), ("1", "found later"),
    ]  # fmt: skip
    text = client.get(f"/verdicts/{DECIDED}").text
    assert re.findall(r'href="/objects/(\d+)"', text) == [str(key) for key in sorted(VERDICTS)]
    assert f'href="/orbits/{NAMES[0]}"' in text
    only = client.get(f"/verdicts/{DECIDED}?verdict={int(Verdict.TRACKLET)}").text
    wanted = [str(key) for key, verdict in sorted(VERDICTS.items()) if verdict is Verdict.TRACKLET]
    assert re.findall(r'href="/objects/(\d+)"', only) == wanted
    assert "in a free tracklet" in only
    later = client.get(f"/verdicts/{DECIDED}?verdict=-1").text
    assert re.findall(r'href="/objects/(\d+)"', later) == [
        str(key) for key, verdict in VERDICTS.items() if verdict == -1
    ]
    assert "a later night found whose detections these are" in later
    assert client.get(f"/verdicts/{DECIDED}?verdict=9").status_code == 422
    assert "DayMOPS has said nothing of this night" in client.get("/verdicts/20200101").text


def test_the_page_of_a_diaobject_says_what_daymops_made_of_it(
    toolkit: Toolkit, client: TestClient, sky: MovingSky
) -> None:
    identifier = next(key for key, verdict in VERDICTS.items() if verdict is Verdict.TRACKLET)
    fill(toolkit.view, [object_version(toolkit, identifier)])
    text = client.get(f"/objects/{identifier}").text
    fate = text[text.index('id="fate"') :]
    assert f'href="/verdicts/{DECIDED}"' in fate
    assert "<strong>tracklet</strong>, it moved as a Solar System object could" in fate


def object_version(toolkit: Toolkit, identifier: int) -> Message:
    """Return the version of a DIAObject that nothing else is known of."""
    record = {**STORY.alerts[-1].record["diaObject"], "diaObjectId": identifier}
    event = DiaObjectVersion(
        dia_object_id=identifier, visit=day_visit(DECIDED) + 1, record=encode_record(record, "diaObject")
    )
    value = toolkit.view.codec.encode("diaobjects", event)
    key = identifier.to_bytes(8, "big")
    return Message(topic="diaobjects", partition=1, offset=0, key=key, value=value, timestamp_s=1.8e9)
