"""The toolkit's pages in a real browser, with every address but loopback cut off and a clean console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support.packets import build_sky
from tests.support.toolkits import alert_messages, fill

pytestmark = pytest.mark.browser

REAL = Path(__file__).parents[1] / "data" / "alerts"
Until = Callable[[Callable[[WebDriver], Any]], Any]


def all_of(browser: WebDriver, selector: str) -> list[WebElement]:
    """Return the elements of a selector."""
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser: WebDriver, selector: str) -> WebElement:
    """Return the element of a selector."""
    return browser.find_element(By.CSS_SELECTOR, selector)


def chart_ready(browser: WebDriver) -> bool:
    """Tell whether the light curve is drawn."""
    return bool(browser.execute_script("return document.documentElement.dataset.chart === 'ready'"))


def traces(browser: WebDriver) -> list[dict[str, Any]]:
    """Return name, symbol and number of points of each trace."""
    return list(
        browser.execute_script(
            "return document.getElementById('chart').data.map(t => ({name: t.name, symbol: t.marker.symbol, n: t.x.length,"
            " color: t.marker.color, y: Array.from(t.y)}))"
        )
    )


def pictures_loaded(browser: WebDriver, selector: str) -> bool:
    """Tell whether every picture in view of a selector has pixels."""
    return bool(
        browser.execute_script(
            "const found = [...document.querySelectorAll(arguments[0])];"
            "return found.length > 0 && found.every(p => (p.loading = 'eager', p.complete && p.naturalWidth > 0))",
            selector,
        )
    )


def test_new_alerts_appear_at_the_top_by_themselves(browser: WebDriver, served_empty: Any, until: Until) -> None:
    browser.get(served_empty.url)
    assert "The sky is quiet" in one(browser, "#empty").text
    until(lambda b: "off" not in (one(b, "#live").get_attribute("class") or ""))
    messages = alert_messages(build_sky(objects=2, epochs=2))
    for message in messages:
        fill(served_empty.toolkit.view, [message])
        served_empty.toolkit.changes.ring()
    until(lambda b: len(all_of(b, "tr[data-alert]")) == len(messages))
    newest = messages[-1].key or b""
    assert one(browser, "tr[data-alert]").get_attribute("data-alert") == newest.decode()
    assert not all_of(browser, "#empty")
    assert one(browser, "#tile-alerts").text == str(len(messages))


def test_list_filters_and_leads_to_pages(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(served.url)
    until(lambda b: pictures_loaded(b, ".thumbs img"))
    total = len(all_of(browser, "tr[data-alert]"))
    assert total == 24
    one(browser, "input[name=band][value=g]").click()
    one(browser, "input[name=snr_min]").send_keys("5", Keys.ENTER)
    until(lambda b: "band=g" in b.current_url)
    assert "radius" not in browser.current_url
    assert 0 < len(all_of(browser, "tr[data-alert]")) < total
    one(browser, "tr[data-alert] a[href^='/objects/']").click()
    until(chart_ready)
    assert browser.title.startswith("Object ")


def test_light_curve_tells_bands_and_kinds_apart_by_shape(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/objects/{served.stories[0].object_id}")
    until(chart_ready)
    found = {trace["name"]: trace for trace in traces(browser)}
    detections = [trace for name, trace in found.items() if name.endswith("detection")]
    assert sum(trace["n"] for trace in detections) == 6
    assert len({trace["symbol"] for trace in detections}) == len({trace["color"] for trace in detections}) == 3
    assert all(trace["symbol"].endswith("-open") for name, trace in found.items() if name.endswith("forced"))
    one(browser, "input[name=forced]").click()
    until(lambda b: all(trace["name"].endswith("detection") for trace in traces(b)))


def test_flux_becomes_magnitude_and_difference_becomes_total(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/objects/{served.stories[0].object_id}")
    until(chart_ready)
    for value in ("magnitude", "total"):
        browser.execute_script("arguments[0].click()", one(browser, f"input[value={value}]"))
    until(
        lambda b: (
            "AB magnitude, total" in b.execute_script("return document.getElementById('chart').layout.yaxis.title.text")
        )
    )
    import math

    truth = sorted(
        31.4 - 2.5 * math.log10(alert.record["diaSource"]["scienceFlux"]) for alert in served.stories[0].alerts
    )
    drawn = sorted(y for trace in traces(browser) if trace["name"].endswith("detection") for y in trace["y"])
    assert drawn == pytest.approx(truth, abs=1e-4)


def test_one_epoch_is_chosen_in_chart_stamps_and_address(browser: WebDriver, served: Any, until: Until) -> None:
    story = served.stories[0]
    browser.get(f"{served.url}/objects/{story.object_id}")
    until(chart_ready)
    one(browser, "body").send_keys(Keys.ARROW_RIGHT)
    one(browser, "body").send_keys(Keys.ARROW_RIGHT)
    second = story.alerts[1].alert_id
    until(lambda b: b.current_url.endswith(f"#epoch-{second}"))
    assert one(browser, ".epoch.chosen").get_attribute("data-source") == str(second)
    assert str(story.alerts[1].visit) in one(browser, "#selected").text
    third = story.alerts[2].alert_id
    browser.execute_script(
        "document.getElementById('chart').emit('plotly_click', {points: [{customdata: arguments[0]}]})", str(third)
    )
    until(lambda b: one(b, ".epoch.chosen").get_attribute("data-source") == str(third))
    browser.get(f"{served.url}/objects/{story.object_id}#epoch-{second}")
    browser.refresh()
    until(lambda b: chart_ready(b) and one(b, ".epoch.chosen").get_attribute("data-source") == str(second))


def test_stamps_of_every_epoch_turn_north_up(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/objects/{served.stories[0].object_id}")
    until(chart_ready)
    until(lambda b: pictures_loaded(b, ".strip .frame img"))
    assert len(all_of(browser, ".strip .frame img")) == 18
    before = one(browser, ".strip .compass").value_of_css_property("transform")
    browser.execute_script("arguments[0].click()", one(browser, "#north-up"))
    until(lambda b: one(b, ".strip .compass").value_of_css_property("transform") != before)


def test_an_annotation_is_written_superseded_and_retracted(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/objects/{served.stories[0].object_id}")
    form = one(browser, "#annotate")
    form.find_element(By.NAME, "author").send_keys("Ada Lovelace")
    form.find_element(By.NAME, "classification").send_keys("SN Ia")
    form.find_element(By.NAME, "explanation").send_keys("Rises fast.")
    browser.execute_script("arguments[0].click()", form.find_element(By.CSS_SELECTOR, "button.primary"))
    until(lambda b: "#note-" in b.current_url)
    assert "Ada Lovelace" in one(browser, ".note").text
    browser.execute_script("arguments[0].click()", one(browser, "[data-supersedes]"))
    text = one(browser, "#annotate").find_element(By.NAME, "explanation")
    assert text.get_attribute("value") == "Rises fast."
    text.send_keys(" And fades.")
    browser.execute_script("arguments[0].click()", one(browser, "#annotate button.primary"))
    until(lambda b: len(all_of(b, ".note")) == 2)
    assert [("past" in (note.get_attribute("class") or "")) for note in all_of(browser, ".note")] == [False, True]
    browser.execute_script("arguments[0].click()", one(browser, ".note-tools form button"))
    until(lambda b: "retracted" in one(b, ".note").text)


def test_packet_sheet_tabs_and_search_work_by_keyboard(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/alerts/{served.stories[0].alerts[2].alert_id}")
    until(chart_ready)
    tab = one(browser, "[role=tab][aria-selected=true]")
    tab.send_keys(Keys.ARROW_RIGHT)
    assert one(browser, "[role=tab][aria-selected=true]").text == "diaObject"
    one(browser, "[role=tab][aria-selected=true]").send_keys(Keys.ARROW_LEFT)
    one(browser, "[role=tabpanel]:not([hidden]) input[type=search]").send_keys("psfFlux")
    shown = [row.text for row in all_of(browser, "[role=tabpanel]:not([hidden]) tbody tr") if row.is_displayed()]
    assert shown
    assert all("psfFlux" in row for row in shown)
    one(browser, "body").send_keys("/")
    assert browser.switch_to.active_element.get_attribute("id") == "find"


def test_a_real_alert_opens_from_a_file(browser: WebDriver, served: Any, until: Until) -> None:
    browser.get(f"{served.url}/open")
    one(browser, "input[type=file]").send_keys(str(REAL / "derived_wire_v11_1_0.bin"))
    one(browser, "#drop button").click()
    until(chart_ready)
    assert "170094456272322680" in one(browser, "h2.title").text
    assert sum(trace["n"] for trace in traces(browser)) > 700
    assert pictures_loaded(browser, ".big img")


def test_trouble_with_kafka_shows_and_goes_by_itself(browser: WebDriver, served: Any, until: Until) -> None:
    served.toolkit.view.reader.trouble = "Kafka does not answer."
    browser.get(served.url)
    assert "Kafka does not answer." in one(browser, "#trouble").text
    served.toolkit.view.reader.trouble = None
    served.toolkit.changes.ring()
    until(lambda b: not one(b, "#trouble").is_displayed())


@pytest.mark.parametrize("path", ["/", "/nights", "/open", "/api", "object", "alert"])
def test_every_page_fits_a_narrow_screen_and_names_its_controls(
    browser: WebDriver, served: Any, until: Until, path: str
) -> None:
    story = served.stories[0]
    named = {"object": f"/objects/{story.object_id}", "alert": f"/alerts/{story.alerts[0].alert_id}"}
    browser.set_window_size(520, 900)
    try:
        browser.get(served.url + named.get(path, path))
        if path in named:
            until(chart_ready)
        wide = browser.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 1
    finally:
        browser.set_window_size(1440, 1000)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, a[href], input:not([type=hidden]), textarea')].filter(e =>"
        " !e.closest('[aria-hidden=true], [hidden], .modebar') && !e.labels?.length && !(e.ariaLabel || e.textContent.trim()"
        " || e.title)).map(e => e.outerHTML)"
    )
    assert nameless == []
