"""The rooms import only in the direction of the architecture."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "schemas": {"schemas"},
    "processors": {"schemas", "processors"},
    "infra": {"schemas", "infra"},
    "streams": {"schemas", "processors", "infra", "streams"},
}
OUTSIDE = {"processors": {"confluent_kafka", "faust", "aiokafka", "random", "time", "os", "pathlib", "socket"}}
"""What the science room may not touch: transport, files, the clock, chance."""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    crossing = {
        f"{path.relative_to(ROOT)} -> {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in imported(path) & (set(ALLOWED) | {"tests"}) - ALLOWED[room]
    }
    assert not crossing


@pytest.mark.parametrize("room", OUTSIDE)
def test_the_science_room_touches_nothing_outside(room: str) -> None:
    touching = {
        f"{path.relative_to(ROOT)} -> {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in imported(path) & OUTSIDE[room]
    }
    assert not touching
