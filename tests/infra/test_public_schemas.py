"""The public schema is there before anybody publishes."""

from __future__ import annotations

import json

import pytest

from infra.errors import RegistryRefusedError
from infra.public_schemas import PUBLIC_SUBJECT, public_subjects, register_public
from infra.registry import RegistryClient
from infra.registry.compatibility import Level
from schemas.public import alert_schema_json


class StrictRegistry:
    """Gives an id that is asked for only in import mode, as Confluent's own registry does."""

    def __init__(self, *, holds: int | None = None) -> None:
        self.modes: dict[str, str] = {}
        self.registered: dict[str, tuple[int | None, int | None]] = {}
        self.levels: dict[str | None, Level] = {}
        self._holds = holds

    def register(self, subject: str, schema: str, *, identifier: int | None = None, version: int | None = None) -> int:
        if self._holds is not None:
            return self._holds
        if self.modes.get(subject) != "IMPORT":
            raise RegistryRefusedError("Subject is not in import mode", status=422, error_code=42205)
        self.registered[subject] = identifier, version
        return int(identifier or 0)

    def set_mode(self, mode: str, subject: str | None = None) -> None:
        self.modes[str(subject)] = mode

    def set_level(self, level: Level, subject: str | None = None) -> None:
        self.levels[subject] = level


def test_a_registry_that_wants_import_mode_is_put_into_it_and_back() -> None:
    registry = StrictRegistry()
    assert register_public(registry) == 1101  # type: ignore[arg-type]
    assert registry.registered == dict.fromkeys(public_subjects(), (1101, 1101))
    assert set(registry.modes.values()) == {"READWRITE"}
    assert registry.levels[PUBLIC_SUBJECT] is Level.FORWARD_TRANSITIVE


def test_another_id_is_refused_before_anything_is_published() -> None:
    with pytest.raises(RegistryRefusedError, match="as 7, not as 1101"):
        register_public(StrictRegistry(holds=7))  # type: ignore[arg-type]


@pytest.mark.broker
def test_the_engine_has_it_under_every_subject(broker) -> None:
    registry = RegistryClient(broker.registry_url)
    assert set(public_subjects()) <= set(registry.subjects())
    for subject in public_subjects():
        found = registry.version(subject, 1101)
        assert (found["id"], found["version"]) == (1101, 1101)
    assert json.loads(registry.schema(1101)) == json.loads(alert_schema_json())
    assert register_public(registry) == 1101


@pytest.mark.broker
def test_a_version_that_old_readers_cannot_read_is_refused(broker) -> None:
    registry = RegistryClient(broker.registry_url)
    schema = json.loads(alert_schema_json())
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "diaSourceId"]
    with pytest.raises(RegistryRefusedError) as refused:
        registry.register(PUBLIC_SUBJECT, json.dumps(schema))
    assert refused.value.status == 409
