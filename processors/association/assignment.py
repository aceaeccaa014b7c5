"""One object for each source and one source for each object, at the least total cost, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

__all__ = ["assign"]

Array = np.ndarray[Any, Any]


def assign(source: Array, target: Array, costs: Array, unmatched_cost: float) -> Array:
    """Choose the pairs of the cheapest one-to-one assignment; a source may stay alone at a fixed cost.

    Pairs whose source and target have no other candidate are taken at once; what is left goes to a minimum-weight
    bipartite matching (scipy, LAPJVsp) in which each source has a column of its own for staying alone. The result depends on
    the order of the pairs only where two assignments cost the same to the last bit, so callers pass a canonical order.

    Parameters
    ----------
    source, target
        Numbers of the pair's two sides, shape (n,).
    costs
        Cost of each pair, below ``unmatched_cost`` where the pair is wanted.
    unmatched_cost
        Cost of leaving a source alone.

    Returns
    -------
    Array
        Which pairs are chosen, boolean, shape (n,).
    """
    chosen = np.zeros(len(source), bool)
    if not len(source):
        return chosen
    _, source_number, source_count = np.unique(source, return_inverse=True, return_counts=True)
    _, target_number, target_count = np.unique(target, return_inverse=True, return_counts=True)
    lone = (source_count[source_number] == 1) & (target_count[target_number] == 1)
    chosen[lone] = costs[lone] < unmatched_cost
    rest = np.flatnonzero(~lone)
    if len(rest):
        chosen[rest[_solve(source[rest], target[rest], costs[rest], unmatched_cost)]] = True
    return chosen


def _solve(source: Array, target: Array, costs: Array, unmatched_cost: float) -> Array:
    """Return the positions of the chosen pairs."""
    sources, row = np.unique(source, return_inverse=True)
    targets, column = np.unique(target, return_inverse=True)
    alone = np.arange(len(sources))
    lowest = min(float(costs.min()), unmatched_cost)
    weights = np.concatenate([costs, np.full(len(sources), unmatched_cost)]) - lowest + 1.0  # a zero would be no edge
    rows, columns = np.concatenate([row, alone]), np.concatenate([column, len(targets) + alone])
    graph = csr_array(coo_array((weights, (rows, columns)), shape=(len(sources), len(targets) + len(sources))))
    matched_row, matched_column = min_weight_full_bipartite_matching(graph)
    partner = np.empty(len(sources), np.int64)
    partner[matched_row] = matched_column
    return np.flatnonzero(partner[row] == column)
