"""The PSF of an LSST CCD (4000 x 4072) from stars chosen by itself, beside SExtractor with PSFEx and photutils' EPSFBuilder."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import Table
from numpy.typing import NDArray
from photutils.psf import EPSFBuilder, extract_stars

from processors.single_frame.pipeline import measure_psf
from tests.support.calibration_scenes import VisitScene, make_visit_scene
from tests.support.timing import Measured, cpu_seconds

SEED, SIZE = 21, (4000, 4072)
PLACES = 300
HALF = 13
"""Half side of the stamps that are compared."""

EPSF_STARS = 60

SEXTRACTOR = {
    "CATALOG_TYPE": "FITS_LDAC", "CATALOG_NAME": "field.cat", "PARAMETERS_NAME": "field.param",
    "FILTER": "N", "STARNNW_NAME": "none.nnw", "DETECT_THRESH": "5", "SATUR_LEVEL": "160000", "VERBOSE_TYPE": "QUIET",
}  # fmt: skip

PSFEX = {
    "PSFVAR_DEGREES": "3", "PSF_SIZE": "33,33", "PSF_SAMPLING": "1.0", "CHECKPLOT_TYPE": "NONE",
    "CHECKIMAGE_TYPE": "NONE", "WRITE_XML": "N", "VERBOSE_TYPE": "QUIET", "NTHREADS": "1",
}  # fmt: skip

COLUMNS = (
    "NUMBER", "XWIN_IMAGE", "YWIN_IMAGE", "VIGNET(35,35)", "X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "SNR_WIN",
    "FLUX_APER(1)", "FLUXERR_APER(1)", "ELONGATION", "FLAGS", "FLUX_MAX",
)  # fmt: skip

_At = Callable[[float, float], NDArray[Any]]


def measure() -> Iterator[Measured]:
    """Yield the comparisons; without the psfex binary that row is left out, and said so."""
    scene = make_visit_scene("nominal", SEED, SIZE)
    visit = scene.visit()
    psf, stars = measure_psf(visit)
    seconds = cpu_seconds(lambda: measure_psf(visit))
    mine = _accuracy(psf.at, scene)
    if shutil.which("psfex") and shutil.which("source-extractor"):
        with tempfile.TemporaryDirectory() as folder:
            extracted, fitted, at = _psfex(Path(folder), visit.combined.image)
        note = f"dT/T, flux error, {mine}; peer {_accuracy(at, scene)}; psfex alone {fitted:.2f} s"
        yield _row(seconds, "source-extractor + psfex, order 3", extracted + fitted, note)
    else:
        yield _row(seconds, "psfex (not installed)", float("nan"), f"dT/T, flux error, {mine}")
    epsf: list[Any] = []
    peer_s = cpu_seconds(lambda: epsf.append(_epsf(visit.combined.image, stars)), repeats=1)
    note = (
        f"dT/T, flux error, {mine}; peer {_accuracy(lambda x, y: epsf[-1], scene)}: one PSF, {EPSF_STARS} of our stars"
    )
    yield _row(seconds, "photutils EPSFBuilder", peer_s, note)


def _row(seconds: float, peer: str, peer_s: float, note: str) -> Measured:
    return Measured(
        what="PSF of a 4k CCD, stars chosen", ours_s=seconds, peer=peer, peer_s=peer_s, note=f"{note}; ours detects too"
    )


def _accuracy(at: _At, scene: VisitScene) -> str:
    """Mean relative errors of the weighted second moment and of a flux fitted to a true star, all over the CCD."""
    rng = np.random.default_rng(5)
    axis = np.arange(-HALF, HALF + 1)
    radius2 = axis[:, None] ** 2 + axis**2
    weight = np.exp(-radius2 / 8.0)
    sizes, fluxes = [], []
    for x, y in rng.uniform(20, SIZE[0] - 20, (PLACES, 2)):
        model, true = (_cut(np.asarray(p, np.float64)) for p in (at(x, y), scene.scene.science.psf.at(x, y)))
        first, second = ((weight * p * radius2).sum() / (weight * p).sum() for p in (model, true))
        sizes.append(first / second - 1)
        fluxes.append((model * true).sum() / (model**2).sum() - 1)
    return f"{np.mean(sizes):+.1e}, {np.mean(fluxes):+.1e}"


def _cut(stamp: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = stamp.shape[0] // 2
    cut = stamp[middle - HALF : middle + HALF + 1, middle - HALF : middle + HALF + 1]
    return np.asarray(cut / cut.sum(), np.float64)


def _psfex(folder: Path, image: NDArray[np.float32]) -> tuple[float, float, _At]:
    """Run both programs; return their CPU seconds and the PSF."""
    fits.writeto(folder / "field.fits", image)
    (folder / "field.param").write_text("\n".join(COLUMNS) + "\n")
    for name, settings in (("field.sex", SEXTRACTOR), ("field.psfex", PSFEX)):
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    extracted = _run(["source-extractor", "field.fits", "-c", "field.sex"], folder)
    fitted = _run(["psfex", "field.cat", "-c", "field.psfex"], folder)
    with fits.open(folder / "field.psf") as file:
        header, planes = file[1].header, np.asarray(file[1].data["PSF_MASK"][0], np.float64)
    zero, scale = ([header[f"{kind}{k}"] for k in (1, 2)] for kind in ("POLZERO", "POLSCAL"))
    degree = int(header["POLDEG1"])
    # PSFEx runs through the powers of x first for every power of y.
    powers = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]

    def at(x: float, y: float) -> NDArray[Any]:
        u, v = (x + 1 - zero[0]) / scale[0], (y + 1 - zero[1]) / scale[1]
        return np.asarray(np.tensordot([u**i * v**j for i, j in powers], planes, axes=1))

    return extracted, fitted, at


def _run(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _epsf(image: NDArray[np.float32], stars: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[Any]:
    table = Table({"x": stars[0][:EPSF_STARS], "y": stars[1][:EPSF_STARS]})
    cuts = extract_stars(NDData(image), table, size=33)
    built = EPSFBuilder(oversampling=1, maxiters=10, progress_bar=False)(cuts)
    return np.asarray(built[0].data)
