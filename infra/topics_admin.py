"""Make the cluster's topics and the registry's subjects agree with the topic table, again and again without harm.

``python -m infra.topics_admin`` does it with the settings of the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.errors import KafkaRequestError
from infra.kafka import admin, translated
from infra.logs import configure_logging, get_logger
from infra.public_schemas import register_public
from infra.registry.client import RegistryClient
from infra.retry import retried
from infra.settings import Settings, load_settings
from schemas import avro
from schemas.errors import NightcastError
from schemas.topics import TOPICS, Cleanup, Partitions, Topic, dead_letter_topic, topic_configuration

__all__ = ["create_topics", "ensure_topics", "expected_topics", "missing_topics", "register_events", "main"]

TIMEOUT_S = 15.0
DEAD_LETTER_DAYS = 90
"""Architecture, section 3: how long dead letters are kept."""


def expected_topics(topics: Sequence[Topic] = TOPICS) -> list[Topic]:
    """Return the table's topics and the dead-letter topics of those that may refuse an event."""
    dead = [
        Topic(
            name=dead_letter_topic(row.name),
            key=row.key,
            event=None,
            cleanup=Cleanup.DELETE,
            retention_days=DEAD_LETTER_DAYS,
            max_message_mb=row.max_message_mb + 1,
            summary=f"events of {row.name} that could not be used, with the reason",
        )
        for row in topics
        if row.dead_letters
    ]
    return [*topics, *dead]


def missing_topics(client: AdminClient, topics: Sequence[Topic] | None = None) -> list[Topic]:
    """Return the expected topics that the cluster lacks.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """
    with translated("list the topics"):
        present = client.list_topics(timeout=TIMEOUT_S).topics
    return [row for row in topics or expected_topics() if row.name not in present]


def create_topics(
    bootstrap: str,
    *,
    partitions: int = 4,
    replication: int = 1,
    development: bool = True,
    topics: Sequence[Topic] | None = None,
) -> list[str]:
    """Create the topics that are missing and return their names; those that exist stay as they are.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    partitions
        Partition count of the topics keyed by object.
    replication
        Replication factor.
    development
        Small segments and quick compaction, for one machine.
    topics
        The topics; those of the table and their dead-letter topics when not given.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    KafkaRequestError
        When it refuses a topic, or has one of them with another partition count: keys would move between partitions.
    """
    client = admin(bootstrap)
    wanted = list(topics or expected_topics())
    missing = missing_topics(client, wanted)
    if missing:
        new = [
            NewTopic(
                row.name,
                _count(row, partitions),
                replication,
                config=topic_configuration(row, development=development),
            )
            for row in missing
        ]
        for name, future in client.create_topics(new, request_timeout=TIMEOUT_S).items():
            _settle(name, future)
    _check_partitions(client, wanted, partitions)
    return [row.name for row in missing]


def register_events(registry: RegistryClient, topics: Sequence[Topic] = TOPICS) -> dict[str, int]:
    """Register the schema of every topic's event, in the order of the table, and return the ids by subject.

    Ids are inside framed events; registering all of them at once, in one order, keeps events the same byte for byte from one
    installation to the next.
    """
    from schemas.events import DeadLetter

    ids = {}
    for row in topics:
        if row.event is not None:
            ids[f"{row.name}-value"] = registry.register(f"{row.name}-value", avro.schema_text(row.event))
    for row in topics:
        if row.dead_letters:
            subject = f"{dead_letter_topic(row.name)}-value"
            ids[subject] = registry.register(subject, avro.schema_text(DeadLetter))
    return ids


def ensure_topics(settings: Settings, *, patience_s: float = 30.0) -> list[str]:
    """Create the missing topics and register every event's schema by the settings; return the topics made."""
    made = retried(
        lambda: create_topics(
            settings.bootstrap, partitions=settings.kafka.partitions, replication=settings.kafka.replication
        ),
        for_s=patience_s,
    )
    registry = RegistryClient(settings.registry_url)
    register_events(registry)
    register_public(registry, settings.alerts.topic)
    return made


def _count(row: Topic, partitions: int) -> int:
    return partitions if row.partitions is Partitions.P else 1


def _settle(name: str, future: object) -> None:
    with translated(f"create the topic {name}"):
        try:
            future.result()  # type: ignore[attr-defined]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _check_partitions(client: AdminClient, topics: Sequence[Topic], partitions: int) -> None:
    with translated("list the topics"):
        present = client.list_topics(timeout=TIMEOUT_S).topics
    for row in topics:
        metadata = present.get(row.name)
        if metadata is not None and len(metadata.partitions) not in (0, _count(row, partitions)):
            raise KafkaRequestError(
                f"The topic {row.name} has {len(metadata.partitions)} partitions where the settings say "
                f"{_count(row, partitions)}; set NIGHTCAST_KAFKA__PARTITIONS to what it has, or use another data directory."
            )


def main() -> int:
    """Do it once; return the exit code."""
    settings = load_settings()
    configure_logging("topics", level=settings.log.level)
    logger = get_logger("infra.topics_admin")
    try:
        made = ensure_topics(settings)
    except NightcastError as error:
        logger.error("topics_not_ready", code=error.code, reason=str(error))
        return 1
    logger.info("topics_ready", created=len(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
