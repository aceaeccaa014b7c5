"""The broker's jars: fetched once, checked by SHA-256 at every start, repaired when a file is missing or wrong.

``python -m infra.broker`` resolves the artefacts again and writes the lock file.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import DownloadError, JarsError

__all__ = [
    "Jar",
    "JarLock",
    "ensure_jars",
    "load_lock",
    "missing_jars",
    "resolve_lock",
    "write_lock",
    "fetch_from_central",
]

KAFKA_VERSION = "4.3.1"
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")
"""What the broker needs, resolved one by one: resolved together, the second one's managed versions would win over the
first one's and pull in kafka-clients 3.8. The log4j binding is the one for slf4j 1.7, which Kafka uses."""

LOCK_FILE = Path(__file__).parent / "kafka.lock.json"
DOWNLOADS_AT_ONCE = 6

Fetch = Callable[["Jar", Path], Path]
"""Brings one jar into a scratch folder and returns the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One file of the lock."""

    coordinate: str
    """``group:artifact:version`` in Maven's terms."""
    name: str
    """File name."""
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JarLock:
    """The lock file: every jar of one Kafka version."""

    kafka: str
    jars: tuple[Jar, ...]


def load_lock(path: Path = LOCK_FILE) -> JarLock:
    """Read the lock file."""
    document = json.loads(path.read_text())
    return JarLock(kafka=document["kafka"], jars=tuple(Jar(**entry) for entry in document["jars"]))


def missing_jars(folder: Path, lock: JarLock) -> list[Jar]:
    """Return the jars of the lock that a folder lacks or holds with other bytes."""
    return [jar for jar in lock.jars if _digest(folder / jar.name) != jar.sha256]


def ensure_jars(
    folder: Path,
    lock: JarLock,
    *,
    fetch: Fetch | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Make a folder hold the jars of a lock, and return them in the order of the lock.

    Only what is missing or wrong is fetched, each file checked before it is moved into place; so an interrupted download
    is completed by the next call. Jars that the lock does not name are removed: Java would load them.

    Parameters
    ----------
    folder
        Folder of the jars; made when missing.
    lock
        What it must hold.
    fetch
        How one jar is brought; from Maven Central when not given.
    progress
        Called with a sentence when something has to be downloaded.

    Raises
    ------
    DownloadError
        When a jar cannot be fetched.
    JarsError
        When what was fetched is not what the lock names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {jar.name for jar in lock.jars}
    for stray in folder.glob("*.jar"):
        if stray.name not in names:
            stray.unlink()
    wanted = missing_jars(folder, lock)
    if wanted:
        if progress is not None:
            megabytes = sum(jar.size for jar in wanted) / 1e6
            progress(f"Downloading Kafka {lock.kafka}: {len(wanted)} jars, {megabytes:.0f} MB (once)")
        _bring(wanted, folder, fetch or fetch_from_central)
    return [folder / jar.name for jar in lock.jars]


def fetch_from_central(jar: Jar, scratch: Path) -> Path:
    """Fetch one jar from Maven Central with jgo.

    Raises
    ------
    DownloadError
        When it cannot be had.
    """
    from jgo.maven import MavenContext

    group, artifact, version = jar.coordinate.split(":")
    context = MavenContext(repo_cache=scratch, timeout=60)
    try:
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except Exception as error:  # jgo raises what its HTTP client raises
        raise DownloadError(
            f"The jar {jar.name} cannot be fetched from Maven Central ({error}); check the network and start again."
        ) from error


def resolve_lock(scratch: Path) -> JarLock:
    """Resolve the roots and their runtime dependencies, and return what a lock file holds."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=scratch, timeout=60)
    found: dict[str, Jar] = {}
    for root in ROOTS:
        inputs, transitive = context.resolver.resolve([context.create_dependency(root)])
        for dependency in _runtime(inputs + transitive):
            coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
            path = Path(dependency.artifact.resolve())
            jar = Jar(coordinate=coordinate, name=path.name, sha256=_digest(path) or "", size=path.stat().st_size)
            found.setdefault(coordinate.rsplit(":", 1)[0], jar)
    return JarLock(kafka=KAFKA_VERSION, jars=tuple(found[key] for key in sorted(found)))


def _runtime(dependencies: Iterable[Any]) -> list[Any]:
    return [item for item in dependencies if item.scope not in ("test", "provided")]


def _bring(wanted: list[Jar], folder: Path, fetch: Fetch) -> None:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as scratch:
        with concurrent.futures.ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            fetched = list(pool.map(lambda jar: (jar, fetch(jar, Path(scratch))), wanted))
        for jar, path in fetched:
            if _digest(path) != jar.sha256:
                raise JarsError(
                    f"The jar {jar.name} that was fetched has another SHA-256 than the lock file; not used."
                )
            staged = folder / f".{jar.name}.part"
            shutil.copyfile(path, staged)
            os.replace(staged, folder / jar.name)


def _digest(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # a missing file has no digest
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def write_lock(lock: JarLock, path: Path = LOCK_FILE) -> None:
    """Write the lock file."""
    entries = [dataclasses.asdict(jar) for jar in lock.jars]
    path.write_text(json.dumps({"kafka": lock.kafka, "jars": entries}, indent=1) + "\n")
