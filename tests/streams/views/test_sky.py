"""Positions and distances, judged by astropy."""

from __future__ import annotations

import astropy.units as u
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from streams.views.errors import RequestError
from streams.views.sky import galactic, parse_position, separation_arcsec, sexagesimal

RIGHT_ASCENSIONS = st.floats(0, 360, exclude_max=True)
DECLINATIONS = st.floats(-90, 90)


@pytest.mark.parametrize(
    "text",
    [
        "359.999 -1.25", "359.999,-1.25", "359.999d  -1.25d", "23:59:59.76 -01:15:00", "23 59 59.76 -1 15 0",
        "23h59m59.76s -1d15m0s", "23:59:59.76−01:15:00", "  359.999, -1.25 ",
    ],
)  # fmt: skip
def test_one_place_in_every_way_people_write_it(text: str) -> None:
    assert parse_position(text) == pytest.approx((359.999, -1.25), abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "12", "361 0", "10 91", "12:60:00 +10:00:00", "abc def", "25:00:00 0:0:0", "1 2 3"]
)
def test_what_is_no_place_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(RequestError, match=r"position|sphere"):
        parse_position(text)


def test_declination_between_minus_one_and_zero_keeps_its_sign() -> None:
    assert parse_position("00:00:01 -00:00:30")[1] == pytest.approx(-30 / 3600)
    assert sexagesimal(0.0, -30 / 3600) == "00:00:00.00 -00:00:30.0"


def test_rounding_carries_into_the_next_hour() -> None:
    assert sexagesimal(359.9999999, 9.999999) == "00:00:00.00 +10:00:00.0"


@given(RIGHT_ASCENSIONS, DECLINATIONS)
def test_sexagesimal_reads_back(ra: float, dec: float) -> None:
    again = parse_position(sexagesimal(ra, dec))
    assert separation_arcsec(ra, dec, *again) < 0.1


@given(RIGHT_ASCENSIONS, DECLINATIONS, RIGHT_ASCENSIONS, DECLINATIONS)
def test_separation_is_astropys(ra1: float, dec1: float, ra2: float, dec2: float) -> None:
    truth = SkyCoord(ra1, dec1, unit="deg").separation(SkyCoord(ra2, dec2, unit="deg")).to_value(u.arcsec)
    assert separation_arcsec(ra1, dec1, ra2, dec2) == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("place", [(0.0, 0.0), (266.4, -29.0), (192.86, 27.13), (10.684, 41.269), (359.999, -89.9)])
def test_galactic_is_astropys(place: tuple[float, float]) -> None:
    truth = SkyCoord(*place, unit="deg").galactic
    longitude, latitude = galactic(*place)
    assert separation_arcsec(longitude, latitude, truth.l.deg, truth.b.deg) < 0.05
