"""What an announced visit is told of its field: the objects as they stood after the visit two before.

Visits follow each other faster than the alerts of one are made, so a detector measures at the objects of the visit before
the last. The positions are computed from the history of the visits up to that one, never taken from the newest state, so
the answer is the same however far association has gone on when it is asked.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy_healpix import HEALPix

from processors.association.blocks import STORAGE_ORDER
from processors.association.fold import LATEST_DAYS
from processors.association.history import History
from processors.association.matching import pixels_around
from processors.association.objects import best_of_visits, mean_positions
from processors.association.rules import Rules
from processors.association.sphere import chord_of, unit_vectors
from schemas.camera import Camera

__all__ = ["KNOWN_OBJECT", "POINTING_PAD_ARCSEC", "field_radius", "known_objects"]

Array = np.ndarray[Any, Any]

KNOWN_OBJECT = np.dtype([("diaObjectId", "<i8"), ("ra", "<f8"), ("dec", "<f8")])
"""One known object: identifier and mean position in degrees."""

POINTING_PAD_ARCSEC = 60.0
"""How far beyond the camera's corners objects are named: the telescope may point elsewhere by 20 arcseconds."""


def field_radius(camera: Camera) -> float:
    """Return the radius in arcseconds of a circle about the boresight that holds every detector, padded."""
    corners = [
        np.hypot(abs(detector.centre[0]) + side / 2, abs(detector.centre[1]) + side / 2)
        for detector in camera.detectors
        for side in (max(detector.width, detector.height),)
    ]
    return float(max(corners) * camera.plate_scale + POINTING_PAD_ARCSEC)


def known_objects(
    view: History, centre: tuple[float, float], radius_arcsec: float, *, as_of: tuple[int, float], rules: Rules
) -> Array:
    """Return the objects of a field as they stood after a visit.

    Parameters
    ----------
    view
        The state, with that visit folded and any later ones.
    centre
        Right ascension and declination of the boresight, degrees.
    radius_arcsec
        Radius of the field.
    as_of
        The visit, and the time in MJD TAI when it was announced to begin; visits with larger numbers do not count.
        Objects without a DIASource in the twelve months before that time are left out.
    rules
        The numbers to work by.

    Returns
    -------
    Array
        Rows of ``KNOWN_OBJECT`` in order of their identifiers.
    """
    visit, mjd = as_of
    rows = view.sources(_field_pixels(centre, radius_arcsec), mjd - rules.window_days, mjd + LATEST_DAYS)
    rows = rows[rows["visit"] <= visit]
    object_ids = np.unique(rows["diaObjectId"])
    means = mean_positions(best_of_visits(rows), object_ids)
    known = np.zeros(len(object_ids), KNOWN_OBJECT)
    known["diaObjectId"], known["ra"], known["dec"] = object_ids, means["ra"], means["dec"]
    middle = unit_vectors(np.array([centre[0]]), np.array([centre[1]]))
    inside = np.linalg.norm(unit_vectors(known["ra"], known["dec"]) - middle, axis=1) <= chord_of(radius_arcsec)
    return np.asarray(known[inside])


def _field_pixels(centre: tuple[float, float], radius_arcsec: float) -> Array:
    """Return every storage pixel that may hold an object of the field; objects drift from where they were founded."""
    grid = HEALPix(1 << STORAGE_ORDER, order="nested")
    found = grid.cone_search_lonlat(centre[0] * u.deg, centre[1] * u.deg, radius=radius_arcsec * u.arcsec)
    own = np.asarray(grid.lonlat_to_healpix(centre[0] * u.deg, centre[1] * u.deg))
    around = pixels_around(np.unique(np.append(np.asarray(found, np.int64), own)), STORAGE_ORDER)
    return np.unique(around[around >= 0])
