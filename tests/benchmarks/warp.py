"""Resampling a template of 2048 x 2048 pixels, turned by 12 degrees, beside reproject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reproject import reproject_adaptive, reproject_interp

from processors.differencing.templates import Template
from processors.differencing.warp import warp_template
from schemas.masks import MaskPlane
from tests.support.difference_scenes import tan_wcs
from tests.support.timing import Measured, attempt, cpu_seconds

SIZE, CUT = 2048, 512
STARS, FLUX, SIGMA = 400, 1e4, 1.49
"""Round stars of 3.5 pixels FWHM: what they look like when turned is known."""

CORE = 0.05
"""Share of the peak above which a pixel belongs to a star."""

_Image = NDArray[Any]


def measure() -> Iterator[Measured]:
    """Yield the comparisons; the slowest peer on a cut, scaled by area."""
    shape = (SIZE, SIZE)
    science, own = tan_wcs(shape), tan_wcs(shape, rotation_deg=12.0, dx=3.4, dy=-7.1)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(300, SIZE - 300, (2, STARS))
    x[:40], y[:40] = rng.uniform(20, CUT - 20, (2, 40))
    truth = _stars(shape, x, y)
    image = _stars(shape, *own.all_world2pix(*science.all_pix2world(x, y, 0), 0))
    psf = _stars((25, 25), np.array([12.0]), np.array([12.0]))
    template = Template(
        image=image, variance=np.ones(shape, np.float32), mask=np.zeros(shape, np.uint16), psf=psf / psf.sum(), wcs=own
    )
    warped = warp_template(template, science, shape, 0)
    ours = _error(np.where(warped.mask & int(MaskPlane.NO_DATA), np.nan, warped.image), truth)
    seconds = cpu_seconds(lambda: warp_template(template, science, shape, 0))
    small = (CUT, CUT)
    peers: dict[str, tuple[Callable[[], _Image], float]] = {
        "reproject_interp, bilinear": (
            lambda: reproject_interp((image, own), science, shape, order="bilinear")[0],
            1.0,
        ),
        "reproject_interp, bicubic": (lambda: reproject_interp((image, own), science, shape, order="bicubic")[0], 1.0),
        "reproject_adaptive": (lambda: reproject_adaptive((image, own), science, small)[0], CUT**2 / SIZE**2),
    }
    for peer, (action, share) in peers.items():
        theirs, problem = attempt(lambda a=action: (cpu_seconds(a), _error(np.asarray(a()), truth)))
        scaled = (
            "" if share == 1 else f"; peer on {CUT} x {CUT}, scaled by area; it smooths, so no template is made with it"
        )
        yield Measured(
            what=f"warp a template of {SIZE} x {SIZE}",
            ours_s=seconds,
            peer=peer,
            peer_s=theirs[0] / share if theirs else float("nan"),
            error_of="rms in star cores, of the peak",
            ours_error=ours,
            peer_error=theirs[1] if theirs else float("nan"),
            note=f"ours Lanczos-5, with variance, mask and PSF; theirs the image alone{scaled} {problem}".strip(),
        )


def _stars(shape: tuple[int, int], x: _Image, y: _Image) -> NDArray[np.float32]:
    image, axis = np.zeros(shape), np.arange(-12, 13)
    for px, py in zip(x, y, strict=True):
        column, row = int(px + 0.5), int(py + 0.5)
        if not (12 <= column < shape[1] - 12 and 12 <= row < shape[0] - 12):
            continue
        light = np.exp(-0.5 * (((axis[:, None] + row - py) ** 2 + (axis + column - px) ** 2) / SIGMA**2))
        image[row - 12 : row + 13, column - 12 : column + 13] += FLUX * light
    return image.astype(np.float32)


def _error(warped: _Image, truth: _Image) -> float:
    """Rms difference over the cores of the stars within what was warped."""
    rows, columns = warped.shape
    true = truth[:rows, :columns]
    core = (true > CORE * FLUX) & np.isfinite(warped)
    core[:, :15] = core[:15] = core[:, -15:] = core[-15:] = False
    return float(np.sqrt(np.mean((warped[core] - true[core]) ** 2)) / FLUX)
