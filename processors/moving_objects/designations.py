"""Designations of minor planets, comets and satellites: the written form and the Minor Planet Center's packed one.

Source: "Packed Provisional and Permanent Designations" and "Provisional Designations" of the Minor Planet Center's operations
documentation, with the extensions of 2019 (numbers above 619999) and 2023 (cycles above 619).

| written | packed |
|---|---|
| 433, 120383, 620036 | 00433, C0383, ~000a |
| 73P, 1I, 73P-BB | 0073P, 0001I, 0073P and the fragment bb |
| Jupiter XIII | J013S |
| 1995 XA, 2007 TA418, A904 OA | J95X00A, K07Tf8A, J04O00A |
| 2026 CZ6190 | _QC0aEM |
| 2040 P-L, 3138 T-1 | PLS2040, T1S3138 |
| C/1995 O1, D/1993 F2-B, P/2019 GG21 | CJ95O010, DJ93F02b, PK19G21G |
| S/2003 J 2 | SK03J020 |
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.errors import InvalidDesignationError

__all__ = ["pack", "unpack", "unpack_many"]

_Strings = NDArray[np.str_]
_Bytes = NDArray[np.uint8]

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Of the packed forms: base 62."""

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
"""Second letters of a half-month's order: no I."""

HALF_MONTHS = "ABCDEFGHJKLMNOPQRSTUVWXY"
"""First letters: no I, no Z."""

FIRST_TILDE = 620_000
"""The first number that five characters hold only in the extended form."""

FIRST_EXTENDED_CYCLE = 620
"""The first cycle that two characters cannot hold."""

PLANETS = {"Mercury": "M", "Mars": "M", "Jupiter": "J", "Saturn": "S", "Uranus": "U", "Neptune": "N", "Pluto": "P"}
"""Planet of a satellite and its letter; only Mars among the first two has satellites."""

_NEW_STYLE_YEAR = 1925
"""Designations of earlier years are written with an A for the first digit."""

_PLANET_NAMES = {letter: name for name, letter in PLANETS.items()}
_ROMAN = (
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)


def pack(designation: str) -> str:
    """Return the packed form of a written designation.

    Parameters
    ----------
    designation
        Blanks around it, and parentheses about a number, do not matter. What is packed already is not recognised.

    Raises
    ------
    InvalidDesignationError
        When it has none of the forms.
    """
    text = re.sub(r"\s+", " ", designation.strip())
    for pattern, make in _PACKERS:
        if (match := pattern.fullmatch(text)) is not None:
            return make(*match.groups())
    raise InvalidDesignationError(f"{designation!r} is no designation of a minor planet, comet or satellite.")


def unpack(packed: str) -> str:
    """Return the written form of a packed designation.

    Raises
    ------
    InvalidDesignationError
        When it has none of the packed forms.
    """
    text = packed.strip()
    for pattern, make in _UNPACKERS:
        if (match := pattern.fullmatch(text)) is not None:
            return make(*match.groups())
    raise InvalidDesignationError(f"{packed!r} is no packed designation.")


def unpack_many(packed: _Bytes) -> tuple[_Strings, NDArray[np.bool_]]:
    """Return the written forms of many packed designations, and which of them are designations at all.

    Parameters
    ----------
    packed
        ASCII codes (n, 7), blanks on the right.

    Returns
    -------
    Written forms (n,), empty where there is none; and the mask of the good ones.
    """
    written = np.zeros(len(packed), "U16")
    rest = np.ones(len(packed), bool)
    for select, make in ((_are_numbers, _write_numbers), (_are_provisional, _write_provisional)):
        chosen = np.flatnonzero(rest & select(packed)) if len(packed) else np.zeros(0, np.intp)
        written[chosen] = make(packed[chosen])
        rest[chosen] = False
    good = ~rest
    for row in np.flatnonzero(rest):
        try:
            written[row] = unpack(packed[row].tobytes().decode("latin-1"))
            good[row] = True
        except InvalidDesignationError:
            continue
    return written, good


def _value(text: str) -> int:
    total = 0
    for character in text:
        total = total * 62 + DIGITS.index(character)
    return total


def _digits(value: int, width: int) -> str:
    text = ""
    for _ in range(width):
        value, digit = divmod(value, 62)
        text = DIGITS[digit] + text
    return text


def _pack_number(number: str) -> str:
    value = int(number)
    if not 0 < value < FIRST_TILDE + 62**4:
        raise InvalidDesignationError(f"{number} is no number of a minor planet.")
    if value < FIRST_TILDE:
        return DIGITS[value // 10_000] + f"{value % 10_000:04d}"
    return "~" + _digits(value - FIRST_TILDE, 4)


def _pack_year(year: str) -> str:
    """Century and year of ``1995`` or ``A904``."""
    whole = int(year.replace("A", "1", 1))
    if not 1800 <= whole < 2200:
        raise InvalidDesignationError(f"{year} is no year of a designation.")
    return DIGITS[whole // 100] + f"{whole % 100:02d}"


def _pack_cycle(cycle: int) -> str:
    return DIGITS[cycle // 10] + str(cycle % 10)


def _pack_provisional(year: str, half_month: str, letter: str, cycle: str) -> str:
    count = int(cycle or 0)
    if count < FIRST_EXTENDED_CYCLE:
        return _pack_year(year) + half_month + _pack_cycle(count) + letter
    order = (count - FIRST_EXTENDED_CYCLE) * len(LETTERS) + LETTERS.index(letter)
    if not (year.startswith("20") and int(year) < 2062 and order < 62**4):
        raise InvalidDesignationError(f"{year} {half_month}{letter}{cycle} is beyond the extended packed form.")
    return "_" + DIGITS[int(year) - 2000] + half_month + _digits(order, 4)


def _pack_survey(number: str, survey: str, part: str) -> str:
    return f"{survey}{part}S{number}"


def _pack_comet(kind: str, year: str, half_month: str, order: str, fragment: str | None) -> str:
    count = int(order)
    if not 0 < count < FIRST_EXTENDED_CYCLE:
        raise InvalidDesignationError(f"{kind}/{year} {half_month}{order} has no packed form.")
    return kind + _pack_year(year) + half_month + _pack_cycle(count) + (fragment or "0").lower()


def _pack_comet_as_planet(kind: str, year: str, half_month: str, letter: str, cycle: str) -> str:
    return kind + _pack_provisional(year, half_month, letter, cycle)


def _pack_numbered_comet(number: str, kind: str, fragment: str | None) -> str:
    if not 0 < int(number) < 10_000:
        raise InvalidDesignationError(f"{number}{kind} is no number of a comet.")
    return f"{int(number):04d}{kind}" + (fragment or "").lower().rjust(7 if fragment else 0)


def _pack_satellite(year: str, planet: str, order: str) -> str:
    count = int(order)
    if not 0 < count < FIRST_EXTENDED_CYCLE:
        raise InvalidDesignationError(f"S/{year} {planet} {order} has no packed form.")
    return f"S{_pack_year(year)}{planet}{_pack_cycle(count)}0"


def _pack_numbered_satellite(planet: str, roman: str) -> str:
    number = _from_roman(roman)
    return f"{PLANETS[planet]}{number:03d}S"


def _from_roman(roman: str) -> int:
    number, rest = 0, roman
    for value, sign in _ROMAN:
        while rest.startswith(sign):
            number, rest = number + value, rest[len(sign) :]
    if rest or _to_roman(number) != roman:
        raise InvalidDesignationError(f"{roman} is no Roman number of a satellite.")
    return number


def _to_roman(number: int) -> str:
    text = ""
    for value, sign in _ROMAN:
        times, number = divmod(number, value)
        text += sign * times
    return text


def _unpack_number(first: str, rest: str) -> str:
    return str(DIGITS.index(first) * 10_000 + int(rest))


def _unpack_tilde(order: str) -> str:
    return str(FIRST_TILDE + _value(order))


def _unpack_year(century: str, year: str) -> str:
    whole = DIGITS.index(century) * 100 + int(year)
    return f"A{whole % 1000:03d}" if whole < _NEW_STYLE_YEAR else str(whole)


def _unpack_provisional(century: str, year: str, half_month: str, tens: str, ones: str, letter: str) -> str:
    cycle = DIGITS.index(tens) * 10 + int(ones)
    return f"{_unpack_year(century, year)} {half_month}{letter}{cycle or ''}"


def _unpack_extended(year: str, half_month: str, order: str) -> str:
    cycle, letter = divmod(_value(order), len(LETTERS))
    return f"{2000 + DIGITS.index(year)} {half_month}{LETTERS[letter]}{FIRST_EXTENDED_CYCLE + cycle}"


def _unpack_survey(survey: str, part: str, number: str) -> str:
    return f"{number} {survey}-{part}"


def _unpack_comet(kind: str | None, century: str, year: str, half_month: str, tens: str, ones: str, last: str) -> str:
    # Comets of every century are written with the whole year.
    whole, order = DIGITS.index(century) * 100 + int(year), DIGITS.index(tens) * 10 + int(ones)
    prefix = f"{kind}/" if kind else ""
    return f"{prefix}{whole} {half_month}{order}" + ("" if last == "0" else f"-{last.upper()}")


def _unpack_comet_as_planet(kind: str, rest: str) -> str:
    return f"{kind}/{unpack(rest)}"


def _unpack_numbered_comet(number: str, kind: str, fragment: str | None) -> str:
    return f"{int(number)}{kind}" + (f"-{fragment.upper()}" if fragment else "")


def _unpack_satellite(century: str, year: str, planet: str, tens: str, ones: str) -> str:
    return f"S/{DIGITS.index(century) * 100 + int(year)} {planet} {DIGITS.index(tens) * 10 + int(ones)}"


def _unpack_numbered_satellite(planet: str, number: str) -> str:
    return f"{_PLANET_NAMES[planet]} {_to_roman(int(number))}"


_HALF, _LETTER = f"([{HALF_MONTHS}])", f"([{LETTERS}])"

_PACKERS: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
    (re.compile(r"\(?(\d+)\)?"), _pack_number),
    (re.compile(rf"(\d{{4}}|A[89]\d\d) {_HALF}{_LETTER}(\d*)"), _pack_provisional),
    (re.compile(r"(\d{4}) ([PT])-([L123])"), _pack_survey),
    (re.compile(rf"([CPDXAI])/(\d{{4}}) {_HALF}(\d+)(?:-([A-Z]))?"), _pack_comet),
    (re.compile(rf"([CPDXAI])/(\d{{4}}) {_HALF}{_LETTER}(\d*)"), _pack_comet_as_planet),
    (re.compile(r"(\d+)([PDI])(?:-([A-Z]{1,2}))?"), _pack_numbered_comet),
    (re.compile(r"S/(\d{4}) ([MJSUNP]) (\d+)"), _pack_satellite),
    (re.compile(rf"({'|'.join(PLANETS)}) ([IVXLCDM]+)"), _pack_numbered_satellite),
)

_CENTURY, _ORDER = "([I-L])", r"([0-9A-Za-z])(\d)"

_UNPACKERS: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
    (re.compile(r"([0-9A-Za-z])(\d{4})"), _unpack_number),
    (re.compile(r"~([0-9A-Za-z]{4})"), _unpack_tilde),
    (re.compile(rf"{_CENTURY}(\d\d){_HALF}{_ORDER}{_LETTER}"), _unpack_provisional),
    (re.compile(rf"_([0-9A-Za-z]){_HALF}([0-9A-Za-z]{{4}})"), _unpack_extended),
    (re.compile(r"(P|T)(L|1|2|3)S(\d{4})"), _unpack_survey),
    (re.compile(rf"([CPDXAI])?{_CENTURY}(\d\d){_HALF}{_ORDER}([0a-z])"), _unpack_comet),
    (
        re.compile(rf"([CPDXAI])({_CENTURY}\d\d{_HALF}{_ORDER}{_LETTER}|_[0-9A-Za-z]{_HALF}[0-9A-Za-z]{{4}})"),
        lambda kind, rest, *_: _unpack_comet_as_planet(kind, rest),
    ),
    (re.compile(r"(\d{4})([PDI])(?: *([a-z]{1,2}))?"), _unpack_numbered_comet),
    (re.compile(rf"S{_CENTURY}(\d\d)([MJSUNP]){_ORDER}0"), _unpack_satellite),
    (re.compile(r"([MJSUNP])(\d{3})S"), _unpack_numbered_satellite),
)

_CODE_VALUE = np.full(256, -1, np.int64)
_CODE_VALUE[np.frombuffer(DIGITS.encode(), np.uint8)] = np.arange(62)


def _is_among(codes: _Bytes, characters: str) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[np.frombuffer(characters.encode(), np.uint8)] = True
    return np.asarray(table[codes])


def _are_numbers(packed: _Bytes) -> NDArray[np.bool_]:
    digits = _is_among(packed[:, 1:5], DIGITS[:10]).all(axis=1)
    return np.asarray(_is_among(packed[:, 0], DIGITS) & digits & (packed[:, 5:] == ord(" ")).all(axis=1))


def _are_provisional(packed: _Bytes) -> NDArray[np.bool_]:
    sets = ("JK", DIGITS[:10], DIGITS[:10], HALF_MONTHS, DIGITS, DIGITS[:10], LETTERS)
    good = np.ones(len(packed), bool)
    for column, characters in enumerate(sets):
        good &= _is_among(packed[:, column], characters)
    # What was found before 1925 is written otherwise, and rare.
    early = (packed[:, 0] == ord("J")) & (_two_digits(packed[:, 1:3]) < _NEW_STYLE_YEAR - 1900)
    return np.asarray(good & ~early)


def _two_digits(codes: _Bytes) -> NDArray[np.int64]:
    return np.asarray(_CODE_VALUE[codes[:, 0]] * 10 + _CODE_VALUE[codes[:, 1]])


def _write_numbers(packed: _Bytes) -> _Strings:
    values = _CODE_VALUE[packed[:, :5]] @ np.array([10_000, 1000, 100, 10, 1])
    return np.asarray(values.astype("U16"))


def _write_provisional(packed: _Bytes) -> _Strings:
    codes = np.zeros((len(packed), 16), np.uint32)
    codes[:, 0:2] = np.where(
        (packed[:, :1] == ord("J")), np.array([ord("1"), ord("9")]), np.array([ord("2"), ord("0")])
    )
    codes[:, 2:4], codes[:, 4] = packed[:, 1:3], ord(" ")
    codes[:, 5], codes[:, 6] = packed[:, 3], packed[:, 6]
    cycle = _CODE_VALUE[packed[:, 4]] * 10 + _CODE_VALUE[packed[:, 5]]
    for count, power in ((3, 100), (2, 10), (1, 1)):
        # Digits of the cycle without leading zeros: as many columns as its length.
        wide = cycle >= power
        column = np.where(cycle >= 100, 3, np.where(cycle >= 10, 2, 1)) - count
        codes[wide, 7 + column[wide]] = ord("0") + cycle[wide] // power % 10
    return np.asarray(codes.view("U16").ravel())
