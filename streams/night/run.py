"""Observe one simulated night on the running system, from the first announcement to the last manifest."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra import supervisor
from infra.settings import Settings
from infra.supervisor import EngineState
from infra.supervisor.control import PROCESSES_FILE
from infra.supervisor.spec import specs_from_json
from infra.telescope import Fault, PlannedVisit, build_release, plan_night
from infra.telescope.ocs import KafkaSink, OcsPlayer, plan_shift
from schemas.camera import load_camera
from schemas.errors import PermanentFailure, TransientFailure
from schemas.ids import sequence_of
from streams.compose import Wiring
from streams.daymops.errors import DayMopsError
from streams.daymops.run import run_nights
from streams.daymops.words import sentence_of
from streams.inputs import announce_release, ingest_release
from streams.night.asteroids import import_known
from streams.night.costs import CostMeter
from streams.night.follower import NightFollower
from streams.night.results import summarise
from streams.night.summary import NightSummary, summary_document
from streams.night.watch import NightView, night_ended
from streams.processes import stage_processes

__all__ = ["NightError", "NightPlan", "NightStalledError", "next_night", "observe", "prepare"]

PATIENCE_S = 180.0
"""How long nothing at all may happen before the night is given up."""

Say = Callable[[str], None]
Show = Callable[[NightView], None]


class NightError(PermanentFailure):
    """The night cannot be observed."""

    code = "night"


class NightStalledError(TransientFailure):
    """Nothing happened for too long."""

    code = "night_stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPlan:
    """What will be observed."""

    day_obs: int
    visits: tuple[PlannedVisit, ...]
    faults: dict[int, Fault]
    folder: Path
    set_up_s: float = 0.0
    known_asteroids: Mapping[str, int] = field(default_factory=dict)
    """The simulator's key of each asteroid in the imported catalogue, and its number."""


def next_night(settings: Settings, wanted: int | None = None) -> int:
    """Return the first night from the wanted one (the settings' when not given) of which there is no folder yet."""
    import datetime as dt

    date = dt.datetime.strptime(str(wanted or settings.night.day_obs), "%Y%m%d").date()
    while settings.night_dir(int(date.strftime("%Y%m%d"))).exists():
        if wanted is not None:
            raise NightError(f"Night {wanted} has been observed already in {settings.data_dir}; choose another.")
        date += dt.timedelta(days=1)
    return int(date.strftime("%Y%m%d"))


def prepare(settings: Settings, *, day_obs: int | None, faults: dict[int, Fault], say: Say) -> NightPlan:
    """Start the system unless it runs, make the data release unless it is cached, and plan the night.

    Parameters
    ----------
    settings
        Camera, seed, visits, bands, folders and ports.
    day_obs
        The night, YYYYMMDD; the next free one when not given.
    faults
        Faults by number of the visit, from 1.
    say
        Called with a sentence for each step of the set-up.
    """
    started = time.monotonic()
    if supervisor.status(settings).state is EngineState.RUNNING:
        _require_same_camera(settings)
    else:
        say("Starting the broker, the registry and every stage.")
        supervisor.up(settings, stage_processes(settings), progress=say)
    night, camera = settings.night, load_camera(settings.night.camera)
    say(f"Looking for the data release of the simulated sky (camera {camera.name}, seed {night.seed}).")

    def progress(step: str, done: int, total: int) -> None:
        say(f"  made {step} ({done} of {total})")

    release = build_release(camera, night.seed, settings.cache_dir, bands=night.bands, progress=progress)
    claim = ingest_release(release.directory, Wiring(settings).objects)
    announce_release(claim, settings.release_file)
    chosen = next_night(settings, day_obs)
    visits = plan_night(camera, night.seed, chosen, night.visits, bands=night.bands, n_snaps=night.snaps)
    known = import_known(settings, camera, night.seed, visits)
    folder = settings.night_dir(chosen)
    folder.mkdir(parents=True)
    by_visit = {visits[number - 1].visit: fault for number, fault in faults.items() if 0 < number <= len(visits)}
    took = time.monotonic() - started
    return NightPlan(
        day_obs=chosen,
        visits=tuple(visits),
        faults=by_visit,
        folder=folder,
        set_up_s=took,
        known_asteroids=known,
    )


def _require_same_camera(settings: Settings) -> None:
    specs = specs_from_json((settings.run_dir / PROCESSES_FILE).read_text())
    running = {spec.env.get("NIGHTCAST_NIGHT__CAMERA") for spec in specs if "NIGHTCAST_NIGHT__CAMERA" in spec.env}
    if running - {settings.night.camera}:
        raise NightError(
            f"The system runs for camera {', '.join(map(str, running))}, not {settings.night.camera}; "
            "stop it with `nightcast down` first."
        )


def observe(settings: Settings, plan: NightPlan, *, show: Show, say: Say) -> NightSummary:
    """Play the night and follow it until every visit has its manifest; write summary.json into the night's folder.

    Raises
    ------
    NightStalledError
        When nothing happens for three minutes.
    """
    wiring = Wiring(settings)
    follower = NightFollower(settings.bootstrap, wiring.codec, plan.day_obs)
    meter, player = CostMeter(settings), _Player(settings, wiring, plan)
    started = time.monotonic()
    meter.start()
    player.start()
    try:
        view = _follow(follower, player, planned=len(plan.visits), show=show)
    finally:
        player.stop()
        follower.close()
        costs = meter.stop()
    say("The night is over; judging it against the simulator's truth.")
    summary = summarise(
        settings,
        wiring.codec,
        view,
        truth=plan.folder / "truth",
        known=plan.known_asteroids,
        costs=costs,
        peak_rss_mb=meter.peak_rss_mb,
        wall_s=time.monotonic() - started,
        set_up_s=plan.set_up_s,
    )
    (plan.folder / "summary.json").write_text(json.dumps(summary_document(summary), indent=2) + "\n")
    _search(settings, plan.day_obs, say)
    return summary


def _search(settings: Settings, day_obs: int, say: Say) -> None:
    """Say that the night is over, so that DayMOPS searches it, and what it found; the night stands whatever comes of that."""
    say("DayMOPS searches the night for moving objects.")
    try:
        result = run_nights(settings, day_obs, reason="observed")
    except DayMopsError as error:
        say(str(error))
        return
    say(f"DayMOPS has nothing to say of night {day_obs}." if result.decision is None else sentence_of(result.decision))


def _follow(follower: NightFollower, player: _Player, *, planned: int, show: Show) -> NightView:
    view, quiet_since = follower.view, time.monotonic()
    while True:
        news = follower.poll(0.25)
        if news is not view:
            view, quiet_since = news, time.monotonic()
            show(view)
        player.check()
        if player.finished and night_ended(view, planned=planned):
            return view
        if time.monotonic() - quiet_since > PATIENCE_S:
            waiting = [str(sequence_of(v.visit)) for v in view.visits.values() if not v.ended]
            raise NightStalledError(
                f"Nothing happened for {PATIENCE_S:.0f} s while visits {', '.join(waiting) or 'none'} were open; "
                "see `nightcast status`, `nightcast jobs list` and the logs in the data directory."
            )


class _Player:
    """The simulated telescope in a thread."""

    def __init__(self, settings: Settings, wiring: Wiring, plan: NightPlan) -> None:
        shift = plan_shift(
            plan.visits,
            buffer=settings.camera_buffer(plan.day_obs),
            truth=plan.folder / "truth",
            faults=plan.faults,
        )
        self._ocs = OcsPlayer(
            shift,
            sink=KafkaSink(settings.bootstrap, settings.night.subname),
            registry=wiring.registry,
            subname=settings.night.subname,
            cadence_s=settings.night.cadence_s,
        )
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="telescope", daemon=True)

    @property
    def finished(self) -> bool:
        """Whether everything has been sent."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Begin to observe."""
        self._thread.start()

    def check(self) -> None:
        """Raise what stopped the telescope, if anything did."""
        if self._error is not None:
            raise NightError(f"The simulated telescope stopped: {self._error}.") from self._error

    def stop(self) -> None:
        """End the night early, or just wait for the thread that has ended."""
        self._stop.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        try:
            self._ocs.play(self._stop)
        except Exception as error:  # told to whoever follows the night
            self._error = error
