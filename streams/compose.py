"""The composition root: the only place where adapters of the outside world are made and handed to stages."""

from __future__ import annotations

import functools

from confluent_kafka import Consumer, Producer

from infra import kafka
from infra.faults import CrashPoints
from infra.objects import ObjectStore, open_object_store
from infra.registry.client import RegistryClient
from infra.settings import Settings
from schemas.wire import EventCodec

__all__ = ["Wiring"]


class Wiring:
    """What one process needs of the outside world, each made once and when first asked for.

    Parameters
    ----------
    settings
        Settings of the whole system.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @functools.cached_property
    def registry(self) -> RegistryClient:
        """The schema registry."""
        return RegistryClient(self.settings.registry_url)

    @functools.cached_property
    def codec(self) -> EventCodec:
        """Encoder and decoder of events."""
        return EventCodec(self.registry)

    @functools.cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_object_store(self.settings)

    @functools.cached_property
    def crash_points(self) -> CrashPoints:
        """Crash points armed in the settings."""
        return CrashPoints(self.settings.faults_dir, self.settings.faults.crash)

    def producer(self, client_id: str) -> Producer:
        """Return an idempotent producer outside transactions."""
        return kafka.producer(self.settings.bootstrap, client_id=client_id)

    def consumer(self, group: str, *, from_beginning: bool = True) -> Consumer:
        """Return a consumer of a group."""
        return kafka.consumer(self.settings.bootstrap, group, from_beginning=from_beginning)
