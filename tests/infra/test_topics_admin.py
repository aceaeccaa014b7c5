"""Topics and subjects from the topic table."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import ConfigResource

from infra.errors import KafkaRequestError, KafkaUnavailableError
from infra.kafka import admin
from infra.ports import free_port
from infra.registry import RegistryClient
from infra.topics_admin import create_topics, ensure_topics, expected_topics, missing_topics, register_events
from schemas import avro
from schemas.topics import TOPICS, Partitions, dead_letter_topic, topic, topic_configuration


def test_every_topic_that_may_refuse_has_a_dead_letter_topic() -> None:
    names = [row.name for row in expected_topics()]
    assert len(set(names)) == len(names)
    assert {dead_letter_topic(row.name) for row in TOPICS if row.dead_letters} <= set(names)


@pytest.mark.broker
def test_all_topics_are_there_as_the_table_says(broker) -> None:
    client = admin(broker.bootstrap)
    assert missing_topics(client) == []
    present = client.list_topics(timeout=10).topics
    counts = {row.name: len(present[row.name].partitions) for row in TOPICS}
    assert counts == {row.name: 4 if row.partitions is Partitions.P else 1 for row in TOPICS}
    resources = {row.name: ConfigResource(ConfigResource.Type.TOPIC, row.name) for row in TOPICS}
    described = client.describe_configs(list(resources.values()))
    for row in TOPICS:
        actual = described[resources[row.name]].result()
        wanted = topic_configuration(row)
        assert {key: actual[key].value for key in wanted} == wanted


@pytest.mark.broker
def test_doing_it_again_changes_nothing(broker) -> None:
    assert ensure_topics(broker.settings) == []
    registry = RegistryClient(broker.registry_url)
    ids = register_events(registry)
    assert register_events(registry) == ids
    assert registry.schema(ids["jobs-value"]) == avro.schema_text(topic("jobs").event)


@pytest.mark.broker
def test_another_partition_count_is_refused(broker) -> None:
    with pytest.raises(KafkaRequestError, match="4 partitions where the settings say 8"):
        create_topics(broker.bootstrap, partitions=8)


def test_a_silent_cluster_is_retriable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.topics_admin.TIMEOUT_S", 0.3)
    with pytest.raises(KafkaUnavailableError):
        create_topics(f"127.0.0.1:{free_port()}")
