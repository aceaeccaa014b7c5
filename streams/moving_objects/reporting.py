"""Discoveries as reports to the Minor Planet Center: ADES as PSV and XML, checked before anything is written.

Each orbit is fitted again to the very observations of the report, and goes in only if the link rules still let it. Our own checks
know the values that the schema does not; the validator of the ``iau-ades`` package judges as well where it is installed.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.ephemerides import observatory
from processors.moving_objects.ades import AdesBlock, ContextGroup, write_psv, write_xml
from processors.moving_objects.ades_checks import require_valid
from processors.moving_objects.ades_report import observation_block
from processors.moving_objects.detections import no_detections
from processors.moving_objects.obs80 import obs80_lines
from schemas.errors import PermanentFailure
from streams.moving_objects.fitting import fit_observations
from streams.moving_objects.holdings import observations_of
from streams.moving_objects.own_orbits import OwnOrbit

__all__ = ["InvalidReportError", "Report", "Reporter", "judge", "make_report", "write_report"]


class InvalidReportError(PermanentFailure):
    """A report was refused by a validator, or has nothing in it."""

    code = "invalid_report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who reports."""

    submitter: str
    """Such as "J. Smith"."""
    measurers: tuple[str, ...]
    station: str
    """Code of the observatory."""
    aperture_m: float = 8.4
    institution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is to be sent, and what is held back."""

    block: AdesBlock
    names: tuple[str, ...]
    held_back: tuple[tuple[str, tuple[str, ...]], ...]
    """Discoveries that are not in it, each with its reasons."""


def make_report(orbits: Sequence[OwnOrbit], reporter: Reporter) -> Report:
    """Return the report of some discoveries.

    Raises
    ------
    AdesError
        When an observation has a value that the Minor Planet Center does not know.
    UnknownObservatoryError
        When the station is not known.
    """
    observatory(reporter.station)
    good, held_back = [], []
    for orbit in orbits:
        reasons = _reasons(orbit, reporter.station)
        if reasons:
            held_back.append((orbit.designation, reasons))
        else:
            good.append(orbit)
    detections = np.concatenate([orbit.detections for orbit in good]) if good else no_detections()
    names = [orbit.designation for orbit in good for _ in orbit.detections]
    block = observation_block(detections, names, context=_context(reporter), station=reporter.station)
    require_valid([block], stations={reporter.station})
    return Report(block=block, names=tuple(orbit.designation for orbit in good), held_back=tuple(held_back))


def _reasons(orbit: OwnOrbit, station: str) -> tuple[str, ...]:
    if orbit.missing:
        return (f"{orbit.missing} of its detections are in no table: give their folder.",)
    if not len(orbit.detections):
        return ("It holds no detections.",)
    (fit,) = fit_observations(observations_of(orbit.detections, orbit.designation), code=station)
    return fit.reasons


def _context(reporter: Reporter) -> tuple[ContextGroup, ...]:
    submitter = [("name", reporter.submitter)]
    if reporter.institution:
        submitter.append(("institution", reporter.institution))
    telescope = (("design", "Reflector"), ("aperture", f"{reporter.aperture_m:g}"), ("detector", "CCD"))
    return (
        ContextGroup(name="observatory", lines=(("mpcCode", reporter.station),)),
        ContextGroup(name="submitter", lines=tuple(submitter)),
        ContextGroup(name="measurers", lines=tuple(("name", name) for name in reporter.measurers)),
        ContextGroup(name="telescope", lines=telescope),
    )


def judge(xml: str) -> str | None:
    """Return the sentence of the ``iau-ades`` validator on a document, None where the package is not installed.

    Raises
    ------
    InvalidReportError
        When it refuses the document, with what it says.
    """
    try:
        from ades import valsubmit  # type: ignore[import-untyped]
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        path.write_text(xml, encoding="utf-8")
        # It writes its verdict into a file of the working directory, talks to standard output, and always exits with 0.
        with _within(Path(folder)), contextlib.redirect_stdout(io.StringIO()):
            valsubmit.valsubmit(str(path))
        said = " ".join((Path(folder) / "valsubmit.file").read_text(encoding="utf-8").split())
    if "is OK" not in said:
        raise InvalidReportError(f"The validator of iau-ades refuses the report: {said[:400]}")
    return said


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    with contextlib.chdir(folder):
        yield


def write_report(report: Report, folder: Path, stem: str, *, obs80: bool = False) -> list[Path]:
    """Validate a report and write it as PSV and XML, and as lines of 80 columns if wanted; return the files.

    In 80 columns our names lose their second letter, since seven columns have no room for eight.

    Raises
    ------
    InvalidReportError
        When there is nothing to report, or the validator refuses it; nothing is written then.
    """
    if not report.block.rows:
        raise InvalidReportError("There is no discovery to report.")
    texts = {"psv": write_psv([report.block]), "xml": write_xml([report.block])}
    judge(texts["xml"])
    if obs80:
        texts["obs80"] = "\n".join(obs80_lines(_shorter(report.block))) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"{stem}.{suffix}")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def _shorter(block: AdesBlock) -> AdesBlock:
    place = block.columns.index("trkSub")
    rows = tuple(
        (
            *row[:place],
            row[place][:1] + row[place][2:] if len(row[place]) > _COLUMNS_80 else row[place],
            *row[place + 1 :],
        )
        for row in block.rows
    )
    return AdesBlock(context=block.context, columns=block.columns, rows=rows)


_COLUMNS_80 = 7
"""Columns of 80 that a tracklet's name has."""
