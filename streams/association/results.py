"""The accepted results of a visit, found where the visit's closing says they lie, and checked against their digests."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from infra.reading import place_of
from schemas.errors import SchemaError
from schemas.events import DetectorOutcome, DetectorResult, ResultRef
from schemas.wire import EventCodec, unframe
from streams.association.errors import ResultNotThereError
from streams.partition_reader import PartitionReader

__all__ = ["TOPIC", "Fetched", "ResultReader"]

TOPIC = "detector-results"
Fetched = tuple[list[DetectorResult], dict[str, str]]
"""Results in order of detectors, and those that cannot be read, as ``detector:<number>``, with the reason."""


class ResultReader:
    """Fetches detector results.

    Parameters
    ----------
    reader_of
        Gives the reader of a partition.
    codec
        Decodes results.
    patience_s
        How long a result that is named but not there is waited for.
    """

    def __init__(
        self, reader_of: Callable[[int], PartitionReader], codec: EventCodec, *, patience_s: float = 15.0
    ) -> None:
        self._reader_of, self._codec = reader_of, codec
        self._readers: dict[int, PartitionReader] = {}
        self._patience_s = patience_s
        self._missing_since: dict[str, float] = {}

    def fetch(self, outcomes: Sequence[DetectorOutcome], visit: int) -> Fetched:
        """Return the results that the outcomes name.

        A result that is missing after a while, has another digest, or does not decode is refused with the reason.

        Raises
        ------
        ResultNotThereError
            When a result is not in the log and has not been waited for long enough.
        """
        wanted = {outcome.detector: outcome.result for outcome in outcomes if outcome.result is not None}
        messages = self._messages(list(wanted.values()))
        results, refused = [], {}
        for detector, ref in sorted(wanted.items()):
            read = self._read(messages.get((ref.partition, ref.offset)), ref, (visit, detector))
            if isinstance(read, str):
                refused[f"detector:{detector}"] = read
            else:
                results.append(read)
        return results, refused

    def close(self) -> None:
        """Close the readers."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _messages(self, refs: Sequence[ResultRef]) -> dict[tuple[int, int], bytes | None]:
        found: dict[tuple[int, int], bytes | None] = {}
        for partition in sorted({ref.partition for ref in refs}):
            reader = self._readers.setdefault(partition, self._reader_of(partition))
            offsets = {ref.offset for ref in refs if ref.partition == partition}
            for message in reader.records(min(offsets), max(offsets) + 1):
                _, offset = place_of(message)
                if offset in offsets:
                    found[partition, offset] = message.value()
        return found

    def _read(self, value: bytes | None, ref: ResultRef, whose: tuple[int, int]) -> DetectorResult | str:
        """Return the result, or why there is none."""
        if value is None:
            return self._missing(ref)
        try:
            _, datum = unframe(value)
            if hashlib.sha256(datum).hexdigest() != ref.sha256:
                return "the result at its place in the log has another digest"
            result = self._codec.decode(DetectorResult, value)
        except SchemaError:
            return "the result does not decode"
        if (result.visit, result.detector) != whose:
            return "the result is of another visit or detector"
        return result

    def _missing(self, ref: ResultRef) -> str:
        since = self._missing_since.setdefault(ref.sha256, time.monotonic())
        if time.monotonic() - since < self._patience_s:
            raise ResultNotThereError(f"The result of job {ref.job_id} is not in the log at offset {ref.offset}.")
        return "the result is not in the log"
