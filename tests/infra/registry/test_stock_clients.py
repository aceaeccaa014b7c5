"""The registry as a process, journalled in Kafka, asked by the stock clients and by ours."""

from __future__ import annotations

import json
import uuid

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.errors import KafkaFencedError, RegistryRefusedError, RegistryUnavailableError
from infra.ports import free_port
from infra.registry import RegistryClient
from infra.registry.compatibility import Level
from infra.registry.journal import KafkaJournal
from infra.registry.service import RegistryService
from schemas.errors import UnknownSchemaError

pytestmark = pytest.mark.broker


@pytest.fixture
def name() -> str:
    return f"Thing{uuid.uuid4().hex}"


def _schema(name: str, **more: object) -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": "x", "type": "int"}], **more})


def test_the_stock_serializer_and_deserializer_agree(broker, name: str) -> None:
    client = SchemaRegistryClient({"url": broker.registry_url})
    context = SerializationContext(name, MessageField.VALUE)
    message = AvroSerializer(client, _schema(name))({"x": 3}, context)
    assert message is not None
    assert AvroDeserializer(SchemaRegistryClient({"url": broker.registry_url}))(message, context) == {"x": 3}
    assert client.get_subjects().count(f"{name}-value") == 1
    assert client.get_latest_version(f"{name}-value").version == 1
    assert client.get_versions(f"{name}-value") == [1]
    assert client.get_version(f"{name}-value", 1).schema_id == int.from_bytes(message[1:5])


def test_the_stock_client_sees_refusals(broker, name: str) -> None:
    client = SchemaRegistryClient({"url": broker.registry_url})
    client.register_schema(name, Schema(_schema(name), "AVRO"))
    other = Schema(_schema(name, fields=[{"name": "x", "type": "bytes"}]), "AVRO")
    assert client.test_compatibility(name, other) is False
    with pytest.raises(SchemaRegistryError) as raised:
        client.register_schema(name, other)
    assert raised.value.http_status_code == 409
    client.set_compatibility(name, level="NONE")
    assert client.register_schema(name, other) > 0
    assert client.get_compatibility(name) == "NONE"


def test_our_client(broker, name: str) -> None:
    client = RegistryClient(broker.registry_url)
    identifier = client.register(name, _schema(name))
    assert client.register(name, _schema(name)) == identifier
    assert json.loads(client.schema(identifier)) == json.loads(_schema(name))
    assert client.versions(name) == [1]
    assert client.version(name)["id"] == identifier
    assert name in client.subjects()
    client.set_level(Level.FULL, name)
    client.set_mode("IMPORT", name)
    with pytest.raises(RegistryRefusedError) as raised:
        client.register(name, _schema(name, doc="new"))
    assert (raised.value.status, raised.value.error_code) == (422, 42205)
    with pytest.raises(UnknownSchemaError):
        client.schema(987_654)
    with pytest.raises(RegistryUnavailableError):
        RegistryClient(f"http://127.0.0.1:{free_port()}", patience_s=0.2).subjects()


def test_a_second_registry_reads_the_journal_and_fences_the_first(broker, name: str) -> None:
    topic = f"_schemas_{name}"
    from infra.registry.store import Submission

    first = RegistryService(KafkaJournal(broker.bootstrap, topic=topic))
    kept = first.register(name, Submission(schema=_schema(name), identifier=1101, version=1101))
    first.set_level(name, "FULL")
    second = RegistryService(KafkaJournal(broker.bootstrap, topic=topic))
    assert second.store.version(name, "latest") == kept
    assert second.store.level(name) is Level.FULL
    with pytest.raises(KafkaFencedError):
        first.register(f"{name}-late", Submission(schema=_schema(name)))
    assert second.register(f"{name}-on-time", Submission(schema=_schema(name))).identifier == 1101
