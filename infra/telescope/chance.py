"""Random streams: one independent generator for each purpose, named by seed and labels."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Return the generator of a purpose; the same seed and labels give the same numbers, other labels independent ones.

    Parameters
    ----------
    seed
        Seed of the simulation.
    labels
        What the numbers are for, such as ``"noise", exposure, detector``.
    """
    words = [zlib.crc32(label.encode()) if isinstance(label, str) else label for label in labels]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
