"""What `nightcast isr RAW.fits` does: calibrate one raw file by hand and leave an image, a source table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.fits_io import read_masters, read_raw, write_image
from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.frames import RawFrame, parse_raw
from processors.single_frame.isr import OPTIONAL_STEPS, STEPS
from processors.single_frame.measurement import SOURCE_DTYPE
from processors.single_frame.pipeline import measure_sources_of
from processors.single_frame.visit_image import VisitImage, make_visit_image
from schemas.raw import HeaderValue, MasterCalibrations
from streams.files.products import products_folder

__all__ = ["IsrReport", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsrReport:
    """What was written and what was found."""

    image: Path
    """FITS with IMAGE and VARIANCE (electrons, sky left in), MASK, SKY."""
    sources: Path
    """FITS table of sources, fluxes in electrons."""
    picture: Path
    skipped: tuple[str, ...]
    """Steps left out; an optional one only where the masters describe its effect."""
    metrics: Mapping[str, float]
    note: str
    """Empty, or why there are no sources."""


def run(
    raw_path: Path,
    *,
    out_dir: Path,
    masters: Path | None = None,
    skip: Set[str] = frozenset(),
    second_snap: Path | None = None,
) -> IsrReport:
    """Remove the instrumental signature of a raw file and measure what is on it.

    Parameters
    ----------
    raw_path
        Raw FITS: one HDU an amplifier, or a lone amplifier as the primary HDU.
    out_dir
        Folder for the products, made when it is not there.
    masters
        File of master calibrations; None when there is none.
    skip
        Steps of `processors.single_frame.isr.STEPS` and `OPTIONAL_STEPS` to leave out. A step of the former whose master is
        missing must be named here.
    second_snap
        The visit's other snap; without it cosmic rays are found on the one image.

    Raises
    ------
    MissingCalibrationError
        When a master is missing and its step is not skipped.
    FitsFileError, SingleFrameError
        When a file cannot be read or processed.
    ProductsNotWrittenError
        When the folder cannot be written.
    """
    calibrations = MasterCalibrations(flats={}) if masters is None else read_masters(masters)
    files = [read_raw(path) for path in (raw_path, second_snap) if path is not None]
    frames = [parse_raw(file) for file in files]
    visit = make_visit_image(frames, calibrations, skip=skip)
    sources, metrics, note = _measure(visit)
    stem = raw_path.name.removesuffix(".gz").removesuffix(".fits")
    report = IsrReport(
        image=out_dir / f"{stem}-calibrated.fits",
        sources=out_dir / f"{stem}-sources.fits",
        picture=out_dir / f"{stem}-calibrated.png",
        skipped=_skipped(skip, calibrations),
        metrics=metrics,
        note=note,
    )
    header = _header(frames[0], files[0].header, report.skipped)
    with products_folder(out_dir) as folder:
        (folder / report.image.name).write_bytes(write_image(header, _planes(visit), {}))
        (folder / report.sources.name).write_bytes(write_image({}, {}, {"SOURCES": sources}))
        _draw(folder / report.picture.name, visit, sources, stem)
    return report


def _skipped(skip: Set[str], masters: MasterCalibrations) -> tuple[str, ...]:
    described = {"brighter_fatter": masters.brighter_fatter, "charge_transfer": masters.charge_transfer}
    optional = [step for step in OPTIONAL_STEPS if described[step] is not None]
    return tuple(step for step in (*STEPS, *optional) if step in skip)


def _measure(visit: VisitImage) -> tuple[NDArray[np.void], dict[str, float], str]:
    """Sources and metrics; an image without stars is no failure here."""
    try:
        sources, metrics = measure_sources_of(visit)
    except TooFewStarsError as error:
        return np.zeros(0, SOURCE_DTYPE), {}, str(error)
    return sources, metrics, ""


def _planes(visit: VisitImage) -> dict[str, NDArray[Any]]:
    return {
        "IMAGE": visit.combined.image + visit.background.image,
        "VARIANCE": visit.combined.variance,
        "MASK": visit.combined.mask,
        "SKY": visit.background.image,
    }


def _header(frame: RawFrame, original: Mapping[str, HeaderValue], skipped: tuple[str, ...]) -> dict[str, HeaderValue]:
    exposure = frame.exposure
    kept = ("DATE-OBS", "DATE-BEG", "TIMESYS", "RA", "DEC", "RA_DEG", "DEC_DEG", "ROTPA", "CCDID", "RAFT", "SENSOR")
    return {
        **{key: original[key] for key in kept if key in original},
        "BUNIT": "electron",
        "INSTRUME": exposure.instrument,
        "EXPID": exposure.exposure,
        "FILTER": exposure.band,
        "EXPTIME": exposure.exposure_time,
        "AIRMASS": exposure.airmass,
        "ISRSKIP": ",".join(skipped),
    }


def _draw(path: Path, visit: VisitImage, sources: NDArray[np.void], title: str) -> None:
    """A picture with an arcsinh stretch, the unusable pixels in red and the sources circled."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image = visit.combined.image
    rms = max(visit.background.rms, 1e-6)
    rows, columns = image.shape
    figure = Figure(figsize=(8 * columns / max(rows, columns) + 1.5, 8 * rows / max(rows, columns) + 1), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(np.arcsinh(image / (2 * rms)), origin="lower", cmap="gray", vmin=-1.5, vmax=5, interpolation="nearest")
    veil = np.zeros((rows, columns, 4), np.float32)
    veil[visit.unusable] = (0.9, 0.1, 0.1, 0.8)
    axes.imshow(veil, origin="lower", interpolation="nearest")
    axes.scatter(sources["x"], sources["y"], s=30, facecolors="none", edgecolors="tab:cyan", linewidths=0.6)
    axes.set(title=f"{title}: {len(sources)} sources", xlabel="x (pixels)", ylabel="y (pixels)")
    figure.savefig(path, metadata={"Software": None})
