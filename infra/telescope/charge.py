"""What charge does to itself in thick CCDs: the brighter-fatter effect, and charge that arrives late at the output.

Both are off for the simulated nights unless asked for (``--charge-effects``) and on where a scene asks for them (`ChargeEffects`).

Brighter-fatter. Charge collected so far repels what arrives. With the potential ``phi = K (*) Q`` of a small symmetric kernel
``K`` (1/electron) and the light ``F`` of a time step, the charge that crosses the face between a pixel ``p`` and its neighbour ``q``
is ``T(p -> q) = (F_p + F_q) / 2 * (phi_p - phi_q)``; no charge crosses the CCD's border, so charge is conserved; beyond it ``Q`` goes on
as its border's pixels. Over an exposure
``Q = F - 1/2 sum_q T(p -> q)[F, K (*) F]`` to first order, which is
what a correction has to invert: the scalar kernel model of
Coulton et al. (2018, AJ 155, 258) in its flux form. In a flat of mean ``mu`` a Fourier mode has the power
``(exp(2 lambda mu) - 1) / (2 lambda)`` with ``lambda`` the transform of ``A = Laplacian (*) K``: the photon transfer curve turns
over, the covariance of pixels ``(i, j)`` apart is ``A_ij mu^2`` to first order, and all covariances sum to ``mu``.

Deferred charge. Each row of an amplifier leaves through its serial register: first pixel first, the empty overscan last. Three things
happen, in this order, with the constants of `schemas.raw.ChargeTransfer`:

1. a trap in the register at column ``c``, empty when a row starts, meets every pixel from ``c`` on: it releases
   ``q (1 - exp(-1/tau))`` of what it holds into the pixel, then takes ``min(share * s, capacity) - q`` from it if that is positive;
2. every transfer leaves the part ``epsilon`` of the charge behind. A pixel of column ``j`` needs ``n = prescan + j + 1`` transfers, so
   the share that arrives ``k`` pixels late is ``C(n + k - 1, k) epsilon^k (1 - epsilon)^n`` (``k`` up to 3, which keeps the rest);
3. the output amplifier remembers: a pixel reads ``s_j + o_j`` with ``o_j = m_(j-1) exp(-1/tau_o)`` and
   ``m_j = max(scale * min(s_j, limit), o_j)``. This is an offset, no charge.

Traps and transfers conserve charge, but for what a trap holds when the row ends. The model is that of Snyder et al. (2021,
J. Astron. Telesc. Instrum. Syst. 7, 048002): output offset, proportional loss, traps of one capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from infra.telescope.chance import generator
from schemas.camera import Amplifier, Detector
from schemas.raw import ChargeTransfer

__all__ = [
    "BrighterFatter",
    "ChargeEffects",
    "accumulate",
    "defer_charge",
    "draw_charge_effects",
    "face_transfers",
]

KERNEL_HALF = 8
"""Half size of the kernel, pixels."""

STEPS = 4
"""Time steps of an exposure: enough, as the kernel is scaled so that first order is exact (`accumulate`)."""

LATEST = 3
"""Pixels by which late charge can be late."""

_Image = NDArray[np.float32]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrighterFatter:
    """Kernel of the brighter-fatter effect: ``strength * (1 + ((x / a)^2 + (a y)^2) / radius^2)^(-3/2)``."""

    strength: float = 0.92e-6
    """Per electron; with the other values the variance's term is -3e-6 mu^2, as in LSST's sensors (Astier et al. 2019)."""
    radius: float = 0.7
    """Pixels."""
    anisotropy: float = 1.12
    """Columns are separated by channel stops, rows by weaker barriers: the effect is larger along y."""

    def kernel(self) -> _Floats:
        """Return the kernel, 17 x 17 pixels, ``[y, x]``."""
        place = np.arange(-KERNEL_HALF, KERNEL_HALF + 1)
        x, y = place[None, :] / self.anisotropy, self.anisotropy * place[:, None]
        return np.asarray(self.strength * (1 + (x * x + y * y) / self.radius**2) ** -1.5)

    def covariance_coefficients(self) -> _Floats:
        """Return A of the module's text, 19 x 19 pixels: covariance at a distance per squared mean, to first order."""
        wide = np.pad(self.kernel(), 2)
        centre = wide[1:-1, 1:-1]
        return np.asarray(wide[2:, 1:-1] + wide[:-2, 1:-1] + wide[1:-1, 2:] + wide[1:-1, :-2] - 4 * centre)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeEffects:
    """Which effects a detector shows; None switches one off."""

    brighter_fatter: BrighterFatter | None = None
    transfer: ChargeTransfer | None = None


def draw_charge_effects(seed: int, detector: Detector) -> ChargeEffects:
    """Draw a detector's charge effects: losses of some 1e-6 as measured on LSST's sensors, a trap in one amplifier of four."""
    random = generator(seed, "charge", detector.id)
    count, width = len(detector.amplifiers), min(a.width for a in detector.amplifiers)
    trapped = np.arange(count) % 4 == int(random.integers(4))
    transfer = ChargeTransfer(
        loss=random.uniform(0.8e-6, 2.5e-6, count),
        trap_column=random.integers(width // 8, width - 8, count),
        trap_capacity=np.where(trapped, random.uniform(20.0, 80.0, count), 0.0),
        trap_share=np.full(count, 0.05),
        trap_release=random.uniform(1.0, 4.0, count),
        offset_scale=random.uniform(0.5e-4, 2.0e-4, count),
        offset_limit=np.full(count, 50_000.0),
        offset_decay=random.uniform(1.0, 2.5, count),
    )
    return ChargeEffects(brighter_fatter=BrighterFatter(), transfer=transfer)


def accumulate(expected: _Image, effect: BrighterFatter, random: np.random.Generator) -> _Image:
    """Collect an exposure in steps, each deflected by the charge of the steps before.

    Parameters
    ----------
    expected
        Mean electrons of the exposure.
    effect
        The kernel. It is scaled by ``n / (n - 1)`` for ``n`` steps: charge collected within a step acts on the next ones only, and
        both the mean deflection and the covariances then have their exact first order.
    random
        Source of the shot noise.
    """
    kernel = (effect.kernel() * STEPS / (STEPS - 1)).astype(np.float32)
    light = expected / np.float32(STEPS)
    charge = random.poisson(light).astype(np.float32)
    for _ in range(STEPS - 1):
        potential = _potential(charge, kernel)
        charge += random.poisson(np.maximum(light - face_transfers(light, potential), 0))
    return charge


def _potential(charge: _Image, kernel: _Image) -> _Image:
    """Convolve, with the border's pixels going on beyond the border."""
    half = kernel.shape[0] // 2
    return np.asarray(oaconvolve(np.pad(charge, half, mode="edge"), kernel, mode="valid"), np.float32)


@numba.njit(cache=True)
def face_transfers(light, potential):  # type: ignore[no-untyped-def]
    """Return the charge that leaves every pixel through its four faces, less what enters."""
    rows, columns = light.shape
    out = np.zeros_like(light)
    for y in range(rows):
        for x in range(columns):
            if x + 1 < columns:
                moved = 0.5 * (light[y, x] + light[y, x + 1]) * (potential[y, x] - potential[y, x + 1])
                out[y, x] += moved
                out[y, x + 1] -= moved
            if y + 1 < rows:
                moved = 0.5 * (light[y, x] + light[y + 1, x]) * (potential[y, x] - potential[y + 1, x])
                out[y, x] += moved
                out[y + 1, x] -= moved
    return out


def defer_charge(charge: NDArray[Any], transfer: ChargeTransfer, index: int, amplifier: Amplifier) -> _Image:
    """Return what leaves an amplifier: its imaging columns, then the serial overscan, in read-out order.

    Parameters
    ----------
    charge
        Electrons of the imaging part, ``[row, column]`` in read-out order.
    transfer, index
        The detector's constants and the amplifier's place among them.
    amplifier
        The amplifier; of it only the numbers of columns are used.
    """
    out = np.zeros((charge.shape[0], charge.shape[1] + amplifier.serial_overscan), np.float64)
    out[:, : charge.shape[1]] = charge
    t, i = transfer, index
    if t.trap_capacity[i] > 0:
        kept = float(np.exp(-1 / t.trap_release[i]))
        _trap(out, int(t.trap_column[i]), float(t.trap_capacity[i]), float(t.trap_share[i]), kept)
    _transfer(out, _late_shares(float(t.loss[i]), amplifier.prescan + 1 + np.arange(out.shape[1])))
    _remember(out, float(t.offset_scale[i]), float(t.offset_limit[i]), float(np.exp(-1 / t.offset_decay[i])))
    return out.astype(np.float32)


def _late_shares(loss: float, transfers: NDArray[np.int64]) -> _Floats:
    """Return the shares that arrive 0 to `LATEST` pixels late, by column; each row sums to 1."""
    n = transfers.astype(np.float64)
    shares = np.empty((transfers.size, LATEST + 1))
    shares[:, 0] = (1 - loss) ** n
    for k in range(1, LATEST):
        shares[:, k] = shares[:, k - 1] * (n + k - 1) / k * loss
    shares[:, LATEST] = 1 - shares[:, :LATEST].sum(axis=1)
    return shares


@numba.njit(cache=True)
def _trap(rows, column, capacity, share, keep):  # type: ignore[no-untyped-def]
    for row in range(rows.shape[0]):
        held = 0.0
        for x in range(column, rows.shape[1]):
            released = held * (1.0 - keep)
            held -= released
            rows[row, x] += released
            taken = min(share * rows[row, x], capacity) - held
            if taken > 0:
                rows[row, x] -= taken
                held += taken


@numba.njit(cache=True)
def _transfer(rows, late):  # type: ignore[no-untyped-def]
    columns, steps = late.shape
    for row in range(rows.shape[0]):
        for x in range(columns - 1, -1, -1):
            total = 0.0
            for k in range(min(steps, x + 1)):
                total += rows[row, x - k] * late[x - k, k]
            rows[row, x] = total


@numba.njit(cache=True)
def _remember(rows, scale, limit, keep):  # type: ignore[no-untyped-def]
    for row in range(rows.shape[0]):
        memory = 0.0
        for x in range(rows.shape[1]):
            offset = memory * keep
            memory = max(scale * min(rows[row, x], limit), offset)
            rows[row, x] += offset
