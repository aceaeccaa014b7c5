"""The final orbit: the same least squares as `orbit_fit`, under the pull of the planets and the Moon.

Partials come from the variational equations integrated along (`variational`), not from differences of whole integrations.
"""

from __future__ import annotations

from processors.moving_objects.arcs import TIME, Arcs
from processors.moving_objects.orbit_fit import OrbitFits, fitted
from processors.moving_objects.solar_system import SolarSystem, require_span
from processors.moving_objects.variational import forces_of

__all__ = ["refine"]


def refine(grouped: Arcs, two_body: OrbitFits, *, solar_system: SolarSystem, outlier_sigmas: float = 0.0) -> OrbitFits:
    """Fit again with all forces, from two-body orbits of the same arcs.

    Parameters
    ----------
    grouped
        The arcs.
    two_body
        Their orbits, of `orbit_fit.fit_many` or an earlier refinement; an object without one is scanned anew.
    solar_system
        Bodies that pull; its span must hold the arcs.
    outlier_sigmas
        As in `orbit_fit.fit_many`.

    Raises
    ------
    OutsideEphemerisError
        If a detection lies outside the span.
    """
    require_span(solar_system, grouped.rows[:, TIME])
    return fitted(grouped, two_body.states, two_body.epochs_mjd_tdb, outlier_sigmas, forces_of(solar_system))
