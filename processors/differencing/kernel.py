"""Fit the kernel that turns a template into a science image (Alard & Lupton 1998; Alard 2000).

Each stamp is reduced once to its normal matrix; spatial variation, clipping and cross-validation only combine those
small matrices. Two points differ from the usual code:

* noise in the convolved image attenuates a least-squares kernel (fluxes 4 to 10 % low when the noisier image is
  convolved, imaging.md 3.5); the fitted kernel is scaled by a ratio of sums from which the expected noise is subtracted,
  which removes that bias and cannot upset the fit as a corrected normal matrix would;
* degrees of the polynomials and the spatial order are chosen by cross-validation over stamps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.errors import TooFewKernelStarsError
from processors.differencing.kernel_basis import KernelBasis, convolve_stamps

__all__ = ["Kernel", "Stamps", "fit_kernel", "measure_stamps", "require_stamps", "spatial_terms"]

MINIMUM_STAMPS = 3
"""Fewest stamps that give a kernel (ip_diffim asks the same)."""

FEW_STAMPS, MANY_STAMPS = 10, 60
"""Below the first the kernel is constant, below the second at most linear over the CCD (imaging.md A.5)."""

SYSTEMATIC_FRACTION = 0.005
"""Part of a pixel's flux added to its noise, so that a few brilliant stars do not decide the kernel alone."""

CANDIDATE_DEGREES = ((4, 2, 2), (2, 2, 0), (2, 0, 0))
"""Degrees that cross-validation may choose from."""

_FOLDS = 5
_CLIP_ROUNDS = 9
_ROBUST_ROUNDS = 5

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """Normal matrices of the stamps; the last row and column stand for a constant background."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    gram: Matrix
    """Shape (stamps, members + 1, members + 1)."""
    right: Matrix
    """Shape (stamps, members + 1)."""
    square: Matrix
    """Weighted sum of squares of the science pixels, shape (stamps,)."""
    pixels: Matrix
    """Weighted pixels of each stamp."""
    noise: Matrix
    """Weighted sum of the template's variance, shape (stamps,)."""
    overlap: Matrix
    """Products of the members' images: times ``noise``, what noise adds to ``gram`` on average."""

    def chosen(self, keep: NDArray[Any]) -> Stamps:
        """Return some of the stamps."""
        names = ("x", "y", "gram", "right", "square", "pixels", "noise")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A matching kernel over an image and how well it fits."""

    basis: KernelBasis
    shape: tuple[int, int]
    order: int
    members: NDArray[np.int64]
    """Members of the basis in use."""
    coefficients: Matrix
    """Shape (members of the basis, spatial terms): polynomial coefficients in scaled coordinates."""
    background: Matrix
    """Constant, x and y slope of the differential background in scaled coordinates, nJy."""
    sum: float
    """Flux of the science image per flux of the template."""
    degrees: tuple[int, ...]
    stamps_used: int
    stamps_offered: int
    chi2_per_pixel: float
    """Median over the stamps in use."""
    flux_scatter: float
    """Robust scatter of the stamps' relative flux residuals beyond their noise."""
    stamp_x: NDArray[np.int64]
    stamp_y: NDArray[np.int64]

    def at(self, x: float, y: float) -> Matrix:
        """Return the kernel's image at a place."""
        terms = spatial_terms(np.array([x]), np.array([y]), self.shape, self.order)[0]
        return np.tensordot(self.coefficients @ terms, self.basis.images, axes=1)

    def components(self) -> Matrix:
        """Return the kernel image that multiplies each spatial term, shape (terms, n, n)."""
        return np.tensordot(self.coefficients.T, self.basis.images, axes=1)


def spatial_terms(x: NDArray[Any], y: NDArray[Any], shape: tuple[int, int], order: int) -> Matrix:
    """Return monomials of coordinates scaled to [-1, 1], shape (points, terms)."""
    u = 2 * np.asarray(x, dtype=float) / max(shape[1] - 1, 1) - 1
    v = 2 * np.asarray(y, dtype=float) / max(shape[0] - 1, 1) - 1
    return np.stack([u**i * v ** (d - i) for d in range(order + 1) for i in range(d + 1)], axis=-1)


def measure_stamps(
    science: NDArray[Any],
    variance: NDArray[Any],
    template: NDArray[Any],
    template_variance: NDArray[Any],
    usable: NDArray[np.bool_],
    *,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half: int,
    pad: int,
    basis: KernelBasis,
) -> Stamps:
    """Reduce each stamp to its normal matrix.

    Parameters
    ----------
    science, variance
        Science image (smoothed, if it is to be) and its variance, shape (rows, columns).
    template, template_variance
        Template with ``pad`` more pixels on each side.
    usable
        Pixels that count, shape (rows, columns).
    x, y, half
        Centres and half size of the stamps in the science image.
    pad
        Margin of the template, at least the kernel's half size.
    basis
        The kernel's basis.
    """
    raw = convolve_stamps(np.asarray(template, dtype=np.float64), x + pad, y + pad, half, basis.tables, basis.terms)
    count, members = len(x), len(basis.terms)
    model = np.einsum("mn,snp->smp", basis.mixing, raw.reshape(count, members, -1))
    model = np.concatenate([model, np.ones_like(model[:, :1])], axis=1)
    cut = _cutter(x, y, half)
    target, noise, good = cut(science), cut(variance), cut(usable)
    template_noise = cut(template_variance[pad : pad + science.shape[0], pad : pad + science.shape[1]])
    total = noise + template_noise + (SYSTEMATIC_FRACTION * target) ** 2
    floor = 1e-6 * max(float(np.median(total)), 1e-30)
    weight = np.where(good & np.isfinite(target), 1 / np.maximum(total, floor), 0.0)
    target = np.where(weight > 0, target, 0.0)
    weighted = model * weight[:, None]
    gram = weighted @ model.transpose(0, 2, 1)
    images = basis.images.reshape(members, -1)
    right = np.einsum("smp,sp->sm", weighted, target)
    return Stamps(
        x=x,
        y=y,
        gram=gram,
        right=right,
        square=np.sum(weight * target**2, axis=1),
        pixels=np.sum(weight > 0, axis=1).astype(float),
        noise=np.sum(weight * template_noise, axis=1),
        overlap=images @ images.T,
    )


def _cutter(x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> Any:
    steps = np.arange(-half, half + 1)
    rows = (y[:, None, None] + steps[None, :, None]).astype(np.intp)
    columns = (x[:, None, None] + steps[None, None, :]).astype(np.intp)

    def cut(image: NDArray[Any]) -> NDArray[Any]:
        stamps = image[rows, columns].reshape(len(x), -1)
        return stamps if stamps.dtype == bool else stamps.astype(np.float64)

    return cut


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
    simple = basis.subset(CANDIDATE_DEGREES[-1])
    keep = _clip(stamps, simple, min(_largest_order(len(stamps.x)), largest_order), shape)
    good = stamps.chosen(keep)
    require_stamps(len(good.x))
    degrees, order = _cross_validate(good, basis, shape, largest_order)
    members = basis.subset(degrees)
    keep = _clip(stamps, members, order, shape)
    good = stamps.chosen(keep)
    require_stamps(len(good.x))
    solution = _solve(good, members, order, shape)
    solution[: len(solution) - _background_terms(order)] *= _unattenuated(
        good, _stamp_coefficients(solution, good, members, order, shape)
    )
    per_stamp = _stamp_coefficients(solution, good, members, order, shape)
    chi2, _ = _chi2(good, per_stamp)
    delta, delta_error = _flux_residuals(good, per_stamp)
    coefficients = np.zeros((len(basis.terms), (order + 1) * (order + 2) // 2))
    coefficients[0, 0] = solution[0]
    coefficients[members[1:]] = solution[1 : len(solution) - _background_terms(order)].reshape(len(members) - 1, -1)
    background = np.zeros(3)
    background[: _background_terms(order)] = solution[len(solution) - _background_terms(order) :]
    return Kernel(
        basis=basis,
        shape=shape,
        order=order,
        members=members,
        coefficients=coefficients,
        background=background,
        sum=float(solution[0]),
        degrees=degrees,
        stamps_used=len(good.x),
        stamps_offered=len(stamps.x),
        chi2_per_pixel=float(np.median(chi2 / np.maximum(good.pixels, 1))),
        flux_scatter=float(np.sqrt(max(_robust_sigma(delta) ** 2 - float(np.median(delta_error)) ** 2, 0.0))),
        stamp_x=good.x,
        stamp_y=good.y,
    )


def require_stamps(count: int) -> None:
    """Raise `TooFewKernelStarsError` when a number of stamps cannot give a kernel."""
    if count < MINIMUM_STAMPS:
        raise TooFewKernelStarsError(f"Only {count} unsaturated isolated stars can give the kernel; 3 are needed.")


def _background_terms(order: int) -> int:
    return 3 if order > 0 else 1


def _design(stamps: Stamps, members: NDArray[np.int64], order: int, shape: tuple[int, int]) -> Matrix:
    """Return the matrix that turns parameters into each stamp's coefficients, shape (stamps, members + 1, parameters)."""
    terms = spatial_terms(stamps.x, stamps.y, shape, order)
    count, free, width = terms.shape[1], len(members) - 1, _background_terms(order)
    design = np.zeros((len(stamps.x), stamps.right.shape[1], 1 + free * count + width))
    design[:, 0, 0] = 1.0
    for n, member in enumerate(members[1:]):
        design[:, member, 1 + n * count : 1 + (n + 1) * count] = terms
    design[:, -1, design.shape[2] - width :] = spatial_terms(stamps.x, stamps.y, shape, 1)[:, :width]
    return design


def _solve(
    stamps: Stamps, members: NDArray[np.int64], order: int, shape: tuple[int, int], weight: Matrix | None = None
) -> Matrix:
    design = _design(stamps, members, order, shape)
    weight = np.ones(len(stamps.x)) if weight is None else weight
    normal = np.einsum("s,smp,smq->pq", weight, design, stamps.gram @ design, optimize=True)
    right = np.einsum("s,smp,sm->p", weight, design, stamps.right, optimize=True)
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    scaled = normal / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] += 1e-9
    return np.asarray(np.linalg.solve(scaled, right / scale) / scale)


def _stamp_coefficients(
    solution: Matrix, stamps: Stamps, members: NDArray[np.int64], order: int, shape: tuple[int, int]
) -> Matrix:
    return np.asarray(_design(stamps, members, order, shape) @ solution)


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


def _clip(stamps: Stamps, members: NDArray[np.int64], order: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Drop stamps whose residuals or flux ratio stand out: variable or moved stars, artefacts, unseen saturation.

    The first rounds weigh stamps down by their residuals (Cauchy weights) and tell no stamp bright from one faint, so that
    a few brilliant stars that changed cannot bend the fit towards themselves.
    """
    strength = np.maximum(stamps.square, 1e-30)
    weight = float(np.median(strength)) / np.maximum(strength, float(np.median(strength)))
    keep = np.ones(len(stamps.x), dtype=bool)
    for turn in range(_CLIP_ROUNDS):
        solution = _solve(stamps, members, order, shape, weight)
        coefficients = _stamp_coefficients(solution, stamps, members, order, shape)
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
    stamps: Stamps, basis: KernelBasis, shape: tuple[int, int], largest_order: int
) -> tuple[tuple[int, ...], int]:
    count = len(stamps.x)
    orders = range(min(_largest_order(count), largest_order) + 1)
    if count < 2 * MINIMUM_STAMPS:
        return CANDIDATE_DEGREES[-1], 0
    folds = min(_FOLDS, count)
    scores = {
        (degrees, order): _validation_score(stamps, basis.subset(degrees), order, shape, folds)
        for degrees, order in itertools.product(CANDIDATE_DEGREES, orders)
    }
    return min(scores, key=lambda candidate: scores[candidate])


def _validation_score(
    stamps: Stamps, members: NDArray[np.int64], order: int, shape: tuple[int, int], folds: int
) -> float:
    """Return the mean chi squared per pixel of stamps that were left out of the fit, the worst tenth capped."""
    fold = np.arange(len(stamps.x)) % folds
    parameters = 1 + (len(members) - 1) * (order + 1) * (order + 2) // 2
    if parameters > 8 * len(stamps.x):
        return float("inf")
    chi2 = np.zeros(len(stamps.x))
    for n in range(folds):
        solution = _solve(stamps.chosen(fold != n), members, order, shape)
        left_out = stamps.chosen(fold == n)
        values, _ = _chi2(left_out, _stamp_coefficients(solution, left_out, members, order, shape))
        chi2[fold == n] = values / np.maximum(left_out.pixels, 1)
    return float(np.mean(np.minimum(chi2, np.quantile(chi2, 0.9))))


def _robust_sigma(values: NDArray[Any]) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
