"""Pictures of an alert that is in no store: an uploaded file's stamps travel inside the page."""

from __future__ import annotations

import base64
from typing import Any

from streams.alert_files import OpenedAlert
from streams.toolkit.service import readable_stamps
from streams.toolkit.stamps import png, stretches

__all__ = ["opened_context"]


def opened_context(opened: OpenedAlert) -> dict[str, Any]:
    """Return an opened alert's stamps, with the pictures as data addresses, and its place on the sky."""
    stamps = readable_stamps(opened)
    stretch = stretches([stamps])
    pictures = {
        role: "data:image/png;base64," + base64.b64encode(png(stamp.pixels, stretch[role])).decode()
        for role, stamp in stamps.items()
    }
    return {"stamps": stamps, "pictures": pictures, "position": _position(opened)}


def _position(opened: OpenedAlert) -> tuple[float, float] | None:
    source = opened.record.get("diaSource") or opened.record.get("candidate") or {}
    ra, dec = source.get("ra"), source.get("dec")
    return None if ra is None or dec is None else (ra, dec)
