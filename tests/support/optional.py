"""What a machine may lack: its tests are skipped with a sentence, or fail where it was promised (``TESTS_REQUIRE=chromium,docker``)."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]


def missing(what: str, sentence: str) -> NoReturn:
    """End the test: skipped, or failed where the environment says that this must be there."""
    if what in os.environ.get("TESTS_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required here. {sentence}", pytrace=False)
    pytest.skip(sentence)
