"""What a module offers is what its ``__all__`` says: every name is there, listed once, and every public definition is listed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for room in ("schemas", "processors", "infra", "streams") for p in (ROOT / room).rglob("*.py"))


def listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def is_route(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a decorator such as ``@app.command()`` or ``@router.get(...)`` hands the function to a framework."""
    return any(isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) for d in node.decorator_list)


def defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not is_route(node):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_lists_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = listed(tree)
    if names is None:
        assert path.name in ("__init__.py", "__main__.py") or not defined(tree), "no __all__"
        return
    assert len(names) == len(set(names)), "a name is listed twice"
    if path.name not in ("__init__.py", "__main__.py"):
        assert not defined(tree) - set(names), "public names that are not listed"
