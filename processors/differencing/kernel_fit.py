"""Solve for the matching kernel: clipping, cross-validation, and a factor that undoes attenuation.

Spatial variation multiplies a stamp's normal matrix by products of the spatial terms at its place, so the normal equations
of all stamps together are one matrix product, and those of any subset of members, terms and stamps are parts of it. Two points
differ from the usual code:

* noise in the convolved image attenuates a least-squares kernel (fluxes 4 to 10 % low when the noisier image is
  convolved, imaging.md 3.5); the fitted kernel is scaled by a ratio of sums from which the expected noise is subtracted,
  which removes that bias and cannot upset the fit as a corrected normal matrix would;
* degrees of the polynomials and the spatial order are chosen by cross-validation over stamps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from processors.differencing.kernel import MINIMUM_STAMPS, Kernel, Matrix, Stamps, require_stamps, spatial_terms
from processors.differencing.kernel_basis import KernelBasis

__all__ = ["fit_kernel"]

FEW_STAMPS, MANY_STAMPS = 10, 60
"""Below the first the kernel is constant, below the second at most linear over the CCD (imaging.md A.5)."""

CANDIDATE_DEGREES = ((4, 2, 2), (2, 2, 0), (2, 0, 0))
"""Degrees that cross-validation may choose from."""

_FOLDS = 5
_CLIP_ROUNDS = 9
_ROBUST_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Which of the parameters (members and the background, times spatial terms) are free."""

    indices: NDArray[np.int64]
    members: int
    """Members of the basis and the background."""
    terms: Matrix
    """Spatial terms at the stamps, shape (stamps, terms), of the highest order considered."""

    @classmethod
    def of(cls, members: NDArray[np.int64], order: int, every: int, terms: Matrix) -> _Choice:
        """Free some members to an order; the first, which carries the sum, is constant, the background at most linear."""
        count, free = terms.shape[1], (order + 1) * (order + 2) // 2
        shape = [member * count + np.arange(free) for member in members[1:]]
        level = (every - 1) * count + np.arange(_background_terms(order))
        return cls(indices=np.concatenate([[0], *shape, level]), members=every, terms=terms)

    def expanded(self, solution: Matrix) -> Matrix:
        """Return a solution's parameters, 0 where none is free, shape (members, terms)."""
        full = np.zeros(self.members * self.terms.shape[1])
        full[self.indices] = solution
        return full.reshape(self.members, -1)

    def solve(self, normal: Matrix, right: Matrix) -> Matrix:
        """Solve the chosen part of normal equations and return the expanded parameters."""
        part, target = normal[np.ix_(self.indices, self.indices)], right[self.indices]
        scale = np.sqrt(np.maximum(np.diag(part), 1e-30))
        scaled = part / np.outer(scale, scale)
        scaled[np.diag_indices_from(scaled)] += 1e-9
        factor = cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
        return self.expanded(cho_solve(factor, target / scale, check_finite=False) / scale)


def fit_kernel(stamps: Stamps, basis: KernelBasis, shape: tuple[int, int], *, largest_order: int = 2) -> Kernel:
    """Fit the kernel, clipping stamps that changed and choosing its freedom by cross-validation.

    Parameters
    ----------
    stamps
        Result of `measure_stamps`.
    basis
        The basis the stamps were measured with.
    shape
        Rows and columns of the image.
    largest_order
        Bound on the spatial order, besides that from the number of stamps.

    Raises
    ------
    TooFewKernelStarsError
        When fewer than three stamps are offered or survive the clipping.
    """
    require_stamps(len(stamps.x))
    limit = min(_largest_order(len(stamps.x)), largest_order)
    terms = spatial_terms(stamps.x, stamps.y, shape, max(limit, 1))
    every = stamps.right.shape[1]
    keep = _clip(stamps, _Choice.of(basis.subset(CANDIDATE_DEGREES[-1]), limit, every, terms))
    good = stamps.chosen(keep)
    require_stamps(len(good.x))
    degrees, order = _cross_validate(good, basis, terms[keep], largest_order)
    members = basis.subset(degrees)
    choice = _Choice.of(members, order, every, terms)
    keep = _clip(stamps, choice)
    good = stamps.chosen(keep)
    require_stamps(len(good.x))
    solution = choice.solve(*_normal(good, terms[keep]))
    solution[:-1] *= _unattenuated(good, terms[keep] @ solution.T)
    per_stamp = terms[keep] @ solution.T
    chi2, _ = _chi2(good, per_stamp)
    return Kernel(
        basis=basis,
        shape=shape,
        order=order,
        members=members,
        coefficients=solution[:-1, : (order + 1) * (order + 2) // 2],
        background=solution[-1, :3].copy(),
        sum=float(solution[0, 0]),
        degrees=degrees,
        stamps_used=len(good.x),
        stamps_offered=len(stamps.x),
        chi2_per_pixel=float(np.median(chi2 / np.maximum(good.pixels, 1))),
        stamp_x=good.x,
        stamp_y=good.y,
    )


def _background_terms(order: int) -> int:
    return 3 if order > 0 else 1


def _normal(stamps: Stamps, terms: Matrix, weight: Matrix | None = None) -> tuple[Matrix, Matrix]:
    """Return the normal equations of all members times all spatial terms."""
    count, members = terms.shape[1], stamps.right.shape[1]
    weighted = terms if weight is None else terms * weight[:, None]
    pairs = (weighted[:, :, None] * terms[:, None, :]).reshape(len(terms), -1)
    normal = (stamps.gram.reshape(len(terms), -1).T @ pairs).reshape(members, members, count, count)
    right = stamps.right.T @ weighted
    return np.asarray(normal.transpose(0, 2, 1, 3).reshape(members * count, -1)), right.ravel()


def _chi2(stamps: Stamps, coefficients: Matrix) -> tuple[Matrix, Matrix]:
    """Return each stamp's chi squared and the weighted square of its model."""
    quadratic = np.einsum("sm,smn,sn->s", coefficients, stamps.gram, coefficients, optimize=True)
    return stamps.square - 2 * np.einsum("sm,sm->s", coefficients, stamps.right) + quadratic, quadratic


def _unattenuated(stamps: Stamps, coefficients: Matrix) -> float:
    """Return the factor that undoes how noise in the template weakened the kernel."""
    flux = coefficients.copy()
    flux[:, -1] = 0.0
    free = stamps.right - stamps.gram[:, :, -1] * coefficients[:, -1:]
    product = float(np.einsum("sm,sm->", flux, free))
    square = float(np.einsum("sm,smn,sn->", flux, stamps.gram, flux, optimize=True))
    added = float(np.einsum("s,sm,mn,sn->", stamps.noise, flux[:, :-1], stamps.overlap, flux[:, :-1], optimize=True))
    return product / (square - added) if square > 2 * added > 0 else 1.0


def _flux_residuals(stamps: Stamps, coefficients: Matrix) -> tuple[Matrix, Matrix]:
    """Return by which fraction each stamp's star differs from the fit, and that fraction's error."""
    flux = coefficients.copy()
    flux[:, -1] = 0.0
    strength = np.einsum("sm,smn,sn->s", flux, stamps.gram, flux, optimize=True)
    residual = np.einsum("sm,sm->s", flux, stamps.right) - np.einsum(
        "sm,smn,sn->s", flux, stamps.gram, coefficients, optimize=True
    )
    strength = np.maximum(strength, 1e-30)
    return residual / strength, 1 / np.sqrt(strength)


def _clip(stamps: Stamps, choice: _Choice) -> NDArray[np.bool_]:
    """Drop stamps whose residuals or flux ratio stand out: variable or moved stars, artefacts, unseen saturation.

    The first rounds weigh stamps down by their residuals (Cauchy weights) and tell no stamp bright from one faint, so that
    a few brilliant stars that changed cannot bend the fit towards themselves.
    """
    strength = np.maximum(stamps.square, 1e-30)
    weight = float(np.median(strength)) / np.maximum(strength, float(np.median(strength)))
    keep = np.ones(len(stamps.x), dtype=bool)
    for turn in range(_CLIP_ROUNDS):
        coefficients = choice.terms @ choice.solve(*_normal(stamps, choice.terms, weight)).T
        chi2 = np.maximum(_chi2(stamps, coefficients)[0] / np.maximum(stamps.pixels, 1), 0)
        delta, error = _flux_residuals(stamps, coefficients)
        new = _inliers(chi2, delta, error, keep) & (stamps.pixels > 0)
        if new.sum() < max(MINIMUM_STAMPS, len(keep) // 4):
            break
        settled = turn >= _ROBUST_ROUNDS and bool((new == keep).all())
        keep = new
        if settled:
            break
        if turn < _ROBUST_ROUNDS:
            typical = max(float(np.median(chi2)), 1e-30)
            weight = 1 / (1 + (chi2 / (2 * typical)) ** 2)
        else:
            weight = keep.astype(float)
    return keep


def _inliers(chi2: Matrix, delta: Matrix, error: Matrix, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    middle = float(np.median(chi2[keep]))
    limit = middle + 4 * max(_robust_sigma(chi2[keep]), 0.1 * middle)
    sigma = np.hypot(3.5 * np.maximum(error, _robust_sigma(delta[keep])), 0.005)
    return np.asarray((chi2 < limit) & (np.abs(delta - np.median(delta[keep])) < sigma))


def _largest_order(count: int) -> int:
    return 0 if count < FEW_STAMPS else 1 if count < MANY_STAMPS else 2


def _cross_validate(
    stamps: Stamps, basis: KernelBasis, terms: Matrix, largest_order: int
) -> tuple[tuple[int, ...], int]:
    """Choose degrees and order by the chi squared of stamps that were left out of the fit."""
    count = len(stamps.x)
    orders = range(min(_largest_order(count), largest_order) + 1)
    if count < 2 * MINIMUM_STAMPS:
        return CANDIDATE_DEGREES[-1], 0
    fold = np.arange(count) % min(_FOLDS, count)
    folds = [(stamps.chosen(fold == n), terms[fold == n]) for n in range(fold.max() + 1)]
    systems = [_normal(*part) for part in folds]
    whole = sum(s[0] for s in systems), sum(s[1] for s in systems)
    rest = [(whole[0] - normal, whole[1] - right) for normal, right in systems]

    def score(candidate: tuple[tuple[int, ...], int]) -> float:
        degrees, order = candidate
        choice = _Choice.of(basis.subset(degrees), order, stamps.right.shape[1], terms)
        return np.inf if len(choice.indices) > 8 * count else _validation_score(folds, rest, choice)

    return min(itertools.product(CANDIDATE_DEGREES, orders), key=score)


def _validation_score(folds: Any, rest: Any, choice: _Choice) -> float:
    """Return the mean chi squared per pixel of stamps that were left out of the fit, the worst tenth capped."""
    chi2 = []
    for (left_out, terms), system in zip(folds, rest, strict=True):
        values, _ = _chi2(left_out, terms @ choice.solve(*system).T)
        chi2.append(values / np.maximum(left_out.pixels, 1))
    every = np.concatenate(chi2)
    return float(np.mean(np.minimum(every, np.quantile(every, 0.9))))


def _robust_sigma(values: NDArray[Any]) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
