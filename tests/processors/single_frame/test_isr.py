"""Instrumental signature removal against known electrons, against ccdproc, and on broken input."""

from __future__ import annotations

import dataclasses

import astropy.units as u
import ccdproc
import numpy as np
import pytest
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.single_frame.errors import (
    InvalidCalibrationError,
    MissingCalibrationError,
    SaturatedDetectorError,
    WrongShapeError,
)
from processors.single_frame.frames import Exposure, RawAmplifier, RawFrame, Section, parse_raw
from processors.single_frame.isr import STEPS, correct, grow_saturation, interpolate_bad
from processors.single_frame.overscan import shrink_levels, subtract_overscan
from processors.single_frame.visit_image import make_visit_image
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations
from tests.support.scenes import make_scene

NONE = MasterCalibrations(flats={})
ALL = frozenset(STEPS)
EXPOSURE = Exposure(
    instrument="test",
    visit=1,
    exposure=1,
    snap=0,
    detector=0,
    band="r",
    exposure_time=15.0,
    begin_mjd_tai=60000.0,
    end_mjd_tai=60000.0,
    ra=0.0,
    dec=0.0,
    rotation=0.0,
    airmass=1.0,
)


def one_amplifier(data: np.ndarray, imaging: Section, serial: Section | None, place: Section) -> RawAmplifier:
    return RawAmplifier(
        name="A",
        data=data,
        imaging=imaging,
        serial=serial,
        parallel=None,
        detector=place,
        gain=1.5,
        read_noise=5.0,
        saturation=60000.0,
    )


@pytest.fixture(scope="module")
def scene():
    return make_scene("tiny", seed=3, cosmic_rays=0, bleed=True)


def test_the_electrons_of_a_scene_come_back(scene) -> None:
    corrected = correct(parse_raw(scene.raws[0], scene.detector), scene.masters)
    usable = (corrected.mask & (MaskPlane.SAT | MaskPlane.BAD)) == 0
    pull = ((corrected.image - scene.electrons[0]) / np.sqrt(corrected.variance))[usable]
    assert usable.mean() > 0.9
    assert 0.98 < pull.std() < 1.03
    assert abs(pull.mean()) < 0.05
    flat = scene.masters.flats["r"]
    expected = (scene.electrons[0] * flat + 36) / flat**2
    assert np.median(corrected.variance[usable] / expected[usable]) == pytest.approx(1, abs=0.02)
    for amplifier, noise in zip(scene.masters.amplifiers.names, scene.masters.amplifiers.read_noise, strict=True):
        assert corrected.read_noise[amplifier] == pytest.approx(noise, rel=0.05)


@pytest.mark.parametrize("step", ["flat", "amplifiers"])
def test_leaving_a_step_out_leaves_its_signature(scene, step: str) -> None:
    whole = correct(parse_raw(scene.raws[0], scene.detector), scene.masters)
    lacking = correct(parse_raw(scene.raws[0], scene.detector), scene.masters, skip={step})
    usable = (whole.mask & (MaskPlane.SAT | MaskPlane.BAD)) == 0
    spreads = [((c.image - scene.electrons[0]) / np.sqrt(whole.variance))[usable].std() for c in (whole, lacking)]
    assert spreads[1] > 1.05 * spreads[0]


def test_ghosts_of_the_brightest_star_go_with_crosstalk_correction(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    whole = correct(frame, scene.masters)
    lacking = correct(frame, scene.masters, skip={"crosstalk"})
    usable = (whole.mask & (MaskPlane.SAT | MaskPlane.BAD)) == 0
    ghosts = usable & (lacking.image - whole.image > 8)
    assert np.count_nonzero(ghosts) > 20
    assert abs((whole.image - scene.electrons[0])[ghosts].mean()) < 3
    assert (lacking.image - scene.electrons[0])[ghosts].mean() > 6


def test_one_amplifier_agrees_with_ccdproc() -> None:
    rng = np.random.default_rng(5)
    raw = rng.normal(1000, 3, (120, 100 + 24))
    raw[:, :100] += rng.poisson(500, (120, 100))
    bias, dark = rng.normal(0, 2, (120, 100)), rng.uniform(0, 0.5, (120, 100))
    flat = rng.uniform(0.9, 1.1, (120, 100))
    box = Section(x0=0, y0=0, x1=100, y1=120)
    amplifier = one_amplifier(raw, box, Section(x0=100, y0=0, x1=124, y1=120), box)
    frame = RawFrame(exposure=EXPOSURE, width=100, height=120, amplifiers=(amplifier,))
    masters = MasterCalibrations(
        bias=bias.astype(np.float32), dark=dark.astype(np.float32), flats={"r": flat.astype(np.float32)}
    )
    ours = correct(frame, masters, skip={"defects", "amplifiers", "crosstalk"})

    theirs = ccdproc.subtract_overscan(
        CCDData(raw, unit="adu"), overscan=CCDData(raw[:, 104:], unit="adu"), median=True
    )
    theirs = ccdproc.trim_image(theirs[:, :100])
    theirs = ccdproc.subtract_bias(theirs, CCDData(bias, unit="adu"))
    theirs = ccdproc.gain_correct(theirs, 1.5 * u.electron / u.adu)
    seconds = 15.0 * u.second
    theirs = ccdproc.subtract_dark(
        theirs, CCDData(dark * 15, unit="electron"), dark_exposure=seconds, data_exposure=seconds
    )
    theirs = ccdproc.flat_correct(theirs, CCDData(flat, unit=""), norm_value=1.0)
    difference = ours.image - theirs.data
    assert abs(difference.mean()) < 0.3
    assert difference.std() < 1.6


@settings(max_examples=25, deadline=None)
@given(
    flips=st.tuples(st.booleans(), st.booleans()),
    size=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    prescan=st.integers(0, 5),
    extra=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_trim_and_assembly_undo_what_the_camera_does(
    flips: tuple[bool, bool], size: tuple[int, int], prescan: int, extra: int, seed: int
) -> None:
    height, width = size
    ccd = np.random.default_rng(seed).integers(1, 30000, (height, 2 * width)).astype(np.float32)
    amplifiers = []
    for left in (0, width):
        pixels = ccd[:, left : left + width]
        pixels = pixels[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
        raw = np.full((height + extra, prescan + width + extra), 7.0)
        raw[:height, prescan : prescan + width] = pixels
        place = Section(x0=left, y0=0, x1=left + width, y1=height, flip_x=flips[0], flip_y=flips[1])
        imaging = Section(x0=prescan, y0=0, x1=prescan + width, y1=height)
        amplifiers.append(dataclasses.replace(one_amplifier(raw, imaging, None, place), name=str(left), gain=1.0))
    frame = RawFrame(exposure=EXPOSURE, width=2 * width, height=height, amplifiers=tuple(amplifiers))
    np.testing.assert_array_equal(correct(frame, NONE, skip=ALL).image, ccd)


def test_every_missing_master_is_named(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    with pytest.raises(MissingCalibrationError, match=r"bias, dark, flat \(r\), defects, amplifiers, crosstalk"):
        correct(frame, NONE)
    with pytest.raises(MissingCalibrationError, match=r"missing: flat \(r\);"):
        correct(frame, dataclasses.replace(scene.masters, flats={"i": scene.masters.flats["r"]}))
    assert MissingCalibrationError.retriable


def test_masters_of_another_ccd_are_refused(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    with pytest.raises(WrongShapeError, match="bias"):
        correct(frame, dataclasses.replace(scene.masters, bias=np.zeros((10, 10), np.float32)))
    names = (*scene.masters.amplifiers.names[:-1], "X")
    table = dataclasses.replace(scene.masters.amplifiers, names=names)
    with pytest.raises(WrongShapeError):
        correct(frame, dataclasses.replace(scene.masters, amplifiers=table))


def test_amplifiers_are_found_by_name_whatever_their_order(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    turned = dataclasses.replace(frame, amplifiers=tuple(reversed(frame.amplifiers)))
    one, other = correct(frame, scene.masters), correct(turned, scene.masters)
    np.testing.assert_allclose(one.image, other.image, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(one.mask, other.mask)


def test_a_dead_amplifier_is_carried_as_bad(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    first, *rest = frame.amplifiers
    for data in (np.full_like(first.data, 1000), np.random.default_rng(1).normal(1000, 60, first.data.shape)):
        silent = dataclasses.replace(first, data=data)
        corrected = correct(dataclasses.replace(frame, amplifiers=(silent, *rest)), scene.masters)
        assert corrected.dead == (first.name,)
        box = corrected.mask[first.detector.slices]
        assert np.all(box & MaskPlane.BAD)
        assert np.all(box & MaskPlane.NO_DATA)
        assert np.isfinite(corrected.image).all()


def test_pixels_that_are_not_numbers_become_bad(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    first, *rest = frame.amplifiers
    data = first.data.astype(np.float64)
    data[10, 30] = np.nan
    data[20, first.serial.x0 + 10] = np.nan
    corrected = correct(
        dataclasses.replace(frame, amplifiers=(dataclasses.replace(first, data=data), *rest)), scene.masters
    )
    marked = (corrected.mask & MaskPlane.NO_DATA) != 0
    assert np.isfinite(corrected.image).all()
    assert marked.sum() == 1
    assert marked[10, 30 - first.imaging.x0]
    assert corrected.image[10, 30 - first.imaging.x0] == 0


def test_a_wholly_saturated_ccd_is_refused(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    amplifiers = []
    for amplifier in frame.amplifiers:
        data = amplifier.data.copy()
        data[amplifier.imaging.slices] = 65000 + np.arange(amplifier.imaging.shape[1]) % 3
        amplifiers.append(dataclasses.replace(amplifier, data=data))
    with pytest.raises(SaturatedDetectorError):
        correct(dataclasses.replace(frame, amplifiers=tuple(amplifiers)), scene.masters)


def test_saturation_is_marked_and_grown(scene) -> None:
    corrected = correct(parse_raw(scene.raws[0], scene.detector), scene.masters)
    saturated = (corrected.mask & MaskPlane.SAT) != 0
    y, x = np.unravel_index(np.argmax(scene.electrons[0]), scene.electrons[0].shape)
    assert saturated[y, x]
    mask = np.zeros((9, 9), np.uint16)
    mask[4, 4] = MaskPlane.SAT
    grow_saturation(mask, 2)
    assert np.count_nonzero(mask) == 25


def test_bad_runs_are_bridged_by_a_line_unless_too_long() -> None:
    image = np.tile(np.arange(20, dtype=np.float32), (2, 1))
    mask = np.zeros((2, 20), np.uint16)
    mask[0, 5:8] = mask[1, 2:15] = MaskPlane.BAD
    spoiled = np.where(mask != 0, np.float32(999), image)
    interpolate_bad(spoiled, mask, int(MaskPlane.BAD), 8)
    np.testing.assert_allclose(spoiled[0], image[0])
    assert np.all(mask[0, 5:8] & MaskPlane.INTRP)
    assert np.all(spoiled[1, 2:15] == 999)


def test_levels_are_smoothed_only_as_far_as_noise_explains_them() -> None:
    rng = np.random.default_rng(2)
    rows = np.arange(500)
    drift = 5 * np.exp(-rows / 60)
    quiet = shrink_levels(drift + rng.normal(0, 0.5, 500), 0.5)
    assert (quiet - drift).std() < 0.2
    striped = drift + rng.normal(0, 4.0, 500)
    np.testing.assert_allclose(shrink_levels(striped, 0.1), striped, atol=0.3)


def test_deferred_charge_of_the_last_column_does_not_reach_the_level() -> None:
    raw = np.full((40, 60), 1000.0) + np.random.default_rng(1).normal(0, 2, (40, 60))
    raw[:, 30:33] += 50
    box = Section(x0=0, y0=0, x1=30, y1=40)
    pixels, scatter = subtract_overscan(one_amplifier(raw, box, Section(x0=30, y0=0, x1=60, y1=40), box))
    assert abs(pixels.mean()) < 0.3
    assert scatter == pytest.approx(2, rel=0.1)


def test_an_amplifier_noisier_than_calibrated_is_suspect_and_its_variance_says_so(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    first, *rest = frame.amplifiers
    noise = np.random.default_rng(2).normal(0, 15, first.data.shape)
    noisy = dataclasses.replace(first, data=first.data + noise)
    corrected = correct(dataclasses.replace(frame, amplifiers=(noisy, *rest)), scene.masters)
    assert corrected.noisy == (first.name,)
    assert corrected.dead == ()
    place = first.detector.slices
    assert np.all(corrected.mask[place] & MaskPlane.SUSPECT)
    clean = (corrected.mask[place] & (MaskPlane.SAT | MaskPlane.BAD)) == 0
    pull = ((corrected.image - scene.electrons[0]) / np.sqrt(corrected.variance))[place][clean]
    assert 0.97 < pull.std() < 1.04


def test_dead_in_one_snap_is_without_data_in_the_visit(scene) -> None:
    frames = [parse_raw(raw, scene.detector) for raw in scene.raws]
    first, *rest = frames[1].amplifiers
    silent = dataclasses.replace(first, data=np.zeros_like(first.data))
    frames[1] = dataclasses.replace(frames[1], amplifiers=(silent, *rest))
    visit = make_visit_image(frames, scene.masters)
    assert visit.dead_amplifiers == 1
    place = first.detector.slices
    assert np.all(visit.combined.mask[place] & MaskPlane.NO_DATA)
    assert np.all(visit.combined.mask[place] & MaskPlane.BAD)
    assert np.all(visit.unusable[place])
    np.testing.assert_array_equal(visit.combined.image[place], 0)
    np.testing.assert_array_equal(visit.combined.variance[place], np.float32(1e10))
    assert not np.any(visit.combined.mask[place] & MaskPlane.CR)
    elsewhere = rest[-1].detector.slices
    assert (visit.combined.mask[elsewhere] & MaskPlane.NO_DATA != 0).mean() < 0.01


@pytest.mark.parametrize(
    ("name", "value"), [("gain", 0.0), ("gain", np.nan), ("read_noise", -1.0), ("saturation", 0.0)]
)
def test_constants_of_no_amplifier_are_refused(scene, name: str, value: float) -> None:
    values = getattr(scene.masters.amplifiers, name).copy()
    values[1] = value
    table = dataclasses.replace(scene.masters.amplifiers, **{name: values})
    with pytest.raises(InvalidCalibrationError):
        correct(parse_raw(scene.raws[0], scene.detector), dataclasses.replace(scene.masters, amplifiers=table))
    assert not InvalidCalibrationError.retriable


def test_crosstalk_that_cannot_be_is_refused(scene) -> None:
    frame, crosstalk = parse_raw(scene.raws[0], scene.detector), scene.masters.crosstalk.copy()
    with pytest.raises(WrongShapeError, match="crosstalk"):
        correct(frame, dataclasses.replace(scene.masters, crosstalk=crosstalk[:, :-1]))
    crosstalk[0, 1] = np.nan
    with pytest.raises(InvalidCalibrationError):
        correct(frame, dataclasses.replace(scene.masters, crosstalk=crosstalk))


def test_a_flat_without_response_leaves_holes_with_and_without_brighter_fatter(scene) -> None:
    flat = scene.masters.flats["r"].copy()
    flat[40:42, 50] = 0.0
    flat[43, 50] = np.nan
    masters = dataclasses.replace(scene.masters, flats={"r": flat})
    kernel = np.full((3, 3), 1e-8, np.float32)
    for some in (masters, dataclasses.replace(masters, brighter_fatter=kernel)):
        corrected = correct(parse_raw(scene.raws[0], scene.detector), some)
        assert np.all(corrected.mask[[40, 41, 43], 50] & MaskPlane.NO_DATA)
        np.testing.assert_array_equal(corrected.variance[[40, 41, 43], 50], np.float32(1e10))
        assert np.isfinite(corrected.image).all()


def test_the_same_frame_gives_the_same_bytes(scene) -> None:
    frame = parse_raw(scene.raws[0], scene.detector)
    one, other = correct(frame, scene.masters), correct(frame, scene.masters)
    for name in ("image", "variance", "mask"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_amplifiers_of_two_shapes_are_assembled_but_cannot_share_crosstalk() -> None:
    data = [np.full((20, 30), 1000.0) + np.arange(30), np.full((20, 50), 2000.0) + np.arange(50)]
    places = [Section(x0=0, y0=0, x1=30, y1=20), Section(x0=30, y0=0, x1=80, y1=20, flip_x=True)]
    amplifiers = tuple(
        dataclasses.replace(
            one_amplifier(pixels, Section(x0=0, y0=0, x1=pixels.shape[1], y1=20), None, place), name=name, gain=1.0
        )
        for pixels, place, name in zip(data, places, "AB", strict=True)
    )
    frame = RawFrame(exposure=EXPOSURE, width=80, height=20, amplifiers=amplifiers)
    expected = np.hstack([data[0], data[1][:, ::-1]])
    np.testing.assert_array_equal(correct(frame, NONE, skip=ALL).image, expected)
    ghosts = MasterCalibrations(flats={}, crosstalk=np.full((2, 2), 1e-3, np.float32))
    with pytest.raises(WrongShapeError, match="one shape"):
        correct(frame, ghosts, skip=ALL - {"crosstalk"})
