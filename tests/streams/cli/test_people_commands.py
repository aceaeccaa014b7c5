"""Commands for alerts, objects, dead letters and schemas, on a real broker and on files."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from infra.kafka import producer
from infra.ports import free_port
from infra.reading import read_to_end
from infra.registry.client import RegistryClient
from schemas import events
from schemas.wire import EventCodec
from streams.cli import alerts, dlq, objects, schemas_command
from tests.support.engine import RunningEngine
from tests.support.packets import build_sky
from tests.support.toolkits import put_into_kafka
from tests.support.waiting import PATIENCE_S

STORIES = build_sky(objects=2, epochs=3, ra=45.0, dec=-20.0)
STORY = STORIES[0]
ALERT = STORY.alerts[-1]
REAL = Path(__file__).parents[2] / "data" / "alerts"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def filled(broker: RunningEngine) -> RunningEngine:
    """The broker with built alerts in its topics."""
    put_into_kafka(broker.bootstrap, broker.registry_url, STORIES)
    return broker


@pytest.fixture
def environment(filled: RunningEngine, tmp_path: Path) -> dict[str, str]:
    """Variables that lead a command to the broker, with a data directory of its own."""
    kafka = filled.settings.kafka.model_copy(update={"bootstrap_servers": filled.bootstrap})
    return filled.settings.model_copy(update={"data_dir": tmp_path, "kafka": kafka}).environment()


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return _run


@pytest.fixture
def run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command where no broker answers."""
    monkeypatch.setenv("NIGHTCAST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    return _run


@pytest.fixture(autouse=True)
def signals_kept() -> Iterator[None]:
    """Give signals their handlers back, which `alerts tail` changes."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def _run(app: Any, *arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.mark.broker
def test_tail_gives_every_alert_of_the_public_topic(run: Run) -> None:
    answer = run(alerts.app, "tail", "-b", "-e", "--json")
    assert answer.exit_code == 0
    found = {record["diaSourceId"]: record for record in map(json.loads, answer.stdout.splitlines())}
    truth = {str(alert.alert_id) for story in STORIES for alert in story.alerts}
    assert truth <= set(found)
    record = found[str(ALERT.alert_id)]
    assert record["diaSource"]["psfFlux"] == pytest.approx(ALERT.record["diaSource"]["psfFlux"], rel=1e-6)
    assert record["cutoutScience"] == {"bytes": len(ALERT.record["cutoutScience"])}


@pytest.mark.broker
def test_tail_ends_after_a_count_with_a_line_for_people(run: Run) -> None:
    answer = run(alerts.app, "tail", "-b", "-n", "2")
    assert answer.exit_code == 0
    assert len(answer.stdout.splitlines()) == 2
    assert "S/N" in answer.stdout


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_in_the_background_ends_cleanly(environment: dict[str, str], number: signal.Signals) -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts `command &`
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", "from streams.cli.alerts import app; app()", "tail", "-b"],
            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, previous)
    assert process.stdout is not None
    assert "object" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.broker
def test_show_by_id_and_as_json(run: Run) -> None:
    assert "Every rule is kept." in run(alerts.app, "show", str(ALERT.alert_id)).stdout
    record = json.loads(run(alerts.app, "show", f"LSST-AP-DS-{ALERT.alert_id}", "--json").stdout)
    assert record["diaSource"]["visit"] == str(ALERT.visit)
    missing = run(alerts.app, "show", "5")
    assert (missing.exit_code, "no alert 5" in missing.stderr) == (1, True)


@pytest.mark.broker
def test_validate_the_whole_store(run: Run) -> None:
    answer = run(alerts.app, "validate", "--all", "--json")
    found = json.loads(answer.stdout)
    ours = {str(alert.alert_id) for story in STORIES for alert in story.alerts}
    assert found["alerts"] >= len(ours)
    assert [one for one in found["violations"] if one["alert_id"] in ours] == []


@pytest.mark.broker
def test_export_an_object_in_every_form(run: Run, tmp_path: Path) -> None:
    number = str(STORIES[1].object_id)
    truth = [alert.alert_id for alert in STORIES[1].alerts]
    for form in ("avro", "json", "parquet"):
        assert (
            run(alerts.app, "export", "--object", number, "-f", form, "-o", str(tmp_path / f"out.{form}")).exit_code
            == 0
        )
    with (tmp_path / "out.avro").open("rb") as file:
        exported = [record["diaSourceId"] for record in fastavro.reader(file)]  # type: ignore[index, call-overload]
    assert exported == truth
    lines = (tmp_path / "out.json").read_text().splitlines()
    assert [json.loads(line)["diaSourceId"] for line in lines] == [str(one) for one in truth]
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["diaSourceId"].to_pylist() == truth
    assert table["cutout_science"][0].as_py() == STORIES[1].alerts[0].record["cutoutScience"]
    run(alerts.app, "export", str(ALERT.alert_id), "-f", "fits", "-o", str(tmp_path / "stamps"))
    with fits.open(tmp_path / "stamps" / f"alert-{ALERT.alert_id}.fits") as hdus:
        assert hdus[0].header["ALERTID"] == str(ALERT.alert_id)


@pytest.mark.broker
def test_list_and_near(run: Run) -> None:
    listed = json.loads(run(alerts.app, "list", "45.0 -20.0", "--json").stdout)
    assert {one["object_id"] for one in listed} == {str(STORY.object_id)}
    near = json.loads(run(objects.app, "near", "03:00:00 -20:00:00", "--radius", "30", "--json").stdout)
    assert [one["object_id"] for one in near] == [str(story.object_id) for story in STORIES]
    assert "No object is there." in run(objects.app, "near", "45 80").stdout


@pytest.mark.broker
def test_object_show(run: Run) -> None:
    shown = json.loads(run(objects.app, "show", str(STORY.object_id), "--json").stdout)
    assert shown["record"]["nDiaSources"] == 3
    assert [one["kind"] for one in shown["light_curve"]].count("detection") == 3
    assert len(shown["alerts"]) == 3
    assert "Light curve: 6 measurements" in run(objects.app, "show", str(STORY.object_id)).stdout


@pytest.mark.broker
def test_rebuild(run: Run) -> None:
    assert "made again from" in run(alerts.app, "rebuild").stdout


@pytest.mark.broker
def test_dead_letters_are_listed_shown_and_put_back(run: Run, filled: RunningEngine) -> None:
    codec = EventCodec(RegistryClient(filled.registry_url))
    letter = events.DeadLetter(
        origin_topic="known-objects", origin_partition=0, origin_offset=7, key=b"NightcastSim", payload=b"not an event",
        stage="detectors", code="undecodable_event", reason="These bytes are no event.", attempts=1, failed_unix_s=1.8e9,
    )  # fmt: skip
    client = producer(filled.bootstrap, client_id="test")
    client.produce("dlq.known-objects", key=b"NightcastSim", value=codec.encode("dlq.known-objects", letter))
    assert client.flush(20) == 0
    place = json.loads(run(dlq.app, "list", "known-objects", "--json").stdout)[-1]["place"]
    assert "undecodable: 6e 6f 74" in run(dlq.app, "show", "known-objects", place).stdout
    before = len(list(read_to_end(filled.bootstrap, "known-objects")))
    assert "would go back" in run(dlq.app, "requeue", "known-objects", place, "--dry-run").stdout
    assert "1 event went back" in run(dlq.app, "requeue", "known-objects", place).stdout
    back = list(read_to_end(filled.bootstrap, "known-objects"))
    assert len(back) == before + 1
    assert (back[-1].key(), back[-1].value()) == (b"NightcastSim", b"not an event")
    assert run(dlq.app, "requeue", "known-objects").exit_code == 2
    assert "has no dead letter at 9:9" in run(dlq.app, "show", "known-objects", "9:9").stderr
    assert "has no dead letters" in run(dlq.app, "list", "alert-store").stderr


@pytest.mark.broker
def test_registered_schemas(run: Run) -> None:
    listed = json.loads(run(schemas_command.app, "list", "--registered", "--json").stdout)
    assert {"subject": "alert-packet", "version": 1101, "id": 1101, "record": "alert"}.items() <= {
        key: value.removeprefix("lsst.v11_1.") if isinstance(value, str) else value
        for key, value in next(one for one in listed if one["subject"] == "alert-packet").items()
    }.items()


def test_schemas_without_any_engine(run_alone: Run) -> None:
    assert "visit-events" in run_alone(schemas_command.app, "list").stdout
    shown = run_alone(schemas_command.app, "show", "diaSource").stdout
    assert "nJy" in shown
    assert json.loads(run_alone(schemas_command.app, "show", "1101", "--json").stdout)["name"].endswith("alert")
    assert json.loads(run_alone(schemas_command.app, "show", "visit-events", "--json").stdout)["name"] == "VisitEvent"


@pytest.mark.parametrize("file", ["derived_wire_v11_1_0.bin", "sso_4.bin", "ztf_v4_02_ZTF17aaarzyp.avro"])
def test_files_of_others_are_shown_and_exported_without_any_engine(run_alone: Run, file: str, tmp_path: Path) -> None:
    assert "Stamps" in run_alone(alerts.app, "show", str(REAL / file)).stdout
    out = tmp_path / "again.avro"
    assert run_alone(alerts.app, "export", str(REAL / file), "-o", str(out)).exit_code == 0
    assert len(list(fastavro.reader(io.BytesIO(out.read_bytes())))) == 1


def test_validate_names_what_is_wrong_and_ends_with_1(run_alone: Run) -> None:
    answer = run_alone(alerts.app, "validate", str(REAL / "sso_4.bin"), "--json")
    found = json.loads(answer.stdout)
    assert answer.exit_code == 1
    assert found["alerts"] == 1
    assert all(one["sentence"].endswith(".") for one in found["violations"])


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("show", "no-such-file"), 1, "neither an identifier nor a file"),
        (("validate",), 2, "--all"),
        (("export", "1", "-f", "xlsx"), 2, "none of"),
        (("show", "12345"), 1, "does not answer"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(
    run_alone: Run, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    answer = run_alone(alerts.app, *arguments)
    assert answer.exit_code == code
    assert sentence in " ".join(answer.stderr.split())


def test_tail_without_a_broker_says_so(run_alone: Run) -> None:
    started = time.monotonic()
    answer = run_alone(alerts.app, "tail", "-e")
    assert (answer.exit_code, "does not answer" in answer.stderr) == (1, True)
    assert time.monotonic() - started < 30
    assert threading.active_count() < 50
