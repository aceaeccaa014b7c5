"""Observation files of people on disk: ADES as PSV or XML, lines of 80 columns, or our own table of detections."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from infra.ephemerides import UnknownObservatoryError, observatory
from infra.errors import OrbitFileError
from infra.parquet import from_parquet
from processors.moving_objects.ades import read_psv, read_xml
from processors.moving_objects.detections import DETECTION, validated_detections
from processors.moving_objects.observations import ObservationProblem, Observations, read_ades, read_obs80

__all__ = ["read_observations", "with_known_stations"]


def read_observations(path: Path) -> Observations:
    """Return the observations of a file, its format known by its first characters; gzipped or not.

    Raises
    ------
    OrbitFileError
        When the file cannot be read, or is no text.
    AdesFormatError, ParquetError, InvalidDetectionsError
        When it is not what it begins as.
    """
    data = _bytes_of(path)
    if data[:4] == b"PAR1":
        rows = validated_detections(from_parquet(data, DETECTION))
        nothing = np.full(len(rows), "", "<U1")
        return Observations(detections=rows, names=nothing, stations=nothing, problems=())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OrbitFileError(f"{path} is neither text nor a table of detections: {error.reason}.") from error
    first = text.lstrip()[:1]
    if first == "<":
        return read_ades(read_xml(text))
    if first in ("#", "!") or "|" in text.lstrip().partition("\n")[0]:
        return read_ades(read_psv(text))
    return read_obs80(text)


def with_known_stations(observations: Observations) -> Observations:
    """Return the observations whose stations have a place; the others are told among the problems, in order of their numbers.

    An observation that names no station is kept.

    Raises
    ------
    UnknownObservatoryError
        When none is left.
    """
    unknown = {}
    for station in np.unique(observations.stations[observations.stations != ""]).tolist():
        try:
            observatory(station)
        except UnknownObservatoryError as error:
            unknown[station] = error
    good = ~np.isin(observations.stations, list(unknown))
    if unknown and not good.any():
        raise next(iter(unknown.values()))
    lost = zip(
        observations.detections["detection_id"][~good].tolist(), observations.stations[~good].tolist(), strict=True
    )
    told = [ObservationProblem(line=line, reason=str(unknown[station])) for line, station in lost]
    return Observations(
        detections=observations.detections[good],
        names=observations.names[good],
        stations=observations.stations[good],
        problems=tuple(sorted((*observations.problems, *told), key=lambda problem: problem.line)),
    )


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise OrbitFileError(f"{path} cannot be read: {error}.") from error
