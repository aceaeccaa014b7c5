"""Orbit files of people: read into the Moving Object Database, written out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.orbit_files import orbit_file_kind, orbit_pieces, write_orbit_file
from infra.settings import Settings
from processors.moving_objects.mpcorb_export import format_mpcorb
from processors.moving_objects.orbit_csv import format_orbit_csv
from processors.moving_objects.orbit_import import import_orbits
from processors.moving_objects.orbit_table import OrbitProblem, table_of_rows
from processors.moving_objects.stored_orbits import stored_rows
from schemas.events import CatalogueImported
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.moving_objects.orbit_store import import_catalogue, orbits_at_hand, read_orbit_store
from streams.stage_codec import StageCodec

__all__ = ["Imported", "export_orbits", "import_file", "store_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a file."""

    catalogue: CatalogueImported
    problems: tuple[OrbitProblem, ...]
    """Lines that gave no orbit."""


def import_file(
    settings: Settings,
    path: Path,
    *,
    name: str | None = None,
    force: bool = False,
    say: Callable[[str], None],
    tell: Callable[[tuple[OrbitProblem, ...]], None] = lambda _: None,
) -> Imported:
    """Read an orbit file and swap it in as the catalogue of known orbits.

    Parameters
    ----------
    settings
        The running system.
    path
        MPCORB.DAT, the Minor Planet Center's extended JSON, or a CSV of states; plain or gzipped.
    name
        What people will call the catalogue; the file's name when not given.
    force
        Take it although it has fewer objects than the one before.
    say
        Called with a sentence for each step.
    tell
        Called with the lines that gave no orbit before the catalogue is swapped, so that they are known where it is refused.

    Raises
    ------
    OrbitFileError, InvalidOrbitsError
        When the file cannot be read at all.
    WorseCatalogueError
        When it has no orbits, or lacks objects of the catalogue before.
    CatalogueTooLargeError
        When it has more orbits than the memory of the settings allows.
    """
    kind = orbit_file_kind(path)
    say(f"Reading {path.name} as {kind}.")
    limit = settings.nightmops.memory_gb * 1e9
    rows, refused = stored_rows(import_orbits(kind, orbit_pieces(path, kind), memory_limit_bytes=limit))
    problems = tuple(sorted(refused, key=lambda problem: problem.line))
    say(f"Read {len(rows)} orbits; {len(problems)} lines gave none.")
    tell(problems)
    catalogue = store_rows(settings, rows, name or path.name, refused=len(problems), force=force)
    return Imported(catalogue=catalogue, problems=problems)


def store_rows(
    settings: Settings, rows: NDArray[Any], name: str, *, refused: int = 0, force: bool = False
) -> CatalogueImported:
    """Swap rows of orbits in as the catalogue of known orbits."""
    wiring = Wiring(settings)
    return import_catalogue(
        rows,
        name,
        events=read_orbit_store(settings.bootstrap, wiring.codec).values(),
        objects=wiring.objects,
        producer=BulkProducer(wiring.producer("orbit-import"), StageCodec(wiring.registry)),
        refused=refused,
        force=force,
    )


def export_orbits(settings: Settings, path: Path, *, own_only: bool = False) -> tuple[int, tuple[OrbitProblem, ...]]:
    """Write the orbits of the Moving Object Database as MPCORB (``.dat``) or as states (``.csv``), gzipped by ``.gz``.

    Returns
    -------
    tuple
        How many were written, and those that the format cannot hold.

    Raises
    ------
    OrbitFileError
        When the file cannot be written.
    """
    wiring = Wiring(settings)
    at_hand = orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects)
    rows = at_hand.rows
    if own_only:
        rows = rows[np.isin(rows["designation"], sorted(at_hand.own))]
    table = table_of_rows(rows)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    text, problems = format_mpcorb(table) if suffixes[-1:] == [".dat"] else (format_orbit_csv(table), ())
    write_orbit_file(path, text)
    return len(rows) - len(problems), problems
