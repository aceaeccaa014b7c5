"""``nightcast dlq``: events that a stage could not use, why, and how to put them back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from infra.settings import Settings
    from schemas.events import DeadLetter

__all__ = ["app", "PlacedLetter"]

app = typer.Typer(no_args_is_help=True)

_TOPIC = Annotated[str, typer.Argument(help="Topic the event was refused from, such as visit-events.")]
_PLACE = Annotated[str, typer.Argument(help="Place among the dead letters, as PARTITION:OFFSET.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedLetter:
    """A dead letter and where it lies."""

    topic: str
    partition: int
    offset: int
    letter: DeadLetter

    @property
    def place(self) -> str:
        """Partition and offset as they are typed."""
        return f"{self.partition}:{self.offset}"


@app.command("list")
def list_letters(
    topic: Annotated[str | None, typer.Argument(help="Only those refused from this topic.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters, oldest first."""
    with one_sentence_errors():
        found = list(_letters(load(), topic))
    if as_json:
        print_json([_summary(one) for one in found])
        return
    rows = [(one.letter.origin_topic, one.place, one.letter.stage, one.letter.code, one.letter.reason) for one in found]
    empty = "No dead letter: every event was used."
    print_table(f"{len(found)} dead letters", ("topic", "place", "stage", "code", "reason"), rows, empty=empty)


@app.command()
def show(topic: _TOPIC, place: _PLACE, as_json: JsonOption = False) -> None:
    """Show one dead letter whole: its cause, its origin and its payload."""
    with one_sentence_errors():
        settings = load()
        found = _find(settings, topic, place)
        payload = _payload(settings, found)
    if as_json:
        print_json(_summary(found) | {"payload": payload})
        return
    for name, value in _summary(found).items():
        console.print(f"{name:>16}  ", end="")
        console.print(str(value), markup=False)
    console.print(f"{'payload':>16}  ", end="")
    console.print(str(payload), markup=False)


@app.command()
def requeue(
    topic: _TOPIC,
    place: Annotated[str | None, typer.Argument(help="Place among the dead letters, as PARTITION:OFFSET.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter of the topic.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put back, and do nothing.")] = False,
) -> None:
    """Put dead letters back into the topic they were refused from; the letters themselves stay as a record."""
    if (place is None) is not everything:
        raise typer.BadParameter("name one place, or say --all")
    with one_sentence_errors():
        settings = load()
        found = list(_letters(settings, topic)) if place is None else [_find(settings, topic, place)]
        if not dry_run:
            _put_back(settings, found)
    verb = "would go" if dry_run else "went"
    typer.echo(f"{len(found)} event{'' if len(found) == 1 else 's'} {verb} back to {topic}.")


def _letters(settings: Settings, topic: str | None) -> Iterator[PlacedLetter]:
    from infra.reading import place_of, read_to_end
    from infra.registry.client import RegistryClient
    from schemas.events import DeadLetter
    from schemas.wire import EventCodec

    codec = EventCodec(RegistryClient(settings.registry_url))
    for name in _dead_letter_topics(topic):
        for message in read_to_end(settings.bootstrap, name):
            value = message.value()
            if value is not None:
                partition, offset = place_of(message)
                letter = codec.decode(DeadLetter, value)
                yield PlacedLetter(topic=name, partition=partition, offset=offset, letter=letter)


def _dead_letter_topics(topic: str | None) -> list[str]:
    from schemas.topics import TOPICS, dead_letter_topic
    from streams.views.errors import RequestError

    known = [row.name for row in TOPICS if row.dead_letters]
    if topic is not None and topic not in known:
        raise RequestError(f"The topic {topic} has no dead letters; those that have are {', '.join(known)}.")
    return [dead_letter_topic(name) for name in known if topic in (None, name)]


def _find(settings: Settings, topic: str, place: str) -> PlacedLetter:
    from streams.views.errors import NotInViewError

    for found in _letters(settings, topic):
        if found.place == place:
            return found
    raise NotInViewError(f"Topic {topic} has no dead letter at {place}; `nightcast dlq list {topic}` shows all.")


def _summary(found: PlacedLetter) -> dict[str, Any]:
    letter = found.letter
    return {
        "topic": letter.origin_topic,
        "place": found.place,
        "stage": letter.stage,
        "code": letter.code,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "failed_unix_s": letter.failed_unix_s,
        "origin": f"{letter.origin_partition}:{letter.origin_offset}",
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "payload_bytes": None if letter.payload is None else len(letter.payload),
    }


def _payload(settings: Settings, found: PlacedLetter) -> str | None:
    """Return the payload as text: the event it is, or its first bytes in hexadecimal where it is none."""
    from infra.registry.client import RegistryClient
    from schemas.errors import SchemaError
    from schemas.topics import TOPICS
    from schemas.wire import EventCodec

    payload = found.letter.payload
    event = next((row.event for row in TOPICS if row.name == found.letter.origin_topic), None)
    if payload is None:
        return None
    if event is not None:
        try:
            return str(EventCodec(RegistryClient(settings.registry_url)).decode(event, payload))
        except SchemaError:
            return f"undecodable: {payload[:200].hex(' ')}"
    return payload[:200].hex(" ")


def _put_back(settings: Settings, found: list[PlacedLetter]) -> None:
    from infra.errors import KafkaUnavailableError
    from infra.kafka import error_of, producer, translated

    client = producer(settings.bootstrap, client_id="nightcast-dlq")
    failed: list[Any] = []

    def settled(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    with translated("put events back"):
        for one in found:
            client.produce(
                one.letter.origin_topic,
                key=one.letter.key,
                value=one.letter.payload,
                headers={"requeued_from": f"{one.topic}/{one.place}".encode()},
                on_delivery=settled,
            )
        if client.flush(30.0):
            raise KafkaUnavailableError("Kafka did not take all events in time; ask `nightcast dlq list` again.")
    if failed:
        raise error_of(failed[0], doing="put events back")
