"""Designations against the examples of the Minor Planet Center and through both directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.moving_objects.designations import DIGITS, HALF_MONTHS, LETTERS, pack, unpack, unpack_many
from processors.moving_objects.errors import InvalidDesignationError

EXAMPLES = {
    # Packed Provisional and Permanent Designations, Minor Planet Center
    "1995 XA": "J95X00A",
    "1995 XL1": "J95X01L",
    "1995 FB13": "J95F13B",
    "1998 SQ108": "J98SA8Q",
    "1998 SV127": "J98SC7V",
    "1998 SS162": "J98SG2S",
    "2099 AZ193": "K99AJ3Z",
    "2008 AA360": "K08Aa0A",
    "2007 TA418": "K07Tf8A",
    "2040 P-L": "PLS2040",
    "3138 T-1": "T1S3138",
    "1010 T-2": "T2S1010",
    "4101 T-3": "T3S4101",
    "3202": "03202",
    "50000": "50000",
    "100345": "A0345",
    "360017": "a0017",
    "203289": "K3289",
    "620000": "~0000",
    "620061": "~000z",
    "3140113": "~AZaz",
    "15396335": "~zzzz",
    "Jupiter XIII": "J013S",
    "Saturn X": "S010S",
    "Neptune II": "N002S",
    # Extended Packed Provisional Designation Scheme, Minor Planet Center
    "2026 CA620": "_QC0000",
    "2026 CZ6190": "_QC0aEM",
    "2026 CL591673": "_QCzzzz",
    "2028 EA339749": "_SEZZZZ",
    # Before 1925, and comets and satellites
    "A904 OA": "J04O00A",
    "A898 PA": "I98P00A",
    "C/1995 O1": "CJ95O010",
    "D/1993 F2-B": "DJ93F02b",
    "P/2019 GG21": "PK19G21G",
    "A/2017 U1": "AK17U010",
    "P/2032 YT4130": "P_WY0Mpc",
    "73P": "0073P",
    "1I": "0001I",
    "73P-BB": "0073P     bb",
    "S/2003 J 2": "SK03J020",
    "S/1945 U 599": "SJ45Ux90",
    "Neptune CMXXIV": "N924S",
}


@pytest.mark.parametrize(("written", "packed"), EXAMPLES.items())
def test_examples_of_the_minor_planet_center(written: str, packed: str) -> None:
    assert pack(written) == packed
    assert unpack(packed) == written


def test_blanks_and_parentheses_do_not_matter() -> None:
    assert pack(" (433) ") == "00433"
    assert pack("1995  XA") == "J95X00A"
    assert unpack("00433  ") == "433"
    assert pack("1904 OA") == "J04O00A"


def test_a_comet_without_its_kind_is_read() -> None:
    assert unpack("J94P01b") == "1994 P1-B"
    assert unpack("K88AA30") == "2088 A103"


WRONG = [
    "",
    "0",
    "15396336",
    "1995 IA",
    "1995 AI",
    "1995 ZA",
    "2062 AA620",
    "1999 AA620",
    "1700 AA",
    "Ceres",
    "C/1995 O0",
    "Jupiter IIII",
    "Venus I I",
    "1995 XA-B",
    "S/2003 J 620",
    "0P",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_designation_is_refused(text: str) -> None:
    with pytest.raises(InvalidDesignationError):
        pack(text)


@pytest.mark.parametrize(
    "text", ["", "0043", "~00", "J95X00I", "J95I00A", "Z95X00A", "_QI0000", "J95XAAA", "J13S", "\x00\x00"]
)
def test_what_is_no_packed_designation_is_refused(text: str) -> None:
    with pytest.raises(InvalidDesignationError):
        unpack(text)


@given(st.integers(1, 15396335))
def test_numbers_come_back(number: int) -> None:
    packed = pack(str(number))
    assert len(packed) == 5
    assert unpack(packed) == str(number)


@given(st.integers(2000, 2061), st.sampled_from(HALF_MONTHS), st.sampled_from(LETTERS), st.integers(0, 591672))
def test_provisional_designations_come_back(year: int, half: str, letter: str, cycle: int) -> None:
    written = f"{year} {half}{letter}{cycle or ''}"
    packed = pack(written)
    assert len(packed) == 7
    assert set(packed) <= set(DIGITS + "_")
    assert unpack(packed) == written


@given(st.integers(1801, 2099), st.sampled_from(HALF_MONTHS), st.sampled_from(LETTERS), st.integers(0, 619))
def test_designations_of_every_century_come_back(year: int, half: str, letter: str, cycle: int) -> None:
    written = (
        f"{year} {half}{letter}{cycle or ''}" if year >= 1925 else f"A{year % 1000:03d} {half}{letter}{cycle or ''}"
    )
    assert unpack(pack(written)) == written


def codes(texts: list[str]) -> np.ndarray:
    return np.array([text.ljust(7).encode("latin-1") for text in texts], "S7").view(np.uint8).reshape(-1, 7)


def test_many_are_read_as_one_is() -> None:
    random = np.random.default_rng(12)
    years, cycles = random.integers(1900, 2030, 400), random.integers(0, 620, 400)
    halves, letters = random.choice(list(HALF_MONTHS), 400), random.choice(list(LETTERS), 400)
    packed = [pack(f"{y} {h}{x}{c or ''}") for y, h, x, c in zip(years, halves, letters, cycles, strict=True)]
    packed += [pack(str(n)) for n in random.integers(1, 1_000_000, 400)]
    packed += [text for text in EXAMPLES.values() if len(text) <= 7]
    written, good = unpack_many(codes(packed))
    assert good.all()
    assert written.tolist() == [unpack(text) for text in packed]


def test_bad_ones_among_many_are_marked() -> None:
    written, good = unpack_many(codes(["00001", "J95I00A", "\xff", "", "K07Tf8A"]))
    assert good.tolist() == [True, False, False, False, True]
    assert written.tolist() == ["1", "", "", "", "2007 TA418"]
    nothing, none = unpack_many(np.zeros((0, 7), np.uint8))
    assert nothing.size == none.size == 0
