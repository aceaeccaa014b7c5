"""Stamps of a detector's DIASources, packed in one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.alerts.cutouts import LocalWcs, cutout_bytes, cutout_size, local_wcs
from processors.differencing.pipeline import DifferenceResult, ScienceImage
from schemas.events import CutoutPack, CutoutSet
from schemas.masks import MaskPlane

__all__ = ["pack_stamps"]

Psf = Callable[[float, float], NDArray[Any]]


def pack_stamps(visit: int, detector: int, science: ScienceImage, result: DifferenceResult) -> CutoutPack:
    """Cut difference, science and template stamps of every DIASource, in the rows' order.

    The template is the one that was subtracted: warped and matched to the science image.
    """
    rows = result.sources
    places = local_wcs(lambda x, y: _sky(science, x, y), rows["x"], rows["y"]) if len(rows) else []
    template_mask = (result.mask & np.uint16(MaskPlane.NO_DATA | MaskPlane.EDGE | MaskPlane.SAT_TEMPLATE)).astype(
        np.uint16
    )
    layers = (
        (result.image, result.variance, result.mask, result.psf.at),
        (science.image, science.variance, science.mask, result.science_psf.at),
        (result.template, result.template_variance, template_mask, result.template_psf.at),
    )
    stamps = []
    for row, place in zip(rows, places, strict=True):
        size = cutout_size(int(row["bboxSize"]))
        difference, own, template = (_stamp(layer, place, size) for layer in layers)
        stamps.append(
            CutoutSet(dia_source_id=int(row["diaSourceId"]), difference=difference, science=own, template=template)
        )
    return CutoutPack(visit=visit, detector=detector, stamps=tuple(stamps))


def _sky(science: ScienceImage, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    ra, dec = science.wcs.all_pix2world(x, y, 0)
    return np.asarray(ra), np.asarray(dec)


def _stamp(layer: tuple[NDArray[Any], NDArray[Any], NDArray[Any], Psf], place: LocalWcs, size: int) -> bytes:
    image, variance, mask, psf = layer
    return cutout_bytes(image, variance, mask, psf=psf(place.x, place.y), wcs=place, size=size)
