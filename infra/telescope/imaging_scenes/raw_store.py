"""Keeps the raw snaps of scenes in files: the raw frames and masters as FITS, the truth as arrays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.fits_io import read_masters, read_raw
from infra.telescope.charge import ChargeEffects, draw_charge_effects
from infra.telescope.imaging_scenes.raw import RawSnaps, take_snaps, with_charge_masters
from infra.telescope.imaging_scenes.scene import ImagingScene
from infra.telescope.imaging_scenes.store import scene_digest
from infra.telescope.release import reference_catalogue
from infra.telescope.response import make_response

__all__ = ["cached_raw_snaps"]

_SENSOR = ("chance", "charge", "electronics", "raw_files", "release", "response")
"""Modules of the simulator that raw snaps come from, besides those of the calibrated images."""


def cached_raw_snaps(scene: ImagingScene, folder: Path | str, *, charge_effects: bool = True) -> RawSnaps:
    """Return a scene's raw snaps from their file in a folder, exposed and written first if need be.

    Parameters
    ----------
    scene
        A scene of its name's own recipe.
    folder
        Where the files are; made when it is missing.
    charge_effects
        As for `ImagingScene.raw_snaps`.
    """
    rows, columns = scene.science.image.shape
    label = f"raw-{scene.name}-{scene.seed}-{rows}x{columns}-{'charge' if charge_effects else 'plain'}"
    path = Path(folder) / f"{label}-{_digest()}.npz"
    if not path.exists():
        snaps = take_snaps(scene.studio, scene.truth.changes, charge_effects=charge_effects)
        _write(snaps, path)
        return snaps
    with np.load(path) as stored:
        return _read(scene, {key: stored[key] for key in stored.files}, charge_effects)


def _digest() -> str:
    here = Path(__file__).parent
    paths = [*sorted(here.glob("raw*.py")), *(here.parent / f"{name}.py" for name in _SENSOR)]
    source = b"".join(path.read_bytes() for path in paths)
    return hashlib.sha256(source + scene_digest().encode()).hexdigest()[:10]


def _write(snaps: RawSnaps, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"masters": np.frombuffer(snaps.encoded_masters, np.uint8)}
    for snap in (0, 1):
        hit = np.flatnonzero(snaps.rays[snap])
        arrays |= {
            f"file{snap}": np.frombuffer(snaps.encoded_files[snap], np.uint8),
            f"light{snap}": snaps.light[snap],
            f"hit{snap}": hit,
            f"freed{snap}": snaps.rays[snap].ravel()[hit],
            f"saturated{snap}": np.packbits(snaps.saturated[snap]),
        }
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(partial, **arrays)
    os.replace(partial, path)


def _read(scene: ImagingScene, arrays: dict[str, Any], charge_effects: bool) -> RawSnaps:
    studio = scene.studio
    detector, seed = studio.detector, studio.seed
    effects = draw_charge_effects(seed, detector) if charge_effects else ChargeEffects()
    shape = scene.science.image.shape
    files = (arrays["file0"].tobytes(), arrays["file1"].tobytes())
    masters = arrays["masters"].tobytes()
    return RawSnaps(
        files=(read_raw(files[0]), read_raw(files[1])),
        masters=with_charge_masters(read_masters(masters), effects, seed),
        encoded_files=files,
        encoded_masters=masters,
        references=reference_catalogue(seed, studio.static.catalogue, [studio.visit.band]),
        camera=studio.camera,
        detector=detector,
        light=(arrays["light0"], arrays["light1"]),
        rays=(_rays(arrays, 0, shape), _rays(arrays, 1, shape)),
        saturated=(_saturated(arrays, 0, shape), _saturated(arrays, 1, shape)),
        response=make_response(studio.camera, seed, detector),
        effects=effects,
    )


def _rays(arrays: dict[str, Any], snap: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    image = np.zeros(shape, np.float32)
    image.ravel()[arrays[f"hit{snap}"]] = arrays[f"freed{snap}"]
    return image


def _saturated(arrays: dict[str, Any], snap: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(arrays[f"saturated{snap}"], count=shape[0] * shape[1]).reshape(shape).astype(bool)
