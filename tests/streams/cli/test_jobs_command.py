"""``nightcast jobs`` on the real broker."""

from __future__ import annotations

import json
import uuid

import pytest
from typer.testing import CliRunner, Result

from infra import kafka
from infra.registry import RegistryClient
from schemas import events
from schemas.wire import EventCodec
from streams.cli.jobs import app

pytestmark = pytest.mark.broker
JOB, VISIT = f"d-{uuid.uuid4().hex}", 2027011599990


@pytest.fixture(autouse=True)
def a_job(broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the facts and the last state of one job, and let the command find the cluster."""
    for name, value in broker.settings.environment().items():
        monkeypatch.setenv(name, value)
    codec = EventCodec(RegistryClient(broker.registry_url))
    producer = kafka.producer(broker.bootstrap, client_id="test")
    common = {"job_id": JOB, "kind": events.JobKind.DETECTOR, "instrument": "i", "visit": VISIT, "detectors": (3,)}
    failed = events.Failed(worker="w", epoch=1, code="truncated", reason="a file [3] is short", retriable=False)
    for fact in (events.Planned(inputs={}, exposures=(VISIT,), priority=1, parameters={}), failed):
        producer.produce("jobs", codec.encode("jobs", events.JobEvent(**common, fact=fact)))
    entry = events.JobLedgerEntry(
        **common, state="ended", worker="w", epoch=1, attempts=1, reason="a file [3] is short", updated_unix_s=1e9
    )
    producer.produce("job-ledger", codec.encode("job-ledger", entry), JOB.encode())
    assert producer.flush(20) == 0


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_list_gives_the_last_state_as_json() -> None:
    done = run("list", "--visit", str(VISIT), "--state", "ended", "--json")
    assert done.exit_code == 0, done.output
    (job,) = json.loads(done.stdout)
    assert (job["job_id"], job["reason"], job["kind"]) == (JOB, "a file [3] is short", "detector")
    assert job["updated"].startswith("2001-09-09T01:46:40")


def test_list_for_people_says_when_there_is_nothing() -> None:
    assert "There is no such job." in run("list", "--visit", "1").stdout


def test_explain_tells_the_whole_trail() -> None:
    done = run("explain", JOB, "--json")
    moments = json.loads(done.stdout)
    assert [m["what"] for m in moments][:2] == ["planned", "failed"]
    assert "a file [3] is short" in moments[1]["sentence"]
    assert "[3]" in run("explain", JOB).stdout


def test_an_unknown_job_is_one_sentence_and_exit_code_1() -> None:
    done = run("explain", "d-nothing")
    assert done.exit_code == 1
    assert "knows no job d-nothing" in done.stderr
