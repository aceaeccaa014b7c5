"""What the README and the pages under docs/ say holds: code compiles, commands exist, nothing of one machine is in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from schemas.topics import TOPICS, dead_letter_topic
from streams.cli.main import build

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"cli.md", "settings.md", "errors.md", "alert-schema.md", "events.md", "topics.md", "summary.md"}
WRITTEN = [page for page in PAGES if page.name not in GENERATED]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^ {4}|`|&& )nightcast ([a-z][^`\n]*)", re.MULTILINE)
FORBIDDEN = {
    "a home folder": re.compile(r"/(home|root|Users|work)/\w"),
    "a package registry": re.compile(r"py(pi|thonhosted)\.org|npmjs\.|repo\d\.maven|conda\.anaconda|crates\.io", re.I),
}


def name_of(page: Path) -> str:
    """Return the page's path in the repository."""
    return str(page.relative_to(ROOT))


def command_tree() -> dict[str, Any]:
    """Return the command line's groups and commands."""
    group: Any = typer.main.get_command(build())
    commands: dict[str, Any] = group.commands
    return commands


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words of every `nightcast ...` in code, comments and continuations left out."""
    for found in COMMAND.findall(text):
        yield re.split(r"\s+#|\s*[|&;]\s|\\$", found)[0].split()


def faults_of(words: list[str], commands: dict[str, Any]) -> Iterator[str]:
    """Yield what the command line would refuse of a command."""
    command = commands.get(words[0].rstrip(",.;"))
    if command is None:
        yield f"nightcast {words[0]}: no such command"
        return
    rest = words[1:]
    if hasattr(command, "commands"):
        if not rest or not rest[0].rstrip(",.;").isalpha():
            return
        verb = rest.pop(0).rstrip(",.;")
        if verb not in command.commands:
            yield f"nightcast {words[0]} {verb}: no such command"
            return
        command = command.commands[verb]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    yield from (
        f"nightcast {words[0]}: no option {word}" for word in rest if word.startswith("-") and word not in known
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile(page: Path) -> None:
    for language, code in FENCED.findall(page.read_text()):
        if language == "python":
            ast.parse(code, filename=name_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_of_one_machine_is_told(page: Path) -> None:
    text = page.read_text()
    assert {what: found.group() for what, pattern in FORBIDDEN.items() if (found := pattern.search(text))} == {}


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_commands_exist_with_their_options(page: Path) -> None:
    commands = command_tree()
    assert [fault for words in commands_in(page.read_text()) for fault in faults_of(words, commands)] == []


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_topics_exist(page: Path) -> None:
    known = {row.name for row in TOPICS} | {dead_letter_topic(row.name) for row in TOPICS}
    named = set(re.findall(r"[Tt]opics? `([a-z0-9.-]+)`", page.read_text()))
    assert named <= known | {"lsst."}


@pytest.mark.parametrize("page", [page for page in WRITTEN if "docs" in page.parts], ids=name_of)
def test_the_map_leads_to_every_page(page: Path) -> None:
    map_of_pages = (ROOT / "docs" / "index.md").read_text()
    assert page.name == "index.md" or f"({page.relative_to(ROOT / 'docs')})" in map_of_pages


@pytest.mark.parametrize(
    "line", ["    nightcast settings\n", "`nightcast dlq forget`", "    nightcast night --stars 3 # x\n"]
)
def test_what_does_not_exist_is_noticed(line: str) -> None:
    commands = command_tree()
    assert [fault for words in commands_in(line) for fault in faults_of(words, commands)] != []
