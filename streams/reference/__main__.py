"""Write the generated pages and pictures into docs/: ``python -m streams.reference [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.reference.alert_schema_page import alert_schema_page
from streams.reference.cli_page import cli_page
from streams.reference.errors_page import errors_page
from streams.reference.flow import flow_svg
from streams.reference.settings_page import settings_page
from streams.reference.summary_page import summary_page
from streams.reference.topics_page import events_page, topics_page

__all__ = ["PAGES", "write_pages"]

PAGES: Mapping[str, Callable[[], str]] = {
    "images/flow.svg": flow_svg,
    "reference/topics.md": topics_page,
    "reference/events.md": events_page,
    "reference/settings.md": settings_page,
    "reference/cli.md": cli_page,
    "reference/summary.md": summary_page,
    "reference/errors.md": errors_page,
    "reference/alert-schema.md": alert_schema_page,
}
"""Path under docs/ to what writes it."""


def write_pages(folder: Path) -> list[Path]:
    """Write every generated page under a folder and return their paths."""
    written = []
    for name, make in PAGES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    for page in write_pages(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")):
        print(page)
