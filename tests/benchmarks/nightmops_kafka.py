"""NightMOPS through Kafka: wall time from producing an announced visit to reading its committed prediction, real broker and stage."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from infra import kafka
from infra.objects import open_object_store
from infra.settings import Settings
from infra.supervisor import ProcessSpec, ready_file
from infra.supervisor.child import Child
from processors.moving_objects.nightly_covariance import covariances_of
from schemas.events import Announced, PredictedSsObjects, VisitEvent
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.moving_objects.orbit_store import import_catalogue
from streams.nightmops.ephemerides import mid_night_of
from streams.stage_codec import StageCodec
from tests.support.engine import running_engine
from tests.support.solar_system import large_population
from tests.support.timing import Measured

__all__ = ["measure"]

SIZES = {"1 M": 1_000_000}
VISITS = 60
DAY_OBS, CODE, INSTRUMENT = 20251121, "X05", "NightcastSim"
FIELDS = tuple((np.arange(VISITS // 2) * 4.4 - 12.0).tolist())
"""Right ascensions on the ecliptic up to opposition and beyond; each field is visited twice, as a survey does."""

FAR_FIELDS = (160.0, 280.0, 220.0, 310.0, 190.0, 250.0)
"""Each farther from all before it than the stage works ahead."""

PAUSE_S = 3.0
"""Between visits; a survey leaves half a minute and more."""

BEFORE = 300
"""Visits without a pause before those that count: the broker's Java code is compiled as it is used, and in a night it is used by every stage."""

PATIENCE_S = 900.0
"""How long the first visit of a night may take: it builds the night's ephemerides."""


def measure() -> Iterator[Measured]:
    """Yield the latency of fields seen for the first time and again, then that of the first visit after a restart of the stage."""
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder, running_engine(Path(folder)) as engine:
            settings = engine.settings
            _import(settings, size)
            with _Desk(settings) as desk:
                with _stage(settings):
                    rows = list(_latencies(name, desk))
                    yield from rows
                with _stage(settings):
                    seconds, _ = desk.visit(200.0, 60.0, mid_night_of(DAY_OBS, CODE))
                yield Measured(
                    what=f"first visit after a restart of the stage, {name} objects",
                    ours_s=seconds,
                    peer="field announced again",
                    peer_s=rows[0].peer_s,
                    note="wall time; a field with few objects; code and ephemerides are loaded before the stage is ready",
                )


@contextmanager
def _stage(settings: Settings) -> Iterator[Child]:
    """Run NightMOPS' stage as the process that production runs."""
    command = (sys.executable, "-m", "streams.run", "nightmops", "--name", "nightmops")
    env = {**settings.environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    spec = ProcessSpec(name="nightmops", argv=command, order=10, env=env, health=ready_file(settings, "nightmops"))
    child = Child(spec, logs_dir=settings.logs_dir, run_dir=settings.run_dir)
    child.start()
    try:
        child.wait_ready()
        yield child
    finally:
        child.stop()


def _import(settings: Settings, size: int) -> None:
    """Store a catalogue of numbered objects, with covariances."""
    population = large_population(size, 1, epoch_mjd_tdb=mid_night_of(DAY_OBS, CODE) - 1.0)
    rows = orbit_rows(size)
    rows["designation"], rows["epoch_mjd_tdb"] = np.arange(1, size + 1).astype("U16"), population.epoch_mjd_tdb
    for column, name in enumerate(STATE_COLUMNS):
        rows[name] = population.states[:, column]
    rows["h"], rows["g"] = population.h, population.slope
    for first in range(0, size, 100_000):
        part = slice(first, first + 100_000)
        set_covariances(rows[part], covariances_of(population.factors[part]))
    wiring = Wiring(settings)
    producer = BulkProducer(wiring.producer("import"), StageCodec(wiring.registry))
    import_catalogue(rows, "made up", events=(), objects=wiring.objects, producer=producer)


class _Desk:
    """Announces visits and reads predictions, as the observatory and the association do."""

    def __init__(self, settings: Settings) -> None:
        wiring = Wiring(settings)
        self.objects, self.codec = open_object_store(settings), wiring.codec
        self._producer: Producer = kafka.producer(settings.bootstrap, client_id="desk", linger_ms=0)
        self._consumer: Consumer = kafka.consumer(settings.bootstrap, "desk")
        self._consumer.assign([TopicPartition("predicted-ssobjects", 0, 0)])
        self._count = 0

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def visit(self, ra: float, dec: float, mjd_tai: float) -> tuple[float, PredictedSsObjects]:
        """Announce a visit; return the seconds until its prediction was read, and the prediction."""
        self._count += 1
        announced = Announced(
            group_id="g", day_obs=DAY_OBS, n_snaps=2, band="r", ra=ra, dec=dec, rotation=0.0, exposure_time=15.0,
            start_mjd_tai=mjd_tai, duration=34.0, camera="lsstcam", detectors=(0,), survey="benchmark",
        )  # fmt: skip
        event = VisitEvent(instrument=INSTRUMENT, visit=DAY_OBS * 100_000 + self._count, fact=announced)
        payload = self.codec.encode("visit-events", event)
        started = time.perf_counter()
        self._producer.produce("visit-events", payload, key=INSTRUMENT)
        self._producer.flush(0)
        message = self._next(started)
        seconds = time.perf_counter() - started
        prediction = self.codec.decode(PredictedSsObjects, message)
        assert prediction.visit == event.visit
        return seconds, prediction

    def look(self, ra: float, mjd_tai: float) -> tuple[float, int]:
        """Announce a field on the ecliptic when the stage had its time; return the seconds and how many objects it has."""
        time.sleep(PAUSE_S)
        dec = float(np.degrees(np.arctan(np.tan(np.radians(23.44)) * np.sin(np.radians(ra)))))
        seconds, prediction = self.visit(ra % 360.0, dec, mjd_tai)
        return seconds, prediction.count

    def _next(self, started: float) -> bytes:
        while time.perf_counter() - started < PATIENCE_S:
            message = self._consumer.poll(0.5)
            value = message.value() if message is not None and message.error() is None else None
            if value is not None:
                return value
        raise TimeoutError("No prediction came.")


def _latencies(name: str, desk: _Desk) -> Iterator[Measured]:
    middle = mid_night_of(DAY_OBS, CODE)
    built, _ = desk.visit(200.0, 70.0, middle - 0.2)
    before = [desk.visit((FIELDS[0] - 4.4) % 360.0, -5.0, middle - 0.2 + 1e-5 * number) for number in range(BEFORE)]
    desk.look(FIELDS[0] - 4.4, middle - 0.2)
    looks = [
        [desk.look(ra, middle - 0.15 + 0.006 * k + later) for later in (0.0, 0.002)] for k, ra in enumerate(FIELDS)
    ]
    far = [desk.look(ra, middle + 0.1) for ra in FAR_FIELDS]
    (new, of_new), (again, of_again), (jump, _) = (
        np.percentile([seconds for seconds, _ in some], [50, 95])
        for some in ([first for first, _ in looks], [second for _, second in looks], far)
    )
    counts = [count for pair in looks for _, count in pair]
    note = (
        f"wall time, median of {len(looks)} visits each; 95th percentile {1e3 * of_new:.0f} and {1e3 * of_again:.0f} ms; "
        f"{min(counts):,} to {max(counts):,} objects a field on the ecliptic; {PAUSE_S:.0f} s between visits; load of the machine "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )
    what = f"announced visit to committed prediction, {name} objects"
    row = functools.partial(Measured, peer="field announced again", peer_s=float(again))
    quick = before[BEFORE // 3 :]
    yield row(
        what=f"{what}, one visit after the other",
        ours_s=float(np.median([seconds for seconds, _ in quick])),
        note=f"median of {len(quick)} without a pause, {quick[0][1].count:,} objects in the field",
    )
    yield row(what=f"{what}, field beside the last", ours_s=float(new), note=note)
    yield row(
        what=f"{what}, field far from all before",
        ours_s=float(jump),
        note=f"median of {len(far)}, {min(c for _, c in far):,} to {max(c for _, c in far):,} objects a field; the night's first "
        f"visit, which builds from the orbit store, {built:.0f} s",
    )
