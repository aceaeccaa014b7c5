"""The retry helper."""

from __future__ import annotations

import pytest

from infra.errors import KafkaRequestError, KafkaUnavailableError
from infra.retry import retried


class _FailsThenWorks:
    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def test_what_may_pass_is_tried_again() -> None:
    action = _FailsThenWorks([KafkaUnavailableError("away"), KafkaUnavailableError("away")])
    assert retried(action, for_s=5, first_pause_s=0.001) == "done"
    assert action.calls == 3


def test_what_cannot_pass_is_raised_at_once() -> None:
    action = _FailsThenWorks([KafkaRequestError("no")])
    with pytest.raises(KafkaRequestError):
        retried(action, for_s=5)
    assert action.calls == 1


def test_the_last_failure_is_raised_when_the_time_is_up() -> None:
    action = _FailsThenWorks([KafkaUnavailableError(str(n)) for n in range(1000)])
    with pytest.raises(KafkaUnavailableError):
        retried(action, for_s=0.05, first_pause_s=0.01, longest_pause_s=0.02)
    assert 1 < action.calls < 20
