"""What a decision of DayMOPS found, in a sentence."""

from __future__ import annotations

from schemas.events import DayMopsDecision

__all__ = ["sentence_of"]


def sentence_of(decision: DayMopsDecision) -> str:
    """Return what a decision says, for people."""
    counts = {name: int(value) for name, value in decision.counts.items()}
    parts = [f"{counts.get('detections', 0)} candidates"]
    attributed = counts.get("attributed_known", 0) + counts.get("attributed_ours", 0)
    parts.append(f"{attributed} attributed to known objects")
    if counts.get("identified"):
        parts.append(f"{counts['identified']} objects of our own that the catalogue has under other names")
    parts.append(f"{counts.get('free_tracklets', 0)} free tracklets")
    parts.append(f"{counts.get('orbits', 0)} objects of our own ({counts.get('reportable', 0)} may be reported)")
    nights = len(decision.window)
    return f"DayMOPS, night {decision.day_obs}, window of {nights} nights: " + ", ".join(parts) + "."
