"""One source seen twice in a visit: grouped before anything is matched, so that no twin object is ever founded.

Strict one-to-one matching makes a twin of every second detection, and the twin then takes a third of all later ones
(measured on real alerts of the ZTF survey). Overlapping detectors and split detections make such pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from processors.association.matching import Points, candidate_pairs, same_source
from processors.association.rules import Rules

__all__ = ["best_of_groups", "group_duplicates"]

Array = np.ndarray[Any, Any]


def group_duplicates(points: Points, rules: Rules) -> Array:
    """Return the number of the group of each source of one visit; a source without a double is a group of its own.

    Two sources are one when they lie within the radius and the likelihood of their offset says so; groups are the
    connected sets. Numbers start at 0 and follow the order of the sources.
    """
    count = len(points.ra)
    if count == 0:
        return np.zeros(0, np.int64)
    pairs = candidate_pairs(points, points, rules)
    pairs = pairs.where((pairs.source < pairs.object) & same_source(pairs, rules))
    graph = coo_array((np.ones(len(pairs)), (pairs.source, pairs.object)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], np.int64)


def best_of_groups(groups: Array, snr: Array, identifiers: Array) -> Array:
    """Return the position of each group's best source: largest absolute S/N (null counts as 0), then lowest identifier."""
    strength = np.nan_to_num(np.abs(np.asarray(snr, np.float64)), nan=0.0)
    order = np.lexsort((identifiers, -strength, groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.asarray(order[first], np.int64)
