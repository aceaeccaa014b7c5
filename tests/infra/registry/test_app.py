"""The registry over HTTP, on a journal in memory."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from infra.registry.app import MEDIA_TYPE, create_app
from infra.registry.journal import MemoryJournal
from infra.registry.service import RegistryService


def _record(*fields: dict, name: str = "Thing") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


X = {"name": "x", "type": "int"}
Y = {"name": "y", "type": "string"}
Y_DEFAULT = Y | {"default": ""}


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def client(journal: MemoryJournal) -> TestClient:
    return TestClient(create_app(RegistryService(journal)))


def _register(client: TestClient, subject: str, schema: str, **more: object) -> dict:
    answer = client.post(f"/subjects/{subject}/versions", json={"schema": schema, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _refusal(answer) -> tuple[int, int]:
    return answer.status_code, answer.json()["error_code"]


def test_a_registered_schema_is_found_every_way(client: TestClient) -> None:
    identifier = _register(client, "thing-value", _record(X))["id"]
    whole = {"subject": "thing-value", "version": 1, "id": identifier, "schema": _record(X)}
    assert client.get("/subjects").json() == ["thing-value"]
    assert client.get("/subjects/thing-value/versions").json() == [1]
    for version in ("1", "latest", "-1"):
        assert client.get(f"/subjects/thing-value/versions/{version}").json() == whole
    assert client.post("/subjects/thing-value", json={"schema": _record(X)}).json() == whole
    assert client.get(f"/schemas/ids/{identifier}").json() == {"schema": _record(X)}
    assert client.get(f"/schemas/ids/{identifier}?subject=thing-value").json() == {"schema": _record(X)}
    assert client.get(f"/schemas/ids/{identifier}/schema").text == _record(X)
    assert client.get("/subjects/thing-value/versions/1/schema").json() == json.loads(_record(X))
    assert client.get(f"/schemas/ids/{identifier}/versions").json() == [{"subject": "thing-value", "version": 1}]
    assert client.get(f"/schemas/ids/{identifier}/subjects").json() == ["thing-value"]
    assert client.get("/schemas/types").json() == ["AVRO"]
    assert client.get("/").json() == {}
    assert client.get("/subjects").headers["content-type"] == MEDIA_TYPE


def test_the_same_schema_has_one_id_everywhere_and_one_version_per_subject(client: TestClient) -> None:
    first = _register(client, "a", _record(X))
    again = _register(client, "a", json.dumps(json.loads(_record(X)), indent=4))
    elsewhere = _register(client, "b", _record(X))
    assert first["id"] == again["id"] == elsewhere["id"]
    assert client.get("/subjects/a/versions").json() == [1]
    assert _register(client, "b", _record(X, Y_DEFAULT))["id"] != first["id"]


def test_explicit_id_and_version(client: TestClient) -> None:
    for subject in ("alert-packet", "lsst-alerts-v11.1-value"):
        answer = _register(client, subject, _record(X), id=1101, version=1101)
        assert (answer["id"], answer["version"]) == (1101, 1101)
        assert client.get(f"/subjects/{subject}/versions").json() == [1101]
        assert client.get(f"/subjects/{subject}/versions/1101").json()["id"] == 1101
    other = {"schema": _record(Y, name="Other"), "id": 1101}
    assert _refusal(client.post("/subjects/c/versions", json=other)) == (422, 42205)
    compatible = {"schema": _record(X, Y_DEFAULT), "version": 1101}
    assert _refusal(client.post("/subjects/alert-packet/versions", json=compatible)) == (422, 42205)
    assert _register(client, "d", _record(Y, name="Other"))["id"] == 1


def test_import_mode_wants_an_id_and_skips_compatibility(client: TestClient) -> None:
    _register(client, "a", _record(X))
    assert client.put("/mode/a", json={"mode": "IMPORT"}).json() == {"mode": "IMPORT"}
    assert _refusal(client.post("/subjects/a/versions", json={"schema": _record(Y)})) == (422, 42205)
    assert _register(client, "a", _record(Y), id=77)["id"] == 77


def test_read_only_mode_registers_nothing_new(client: TestClient) -> None:
    _register(client, "a", _record(X))
    client.put("/mode", json={"mode": "READONLY"})
    assert _register(client, "a", _record(X))["version"] == 1
    assert _refusal(client.post("/subjects/a/versions", json={"schema": _record(X, Y_DEFAULT)})) == (422, 42205)
    assert _refusal(client.put("/mode", json={"mode": "ODD"})) == (422, 42204)
    assert client.get("/mode").json() == {"mode": "READONLY"}
    assert _refusal(client.get("/mode/a")) == (404, 40409)
    assert client.get("/mode/a?defaultToGlobal=true").json() == {"mode": "READONLY"}


@pytest.mark.parametrize(
    ("level", "old", "new", "allowed"),
    [
        ("BACKWARD", _record(X), _record(X, Y), False),
        ("BACKWARD", _record(X), _record(X, Y_DEFAULT), True),
        ("BACKWARD", _record(X, Y), _record(X), True),
        ("FORWARD", _record(X), _record(X, Y), True),
        ("FORWARD", _record(X, Y), _record(X), False),
        ("FULL", _record(X), _record(X, Y_DEFAULT), True),
        ("FULL", _record(X), _record(X, Y), False),
        ("NONE", _record(X), _record({"name": "z", "type": "bytes"}, name="Other"), True),
        ("BACKWARD", _record(X), _record({"name": "x", "type": "long"}), True),
        ("BACKWARD", _record({"name": "x", "type": "long"}), _record(X), False),
        ("BACKWARD", _record({"name": "x", "type": ["null", "int"]}), _record(X), False),
    ],
)
def test_compatibility_is_enforced(client: TestClient, level: str, old: str, new: str, allowed: bool) -> None:
    assert client.put("/config/a", json={"compatibility": level}).json() == {"compatibility": level}
    _register(client, "a", old)
    body = {"schema": new}
    verdict = client.post("/compatibility/subjects/a/versions/latest?verbose=true", json=body).json()
    assert verdict["is_compatible"] is allowed
    assert bool(verdict["messages"]) is not allowed
    assert client.post("/compatibility/subjects/a/versions", json=body).json() == {"is_compatible": allowed}
    answer = client.post("/subjects/a/versions", json=body)
    assert answer.status_code == (200 if allowed else 409)


def test_transitive_levels_look_at_every_version(client: TestClient) -> None:
    client.put("/config/a", json={"compatibility": "NONE"})
    _register(client, "a", _record(X, Y))
    _register(client, "a", _record(X))
    body = {"schema": _record(X, Y | {"type": "long", "default": 0})}
    client.put("/config/a", json={"compatibility": "BACKWARD"})
    assert client.post("/compatibility/subjects/a/versions", json=body).json()["is_compatible"]
    client.put("/config/a", json={"compatibility": "BACKWARD_TRANSITIVE"})
    assert client.post("/subjects/a/versions", json=body).status_code == 409


def test_levels_fall_back_to_the_global_one(client: TestClient) -> None:
    assert client.get("/config").json() == {"compatibilityLevel": "BACKWARD"}
    client.put("/config", json={"compatibility": "FULL"})
    assert _refusal(client.get("/config/a")) == (404, 40408)
    assert client.get("/config/a?defaultToGlobal=true").json() == {"compatibilityLevel": "FULL"}
    client.put("/config/a", json={"compatibility": "NONE"})
    assert client.get("/config/a").json() == {"compatibilityLevel": "NONE"}
    assert client.delete("/config/a").json() == {"compatibilityLevel": "NONE"}
    assert _refusal(client.get("/config/a")) == (404, 40408)
    assert _refusal(client.put("/config", json={"compatibility": "ODD"})) == (422, 42203)


def test_deletion_is_soft_then_permanent(client: TestClient) -> None:
    identifier = _register(client, "a", _record(X))["id"]
    _register(client, "a", _record(X, Y_DEFAULT))
    assert _refusal(client.delete("/subjects/a/versions/1?permanent=true")) == (404, 40407)
    assert client.delete("/subjects/a/versions/1").json() == 1
    assert client.get("/subjects/a/versions").json() == [2]
    assert client.get("/subjects/a/versions?deleted=true").json() == [1, 2]
    assert client.get(f"/schemas/ids/{identifier}").status_code == 200
    assert client.delete("/subjects/a").json() == [2]
    assert _refusal(client.get("/subjects/a/versions")) == (404, 40401)
    assert client.get("/subjects?deleted=true").json() == ["a"]
    assert client.delete("/subjects/a?permanent=true").json() == [1, 2]
    assert client.get("/subjects?deleted=true").json() == []
    assert _refusal(client.get(f"/schemas/ids/{identifier}")) == (404, 40403)


def test_schemas_may_refer_to_each_other(client: TestClient) -> None:
    _register(client, "inner", _record(X, name="Inner"))
    outer = _record({"name": "inner", "type": "Inner"}, name="Outer")
    reference = {"name": "Inner", "subject": "inner", "version": 1}
    identifier = _register(client, "outer", outer, references=[reference])["id"]
    assert client.get(f"/schemas/ids/{identifier}").json()["references"] == [reference]
    assert _refusal(client.post("/subjects/alone/versions", json={"schema": outer})) == (422, 42201)


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "/schemas/ids/9", None, (404, 40403)),
        ("GET", "/subjects/none/versions", None, (404, 40401)),
        ("POST", "/subjects/none", {"schema": _record(X)}, (404, 40401)),
        ("POST", "/subjects/a/versions", {"schema": "no schema"}, (422, 42201)),
        ("POST", "/subjects/a/versions", {"schema": '{"type": "record", "name": "A"}'}, (422, 42201)),
        ("POST", "/subjects/a/versions", {"schema": "{}", "schemaType": "JSON"}, (422, 42201)),
        ("POST", "/subjects/a/versions", {"text": "{}"}, (422, 42201)),
        ("GET", "/subjects/known/versions/7", None, (404, 40402)),
        ("GET", "/subjects/known/versions/odd", None, (422, 42202)),
        ("POST", "/subjects/known", {"schema": _record(Y)}, (404, 40403)),
        ("GET", "/associations/resources/alert-packet", None, (404, 404)),
    ],
)
def test_bad_requests_have_the_codes_that_clients_know(
    client: TestClient, method: str, path: str, body: dict | None, refusal: tuple[int, int]
) -> None:
    _register(client, "known", _record(X))
    assert _refusal(client.request(method, path, json=body)) == refusal


def test_a_new_registry_folds_the_journal_to_the_same_state(client: TestClient, journal: MemoryJournal) -> None:
    _register(client, "alert-packet", _record(X), id=1101, version=1101)
    _register(client, "a", _record(X))
    _register(client, "a", _record(X, Y_DEFAULT))
    client.delete("/subjects/a/versions/1")
    client.put("/config/a", json={"compatibility": "FULL"})
    client.put("/mode/a", json={"mode": "READONLY"})
    again = TestClient(create_app(RegistryService(journal)))
    for path in (
        "/subjects",
        "/subjects/a/versions?deleted=true",
        "/subjects/a/versions/latest",
        "/config/a",
        "/mode/a",
    ):
        assert again.get(path).json() == client.get(path).json()
    assert again.get("/schemas/ids/1101").json() == {"schema": _record(X)}


def test_a_change_that_cannot_be_recorded_does_not_happen(journal: MemoryJournal) -> None:
    from infra.errors import KafkaUnavailableError

    class _DeafJournal(MemoryJournal):
        def append(self, entries) -> None:
            raise KafkaUnavailableError("Kafka does not answer.")

    client = TestClient(create_app(RegistryService(_DeafJournal())))
    assert _refusal(client.post("/subjects/a/versions", json={"schema": _record(X)})) == (503, 50003)
    assert client.get("/subjects").json() == []
