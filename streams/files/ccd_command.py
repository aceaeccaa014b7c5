"""What `nightcast ccd SNAP.fits [SNAP.fits]` does: one CCD from raw snaps to DIASources, with a page of plots that judges it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.ascii import InconsistentTableError
from astropy.table import Table
from numpy.typing import NDArray

from infra.fits_io import read_raw, read_table, write_image
from infra.parquet import to_parquet
from processors.detector import DetectorInputs, DetectorProducts, process_detector
from processors.differencing.snap_consistency import SNAP_DTYPE
from processors.errors import InputError
from processors.single_frame.errors import BadHeaderError
from processors.single_frame.frames import RawFrame, parse_raw
from processors.single_frame.products import CalibratedImage
from schemas.camera import Detector, load_camera
from schemas.masks import MaskPlane
from schemas.public import field_docs, field_units
from schemas.raw import HeaderValue
from streams.files.ccd_page import write_page
from streams.files.products import products_folder
from streams.files.release_files import ReleaseFiles
from streams.reliability import packaged_model

__all__ = ["BadPositionsError", "CcdReport", "run"]

STEPS = ("read", "single_frame", "difference", "reliability", "fakes", "forced", "write")
"""In the order in which they are done."""

SNAP_UNITS = {
    name: "arcsec" if name.endswith("_arcsec") else "deg" if name.endswith("_deg") else "none"
    for name in SNAP_DTYPE.names or ()
}
"""Units of what the snaps say of each source."""

SOURCE_UNITS = (
    dict.fromkeys(("x", "y", "x_err", "y_err"), "pix")
    | dict.fromkeys(("ra", "dec"), "deg")
    | dict.fromkeys(("psf_flux", "psf_flux_err", "aperture_flux", "aperture_flux_err"), "nJy")
    | dict.fromkeys(("ixx", "iyy", "ixy"), "pix2")
)
"""Units of the sources of a calibrated image; other columns have none."""

Progress = Callable[[str, int, int], None]


class BadPositionsError(InputError):
    """The table of positions to measure at cannot be read or lacks a column."""

    code = "bad_positions"


@dataclass(frozen=True, slots=True, kw_only=True)
class CcdReport:
    """What was written and what was found."""

    files: Mapping[str, Path]
    """image, sources, diasources, votable, snaps (of two snaps only), forced (with positions only), metrics, page."""
    metrics: Mapping[str, float]
    """Metrics of the CCD, and CPU seconds of each step."""
    template: str
    """Which template was taken."""


def run(
    snaps: Sequence[Path],
    *,
    release: ReleaseFiles,
    out_dir: Path,
    camera_name: str | None = None,
    positions: Path | None = None,
    progress: Progress = lambda _step, _done, _steps: None,
) -> CcdReport:
    """Process one CCD of one visit from files and write what came of it.

    Parameters
    ----------
    snaps
        Raw FITS of the CCD, in order: two snaps, or one.
    release
        Master calibrations, reference catalogue and templates.
    out_dir
        Folder for the products, made when it is not there.
    camera_name
        Camera description; found by the name in the headers when not given.
    positions
        Table (FITS or CSV) with diaObjectId, ra and dec in degrees at which to measure.
    progress
        Called with a step's name, how many are done and how many there are.

    Raises
    ------
    FitsFileError, MissingInputError
        When an input is missing or cannot be read.
    BadPositionsError, ReleaseFileMismatchError
        When the positions are no table of positions, or a file is of another detector or band.
    SingleFrameError, DifferencingError
        When the CCD cannot be processed, by its kind.
    ProductsNotWrittenError
        When the folder cannot be written.
    """
    clock = _Clock(progress)
    with clock.step("read"):
        camera, detector, frames = _frames(snaps, camera_name)
        masters = release.read_masters(detector.id)
        inputs = DetectorInputs(
            frames=lambda: (frames, masters),
            references=release.read_references(),
            template_for=release.template_for(detector.id, frames[0].exposure.band),
            camera=camera,
            detector=detector,
            visit=frames[0].exposure.visit,
            known=None if positions is None else _positions(positions),
            reliability=packaged_model(),
        )
    products = process_detector(inputs, step=clock.step)
    with products_folder(out_dir) as folder:
        stem = f"{products.image.visit}-{detector.id:03d}"
        with clock.step("write"):
            files = _write(products, folder, stem)
            files["page"] = write_page(products, inputs.references, folder, stem)
        metrics = {name: float(value) for name, value in products.metrics.items()} | clock.seconds
        files["metrics"] = folder / f"{stem}-metrics.json"
        document = {"visit": products.image.visit, "detector": detector.id, "template": products.choice.info.path}
        document["reliability"] = packaged_model().sha256
        files["metrics"].write_text(json.dumps(document | {"metrics": metrics}, indent=2) + "\n")
    written = {name: out_dir / path.name for name, path in files.items()}
    return CcdReport(files=written, metrics=metrics, template=Path(products.choice.info.path).name)


class _Clock:
    """CPU seconds by step, and how far it has come."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def step(self, name: str) -> AbstractContextManager[None]:
        """Time what happens inside."""
        return self._timed(name)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self._progress(name, len(self.seconds), len(STEPS))
        started = time.process_time()
        try:
            yield
        finally:
            key = f"cpu_{name}_s"
            self.seconds[key] = self.seconds.get(key, 0.0) + time.process_time() - started


def _frames(snaps: Sequence[Path], camera_name: str | None) -> tuple[Any, Detector, list[RawFrame]]:
    files = [read_raw(path) for path in snaps]
    header = files[0].header
    name = camera_name or str(header.get("CAMERA", ""))
    if not name:
        raise BadHeaderError(f"{snaps[0].name} does not name its camera; give it with --camera.")
    camera = load_camera(name)
    number = header.get("DETECTOR")
    if not isinstance(number, int):
        raise BadHeaderError(f"{snaps[0].name} does not say which detector it is of (DETECTOR).")
    detector = camera.detector(number)
    frames = [parse_raw(file, detector=detector) for file in files]
    if len({frame.exposure.visit for frame in frames}) > 1:
        raise BadHeaderError("The snaps are of different visits; give those of one.")
    return camera, detector, frames


def _positions(path: Path) -> NDArray[Any]:
    """Rows of diaObjectId, ra, dec of a CSV or FITS table."""
    table = _read_csv(path) if path.suffix.lower() == ".csv" else read_table(path)
    rows = np.zeros(len(table), [("diaObjectId", "<i8"), ("ra", "<f8"), ("dec", "<f8")])
    for name in rows.dtype.names or ():
        if name not in (table.dtype.names or ()):
            raise BadPositionsError(f"{path.name} has no column {name}; it needs diaObjectId, ra, dec.")
        try:
            rows[name] = table[name]
        except (ValueError, TypeError, OverflowError) as error:
            raise BadPositionsError(f"The column {name} of {path.name} holds what is no number.") from error
    return rows


def _read_csv(path: Path) -> NDArray[Any]:
    try:
        table = Table.read(path, format="csv")
        if table.has_masked_values:
            raise BadPositionsError(f"{path.name} has empty cells.")
        return np.asarray(table.as_array())
    except (ValueError, UnicodeDecodeError, InconsistentTableError) as error:
        raise BadPositionsError(f"{path.name} cannot be read as CSV: {str(error).splitlines()[0]}.") from error


def _write(products: DetectorProducts, out_dir: Path, stem: str) -> dict[str, Path]:
    image, result = products.image, products.difference
    files = {
        "image": out_dir / f"{stem}-image.fits",
        "sources": out_dir / f"{stem}-sources.parquet",
        "diasources": out_dir / f"{stem}-diasources.parquet",
        "votable": out_dir / f"{stem}-diasources.vot",
    }
    planes: dict[str, NDArray[Any]] = {
        "IMAGE": image.image,
        "VARIANCE": image.variance,
        "MASK": image.mask,
        "DIFFERENCE": result.image,
        "SCORE": result.score.snr,
    }
    files["image"].write_bytes(write_image(_header(image), planes, {}))
    files["sources"].write_bytes(to_parquet(image.sources, SOURCE_UNITS))
    files["diasources"].write_bytes(to_parquet(result.sources, field_units("diaSource")))
    _votable(result.sources).write(files["votable"], format="votable", overwrite=True)
    if result.snaps is not None:
        files["snaps"] = out_dir / f"{stem}-snaps.parquet"
        files["snaps"].write_bytes(to_parquet(result.snaps, SNAP_UNITS))
    if products.forced is not None:
        files["forced"] = out_dir / f"{stem}-forced.parquet"
        files["forced"].write_bytes(to_parquet(products.forced, field_units("diaForcedSource")))
    return files


def _header(image: CalibratedImage) -> dict[str, HeaderValue]:
    """Return the WCS, what was observed and when, and the name of each bit of the mask."""
    wcs = {card.keyword: card.value for card in image.wcs.to_header(relax=True).cards}
    return {
        **wcs,
        "BUNIT": "nJy",
        "INSTRUME": image.instrument,
        "VISIT": image.visit,
        "DETECTOR": image.detector,
        "BAND": image.band,
        "EXPTIME": image.exposure_time,
        "AIRMASS": image.airmass,
        "TIMESYS": "TAI",
        "MJD-AVG": image.midpoint_mjd_tai,
        **{f"MASKB{plane.bit_length() - 1}": str(plane.name) for plane in MaskPlane},
    }


def _votable(rows: NDArray[Any]) -> Table:
    """Return rows with units and sentences; VOTable has no signed bytes, so flags are short integers, -1 for null."""
    units, docs = field_units("diaSource"), field_docs("diaSource")
    names = rows.dtype.names or ()
    table = Table({name: rows[name].astype("<i2") if rows[name].dtype == np.int8 else rows[name] for name in names})
    for name in table.colnames:
        table[name].description = docs[name]
        if units[name] not in ("none", "1"):
            table[name].unit = units[name]
    return table
