"""Keeps scenes in files: images and changes are stored; what a seed gives in no time is drawn again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from infra.telescope.imaging_scenes.calibrated import frame_coadd, frame_visit
from infra.telescope.imaging_scenes.products import SceneTruth
from infra.telescope.imaging_scenes.scene import FULL_SIZE, ImagingScene, make_scene
from infra.telescope.imaging_scenes.studio import open_studio

__all__ = ["cached", "scene_digest"]

_PAINTERS = ("artefacts", "optics", "paint", "profile", "scene", "schedule", "setup", "sky")
"""Modules of the simulator that the calibrated images come from."""


def cached(name: str, seed: int, folder: Path | str, *, size: tuple[int, int] = FULL_SIZE) -> ImagingScene:
    """Return a scene from its file in a folder, made and written first if this source has not made it yet.

    Parameters
    ----------
    name, seed, size
        As for `make_scene`; scenes of another recipe are not stored.
    folder
        Where the files are; made when it is missing.
    """
    path = Path(folder) / f"{name}-{seed}-{size[0]}x{size[1]}-{scene_digest()}.npz"
    if not path.exists():
        scene = make_scene(name, seed, size=size)
        _write(scene, path)
        return scene
    with np.load(path) as stored:
        return _scene(name, seed, size, {key: stored[key] for key in stored.files})


def scene_digest() -> str:
    """Return a short hash of the source that makes calibrated scenes; the raw path is not part of it."""
    here = Path(__file__).parent
    paths = [p for p in here.glob("*.py") if not p.name.startswith(("raw", "store", "__"))]
    paths += [here.parent / f"{name}.py" for name in _PAINTERS]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _write(scene: ImagingScene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"changes": scene.truth.changes, "saturated": np.packbits(scene.truth.saturated)}
    for label, image in (("science", scene.science), ("template", scene.template)):
        for plane in ("image", "variance", "mask"):
            arrays[f"{label}_{plane}"] = getattr(image, plane)
    arrays["numbers"] = np.array([scene.truth.point_error, scene.template.noise_factor])
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(partial, **arrays)
    os.replace(partial, path)


def _scene(name: str, seed: int, size: tuple[int, int], arrays: dict[str, Any]) -> ImagingScene:
    studio = open_studio(name, seed, size)
    point_error, noise_factor = (float(n) for n in arrays["numbers"])
    science = (arrays["science_image"], arrays["science_variance"], arrays["science_mask"])
    template = (arrays["template_image"], arrays["template_variance"], arrays["template_mask"])
    saturated = np.unpackbits(arrays["saturated"], count=size[0] * size[1]).reshape(size).astype(bool)
    truth = SceneTruth(
        static=studio.static.table,
        changes=arrays["changes"],
        streaks=studio.streaks,
        saturated=saturated,
        point_error=point_error,
    )
    return ImagingScene(
        studio=studio,
        science=frame_visit(*science, studio.science, studio.sky_electrons),
        template=frame_coadd(*template, studio.template, noise_factor, studio.recipe.epochs),
        truth=truth,
    )
