"""Rules of a replicator-distributor pair."""

from __future__ import annotations

import pytest

from processors.control.archive import (
    CopyKind,
    Stored,
    check_transfer,
    judge_copy,
    parse_sidecar,
    split_raft,
    unarchived,
)
from processors.control.errors import ChecksumError, ConflictingCopyError
from schemas.events import AvailableExposure, ExposureEvent, LostExposure
from schemas.tables import Claim

DIGEST = "0123456789abcdef" * 4
CLAIM = Claim(uri="sha256/01/" + DIGEST, sha256=DIGEST, size=3)


@pytest.mark.parametrize("text", [DIGEST, f"{DIGEST}  file.fits\n", DIGEST.upper()])
def test_sidecar_states_a_digest(text: str) -> None:
    assert parse_sidecar(text) == DIGEST


@pytest.mark.parametrize("text", ["", "abc", DIGEST[:-1], DIGEST[:-1] + "g"])
def test_sidecar_without_a_digest_is_refused(text: str) -> None:
    with pytest.raises(ChecksumError):
        parse_sidecar(text)


def test_transfer_with_other_bytes_is_refused_and_may_be_repeated() -> None:
    check_transfer("f", DIGEST, DIGEST)
    with pytest.raises(ChecksumError) as caught:
        check_transfer("f", DIGEST, "f" * 64)
    assert caught.value.retriable


def test_second_copy_is_the_same_or_a_conflict() -> None:
    assert judge_copy("f", None, DIGEST) is CopyKind.FIRST
    assert judge_copy("f", DIGEST, DIGEST) is CopyKind.SAME
    with pytest.raises(ConflictingCopyError):
        judge_copy("f", DIGEST, "f" * 64)


def event(detector: int, fact: AvailableExposure | LostExposure) -> ExposureEvent:
    return ExposureEvent(instrument="S", visit=10, exposure=11, snap=1, detector=detector, fact=fact)


def test_raft_is_split_into_its_ccds_in_order() -> None:
    events = split_raft(
        instrument="S",
        visit=10,
        exposure=11,
        detectors=(3, 1, 2),
        stored={1: Stored(claim=CLAIM, header={"A": "1"})},
        lost={2: "gone"},
    )
    assert events == [
        event(1, AvailableExposure(raw=CLAIM, header={"A": "1"})),
        event(2, LostExposure(reason="gone")),
        event(3, LostExposure(reason="not delivered")),
    ]


def test_catch_up_takes_the_oldest_first_and_what_was_given_up() -> None:
    events = [event(1, AvailableExposure(raw=CLAIM, header={})), event(2, LostExposure(reason="late"))]
    assert unarchived([(12, 1), (11, 1), (11, 2)], events) == [(11, 2), (12, 1)]
