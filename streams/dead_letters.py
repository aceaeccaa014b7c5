"""Dead letters of stages that write outside transactions: produced and confirmed before the event counts as handled."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from infra.kafka import translated
from schemas.topics import dead_letter_topic
from streams.compose import Wiring
from streams.errors import StageInterruptedError
from streams.stage_codec import StageCodec, dead_letter
from streams.transaction import Read

__all__ = ["DeadLetters"]

CONFIRM_S = 60.0


class DeadLetters:
    """Writes dead letters of one stage.

    Parameters
    ----------
    wiring
        The outside world.
    stage
        Name of the stage.
    """

    def __init__(self, wiring: Wiring, *, stage: str) -> None:
        self._wiring, self._stage = wiring, stage
        self._producer: Producer | None = None

    def send(self, read: Read, error: Exception, *, attempts: int) -> None:
        """Write the dead letter of an event and wait until the broker has it.

        Raises
        ------
        StageInterruptedError
            When the broker does not take it in time.
        """
        target = dead_letter_topic(read.topic)
        outgoing = dead_letter(read, error, stage=self._stage, target=target, attempts=attempts, now=time.time())
        if outgoing is None:
            return
        if self._producer is None:
            self._producer = self._wiring.producer(f"{self._stage}-dead-letters")
        letter = StageCodec(self._wiring.registry).letter(outgoing)
        with translated(f"write to {target}"):
            self._producer.produce(letter.topic, key=letter.key, value=letter.value)
        if self._producer.flush(CONFIRM_S):
            raise StageInterruptedError(f"The dead letter of {read.topic} at {read.offset} was not taken in time.")
