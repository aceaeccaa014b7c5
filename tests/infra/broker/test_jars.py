"""The broker's jars and their lock file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from infra.broker.jars import Jar, JarLock, ensure_jars, load_lock, missing_jars, write_lock
from infra.errors import DownloadError, JarsError

CONTENT = {f"{name}-1.jar": f"bytes of {name}".encode() for name in ("one", "two", "three")}
LOCK = JarLock(
    kafka="0",
    jars=tuple(
        Jar(coordinate=f"group:{name[:-6]}:1", name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        for name, data in CONTENT.items()
    ),
)


class _Mirror:
    """Serves the jars, and counts."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, jar: Jar, scratch: Path) -> Path:
        self.asked.append(jar.name)
        if jar.name not in self.content:
            raise DownloadError(f"no {jar.name}")
        path = scratch / jar.name
        path.write_bytes(self.content[jar.name])
        return path


def test_jars_are_fetched_once(tmp_path: Path) -> None:
    folder, mirror, said = tmp_path / "jars", _Mirror(CONTENT), []
    paths = ensure_jars(folder, LOCK, fetch=mirror, progress=said.append)
    assert {path.name: path.read_bytes() for path in paths} == CONTENT
    assert said == ["Downloading Kafka 0: 3 jars, 0 MB (once)"]
    assert ensure_jars(folder, LOCK, fetch=mirror, progress=said.append) == paths
    assert sorted(mirror.asked) == sorted(CONTENT)
    assert len(said) == 1


def test_an_incomplete_folder_is_repaired(tmp_path: Path) -> None:
    mirror = _Mirror(CONTENT)
    ensure_jars(tmp_path, LOCK, fetch=mirror)
    (tmp_path / "one-1.jar").unlink()
    (tmp_path / "two-1.jar").write_bytes(b"damaged")
    (tmp_path / "stray-9.jar").write_bytes(b"Java would load this")
    assert [jar.name for jar in missing_jars(tmp_path, LOCK)] == ["one-1.jar", "two-1.jar"]
    mirror.asked.clear()
    ensure_jars(tmp_path, LOCK, fetch=mirror)
    assert sorted(mirror.asked) == ["one-1.jar", "two-1.jar"]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.jar")} == CONTENT


def test_other_bytes_than_the_lock_names_are_never_used(tmp_path: Path) -> None:
    with pytest.raises(JarsError, match=r"two-1\.jar"):
        ensure_jars(tmp_path / "jars", LOCK, fetch=_Mirror(CONTENT | {"two-1.jar": b"evil"}))
    assert not (tmp_path / "jars" / "two-1.jar").exists()


def test_an_interrupted_download_is_completed_later(tmp_path: Path) -> None:
    partial = {name: CONTENT[name] for name in ("one-1.jar", "three-1.jar")}
    with pytest.raises(DownloadError) as raised:
        ensure_jars(tmp_path / "jars", LOCK, fetch=_Mirror(partial))
    assert raised.value.retriable
    assert len(ensure_jars(tmp_path / "jars", LOCK, fetch=_Mirror(CONTENT))) == 3


def test_the_committed_lock_is_one_kafka(tmp_path: Path) -> None:
    lock = load_lock()
    names = [jar.name for jar in lock.jars]
    assert len(set(names)) == len(names)
    assert {f"kafka_2.13-{lock.kafka}.jar", f"kafka-clients-{lock.kafka}.jar"} <= set(names)
    assert all(len(jar.sha256) == 64 for jar in lock.jars)
    write_lock(lock, tmp_path / "again.json")
    assert load_lock(tmp_path / "again.json") == lock
