"""Scenes of one CCD whose truth is known, for the tests of calibration and differencing.

`make_scene` draws a visit and its template by name and seed: stars, galaxies, transients, vanished sources, variables, stars
of large proper motion, trails of moving objects, satellites' trails and glints. The calibrated pair is made directly; its raw
snaps, with masters and reference catalogue, on demand (`ImagingScene.raw_snaps`). `cached` and `cached_raw_snaps` keep them in files.
"""

from __future__ import annotations

from infra.telescope.imaging_scenes.products import CalibratedImage, CoaddImage, SceneTruth
from infra.telescope.imaging_scenes.raw import RawSnaps
from infra.telescope.imaging_scenes.raw_store import cached_raw_snaps
from infra.telescope.imaging_scenes.scene import FULL_SIZE, ImagingScene, make_scene
from infra.telescope.imaging_scenes.store import cached

__all__ = [
    "FULL_SIZE",
    "CalibratedImage",
    "CoaddImage",
    "ImagingScene",
    "RawSnaps",
    "SceneTruth",
    "cached",
    "cached_raw_snaps",
    "make_scene",
]
