"""Labelled sources of simulator scenes, to train and to judge the reliability model with.

A scene is differenced three times over, each time with less of what the pipeline does against artefacts:

- *deployed*: `processors.differencing.pipeline.difference` as it is; these sources are what the score is for.
- *plain*: the same difference, but with no allowance for the errors of subtraction, and down to a lower score: residuals of stars.
- *bare*: no mask of saturation and of streaks either, and left-over hits of cosmic rays: what the masks hide on other nights.

A source is real (1) when it lies on a change of the sky: a transient, a vanished source, a variable, a trail, a star that moved (the
light is on the sky and changed its place; ``isDipole`` tells it apart). It is an artefact (0) when no change is near. A glint of a
satellite is neither (-1), since one exposure cannot tell it from a transient by its shape: the snaps decide that. Neither is
what lies near a change without being it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infra.telescope import imaging_scenes
from infra.telescope.imaging_scenes import ImagingScene
from processors.differencing import reliability_features as features_module
from processors.differencing.detection import detect_peaks, psf_response
from processors.differencing.fitting import fit_point_sources
from processors.differencing.layers import ScienceImage
from processors.differencing.pipeline import difference
from processors.differencing.planes import has_plane, judge_pixels
from processors.differencing.psf import PsfGrid
from processors.differencing.reliability_features import FEATURE_NAMES, Difference, reliability_features
from processors.differencing.score import ScoreMap, calibrate_noise
from processors.differencing.subtraction import checked_science, psf_sigma, subtract_template, whitened
from processors.differencing.templates import Template
from schemas.masks import MaskPlane

__all__ = ["SAMPLE_DTYPE", "changes_of", "label_sources", "sample_scene", "source_digest", "table_of"]

SAMPLE_DTYPE = np.dtype(
    [("scene", "U12"), ("seed", "<i4"), ("regime", "U8"), ("kind", "U12"), ("label", "i1"), ("x", "<f8"), ("y", "<f8")]
    + [(name, "<f4") for name in FEATURE_NAMES]
)
"""A source: where it comes from, what it is, its features."""

THRESHOLD = 4.2
"""Score from which sources of the plain and bare regimes are taken."""

MATCH_PIXELS = 3.0
"""Farthest that a source lies from its change."""

NEAR_PIXELS = 12.0
"""Farther than this from every change a source is an artefact."""

MOST_ARTEFACTS = 60
"""Artefacts of one kind of a scene that are kept in the bare regime, evenly over their list."""

RAYS_PER_MEGAPIXEL = 15.0
"""Hits of cosmic rays left in the bare regime."""

BARE_PLANES = int(MaskPlane.SAT | MaskPlane.SAT_TEMPLATE | MaskPlane.STREAK)

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Views:
    """A difference, as features are taken from it."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    psf: PsfGrid
    template: NDArray[np.float32]
    score: ScoreMap


def sample_scene(scene: ImagingScene, regimes: Sequence[str] = ("deployed", "plain", "bare")) -> Rows:
    """Difference a scene and return its sources in the regimes, rows of `SAMPLE_DTYPE`."""
    science, template = _images(scene)
    rays: Rows = np.empty((0, 2))
    parts = []
    if "deployed" in regimes or "plain" in regimes:
        result = difference(science, template)
        sources = result.sources
        if "deployed" in regimes:
            parts.append(_labelled(scene, result, sources["x"], sources["y"], rays, "deployed"))
        if "plain" in regimes:
            plain = _Views(
                **{name: getattr(result, name) for name in _Views.__slots__[:-1]}, score=_bare_score(result.score)
            )
            parts.append(_labelled(scene, plain, *_peaks(plain), rays, "plain"))
    if "bare" in regimes:
        image, rays = _with_rays(science, scene.seed)
        bare = _bare_difference(image, template)
        parts.append(_thinned(_labelled(scene, bare, *_peaks(bare), rays, "bare")))
    return np.concatenate(parts)


def source_digest() -> str:
    """Return the sha256 of the modules that sources are drawn with: with another one features differ a little, and so does the model."""
    folders = [Path(module.__file__ or "").parent for module in (imaging_scenes, features_module)]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def table_of(rows: Rows) -> NDArray[np.float32]:
    """Return the features of rows, shape (rows, features)."""
    return np.column_stack([rows[name] for name in FEATURE_NAMES]).astype(np.float32).reshape(len(rows), -1)


def label_sources(
    x: Rows, y: Rows, changes: Rows, *, reach: float = MATCH_PIXELS
) -> tuple[NDArray[Any], NDArray[np.int8]]:
    """Return kind and label of sources.

    Parameters
    ----------
    x, y
        Their positions, pixels.
    changes
        What changed: kind, x, y, length in pixels and direction in degrees from +x towards +y.
    reach
        Farthest that a source lies from its change, pixels.
    """
    kind, label = np.full(len(x), "none", "U12"), np.zeros(len(x), np.int8)
    if not len(changes) or not len(x):
        return kind, label
    places, owner = _points_on(changes)
    distance, index = cKDTree(places).query(np.column_stack([x, y]).astype(float))
    nearest = changes["kind"][owner[index]]
    kind[distance < NEAR_PIXELS], label[distance < NEAR_PIXELS] = "near", -1
    on = distance < reach
    kind[on], label[on] = nearest[on], 1
    label[on & (nearest == "glint")] = -1
    return kind, label


def _points_on(changes: Rows) -> tuple[Rows, NDArray[np.intp]]:
    """Return points along changes, a pixel apart on those that are long, and the index of the change of each."""
    places, owner = [], []
    for index, row in enumerate(changes):
        half = 0.5 * float(row["length"])
        steps = np.linspace(-half, half, 1 + 2 * int(np.ceil(half)))
        angle = np.radians(float(row["angle"]))
        places.append(np.column_stack([row["x"] + steps * np.cos(angle), row["y"] + steps * np.sin(angle)]))
        owner.append(np.full(len(steps), index))
    return np.concatenate(places), np.concatenate(owner)


def _images(scene: ImagingScene) -> tuple[ScienceImage, Template]:
    made = scene.science
    science = ScienceImage(image=made.image, variance=made.variance, mask=made.mask, psf=made.psf, wcs=made.wcs)
    return science, cast("Template", scene.template)


def _bare_score(score: ScoreMap) -> ScoreMap:
    """Return the score with errors from noise alone."""
    with np.errstate(invalid="ignore"):
        return replace(score, snr=np.where(np.isfinite(score.error), score.flux / score.error, 0).astype(np.float32))


def _bare_difference(science: ScienceImage, template: Template) -> _Views:
    subtraction = subtract_template(checked_science(science), template, 2)
    mask = subtraction.mask & np.uint16(~BARE_PLANES & 0xFFFF)
    usable, lost = judge_pixels(mask)
    layers, score, _, _ = whitened(replace(subtraction, mask=mask, usable=usable, lost=lost))
    score = calibrate_noise(score, layers.usable)
    variance = layers.variance * np.float32(score.noise_scale**2)
    return _Views(
        image=layers.difference, variance=variance, mask=mask, psf=layers.psf, template=layers.template, score=score
    )


def _peaks(views: _Views) -> tuple[Rows, Rows]:
    """Return the positions of point sources fitted to the peaks of a score map."""
    psf = views.psf
    fwhm = 2.3548 * psf_sigma(psf.mean)
    peaks = detect_peaks(
        views.score.snr, views.score.error, response=psf_response(psf.mean, 24), fwhm=fwhm, threshold=THRESHOLD
    )
    usable = judge_pixels(views.mask)[0]
    peaks = peaks[usable[peaks["y"], peaks["x"]] & ~has_plane(views.mask[peaks["y"], peaks["x"]], MaskPlane.EDGE)]
    x, y = peaks["x"].astype(float), peaks["y"].astype(float)
    grid = (psf.x_nodes, psf.y_nodes, psf.coefficients)
    fits = np.asarray(fit_point_sources(views.image, views.variance, usable, *grid, x, y, 10))
    moved = np.isfinite(fits[:, 0])
    return np.where(moved, fits[:, 0], x), np.where(moved, fits[:, 1], y)


def _labelled(scene: ImagingScene, views: Difference, x: Rows, y: Rows, rays: Rows, regime: str) -> Rows:
    rows = np.zeros(len(x), SAMPLE_DTYPE)
    rows["scene"], rows["seed"], rows["regime"], rows["x"], rows["y"] = scene.name, scene.seed, regime, x, y
    features = reliability_features(views, x, y)
    for name in FEATURE_NAMES:
        rows[name] = features[name]
    rows["kind"], rows["label"] = label_sources(rows["x"], rows["y"], changes_of(scene))
    rows["kind"][rows["label"] == 0] = _artefact_kinds(scene, rows[rows["label"] == 0], rays)
    return rows


def changes_of(scene: ImagingScene) -> Rows:
    changes, scale = scene.truth.changes, scene.studio.camera.plate_scale
    out = np.zeros(len(changes), [("kind", "U12"), ("x", "f8"), ("y", "f8"), ("length", "f8"), ("angle", "f8")])
    for name in ("kind", "x", "y"):
        out[name] = changes[name]
    out["length"], out["angle"] = changes["length_arcsec"] / scale, changes["angle_deg"]
    moved = changes["kind"] == "moving_star"  # its place is that of now; half way back is the middle of the dipole
    back, angle = 0.5 * out["length"][moved], np.radians(out["angle"][moved])
    out["x"][moved] -= back * np.cos(angle)
    out["y"][moved] -= back * np.sin(angle)
    return out


def _artefact_kinds(scene: ImagingScene, rows: Rows, rays: Rows) -> NDArray[Any]:
    """Name artefacts by what made them: a cosmic ray, a streak, a bright star (within 60 pixels), noise or else."""
    places = np.column_stack([rows["x"], rows["y"]])
    kinds = np.full(len(rows), "other", "U12")
    static = scene.truth.static
    bright = static[static["flux"] > 1e6]  # brighter than magnitude 16.4
    if len(bright) and len(rows):
        near = cKDTree(np.column_stack([bright["x"], bright["y"]])).query(places)[0]
        kinds[near < 60] = "bright_star"
    height, width = scene.science.image.shape
    for streak in scene.truth.streaks:
        u, v = places[:, 0] - (width - 1) / 2, places[:, 1] - (height - 1) / 2
        kinds[np.abs(-u * np.sin(streak.angle) + v * np.cos(streak.angle) - streak.offset) < 12] = "streak"
    if len(rays) and len(rows):
        kinds[cKDTree(rays).query(places)[0] < 4] = "cosmic_ray"
    return kinds


def _with_rays(science: ScienceImage, seed: int) -> tuple[ScienceImage, Rows]:
    """Return the image with short tracks added to it, and their pixels."""
    random = np.random.default_rng([seed, 0xC05])
    image = science.image.copy()
    height, width = image.shape
    marks = []
    for _ in range(round(RAYS_PER_MEGAPIXEL * image.size / 1e6)):
        length, angle = 1 + int(random.exponential(1.5)), random.uniform(0, 2 * np.pi)
        x, y = random.uniform(20, width - 20), random.uniform(20, height - 20)
        strength = np.exp(random.uniform(np.log(6.0), np.log(60.0)))
        for step in range(min(length, 8)):
            column, row = int(x + step * np.cos(angle)), int(y + step * np.sin(angle))
            image[row, column] += strength * random.uniform(0.3, 1.0) * np.sqrt(science.variance[row, column])
            marks.append((column, row))
    return replace(science, image=image), np.array(marks, float).reshape(-1, 2)


def _thinned(rows: Rows) -> Rows:
    """Keep at most `MOST_ARTEFACTS` of a kind, every so manieth."""
    keep = rows["label"] != 0
    for kind in np.unique(rows["kind"][~keep]):
        index = np.flatnonzero((rows["label"] == 0) & (rows["kind"] == kind))
        keep[index[np.unique(np.linspace(0, len(index) - 1, min(len(index), MOST_ARTEFACTS)).astype(int))]] = True
    return rows[keep]
