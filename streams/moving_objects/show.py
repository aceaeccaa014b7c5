"""One orbit for people: elements with their errors, and what is known of the object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.settings import Settings
from processors.moving_objects.cometary import cometary_elements, element_sigmas, orbit_types, tisserand_jupiter
from processors.moving_objects.designations import pack, unpack
from processors.moving_objects.errors import InvalidDesignationError
from schemas.errors import PermanentFailure
from schemas.events import OrbitDetermined, OrbitEvent
from schemas.orbits import covariances_of, states_of
from streams.compose import Wiring
from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store

__all__ = ["ORBIT_CLASSES", "UnknownOrbitError", "describe", "place_of", "plain"]

ORBIT_CLASSES = {
    0: "Atira", 1: "Aten", 2: "Apollo", 3: "Amor", 9: "inner, other", 10: "Mars crosser", 11: "main belt", 12: "Jupiter Trojan",
    19: "middle, other", 20: "Jupiter coupled", 21: "Neptune Trojan", 22: "Centaur or outer, other",
    23: "trans-Neptunian", 30: "hyperbolic", 31: "parabolic", 99: "unclassified",
}  # fmt: skip
"""Names of the Minor Planet Center's classes (its page "Orbit Type Definition")."""

_ABOUT = (
    "designation",
    "packed",
    "ss_object_id",
    "epoch_mjd_tdb",
    "h",
    "g",
    "n_observations",
    "arc_days",
    "rms_arcsec",
)


class UnknownOrbitError(PermanentFailure):
    """No orbit of that designation is known."""

    code = "unknown_orbit"


def plain(row: Any) -> dict[str, Any]:
    """Return what is known of an object beside its orbit; identifiers as text, null where unknown."""
    about: dict[str, Any] = {}
    for name in _ABOUT:
        value = row[name].item()
        if name == "ss_object_id":
            about[name] = str(value)
        elif isinstance(value, float):
            about[name] = None if math.isnan(value) else round(value, 6)
        elif isinstance(value, int):
            about[name] = None if value < 0 else value
        else:
            about[name] = value
    return about


def describe(settings: Settings, designation: str) -> dict[str, Any]:
    """Return an object with its elements (degrees, au, MJD TDB) and, where known, their one sigma errors.

    Raises
    ------
    UnknownOrbitError
        When no such orbit is known.
    """
    wiring = Wiring(settings)
    events = read_orbit_store(settings.bootstrap, wiring.codec)
    at_hand = orbits_at_hand(events.values(), wiring.objects)
    place = place_of(at_hand.rows["designation"], designation)
    if place is None:
        raise UnknownOrbitError(_why_unknown(events, designation))
    found = at_hand.rows[place : place + 1]
    name = str(found[0]["designation"])
    states, epochs = states_of(found), found["epoch_mjd_tdb"]
    table = cometary_elements(states, epochs)
    elements = table[0]
    sigmas = element_sigmas(states, epochs, covariances_of(found))[0]
    return {
        **plain(found[0]),
        "origin": "own" if name in at_hand.own else "imported",
        "orbit_class": ORBIT_CLASSES.get(int(orbit_types(table)[0]), "unclassified"),
        "tisserand_jupiter": round(float(tisserand_jupiter(table)[0]), 4),
        "other_names": sorted(own for own in events if _merged_into(events, own) == name),
        **(_own(events[name].fact) if name in at_hand.own else {}),
        **{name: _number(elements[name], sigmas[name]) for name in elements.dtype.names or ()},
    }


def _merged_into(events: Mapping[str, OrbitEvent], designation: str) -> str | None:
    """Return the object that has what an orbit of ours held, whatever it was merged into in between; None for one that stands."""
    name, seen = designation, set[str]()
    while name in events and name not in seen:
        seen.add(name)
        fact = events[name].fact
        name = (fact.merged_into if isinstance(fact, OrbitDetermined) else None) or name
    return name if name != designation else None


def _why_unknown(events: Mapping[str, OrbitEvent], designation: str) -> str:
    into = _merged_into(events, designation)
    if into is not None:
        return f"{designation} was merged into {into}; see `nightcast orbits show '{into}'`."
    return f"No orbit of {designation!r} is known; see `nightcast orbits list`."


def _own(fact: Any) -> dict[str, Any]:
    """Return what only an orbit of ours has."""
    return {
        "decided_on_night": fact.day_obs,
        "tracklets": len(fact.tracklets),
        "chi2": round(fact.chi2, 3),
        "reportable": fact.reportable,
        "why_not_reported": list(fact.reasons),
    }


def place_of(designations: NDArray[np.str_], wanted: str) -> int | None:
    """Return the place of an object among written designations, by its own, packed or not; None if it is not there."""
    names = [" ".join(wanted.split())]
    with suppress(InvalidDesignationError):
        names.append(unpack(names[0]))
    with suppress(InvalidDesignationError):
        names.append(unpack(pack(names[0])))
    for name in names:
        places = np.flatnonzero(designations == name)
        if len(places):
            return int(places[0])
    return None


def _number(value: Any, sigma: Any) -> Any:
    if not np.isfinite(value):
        return None
    return {"value": float(value), "sigma": float(sigma) if np.isfinite(sigma) else None}
