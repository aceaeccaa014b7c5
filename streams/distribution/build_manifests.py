"""Makes the stage that writes manifests."""

from __future__ import annotations

from contextlib import ExitStack

from streams.compose import Wiring
from streams.distribution.manifests import ManifestState, manifest_spec
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[ManifestState]:
    """Return the stage that writes manifests; it needs nothing but the logs."""
    return manifest_spec()
