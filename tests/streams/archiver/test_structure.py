"""The look at a raw file's structure, against files that astropy made."""

from __future__ import annotations

import pytest

from streams.archiver.structure import STRUCTURE_KEY, describe
from tests.support.camera_files import raw_fits

WHOLE = raw_fits(2027011500001, 4)


def test_whole_file_has_its_cards_and_no_remark() -> None:
    cards = describe(WHOLE)
    assert (cards["EXPID"], cards["DETECTOR"], cards["EXPTIME"]) == ("2027011500001", "4", "3.5")
    assert STRUCTURE_KEY not in cards


@pytest.mark.parametrize("cut", [1, 2880, len(WHOLE) // 2, len(WHOLE) - 2881])
def test_truncated_file_is_remarked(cut: int) -> None:
    assert "truncated" in describe(WHOLE[:-cut])[STRUCTURE_KEY]


@pytest.mark.parametrize("data", [b"", b"no FITS at all", b"\xff" * 6000, b"END     " + b"\xfe" * 2872])
def test_other_bytes_are_remarked(data: bytes) -> None:
    assert STRUCTURE_KEY in describe(data)
