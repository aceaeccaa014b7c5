"""Annotations: check a new one, put it on its topic, wait until the view has it. Nothing is ever changed or removed."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, Producer

from infra.errors import KafkaUnavailableError
from infra.kafka import error_of, producer, translated
from schemas.events import Annotation
from schemas.wire import EventCodec
from streams.toolkit.models import NewAnnotation
from streams.views import queries
from streams.views.errors import NotFoldedYetError, NotInViewError, RequestError
from streams.views.rows import AnnotationRow
from streams.views.view import View

__all__ = ["ANNOTATION_TOPIC", "AnnotationLog", "KafkaAnnotationLog", "add_annotation", "checked"]

ANNOTATION_TOPIC = "alert-annotations"
_DELIVERY_S = 10.0
_FOLDING_S = 5.0


class AnnotationLog(Protocol):
    """Where annotations are written."""

    def append(self, annotation: Annotation) -> None:
        """Write one, durably, before returning."""


class KafkaAnnotationLog:
    """Writes annotations to their topic.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    codec
        Encodes them.
    """

    def __init__(self, bootstrap: str, codec: EventCodec) -> None:
        self._bootstrap = bootstrap
        self._codec = codec
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def append(self, annotation: Annotation) -> None:
        """Write one annotation and wait for all replicas to have it.

        Raises
        ------
        KafkaUnavailableError
            When Kafka does not confirm it in time.
        """
        value = self._codec.encode(ANNOTATION_TOPIC, annotation)
        settled: list[KafkaError | None] = []
        client = self._client()
        with translated("write the annotation"):
            client.produce(
                ANNOTATION_TOPIC,
                key=annotation.annotation_id.encode(),
                value=value,
                on_delivery=lambda error, _message: settled.append(error),
            )
        client.flush(_DELIVERY_S)
        if not settled:
            raise KafkaUnavailableError("Kafka did not confirm the annotation in time; it may still arrive.")
        if settled[0] is not None:
            raise error_of(settled[0], doing="write the annotation")

    def _client(self) -> Producer:
        with self._lock:
            if self._producer is None:
                timeout = {"delivery.timeout.ms": int(_DELIVERY_S * 1000) - 1000}
                self._producer = producer(self._bootstrap, client_id="toolkit", extra=timeout)
            return self._producer


def add_annotation(
    view: View, log: AnnotationLog, new: NewAnnotation, *, wait: Callable[[float], Any] = time.sleep
) -> AnnotationRow:
    """Check a new annotation, write it, and return it as the view has it.

    Parameters
    ----------
    view
        The view that it will appear in.
    log
        Where it is written.
    new
        What the author gave.
    wait
        Called with seconds between looks at the view.

    Raises
    ------
    RequestError
        When it says nothing, or a part of it makes no sense.
    NotInViewError
        When its target, or what it supersedes or retracts, does not exist.
    NotFoldedYetError
        When it is written but has not reached the view.
    """
    annotation = checked(view, new)
    log.append(annotation)
    deadline = time.monotonic() + _FOLDING_S
    while True:
        try:
            with view.reading() as connection:
                return queries.annotation(connection, annotation.annotation_id)
        except NotInViewError:
            if time.monotonic() > deadline:
                raise NotFoldedYetError(
                    "The annotation is written, but the page has not read it yet; load the page again in a moment."
                ) from None
        wait(0.05)


def checked(view: View, new: NewAnnotation) -> Annotation:
    """Return the event of a new annotation; see `add_annotation` for what is checked."""
    target = (new.target_kind, int(new.target_id))
    _check_text(new)
    with view.reading() as connection:
        if target[0] == "alert":
            queries.alert(connection, target[1])
        elif not queries.alerts_of_object(connection, target[1]):
            queries.dia_object(connection, target[1])
        for earlier in (new.supersedes, new.retracts):
            if earlier:
                note = queries.annotation(connection, earlier)
                if (note.target_kind, note.target_id) != target:
                    raise RequestError(f"Annotation {earlier} is about another {note.target_kind}.")
    values = new.model_dump() | {"target_id": target[1]}
    values |= {name: values[name] or None for name in ("supersedes", "retracts")}
    return Annotation(annotation_id=uuid.uuid4().hex, created_unix_s=round(time.time(), 3), **values)


def _check_text(new: NewAnnotation) -> None:
    if not new.author.strip():
        raise RequestError("An annotation needs its author's name.")
    if not (new.explanation.strip() or new.classification.strip() or new.data.strip() or new.retracts):
        raise RequestError("An annotation says something: write a remark, a class or data.")
    if new.data.strip():
        try:
            json.loads(new.data)
        except ValueError:
            raise RequestError("The data of an annotation must be JSON.") from None
    if new.url and (urlsplit(new.url).scheme not in ("http", "https") or not urlsplit(new.url).netloc):
        raise RequestError("The address of an annotation begins with http:// or https://.")
