"""Geometry and values from raw headers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.single_frame.errors import BadHeaderError, MissingAmplifierError, WrongShapeError
from processors.single_frame.frames import Section, parse_raw, parse_section
from schemas.raw import RawFile, RawHdu
from tests.support.scenes import make_scene

BOXES = st.tuples(st.integers(0, 4000), st.integers(0, 4000), st.integers(1, 600), st.integers(1, 600))


@given(box=BOXES, flip_x=st.booleans(), flip_y=st.booleans())
def test_a_section_round_trips_through_its_text(box: tuple[int, int, int, int], flip_x: bool, flip_y: bool) -> None:
    x0, y0, width, height = box
    flip_x, flip_y = flip_x and width > 1, flip_y and height > 1
    xs, ys = (x0 + 1, x0 + width), (y0 + 1, y0 + height)
    xa, xb = xs[::-1] if flip_x else xs
    ya, yb = ys[::-1] if flip_y else ys
    expected = Section(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height, flip_x=flip_x, flip_y=flip_y)
    assert parse_section(f"[{xa}:{xb},{ya}:{yb}]") == expected


@pytest.mark.parametrize("text", ["", "[1:2]", "1:2,3:4", "[a:b,c:d]", "[1:2,3:4"])
def test_what_is_no_section_is_refused(text: str) -> None:
    with pytest.raises(BadHeaderError):
        parse_section(text)


def test_the_headers_of_a_scene_give_the_cameras_geometry() -> None:
    scene = make_scene("tiny", stars=3)
    frame = parse_raw(scene.raws[1], scene.detector)
    assert (frame.width, frame.height) == (256, 256)
    assert (frame.exposure.visit, frame.exposure.exposure, frame.exposure.snap) == (2026112900001, 2026112900002, 1)
    for have, wanted in zip(frame.amplifiers, scene.detector.amplifiers, strict=True):
        x0, y0, x1, y1 = wanted.box
        box = Section(x0=x0, y0=y0, x1=x1, y1=y1, flip_x=wanted.flip_x, flip_y=wanted.flip_y)
        assert have.detector == box
        assert have.imaging.shape == (wanted.height, wanted.width)
        assert have.serial is not None
        assert have.parallel is not None
        assert have.parallel.shape == (wanted.parallel_overscan, wanted.width)


def test_a_missing_amplifier_is_named() -> None:
    scene = make_scene("tiny", stars=3)
    lacking = dataclasses.replace(scene.raws[0], hdus=scene.raws[0].hdus[:-1])
    with pytest.raises(MissingAmplifierError, match="C11"):
        parse_raw(lacking, scene.detector)
    with pytest.raises(MissingAmplifierError):
        parse_raw(RawFile(header={}, hdus=()))


def test_an_amplifier_of_another_shape_is_refused() -> None:
    scene = make_scene("tiny", stars=3)
    first, *rest = scene.raws[0].hdus
    cut = dataclasses.replace(first, data=first.data[:-1])
    with pytest.raises(WrongShapeError):
        parse_raw(dataclasses.replace(scene.raws[0], hdus=(cut, *rest)), scene.detector)
    narrow = dataclasses.replace(first, data=first.data[:, :100])
    with pytest.raises(WrongShapeError):
        parse_raw(dataclasses.replace(scene.raws[0], hdus=(narrow, *rest)))


def test_a_lone_amplifier_is_a_ccd_of_its_own() -> None:
    header = {
        "DATASEC": "[1:20,1:10]",
        "BIASSEC": "[1:4,1:10]",
        "TRIMSEC": "[5:20,2:10]",
        "FILTER": "r",
        "EXPTIME": 15.0,
    }
    frame = parse_raw(RawFile(header=header, hdus=(RawHdu(name="C00", header={}, data=np.zeros((10, 20))),)))
    assert (frame.width, frame.height) == (16, 9)
    assert frame.amplifiers[0].parallel is None


@pytest.mark.parametrize(("key", "value"), [("EXPTIME", "long"), ("EXPTIME", float("nan")), ("VISIT", "first")])
def test_a_card_that_cannot_be_read_is_named(key: str, value: object) -> None:
    scene = make_scene("tiny", stars=3)
    broken = dataclasses.replace(scene.raws[0], header={**scene.raws[0].header, key: value})
    with pytest.raises(BadHeaderError, match=key):
        parse_raw(broken, scene.detector)
