"""Calls of the Kafka client: repeated while that may help, judged when it cannot, watched for those that never come back.

Every failure is one of three: it passes when the call is repeated, the transaction must be aborted and its inputs read again, or
the process must end and be started anew. Only this module tells them apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException

from infra import kafka
from infra.errors import KafkaFencedError, KafkaUnavailableError
from infra.logs import get_logger
from streams.errors import StageFencedError, StageInterruptedError
from streams.receipts import AbortRequiredError

__all__ = ["CALL_TIMEOUT_S", "Calls"]

CALL_TIMEOUT_S = 2.0
"""One call to the transaction coordinator; it is repeated until the patience is over."""

HUNG_AFTER_S = 15.0
"""A call that lasts longer never comes back: librdkafka may forget its own time limit when a coordinator vanishes (issue 5456)."""

_LOGGER = get_logger(__name__)


class Calls:
    """Makes a process's calls; may be used by several threads.

    Parameters
    ----------
    name
        The process, for its errors.
    patience_s
        How long an unreachable cluster is waited for.
    stopping
        Tells whether the process has been asked to end: it is waited for two seconds more then.
    """

    def __init__(self, name: str, patience_s: float, stopping: Callable[[], bool]) -> None:
        self.name, self.patience_s, self._stopping = name, patience_s, stopping
        self._began: dict[int, float] = {}

    @property
    def hung(self) -> bool:
        """Whether a call does not come back; only the end of the process helps then."""
        now = time.monotonic()
        return any(now - began > HUNG_AFTER_S for began in tuple(self._began.values()))

    def repeat(self, doing: str, call: Callable[[], Any]) -> Any:
        """Make a call until it succeeds.

        Raises
        ------
        AbortRequiredError
            When the open transaction must be aborted.
        StageInterruptedError, StageFencedError
            When the process must end.
        """
        deadline = self.deadline()
        while True:
            try:
                self._began[threading.get_ident()] = time.monotonic()
                with kafka.unwrapped():
                    return call()
            except KafkaException as error:
                self.judge(doing, error)
                if self.over(deadline):
                    raise StageInterruptedError(f"{kafka.error_of(error, doing=doing)}") from error
                _LOGGER.info("kafka call repeated", doing=doing, reason=str(error))
            finally:
                self._began.pop(threading.get_ident(), None)

    def judge(self, doing: str, error: KafkaException) -> None:
        """Return where a repetition may help, raise what else must be done."""
        cause = error.args[0]
        if not cause.fatal() and cause.txn_requires_abort():
            raise AbortRequiredError(cause.str()) from error
        ours = kafka.error_of(error, doing=doing)
        if isinstance(ours, KafkaFencedError):
            raise StageFencedError(f"Another process took the place of {self.name}: cannot {doing}.") from error
        if cause.fatal() or not isinstance(ours, KafkaUnavailableError):
            raise StageInterruptedError(f"{self.name} must be started anew: {ours}") from error

    def deadline(self) -> float:
        """Return until when to be patient, for `over`."""
        return time.monotonic() + self.patience_s

    def over(self, deadline: float) -> bool:
        """Tell whether a deadline has passed, or is near enough for a process that is to end."""
        now = time.monotonic()
        return now > deadline or (self._stopping() and now > deadline - self.patience_s + 2)
