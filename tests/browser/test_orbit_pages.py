"""Pages of moving objects in a real browser: drawn to size, reachable by keyboard, nothing wider than the window, clean console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from streams.toolkit.orbit_view import orbit_view
from tests.browser.conftest import Served, serving
from tests.support.packets import build_sky
from tests.support.toolkits import make_toolkit

pytest.importorskip("heyoka")

from tests.support.moving_view import DECIDED, NAMES, MovingSky, fill_moving

pytestmark = pytest.mark.browser

Until = Callable[[Callable[[WebDriver], Any]], Any]


@pytest.fixture(scope="module")
def sky_served(tmp_path_factory: pytest.TempPathFactory, chromium: WebDriver) -> Iterator[tuple[Served, MovingSky]]:
    """A toolkit with discoveries and the alerts of a known asteroid."""
    toolkit = make_toolkit(tmp_path_factory.mktemp("orbits"))
    (story,) = build_sky(objects=1, epochs=4)
    sky = fill_moving(toolkit, story)
    # Where nothing is compiled yet the first page takes longer than a browser waits.
    orbit_view(toolkit, NAMES[0])
    with serving(toolkit, [story]) as found:
        yield found, sky
        chromium.get("about:blank")


def box(browser: WebDriver, selector: str) -> dict[str, float]:
    """Return the place of an element on the page."""
    return dict(
        browser.execute_script(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return {x: b.x, y: b.y, width: b.width, height: b.height}",
            selector,
        )
    )


def test_the_list_leads_to_an_orbit_by_keyboard(
    browser: WebDriver, sky_served: tuple[Served, MovingSky], until: Until
) -> None:
    served, _ = sky_served
    browser.get(f"{served.url}/orbits")
    assert browser.find_element(By.ID, "own-count").text == "3"
    browser.find_element(By.LINK_TEXT, "held back").click()
    until(lambda b: "reportable=false" in b.current_url)
    links = browser.find_elements(By.CSS_SELECTOR, "tbody a[href^='/orbits/']")
    assert [link.text for link in links] == [NAMES[2]]
    links[0].send_keys(Keys.ENTER)
    until(lambda b: b.title.startswith(f"Moving object {NAMES[2]}"))
    assert "not to be reported yet" in browser.find_element(By.ID, "report").text


def test_the_orbit_is_drawn_inside_its_frame(browser: WebDriver, sky_served: tuple[Served, MovingSky]) -> None:
    served, _ = sky_served
    browser.get(f"{served.url}/orbits/{NAMES[0]}")
    frame, own = box(browser, ".orbit-drawing svg"), box(browser, ".orbit-drawing .track.own")
    assert frame["width"] > 300
    assert own["width"] > 0.5 * frame["width"]
    assert own["x"] >= frame["x"]
    assert own["x"] + own["width"] <= frame["x"] + frame["width"] + 1
    labels = {one.text for one in browser.find_elements(By.CSS_SELECTOR, ".orbit-drawing .body text")}
    assert {NAMES[0], "Earth", "Mars"} <= labels
    for label in browser.find_elements(By.CSS_SELECTOR, ".orbit-drawing .body text"):
        assert frame["x"] <= label.rect["x"], label.text
        assert label.rect["x"] + label.rect["width"] <= frame["x"] + frame["width"], label.text
    for svg in browser.find_elements(By.CSS_SELECTOR, "main svg[role=img]"):
        assert svg.get_attribute("aria-label")
    drawn = browser.find_elements(By.CSS_SELECTOR, ".residuals .mark")
    assert len(drawn) == 2 * len(browser.find_elements(By.CSS_SELECTOR, "#detections tbody tr"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "#ephemeris tbody tr")) == 10


@pytest.mark.parametrize("width", [420, 1440])
def test_nothing_is_wider_than_the_window(browser: WebDriver, sky_served: tuple[Served, MovingSky], width: int) -> None:
    served, sky = sky_served
    browser.set_window_size(width, 1000)
    try:
        for path in ("/orbits", f"/orbits/{NAMES[0]}", f"/orbits/{sky.known_id}", f"/verdicts/{DECIDED}"):
            browser.get(served.url + path)
            wide, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
            assert wide <= window, path
    finally:
        browser.set_window_size(1440, 1000)


def test_an_alert_of_an_asteroid_leads_to_its_orbit(
    browser: WebDriver, sky_served: tuple[Served, MovingSky], until: Until
) -> None:
    served, sky = sky_served
    browser.get(f"{served.url}/alerts/{sky.known_alerts[0]}")
    until(lambda b: b.execute_script("return document.documentElement.dataset.chart === 'ready'"))
    browser.find_element(By.CSS_SELECTOR, f"a[href='/orbits/{sky.known_id}']").click()
    until(lambda b: b.title.startswith("Moving object 2014 AA3"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "#alerts tbody tr")) == 4
    box_of_search = browser.find_element(By.ID, "find")
    box_of_search.send_keys(NAMES[1], Keys.ENTER)
    until(lambda b: b.title.startswith(f"Moving object {NAMES[1]}"))


def test_an_empty_list_says_what_to_do(browser: WebDriver, tmp_path: Path) -> None:
    with serving(make_toolkit(tmp_path), []) as served:
        browser.get(f"{served.url}/orbits")
        assert "DayMOPS has not decided a night yet" in browser.find_element(By.ID, "main").text
        browser.get("about:blank")


def test_a_nights_verdicts_are_reached_and_chosen_by_keyboard(
    browser: WebDriver, sky_served: tuple[Served, MovingSky], until: Until
) -> None:
    served, _ = sky_served
    browser.get(f"{served.url}/orbits")
    browser.find_element(By.CSS_SELECTOR, f"a[href='/verdicts/{DECIDED}']").send_keys(Keys.ENTER)
    until(lambda b: b.title.startswith("Verdicts of 4 December 2025"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "#fates tbody tr")) == 6
    browser.find_element(By.CSS_SELECTOR, "a.tile[href$='verdict=2']").send_keys(Keys.ENTER)
    until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#fates tbody tr")) == 1)
    assert browser.find_element(By.CSS_SELECTOR, "a.tile[aria-current=page]").text.startswith("linked")
    browser.find_element(By.LINK_TEXT, NAMES[0]).click()
    until(lambda b: b.title.startswith(f"Moving object {NAMES[0]}"))
