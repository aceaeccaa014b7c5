"""A data release as files on disk: what one CCD is processed with, found by its description or given file by file."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from infra.fits_io import read_masters, read_refcat, read_template
from processors.differencing.templates import (
    Template,
    TemplateChoice,
    TemplateInfo,
    choose_template,
    template_from_image,
)
from processors.errors import InputError, MissingInputError
from schemas.raw import MasterCalibrations

__all__ = ["ReleaseFileMismatchError", "ReleaseFileMissingError", "ReleaseFiles"]


class ReleaseFileMissingError(MissingInputError):
    """A file that one CCD needs was neither given nor found in the release."""

    code = "release_file_missing"


class ReleaseFileMismatchError(InputError):
    """A file of the release is of another detector or band than the snaps."""

    code = "release_file_mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFiles:
    """Where a release lies, and files that are taken instead of its own."""

    directory: Path | None = None
    masters: Path | None = None
    references: Path | None = None
    template: Path | None = None

    def read_masters(self, detector: int) -> MasterCalibrations:
        """Return the master calibrations of a detector.

        Raises
        ------
        ReleaseFileMissingError
            When there are none.
        ReleaseFileMismatchError
            When the file says that it is of another detector.
        """
        named = _description(self.directory)["masters"].get(str(detector)) if self.directory else None
        path = self._path(self.masters, named, f"master calibrations of detector {detector}", "--masters")
        masters = read_masters(path)
        _check(path, "detector", fits.getheader(path).get("DETECTOR"), detector)
        return masters

    def read_references(self) -> NDArray[np.void]:
        """Return the reference catalogue.

        Raises
        ------
        ReleaseFileMissingError
            When there is none.
        """
        named = _description(self.directory)["refcat"] if self.directory else None
        return read_refcat(self._path(self.references, named, "reference catalogue", "--references"))

    def template_for(self, detector: int, band: str) -> Callable[[float], tuple[Template, TemplateChoice]]:
        """Return what gives the template of an airmass.

        Raises
        ------
        NoTemplateError
            Later, when the release has none of the detector and band.
        ReleaseFileMismatchError
            Later, when the file says that it is of another detector or band.
        """
        infos = self._infos(detector, band)

        def choose(airmass: float) -> tuple[Template, TemplateChoice]:
            choice = choose_template(infos, detector=detector, band=band, airmass=airmass)
            path = _there(Path(choice.info.path))
            image = read_template(path)
            _check(path, "detector", image.header.get("DETECTOR"), detector)
            _check(path, "band", image.band, band)
            return template_from_image(image, path=path.name, sha256=choice.info.sha256), choice

        return choose

    def _infos(self, detector: int, band: str) -> list[TemplateInfo]:
        if self.template is not None:
            return [_given(self.template, detector, band)]
        if self.directory is None:
            raise ReleaseFileMissingError("No template: name the file with --template, or a release with --release.")
        names = ("detector", "band", "airmass", "airmass_min", "airmass_max", "ra", "dec", "n_epochs")
        return [
            TemplateInfo(
                path=str(self.directory / entry["path"]), **{name: entry[name] for name in names if name in entry}
            )
            for entry in _description(self.directory)["templates"]
        ]

    def _path(self, given: Path | None, named: str | None, what: str, option: str) -> Path:
        if given is not None:
            return given
        if self.directory is not None and named is not None:
            return _there(self.directory / named)
        raise ReleaseFileMissingError(f"No {what}: name the file with {option}, or a release with --release.")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ReleaseFileMissingError(f"The release names {path.name}, but there is no file {path}.")
    return path


def _check(path: Path, what: str, found: object, wanted: object) -> None:
    """Refuse a file of another detector or band; one that does not say is believed."""
    if found is not None and found != wanted:
        raise ReleaseFileMismatchError(f"{path.name} is of {what} {found}, the snaps are of {what} {wanted}.")


def _given(path: Path, detector: int, band: str) -> TemplateInfo:
    return TemplateInfo(path=str(path), detector=detector, band=band, airmass=1.0, airmass_min=1.0, airmass_max=99.0)


@functools.lru_cache(maxsize=2)
def _description(directory: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((directory / "release.json").read_text())
    except (OSError, ValueError) as error:
        raise ReleaseFileMissingError(f"The release of {directory} has no readable release.json: {error}.") from error
    if missing := {"masters", "refcat", "templates"} - description.keys():
        raise ReleaseFileMissingError(f"The release.json of {directory} says nothing of {', '.join(sorted(missing))}.")
    return description
