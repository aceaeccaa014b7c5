"""The simulated night's asteroids as the world knows them: half of them go into the catalogue of known orbits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from infra.settings import Settings
from infra.telescope import PlannedVisit
from infra.telescope.known_orbits import designation_of, is_known, known_orbits
from infra.telescope.sky import make_asteroids
from processors.moving_objects.designations import pack
from schemas.camera import Camera
from schemas.predictions import ss_object_id_of
from streams.compose import Wiring
from streams.moving_objects.files import store_rows
from streams.moving_objects.night_ephemerides import refresh_ephemerides
from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store

__all__ = ["import_known"]

CATALOGUE = "simulated sky"
"""What the catalogue is called."""


def import_known(settings: Settings, camera: Camera, seed: int, visits: Sequence[PlannedVisit]) -> Mapping[str, int]:
    """Add the night's known asteroids to the catalogue of known orbits; ephemerides that somebody built for it before are built anew.

    Returns
    -------
    Mapping[str, int]
        The simulator's key of each and its number.
    """
    times = [visit.start_mjd_tai for visit in visits]
    asteroids = make_asteroids(camera, seed, visits[0].day_obs, times)
    rows = known_orbits(asteroids, float(np.mean(times)))
    wiring = Wiring(settings)
    before = orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects)
    kept = before.rows[~np.isin(before.rows["designation"], [*rows["designation"], *sorted(before.own)])]
    store_rows(settings, np.concatenate([kept, rows]), CATALOGUE)
    refresh_ephemerides(settings, visits[0].day_obs)
    return {str(one.key): ss_object_id_of(pack(designation_of(one))) for one in asteroids if is_known(one)}
