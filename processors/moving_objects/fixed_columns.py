"""Numbers and bytes out of fixed columns of many lines at once, each line told apart when its text is no number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BAD", "BLANK", "GOOD", "Lines", "split_lines"]

_Bytes = NDArray[np.uint8]
_Ints = NDArray[np.int64]

GOOD, BLANK, BAD = 0, 1, 2
"""What a field is: a number, nothing but blanks, anything else."""

_MAX_EXACT = 9007199254740992
"""2^53: a whole number up to it divided by an exact power of ten gives the nearest double, as reading the text does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of a text.

    Parameters
    ----------
    text
        All bytes.
    begins, lengths
        Of each line, without its line feed and carriage return.
    numbers
        Of each line in its file, from 1.
    """

    text: _Bytes
    begins: _Ints
    lengths: _Ints
    numbers: _Ints

    def __len__(self) -> int:
        """Return how many lines."""
        return len(self.begins)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Lines:
        """Return the chosen lines."""
        return Lines(
            text=self.text, begins=self.begins[chosen], lengths=self.lengths[chosen], numbers=self.numbers[chosen]
        )

    def columns(self, first: int, last: int) -> _Bytes:
        """Return the bytes of columns ``first`` to ``last`` (from 1, both included), blanks beyond a line's end."""
        width = last - first + 1
        out = np.full((len(self), width), ord(" "), np.uint8)
        _copy(self.text, self.begins, self.lengths, first - 1, out)
        return out

    def decimals(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return the numbers in those columns, NaN where there is none, and ``GOOD``, ``BLANK`` or ``BAD`` of each."""
        values, state = np.full(len(self), np.nan), np.empty(len(self), np.uint8)
        _decimals(self.text, self.begins, self.lengths, first - 1, last, values, state)
        return values, state

    def line(self, k: int) -> str:
        """Return a line's text; what is not ASCII is replaced."""
        begin = int(self.begins[k])
        return self.text[begin : begin + int(self.lengths[k])].tobytes().decode("ascii", errors="replace")


def split_lines(data: bytes, first_line: int = 1) -> Lines:
    """Split a text into its lines; the last needs no line feed."""
    text = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(text == ord("\n"))
    ends = feeds if not len(text) or text[-1] == ord("\n") else np.append(feeds, len(text))
    begins = np.concatenate([[0], ends[:-1] + 1])[: len(ends)].astype(np.int64)
    lengths = ends - begins
    if len(text):
        lengths = lengths - ((lengths > 0) & (text[np.maximum(ends - 1, 0)] == ord("\r")))
    return Lines(text=text, begins=begins, lengths=lengths, numbers=first_line + np.arange(len(begins)))


@njit(cache=True)
def _copy(text: _Bytes, begins: _Ints, lengths: _Ints, first: int, out: _Bytes) -> None:  # pragma: no cover
    for k in range(len(begins)):
        for j in range(min(out.shape[1], lengths[k] - first)):
            out[k, j] = text[begins[k] + first + j]


@njit(cache=True)
def _decimals(
    text: _Bytes,
    begins: _Ints,
    lengths: _Ints,
    first: int,
    last: int,
    values: NDArray[np.float64],
    state: NDArray[np.uint8],
) -> None:  # pragma: no cover
    for k in range(len(begins)):
        begin, end = begins[k] + first, begins[k] + min(last, lengths[k])
        while begin < end and text[begin] == 32:
            begin += 1
        while end > begin and text[end - 1] == 32:
            end -= 1
        if begin >= end:
            state[k] = 1
            continue
        state[k] = 2
        negative = text[begin] == 45
        if negative or text[begin] == 43:
            begin += 1
        whole, digits, decimals, point, sound = 0, 0, 0, False, True
        for j in range(begin, end):
            code = text[j]
            if 48 <= code <= 57 and digits < 18:
                whole = whole * 10 + (code - 48)
                digits += 1
                decimals += point
            elif code == 46 and not point:
                point = True
            else:
                sound = False
        if sound and digits > 0 and whole <= _MAX_EXACT:
            value = whole / 10.0**decimals
            values[k] = -value if negative else value
            state[k] = 0
