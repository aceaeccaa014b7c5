"""The error tree of the outside world."""

from __future__ import annotations

import pickle
import re

import pytest

import infra.errors
from schemas.errors import NightcastError, PermanentFailure, TransientFailure

CLASSES = [getattr(infra.errors, name) for name in infra.errors.__all__]


def test_every_error_is_drawn_in_the_tree_and_has_a_code_of_its_own() -> None:
    drawn = re.findall(r"[├└]── (\w+Error)", infra.errors.__doc__ or "")
    assert sorted(drawn) == sorted(infra.errors.__all__)
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_type_tells_whether_to_try_again(kind: type[NightcastError]) -> None:
    error = kind("One sentence.")
    assert isinstance(error, PermanentFailure) is not isinstance(error, TransientFailure)
    assert error.retriable is isinstance(error, TransientFailure)
    assert str(pickle.loads(pickle.dumps(error))) == "One sentence."
