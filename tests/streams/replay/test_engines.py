"""A replay's system is kept apart from the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.settings import load_settings
from infra.supervisor.control import PROCESSES_FILE
from infra.supervisor.spec import specs_to_json
from schemas.events import AlertManifest, Cancelled, VisitClosed, VisitEvent
from schemas.tables import Claim
from streams.processes import stage_processes
from streams.replay.engines import MARKER, forget, only_variables, opened_log, replay_settings, settings_of
from streams.replay.errors import ReplayError
from streams.replay.recording import RecordingHeader
from streams.replay.run import Followed, follow

HEADER = RecordingHeader(
    nights=(20270115,), instrument="Ours", camera="tiny", subname="test", visits=(), schemas={}, files=(),
    release=Claim(uri="u", sha256="s", size=1), nights_folder="n", objects_folder=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def the_users_own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS", "elsewhere:9092")
    monkeypatch.setenv("NIGHTCAST_KAFKA__PARTITIONS", "8")


def test_a_replay_has_a_cluster_folder_and_ports_of_its_own_and_the_users_other_settings(tmp_path: Path) -> None:
    settings = replay_settings(HEADER, tmp_path)
    ports = {settings.kafka.port, settings.kafka.controller_port, settings.registry.port, settings.web.port}
    assert settings.embedded_broker
    assert len(ports | {settings.metrics.port}) == 5
    assert (settings.data_dir, settings.kafka.partitions) == (tmp_path, 8)
    assert (settings.night.camera, settings.night.instrument, settings.night.subname) == ("tiny", "Ours", "test")


def test_its_processes_do_not_see_the_users_cluster(tmp_path: Path) -> None:
    settings = replay_settings(HEADER, tmp_path)
    with only_variables(settings.environment(), tmp_path):
        assert load_settings() == settings
        assert "NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS" not in os.environ
    assert os.environ["NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS"] == "elsewhere:9092"
    assert "NIGHTCAST_DATA_DIR" not in os.environ


def test_the_settings_of_a_folder_are_those_it_was_started_with(tmp_path: Path) -> None:
    settings = replay_settings(HEADER, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / PROCESSES_FILE).write_text(specs_to_json(stage_processes(settings)))
    assert settings_of(tmp_path) == settings


def test_a_folder_on_which_nothing_ran_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="No system has ever run"), opened_log(str(tmp_path)):
        pass
    with pytest.raises(ReplayError, match="neither a data directory nor the address"), opened_log("nonsense"):
        pass
    with opened_log("host:9092") as address:
        assert address == "host:9092"


def test_only_a_replays_folder_is_forgotten(tmp_path: Path) -> None:
    precious = tmp_path / "night"
    precious.mkdir()
    (precious / "data").write_text("x")
    with pytest.raises(ReplayError, match="is not the folder of a replay"):
        forget(precious)
    assert (precious / "data").exists()
    (precious / MARKER).write_text("{}")
    forget(precious)
    assert not precious.exists()


def test_a_visit_has_ended_with_its_manifest_or_when_its_cancelling_is_closed() -> None:
    seen = Followed()

    def tell(visit: int, fact: Cancelled | VisitClosed) -> str | None:
        return follow(seen, VisitEvent(instrument="i", visit=visit, fact=fact))

    end = VisitClosed(outcomes=(), last_readout_mjd_tai=0.0, last_readout_sent_unix_s=0.0, reason="complete")
    assert tell(1, end) == "visit 1: closed (complete)"
    assert tell(2, Cancelled(reason="r")) is None
    assert [seen.has_ended(visit) for visit in (1, 2)] == [False, False]
    tell(2, end)
    manifest = AlertManifest(
        visit=1, expected=3, published=2, quarantined=1, alert_ids=(1, 2), digest="", failed_detectors=(),
        complete=False, latency_p50_s=0.0, latency_p95_s=0.0, latency_max_s=0.0,
    )  # fmt: skip
    assert follow(seen, manifest) == "visit 1: 2 of 3 alerts published"
    assert [seen.has_ended(visit) for visit in (1, 2)] == [True, True]
