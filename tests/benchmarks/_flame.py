"""Flame graphs: a tree of calls drawn as SVG, widths are CPU time, callees below their callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

__all__ = ["Node", "draw"]

WIDTH, ROW, LEAST = 1200.0, 17.0, 1.5
"""Pixels: of the graph, of a row, of the narrowest box drawn."""

LETTER = 6.2
"""Pixels a letter takes."""


@dataclass(slots=True)
class Node:
    """A function as one caller calls it."""

    name: str
    seconds: float = 0.0
    """Its own time, that of its callees left out."""
    children: dict[str, Node] = field(default_factory=dict)

    def child(self, name: str) -> Node:
        """Return a callee, a new one if need be."""
        return self.children.setdefault(name, Node(name))

    def total(self) -> float:
        """Return the time with all callees."""
        return self.seconds + sum(node.total() for node in self.children.values())

    def depth(self) -> int:
        """Return the rows from here down."""
        return 1 + max((node.depth() for node in self.children.values()), default=0)

    def by_function(self) -> dict[str, float]:
        """Return each function's own time, whoever called it."""
        sums = {self.name: self.seconds}
        for node in self.children.values():
            for name, seconds in node.by_function().items():
                sums[name] = sums.get(name, 0.0) + seconds
        return sums


def draw(root: Node, title: str) -> str:
    """Return the SVG of a tree."""
    scale = WIDTH / max(root.total(), 1e-9)
    boxes = _boxes(root, 0.0, 0, scale)
    height = ROW * (_rows(root, scale) + 2)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="4" y="13" font-size="13">{escape(title)}</text>'
    )
    return head + "\n" + "\n".join(boxes) + "\n</svg>\n"


def _rows(node: Node, scale: float) -> int:
    wide = [child for child in node.children.values() if child.total() * scale >= LEAST]
    return 1 + max((_rows(child, scale) for child in wide), default=0)


def _boxes(node: Node, left: float, row: int, scale: float) -> list[str]:
    width = node.total() * scale
    top = ROW * (row + 1.2)
    shown = node.name if len(node.name) * LETTER < width - 4 else node.name[: max(int((width - 4) / LETTER), 0)]
    label = f'<text x="{left + 2:.1f}" y="{top + 12:.1f}">{escape(shown)}</text>' if len(shown) > 2 else ""
    out = [
        f"<g><title>{escape(node.name)}: {node.total():.3f} s, own {node.seconds:.3f} s</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width - 0.4, 0.4):.1f}" height="{ROW - 1:.0f}" fill="{_colour(node.name)}"/>'
        f"{label}</g>"
    ]
    for child in sorted(node.children.values(), key=lambda n: -n.total()):
        if child.total() * scale >= LEAST:
            out += _boxes(child, left, row + 1, scale)
            left += child.total() * scale
    return out


def _colour(name: str) -> str:
    """Return a fill: warm for the project's functions, grey for libraries'."""
    if "." not in name:
        return "#c9ced6"
    shade = sum(ord(letter) for letter in name) % 40
    return f"hsl({20 + shade}, 85%, {62 + shade % 13}%)"
