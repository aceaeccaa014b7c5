"""The picture of the flow, made from the topic table: a column for each stage, a line for each topic.

A dot marks who writes a topic, an arrow head who reads it. Colours come from the page's own style sheet, so that the picture
is readable on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from schemas.topics import TOPICS, Cleanup, Topic

__all__ = ["STAGES", "flow_svg"]

STAGES: tuple[str, ...] = (
    "ocs-bridge",
    "nightmops",
    "dmcs",
    "orchestration",
    "archiver",
    "detectors",
    "association",
    "alert-assembly",
    "distribution",
    "quality",
    "daymops",
    "toolkit",
    "brokers",
)
"""Columns from left to right: the way of a visit."""

_LEFT, _TOP, _COLUMN, _ROW = 190, 118, 74, 30
_HIDDEN = {"stage-state"}
_STYLE = """
  .bg { fill: #ffffff } text { fill: #1f2933; font: 13px system-ui, sans-serif } .small { font-size: 11px; fill: #52606d }
  .lane { stroke: #e4e7eb; stroke-width: 1 } .line { stroke: #0b6e99; stroke-width: 2 } .compact { stroke: #b54708 }
  .dot { fill: #0b6e99 } .dot.compact, .head.compact { fill: #b54708; stroke: none } .head { fill: #0b6e99 }
  @media (prefers-color-scheme: dark) {
    .bg { fill: #11181f } text { fill: #e4e7eb } .small { fill: #9aa5b1 } .lane { stroke: #26323d }
    .line { stroke: #5cc4ef } .dot, .head { fill: #5cc4ef } .compact { stroke: #f7b27a } .dot.compact, .head.compact { fill: #f7b27a }
  }
"""


def flow_svg(topics: Sequence[Topic] = TOPICS) -> str:
    """Return the picture as an SVG document."""
    rows = [row for row in topics if row.name not in _HIDDEN]
    width = _LEFT + _COLUMN * len(STAGES) + 20
    height = _TOP + _ROW * len(rows) + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Which stage writes and which reads each topic">',
        f"<style>{_STYLE}</style>",
        f'<rect class="bg" width="{width}" height="{height}"/>',
    ]
    parts += [_stage(index, stage, height) for index, stage in enumerate(STAGES)]
    parts += [_topic(index, row) for index, row in enumerate(rows)]
    legend = _TOP + _ROW * len(rows) + 24
    parts.append(
        f'<text class="small" x="12" y="{legend}">dot: writes, arrow head: reads; blue: log, orange: compacted topic '
        "(the newest value of each key is kept for ever)</text>"
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _x(stage: str) -> float:
    return _LEFT + _COLUMN * (STAGES.index(stage) + 0.5)


def _stage(index: int, stage: str, height: int) -> str:
    x = _LEFT + _COLUMN * (index + 0.5)
    return (
        f'<line class="lane" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 40}"/>'
        f'<text transform="translate({x + 4},{_TOP - 14}) rotate(-45)">{escape(stage)}</text>'
    )


def _topic(index: int, row: Topic) -> str:
    y = _TOP + _ROW * (index + 0.5)
    kind = " compact" if row.cleanup is Cleanup.COMPACT else ""
    writers = [_x(s) for s in row.producers if s in STAGES]
    readers = [_x(s) for s in row.consumers if s in STAGES and s not in row.producers]
    ends = writers + readers
    line = f'<line class="line{kind}" x1="{min(ends)}" y1="{y}" x2="{max(ends)}" y2="{y}"/>' if len(ends) > 1 else ""
    dots = "".join(f'<circle class="dot{kind}" cx="{x}" cy="{y}" r="5"/>' for x in writers)
    heads = "".join(_head(x, y, kind, leftwards=x < min(writers, default=x)) for x in readers)
    return f'<g><title>{escape(row.summary)}</title><text x="12" y="{y + 4}">{escape(row.name)}</text>{line}{dots}{heads}</g>'


def _head(x: float, y: float, kind: str, *, leftwards: bool) -> str:
    back = x + 11 if leftwards else x - 11
    return f'<polygon class="head{kind}" points="{x},{y} {back},{y - 6} {back},{y + 6}"/>'
