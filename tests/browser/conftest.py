"""A real Chromium against a real server on loopback, with every other address cut off."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from infra.ports import free_port, is_listening
from streams.toolkit.app import create_app
from streams.toolkit.service import Toolkit
from tests.support.optional import missing
from tests.support.packets import Story, build_sky
from tests.support.toolkits import make_toolkit
from tests.support.waiting import PATIENCE_S, eventually

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1440,1000",
    "--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A toolkit that is being served."""

    url: str
    toolkit: Toolkit
    stories: list[Story]


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """One browser for all tests."""
    if CHROMIUM is None or DRIVER is None:
        missing(
            "chromium", "Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)."
        )
    options = Options()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser; a message of any error on the console, or a load that failed, fails the test."""
    chromium.get_log("browser")
    yield chromium
    complaints = [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert complaints == []


@pytest.fixture
def served(tmp_path: Path, chromium: webdriver.Chrome) -> Iterator[Served]:
    """A toolkit with four objects of five alerts each, served on a free port."""
    stories = build_sky(objects=4, epochs=6)
    with serving(make_toolkit(tmp_path, stories), stories) as found:
        yield found
        chromium.get("about:blank")  # a page that outlives its server would complain


@pytest.fixture
def served_empty(tmp_path: Path, chromium: webdriver.Chrome) -> Iterator[Served]:
    """A toolkit with nothing in it."""
    with serving(make_toolkit(tmp_path), []) as found:
        yield found
        chromium.get("about:blank")


class serving:
    """Serve a toolkit in a thread."""

    def __init__(self, toolkit: Toolkit, stories: list[Story]) -> None:
        self._toolkit, self._stories = toolkit, stories
        self._port = free_port()
        config = uvicorn.Config(
            create_app(toolkit, follow=False), port=self._port, log_level="warning", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        eventually(lambda: is_listening(self._port))
        return Served(f"http://127.0.0.1:{self._port}", self._toolkit, self._stories)

    def __exit__(self, *_: object) -> None:
        self._toolkit.changes.close()
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        self._toolkit.view.engine.dispose()


@pytest.fixture
def until(browser: webdriver.Chrome) -> Callable[[Callable[[webdriver.Chrome], object]], object]:
    """Wait for something to be true of the page."""
    return WebDriverWait(browser, PATIENCE_S).until
