"""Makes NightMOPS' stage."""

from __future__ import annotations

from contextlib import ExitStack

from streams.compose import Wiring
from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store
from streams.nightmops.ephemerides import EphemerisBench, build_ephemerides
from streams.nightmops.stage import NightMopsState, nightmops_spec
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[NightMopsState]:
    """Return the stage that predicts moving objects."""
    settings = wiring.settings
    instrument, code = settings.night.instrument, settings.night.observatory
    folder = settings.state_dir / "nightmops"
    bench = EphemerisBench(instrument, code, objects=wiring.objects, folder=folder)
    bench.warm(settings.night.day_obs)
    return nightmops_spec(
        instrument,
        build=lambda day_obs: build_ephemerides(
            orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects),
            day_obs,
            instrument=instrument,
            code=code,
            objects=wiring.objects,
            memory_limit_bytes=settings.nightmops.memory_gb * 1e9,
        ),
        predict=bench.predict,
        opened=bench.open,
        work_ahead=bench.work_ahead,
        is_open=bench.is_open,
        settle=bench.settle,
    )
