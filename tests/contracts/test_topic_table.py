"""The topic table holds together."""

from __future__ import annotations

import re

from schemas.topics import TOPICS, Cleanup, Partitions, dead_letter_topic, topic, topic_configuration


def test_names_are_unique_and_legal() -> None:
    names = [row.name for row in TOPICS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_what_is_keyed_by_object_or_alert_has_p_partitions_and_the_rest_one() -> None:
    for row in TOPICS:
        spread = row.key.startswith(("object", "alert")) and row.name != "alert-annotations"
        assert (row.partitions is Partitions.P) == spread, row.name


def test_databases_are_compacted_and_kept_for_ever() -> None:
    for name in ("alert-store", "diaobjects", "alert-ledger", "job-ledger", "stage-state"):
        assert topic(name).cleanup is Cleanup.COMPACT
        assert topic(name).retention_days is None
    assert topic_configuration(topic("association-log"))["retention.ms"] == "-1"


def test_every_topic_is_written_and_read_by_someone() -> None:
    assert all(row.producers and row.consumers and row.summary for row in TOPICS)


def test_a_dead_letter_topic_is_named_after_its_origin() -> None:
    assert dead_letter_topic("jobs") == "dlq.jobs"
