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
from tests.benchmarks._scene import SIZE, benchmark_scene
from tests.support.calibration_scenes import VisitScene
from tests.support.timing import Measured, attempt, cpu_seconds

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
    """Yield the comparisons; without the psfex binary that row says so and is empty."""
    scene = benchmark_scene()
    visit = scene.visit()
    psf, stars = measure_psf(visit)
    seconds, mine = cpu_seconds(lambda: measure_psf(visit)), _accuracy(psf.at, scene)
    if shutil.which("psfex") and shutil.which("source-extractor"):
        with tempfile.TemporaryDirectory() as folder:
            peer, problem = attempt(lambda: _psfex(Path(folder), visit.combined.image))
    else:
        peer, problem = None, "is not installed"
    total = peer[0] + peer[1] if peer else float("nan")
    alone = f"; psfex alone {peer[1]:.2f} s" if peer else f"; peer {problem}"
    yield _row(
        seconds, mine, "source-extractor + psfex, order 3", total, _accuracy(peer[2], scene) if peer else None, alone
    )
    kept: list[Any] = []
    peer_s, problem = attempt(lambda: cpu_seconds(lambda: kept.append(_epsf(visit.combined.image, stars)), repeats=1))
    theirs = None if problem else _accuracy(lambda x, y: kept[-1], scene)
    note = f"; one PSF, {EPSF_STARS} of our stars {problem}".rstrip()
    yield _row(seconds, mine, "photutils EPSFBuilder", float("nan") if problem else peer_s, theirs, note)


def _row(
    seconds: float,
    mine: tuple[float, float],
    peer: str,
    peer_s: float,
    theirs: tuple[float, float] | None,
    note: str,
) -> Measured:
    beside = f", peer's {theirs[1]:+.1e}" if theirs else ""
    return Measured(
        what="PSF of a 4k CCD, stars chosen",
        ours_s=seconds,
        peer=peer,
        peer_s=peer_s,
        error_of="mean dT/T",
        ours_error=abs(mine[0]),
        peer_error=abs(theirs[0]) if theirs else float("nan"),
        note=f"mean error of a fitted flux {mine[1]:+.1e}{beside}; ours detects too{note}",
    )


def _accuracy(at: _At, scene: VisitScene) -> tuple[float, float]:
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
    return float(np.mean(sizes)), float(np.mean(fluxes))


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
