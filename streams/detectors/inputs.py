"""Inputs of detector jobs, from the object store, kept between jobs: a release's masters, templates and catalogues."""

from __future__ import annotations

import functools
import gc
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from infra.fits_io import read_masters, read_raw, read_refcat, read_template
from infra.objects import ObjectStore
from processors.differencing.templates import (
    Template,
    TemplateChoice,
    TemplateInfo,
    choose_template,
    template_from_image,
)
from processors.single_frame.errors import MissingCalibrationError
from processors.single_frame.frames import RawFrame, parse_raw
from schemas import avro
from schemas.camera import Detector
from schemas.raw import MasterCalibrations
from schemas.tables import Claim, Table
from streams.detectors.keeping import array_bytes
from streams.inputs import read_manifest

__all__ = ["JobInputs"]

KEPT_BYTES = 100_000_000
"""Bytes of masters, and as many of templates, that one process keeps: those of several small detectors. Those of a detector of
4000 x 4072 pixels (0.2 GB each) are read for each job in half a CPU second: the next job is of another detector or field, and
while sources are sought the memory is needed."""


class JobInputs:
    """Reads claims and keeps what later jobs need again.

    Parameters
    ----------
    objects
        The object store.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._manifest = functools.lru_cache(maxsize=2)(functools.partial(read_manifest, objects))
        self._masters = cached(_bounded())(self._read_masters)
        self._template = cached(_bounded())(self._read_template)
        self._references = functools.lru_cache(maxsize=2)(self._read_references)

    def raws(self, claims: tuple[Claim, ...], detector: Detector) -> list[RawFrame]:
        """Read raw frames; a broken file is an error of its own kind."""
        return [parse_raw(read_raw(self._objects.get(claim)), detector) for claim in claims]

    def masters(self, release: str, detector: int, band: str) -> MasterCalibrations:
        """Return the master calibrations of a detector, with the flat of one band only: six would be a quarter of a worker's memory.

        Raises
        ------
        MissingCalibrationError
            When the release has none.
        """
        return self._masters(release, detector, band)

    def references(self, release: str) -> NDArray[np.void]:
        """Return the reference catalogue."""
        return self._references(release)

    def template(self, release: str, detector: int, band: str, airmass: float) -> tuple[Template, TemplateChoice]:
        """Return the template for a visit, and how it was chosen.

        Raises
        ------
        NoTemplateError
            When the release has none of this detector and band.
        """
        infos = [_template_info(entry) for entry in self._manifest(release)["templates"]]
        choice = choose_template(infos, detector=detector, band=band, airmass=airmass)
        return self._template(release, choice.info.sha256), choice

    def known_objects(self, claim: Claim | None) -> NDArray[Any] | None:
        """Return the known objects' rows (diaObjectId, ra, dec), or None when they did not come."""
        return None if claim is None else avro.decode(Table, self._objects.get(claim)).to_array()

    def digests(self, release: str, detector: int) -> dict[str, str]:
        """Return the sha256 of the release's files that every job of a detector uses."""
        manifest = self._manifest(release)
        return {
            "release": release,
            "masters": manifest["masters"].get(str(detector), {}).get("sha256", ""),
            "refcat": manifest["refcat"]["sha256"],
        }

    def _read_masters(self, release: str, detector: int, band: str) -> MasterCalibrations:
        claims = self._manifest(release)["masters"]
        if str(detector) not in claims:
            raise MissingCalibrationError(f"The release has no master calibrations of detector {detector}.")
        masters = read_masters(self._objects.get(Claim(**claims[str(detector)])))
        return replace(masters, flats={name: flat for name, flat in masters.flats.items() if name == band.lower()})

    def _read_references(self, release: str) -> NDArray[np.void]:
        return read_refcat(self._objects.get(Claim(**self._manifest(release)["refcat"])))

    def _read_template(self, release: str, sha256: str) -> Template:
        (claim,) = {
            Claim(**entry["claim"])
            for entry in self._manifest(release)["templates"]
            if entry["claim"]["sha256"] == sha256
        }
        data = self._objects.get(claim)
        template = template_from_image(read_template(data), path=claim.uri, sha256=hashlib.sha256(data).hexdigest())
        del data
        gc.collect()  # an open FITS file is a cycle that holds the file's bytes
        return template


def _bounded() -> LRUCache[Any, Any]:
    """What was longest unused goes; what alone is larger than the bound is not kept at all."""
    return LRUCache(maxsize=KEPT_BYTES, getsizeof=array_bytes)


def _template_info(entry: dict[str, Any]) -> TemplateInfo:
    names = ("detector", "band", "airmass", "airmass_min", "airmass_max", "ra", "dec", "n_epochs")
    known = {name: entry[name] for name in names if name in entry}
    return TemplateInfo(path=entry["claim"]["uri"], sha256=entry["claim"]["sha256"], **known)
