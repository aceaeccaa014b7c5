"""Recording a night and reading a run back, on the real broker."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from typing import Any

import fastavro
import pytest
from typer.testing import CliRunner

from infra import kafka, sal
from infra.objects import open_object_store
from infra.registry import RegistryClient
from infra.topics_admin import create_topics
from schemas import avro, events, public
from schemas.tables import Claim, Table
from schemas.wire import EventCodec, frame
from streams.cli.replay import app
from streams.compose import Wiring
from streams.replay.errors import ReplayError
from streams.replay.logs import compare_runs, read_run
from streams.replay.record import record_night
from streams.replay.recording import read_recording

pytestmark = pytest.mark.broker

NIGHT = 20271231
FIRST, SECOND = NIGHT * 100_000 + 1, NIGHT * 100_000 + 3
BEFORE = (NIGHT - 1) * 100_000 + 1


def produce(broker: Any, topic: str, values: list[Any], keys: list[bytes] | None = None, headers: Any = None) -> None:
    codec, producer = EventCodec(RegistryClient(broker.registry_url)), kafka.producer(broker.bootstrap, client_id="t")
    for number, value in enumerate(values):
        data = value if isinstance(value, bytes) else codec.encode(topic, value)
        producer.produce(topic, data, keys[number] if keys else b"i", headers=headers)
        assert producer.flush(20) == 0


def visit_event(visit: int, fact: Any) -> events.VisitEvent:
    return events.VisitEvent(instrument="i", visit=visit, fact=fact)


def announced(visit: int) -> events.VisitEvent:
    fact = events.Announced(
        group_id="g", day_obs=visit // 100_000, n_snaps=1, band="r", ra=0.0, dec=0.0, rotation=0.0, exposure_time=15.0,
        start_mjd_tai=61400.0, duration=40.0, camera="tiny", detectors=(0,), survey="s",
    )  # fmt: skip
    return visit_event(visit, fact)


def planned(visit: int, release: str) -> events.JobEvent:
    fact = events.Planned(inputs={"release": release}, exposures=(visit,), priority=1, parameters={})
    return events.JobEvent(
        job_id=f"d-{visit}-000", kind=events.JobKind.DETECTOR, instrument="i", visit=visit, detectors=(0,), fact=fact
    )


def result(visit: int, rows: int) -> events.DetectorResult:
    return events.DetectorResult(
        instrument="i", visit=visit, detector=0, job_id=f"d-{visit}-000", band="r", midpoint_mjd_tai=61400.0,
        exposure_time=30.0, diasources=Table.from_array(public.null_rows("diaSource", rows)),
        forced=Table.from_array(public.null_rows("diaForcedSource", 0)), metrics={}, cutouts=None, calibrated=None,
        inputs={}, notes=(),
    )  # fmt: skip


def sal_message(broker: Any, event: sal.SalEvent, visit: int) -> bytes:
    group = sal.group_id_of(visit // 100_000, visit % 100_000)
    record = {"groupId": group} if event.component == "ScriptQueue" else {}
    extra = {"additionalKeys": "imageType:groupId", "additionalValues": f"OBJECT:{group}"}
    codec = sal.SalCodec(RegistryClient(broker.registry_url), "sal")
    return codec.encode(event, record or extra)


@pytest.fixture(scope="module")
def release(broker) -> Claim:
    """Two nights of messages, with their visits and jobs."""
    create_topics(broker.bootstrap, topics=sal.sal_topics("sal"))
    claim = open_object_store(broker.settings).put(b'{"name":"release of this test"}')
    for visit in (BEFORE, FIRST, SECOND):
        for event in (sal.NEXT_VISIT, sal.START_INTEGRATION, sal.END_READOUT):
            if visit == SECOND and event is sal.START_INTEGRATION:
                produce(broker, sal.topic_of("sal", event), [b"\x00garbage"])
            produce(broker, sal.topic_of("sal", event), [sal_message(broker, event, visit)], [sal.sal_key(event)])
        produce(broker, "visit-events", [announced(visit)])
        produce(broker, "jobs", [planned(visit, claim.sha256)])
    return claim


def test_a_night_is_recorded_with_the_nights_before_it(broker, release: Claim) -> None:
    recording = record_night(broker.settings, Wiring(broker.settings), NIGHT)
    assert recording.header.release == release
    assert recording.header.nights[-2:] == (NIGHT - 1, NIGHT)
    assert recording.header.visits[-3:] == (BEFORE, FIRST, SECOND)
    own = [m for m in recording.messages if m.visit in {BEFORE, FIRST, SECOND, None}][-10:]
    assert [m.visit for m in own] == [BEFORE] * 3 + [FIRST] * 3 + [SECOND, None, SECOND, SECOND]
    assert [m.topic.rpartition("_")[2] for m in own[:3]] == ["nextVisit", "startIntegration", "endReadout"]
    framed = {int.from_bytes((m.value or b"")[1:5]) for m in own if m.visit}
    assert {str(number) for number in framed} <= recording.header.schemas.keys()


def test_a_night_alone(broker, release: Claim) -> None:
    recording = record_night(broker.settings, Wiring(broker.settings), NIGHT, alone=True)
    assert recording.header.visits == (FIRST, SECOND)
    assert len(recording.messages) == 7


def test_a_night_that_never_was(broker, release: Claim) -> None:
    with pytest.raises(ReplayError, match="hold nothing of night 19990101"):
        record_night(broker.settings, Wiring(broker.settings), 19990101)


def test_only_accepted_results_and_asked_nights_are_compared(broker) -> None:
    produce(broker, "detector-results", [result(FIRST, 1), result(FIRST, 2), result(BEFORE, 3)])
    run = read_run(broker.bootstrap, {NIGHT})
    assert run.logs["detector-results"].values == {}
    place = _last_results(broker)[-2]
    ref = events.ResultRef(job_id="j", epoch=1, sha256="s", partition=place[0], offset=place[1])
    outcome = events.DetectorOutcome(detector=0, status=events.OutcomeStatus.SUCCEEDED, result=ref)
    end = events.VisitClosed(
        outcomes=(outcome,), last_readout_mjd_tai=0.0, last_readout_sent_unix_s=0.0, reason="complete"
    )
    produce(broker, "visit-events", [visit_event(FIRST, end)])
    run = read_run(broker.bootstrap, {NIGHT})
    assert list(run.logs["detector-results"].values) == [(FIRST, 0)]
    assert compare_runs(run, run).identical
    values = dict(run.logs["detector-results"].values) | {(FIRST, 0): _datum(result(FIRST, 3))}
    other = replace(run, logs=run.logs | {"detector-results": replace(run.logs["detector-results"], values=values)})
    (topic,) = [t for t in compare_runs(run, other).topics if not t.identical]
    assert (topic.changed[0].field, topic.changed[0].left, topic.changed[0].right) == (
        "diasources.diaSourceId.length", "2", "3",
    )  # fmt: skip


def test_runs_without_anything_are_not_called_the_same(broker) -> None:
    empty = read_run(broker.bootstrap, {20500101})
    with pytest.raises(ReplayError, match="Neither of the two runs holds anything"):
        compare_runs(empty, empty)


def test_the_commands_record_and_compare(broker, release: Claim, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in broker.settings.environment().items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "night.avro"
    done = CliRunner().invoke(app, ["record", str(NIGHT), "--alone", "--to", str(file), "--json"])
    assert json.loads(done.stdout) == {
        "file": str(file), "nights": [NIGHT], "visits": 2, "messages": 7, "frames": 0,
    }  # fmt: skip
    assert asdict(read_recording(file).header)["camera"] == "tiny"
    produce(broker, "association-log", [_decision()])
    done = CliRunner().invoke(app, ["compare", broker.bootstrap, broker.bootstrap, "--night", str(NIGHT), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["identical"]
    assert document["topics"]["association-log"]["same"] == 1
    for_people = CliRunner().invoke(app, ["compare", broker.bootstrap, broker.bootstrap, "--night", str(NIGHT)])
    assert "byte for byte" in for_people.stdout


def test_what_daymops_decided_after_the_last_visit_is_not_compared(broker) -> None:
    night = 20280101
    visit, by_day, closed = night * 100_000 + 1, night * 100_000, 77_000_001
    nothing = Table.from_array(public.null_rows("ssSource", 0))
    correction = events.Correction(released=nothing, closed=nothing, verdicts=nothing, orbits={})
    corrected = replace(_decision(), visit=by_day, day_obs=night, correction=correction)
    version = events.DiaObjectVersion(dia_object_id=closed, visit=visit, record=b"r")
    key = [closed.to_bytes(8, "big")]
    produce(broker, "diaobjects", [version], key)
    tombstone(broker, closed, by_day)
    runs = []
    for log in (
        [replace(_decision(), visit=visit, day_obs=night)],
        [corrected],
        [replace(_decision(), visit=visit + 2, day_obs=night)],
    ):
        produce(broker, "association-log", log)
        runs.append(read_run(broker.bootstrap, {night}))
    assert [len(run.logs["association-log"].values) for run in runs] == [1, 1, 3]
    assert [run.logs["diaobjects"].values[closed,] for run in runs[1:]] == [_datum(version), b""]


def test_results_from_before_a_field_came_are_compared_by_their_fields(broker) -> None:
    night, registry = 20280102, RegistryClient(broker.registry_url)
    visit = night * 100_000 + 1
    schema = json.loads(avro.schema_text(events.DetectorResult))
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "snaps"]
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, fastavro.parse_schema(dict(schema)), avro.to_record(result(visit, 1)))
    identifier = registry.register("detector-results-value", json.dumps(schema))
    read = []
    for value in (frame(identifier, datum.getvalue()), result(visit, 1)):
        produce(broker, "detector-results", [value])
        place = _last_results(broker)[-1]
        ref = events.ResultRef(job_id="j", epoch=1, sha256="s", partition=place[0], offset=place[1])
        outcome = events.DetectorOutcome(detector=0, status=events.OutcomeStatus.SUCCEEDED, result=ref)
        late = events.LateResult(outcome=outcome, last_readout_mjd_tai=0.0)
        produce(broker, "visit-events", [visit_event(visit, late)])
        read.append(read_run(broker.bootstrap, {night}).logs["detector-results"])
    assert [log.values[visit, 0] for log in read] == [_datum(result(visit, 1))] * 2
    assert read[1].conflicts == ()
    produce(broker, "detector-results", [b"\0" + identifier.to_bytes(4) + b"nothing"])
    place = _last_results(broker)[-1]
    broken = replace(outcome, result=replace(ref, partition=place[0], offset=place[1]))
    produce(broker, "visit-events", [visit_event(visit, replace(late, outcome=broken))])
    with pytest.raises(ReplayError, match="accepted record of detector-results cannot be read"):
        read_run(broker.bootstrap, {night})


def tombstone(broker: Any, object_id: int, visit: int) -> None:
    producer = kafka.producer(broker.bootstrap, client_id="t")
    headers: list[tuple[str, str | bytes | None]] = [("visit", str(visit).encode()), ("sequence", b"0")]
    producer.produce("diaobjects", None, object_id.to_bytes(8, "big"), headers=headers)
    assert producer.flush(20) == 0


def _decision() -> events.AssociationDecision:
    return events.AssociationDecision(
        instrument="i", visit=FIRST, sequence=0, day_obs=NIGHT, band="r", processed_mjd_tai=61400.0,
        diasources=Table.from_array(public.null_rows("diaSource", 0)),
        forced=Table.from_array(public.null_rows("diaForcedSource", 0)),
        new_objects=(), quarantined={}, cutouts={}, details={},
    )  # fmt: skip


def _datum(event: Any) -> bytes:
    return avro.encode(event)


def _last_results(broker: Any) -> list[tuple[int, int]]:
    from infra.reading import place_of, read_to_end

    return [place_of(message) for message in read_to_end(broker.bootstrap, "detector-results")]
