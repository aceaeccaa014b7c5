"""What `nightcast difference SCIENCE.fits TEMPLATE.fits` does: difference two files by hand.

Accepted are files with extensions IMAGE, VARIANCE and MASK (and PSF, if they have one), and files of Rubin's layout: image,
mask and variance in the first three image extensions. Pixels need a celestial WCS; two images without one are laid upon
each other by their linear WCS "A" or pixel by pixel, whichever makes them more alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from infra.fits_io import read_image, write_image
from processors.differencing.errors import InvalidImageError
from processors.differencing.pipeline import DifferenceResult, ScienceImage, difference
from processors.differencing.psf import ConstantPsf
from processors.differencing.psf_stack import stack_psf
from processors.differencing.registration import best_offset
from processors.differencing.sky import LinearSky, SkyMap
from processors.differencing.templates import Template
from schemas.raw import HeaderValue
from streams.files.products import products_folder

__all__ = ["DifferenceReport", "run"]

_MASK_NAMES, _VARIANCE_NAMES = ("MASK", "HDU2"), ("VARIANCE", "HDU3")


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceReport:
    """What was written and what was found."""

    image: Path
    """FITS with DIFFERENCE, VARIANCE, MASK, SCORE (signal-to-noise at every pixel), TEMPLATE (matched)."""
    sources: Path
    """FITS table of DIASources in the public schema's columns."""
    picture: Path
    registration: str
    """How the images were laid upon each other."""
    metrics: Mapping[str, float]
    result: DifferenceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    header: Mapping[str, HeaderValue]
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    psf: NDArray[np.float64] | None


def run(science_path: Path, template_path: Path, *, out_dir: Path) -> DifferenceReport:
    """Difference two files and leave an image, a source table and a picture.

    Parameters
    ----------
    science_path, template_path
        FITS files. A PSF that is not in a file is made from its stars.
    out_dir
        Folder for the products, made when it is not there.

    Raises
    ------
    FitsFileError
        When a file cannot be read.
    DifferencingError
        When the images cannot be differenced, by its kind.
    ProductsNotWrittenError
        When the folder cannot be written.
    """
    science, template = _read(science_path), _read(template_path)
    science_sky, template_sky, registration = _skies(science, template)
    result = difference(
        ScienceImage(
            image=science.image,
            variance=science.variance,
            mask=science.mask,
            psf=ConstantPsf(_psf(science)),
            wcs=science_sky,
        ),
        Template(
            image=template.image,
            variance=template.variance,
            mask=template.mask,
            psf=_psf(template),
            wcs=template_sky,
            path=template_path.name,
        ),
    )
    stem = science_path.name.removesuffix(".gz").removesuffix(".fits")
    report = DifferenceReport(
        image=out_dir / f"{stem}-difference.fits",
        sources=out_dir / f"{stem}-diasources.fits",
        picture=out_dir / f"{stem}-difference.png",
        registration=registration,
        metrics=result.metrics,
        result=result,
    )
    header = _header(science.header, science_sky, result, registration)
    with products_folder(out_dir) as folder:
        (folder / report.image.name).write_bytes(write_image(header, _planes(result), {}))
        (folder / report.sources.name).write_bytes(write_image({}, {}, {"DIASOURCES": result.sources}))
        _draw(folder / report.picture.name, science.image, result, stem)
    return report


def _read(path: Path) -> _Pixels:
    header, images = read_image(path)
    image = images["IMAGE"] if "IMAGE" in images else next(iter(images.values()))
    variance = _plane(images, _VARIANCE_NAMES, image.shape, path)
    mask = _plane(images, _MASK_NAMES, image.shape, path)
    psf = images.get("PSF")
    return _Pixels(
        header=header,
        image=np.ascontiguousarray(image, dtype=np.float32),
        variance=np.ascontiguousarray(variance, dtype=np.float32),
        mask=np.ascontiguousarray(mask.astype(np.int64) & 0xFFFF).astype(np.uint16),
        psf=None if psf is None or psf.ndim != 2 else np.asarray(psf, dtype=np.float64),
    )


def _plane(
    images: Mapping[str, NDArray[Any]], names: tuple[str, ...], shape: tuple[int, ...], path: Path
) -> NDArray[Any]:
    for name in names:
        if name in images:
            if images[name].shape != shape:
                raise InvalidImageError(f"{path.name}: {name} has shape {images[name].shape}, the image {shape}.")
            return images[name]
    raise InvalidImageError(f"{path.name} has no extension {names[0]}.")


def _psf(pixels: _Pixels) -> NDArray[np.float64]:
    return pixels.psf if pixels.psf is not None else stack_psf(pixels.image, pixels.variance, pixels.mask)


def _skies(science: _Pixels, template: _Pixels) -> tuple[SkyMap, SkyMap, str]:
    if _is_celestial(science.header) and _is_celestial(template.header):
        return _wcs(science.header), _wcs(template.header), "celestial WCS"
    if _is_celestial(science.header) != _is_celestial(template.header):
        raise InvalidImageError("One of the two images has a celestial WCS and the other has none.")
    first, second = _linear_origin(science.header), _linear_origin(template.header)
    shift = (round(first[0] - second[0]), round(first[1] - second[1]))
    offset = best_offset(science.image, template.image, [(0, 0), shift])
    how = "pixel by pixel" if offset == (0, 0) != shift else "linear WCS A"
    return LinearSky(x0=float(offset[0]), y0=float(offset[1])), LinearSky(), how


def _is_celestial(header: Mapping[str, HeaderValue]) -> bool:
    return str(header.get("CTYPE1", "")).startswith("RA-")


def _wcs(header: Mapping[str, HeaderValue]) -> WCS:
    return WCS(fits.Header(dict(header)))


def _linear_origin(header: Mapping[str, HeaderValue]) -> tuple[float, float]:
    """Return the coordinates that a linear WCS "A" gives the first pixel."""
    return (
        float(header.get("CRVAL1A", 0.0)) + 1 - float(header.get("CRPIX1A", 1.0)),
        float(header.get("CRVAL2A", 0.0)) + 1 - float(header.get("CRPIX2A", 1.0)),
    )


def _planes(result: DifferenceResult) -> dict[str, NDArray[Any]]:
    return {
        "DIFFERENCE": result.image,
        "VARIANCE": result.variance,
        "MASK": result.mask,
        "SCORE": result.score.snr,
        "TEMPLATE": result.template,
    }


def _header(
    original: Mapping[str, HeaderValue], sky: SkyMap, result: DifferenceResult, registration: str
) -> dict[str, HeaderValue]:
    cards = dict(sky.to_header(relax=True)) if isinstance(sky, WCS) else {}
    cards = {key: value for key, value in cards.items() if not key.startswith("DATE") and key not in {"COMMENT", ""}}
    kept = ("INSTRUME", "VISIT", "DETECTOR", "FILTER", "BAND", "EXPTIME", "AIRMASS", "BUNIT")
    return {
        **cards,
        **{key: original[key] for key in kept if key in original},
        "REGISTER": registration,
        "KERNSUM": result.kernel.sum,
        "KERNORD": result.kernel.order,
        "KERNSTAR": result.kernel.stamps_used,
        "NOISESCL": result.score.noise_scale,
    }


def _draw(path: Path, science: NDArray[np.float32], result: DifferenceResult, title: str) -> None:
    """Science, matched template and difference side by side, positive sources circled in blue, negative in red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = science.shape
    rms = float(np.sqrt(np.median(result.variance[result.variance > 0]))) if (result.variance > 0).any() else 1.0
    figure = Figure(figsize=(15, 5 * rows / max(columns, 1) + 0.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    names = ("science", "matched template", "difference")
    for axes, name, image in zip(figure.subplots(1, 3), names, (science, result.template, result.image), strict=True):
        limit = 5 if name == "difference" else 12
        axes.imshow(image / rms, origin="lower", cmap="gray", vmin=-5, vmax=limit, interpolation="nearest")
        for negative, colour in ((False, "tab:cyan"), (True, "tab:red")):
            chosen = result.sources[(result.sources["isNegative"] == 1) == negative]
            axes.scatter(chosen["x"], chosen["y"], s=60, facecolors="none", edgecolors=colour, linewidths=0.8)
        axes.set(title=name, xlabel="x (pixels)", xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
    figure.suptitle(f"{title}: {len(result.sources)} DIASources")
    figure.savefig(path, metadata={"Software": None})
