"""A night with charge effects: its release describes them, and the removal of the signature takes them away."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from infra.fits_io import FitsFileError, read_masters, read_raw, read_template
from infra.telescope import Night, build_release, plan_night
from infra.telescope.charge import ChargeEffects, accumulate, draw_charge_effects
from infra.telescope.charge_masters import charge_hdus, measured_effects
from infra.telescope.electronics import read_out
from infra.telescope.imaging_scenes.coadd import coadd_noise
from infra.telescope.noise import noise_factor
from infra.telescope.raw_files import encode_raw
from infra.telescope.release import Release
from processors.single_frame.frames import RawFrame, parse_raw
from processors.single_frame.isr import correct
from schemas.camera import load_camera
from schemas.raw import MasterCalibrations

CAMERA, SEED = load_camera("tiny"), 3


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("charge")
    return build_release(CAMERA, SEED, folder, bands=("r",), detectors=[0], charge_effects=True)


@pytest.fixture(scope="module")
def masters(release: Release) -> MasterCalibrations:
    return read_masters(release.directory / release.document["masters"]["0"])


def test_the_masters_hold_the_effects_to_a_percent(masters: MasterCalibrations) -> None:
    truth = draw_charge_effects(SEED, CAMERA.detector(0))
    assert truth.brighter_fatter is not None
    assert truth.transfer is not None
    assert masters.brighter_fatter is not None
    assert masters.charge_transfer is not None
    np.testing.assert_allclose(masters.brighter_fatter, truth.brighter_fatter.kernel(), rtol=0.05)
    np.testing.assert_allclose(masters.charge_transfer.loss, truth.transfer.loss, rtol=0.05)
    np.testing.assert_array_equal(masters.charge_transfer.trap_column, truth.transfer.trap_column)
    assert masters.charge_transfer.trap_column.dtype == np.int64


def test_masters_without_effects_have_no_such_extensions(tmp_path: Path) -> None:
    plain = build_release(CAMERA, SEED, tmp_path, bands=("r",), detectors=[0])
    found = read_masters(plain.directory / plain.document["masters"]["0"])
    assert found.brighter_fatter is None
    assert found.charge_transfer is None
    assert charge_hdus(None, None) == []


def bars() -> NDArray[np.float32]:
    """Bright bars, eight columns wide, in every amplifier."""
    electrons = np.full((256, 256), 500.0, np.float32)
    for amplifier in CAMERA.detector(0).amplifiers:
        bar = amplifier.box[0] + 60
        electrons[amplifier.box[1] : amplifier.box[3], bar : bar + 8] = 50_000.0
    return electrons


def raw_of(electrons: NDArray[np.float32]) -> RawFrame:
    """Read out with every effect of the night's detector."""
    visit = plan_night(CAMERA, SEED, 20260921, 1, bands=("r",))[0]
    response = Night(CAMERA, SEED, [visit], charge_effects=True).response(0)
    frames = read_out(
        electrons, response, np.random.default_rng(5), effects=draw_charge_effects(SEED, CAMERA.detector(0))
    )
    return parse_raw(read_raw(encode_raw(visit, 0, response, frames)), detector=CAMERA.detector(0))


def columns(image: NDArray[np.float32], *offsets: int) -> float:
    """Mean of columns of every amplifier, counted from its left side."""
    boxes = [a.box for a in CAMERA.detector(0).amplifiers]
    return float(np.mean([image[box[1] : box[3], box[0] + offset] for box in boxes for offset in offsets]))


def test_charge_that_came_late_goes_back(masters: MasterCalibrations) -> None:
    frame = raw_of(bars())

    def behind(skip: set[str]) -> float:
        """Mean excess in the column read out just after the bars, electrons."""
        image = correct(frame, masters, skip=skip | {"brighter_fatter", "flat"}).image
        after = [(a.box, a.box[0] + (59 if a.flip_x else 68)) for a in CAMERA.detector(0).amplifiers]
        return float(np.mean([image[box[1] : box[3], column] for box, column in after])) - 500.0

    late = behind({"charge_transfer"})
    assert late > 3.0
    assert abs(behind(set())) < 0.3 * late


def test_charge_that_was_repelled_goes_back(masters: MasterCalibrations) -> None:
    effect = draw_charge_effects(SEED, CAMERA.detector(0)).brighter_fatter
    assert effect is not None
    frame = raw_of(accumulate(bars(), effect, np.random.default_rng(6)))
    left, right = (correct(frame, masters, skip=skip).image for skip in ({"flat", "brighter_fatter"}, {"flat"}))
    for place, true in (((60, 67), 50_000.0), ((59, 68), 500.0)):  # the bars' edges, and the sky beside them
        lost = columns(left, *place) - true
        assert abs(lost) > 100.0
        assert abs(columns(right, *place) - true) < 0.2 * abs(lost)
    assert right.sum(dtype=float) == pytest.approx(left.sum(dtype=float), rel=2e-3)


def test_a_night_with_effects_is_exposed_with_them() -> None:
    visits = plan_night(CAMERA, SEED, 20260921, 1, bands=("r",))
    detector = CAMERA.detector(0)
    with_effects = Night(CAMERA, SEED, visits, charge_effects=True).expose(visits[0], 0, detector)
    without = Night(CAMERA, SEED, visits).expose(visits[0], 0, detector)
    assert any((a != b).any() for a, b in zip(with_effects.frames, without.frames, strict=True))
    np.testing.assert_array_equal(with_effects.expected, without.expected)


def test_effects_that_are_off_are_measured_as_nothing() -> None:
    assert measured_effects(ChargeEffects(), np.random.default_rng(1)) == (None, None)


def test_templates_carry_their_noise_factor(release: Release) -> None:
    template = read_template(release.directory / release.document["templates"][0]["path"])
    # Epochs are painted on the template's own pixels, so that nothing correlates their noise.
    assert template.noise_factor == pytest.approx(1.0, abs=0.1)
    assert template.noise_factor != 1.0


@pytest.mark.parametrize("seed", [21, 22])
def test_the_noise_factor_of_resampled_epochs_is_found_beside_sources(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (600, 600)
    coadd = coadd_noise(shape, 4, random)
    y, x = np.mgrid[:600, :600]
    star = sum(300.0 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v in random.uniform(0, 600, (40, 2)))
    # Of the stars a tenth is left in the difference of epochs: their seeing differs.
    found = noise_factor(coadd.noise + 0.1 * star, coadd.noise + star, coadd.variance, np.ones(shape, bool))
    assert found == pytest.approx(coadd.factor, rel=0.05)
    white = random.standard_normal(shape)
    assert noise_factor(white, white, np.ones(shape), np.ones(shape, bool)) == pytest.approx(1.0, abs=0.05)


def test_without_sky_noise_counts_as_white() -> None:
    nothing = np.zeros((100, 100))
    assert noise_factor(nothing, nothing, nothing, nothing > 0) == 1.0


def test_a_file_without_the_card_is_white_and_an_impossible_one_is_refused(release: Release) -> None:
    with fits.open(release.directory / release.document["templates"][0]["path"]) as hdus:
        for value, expected in ((None, 1.0), (1.21, 1.21), (-1.0, None)):
            hdus["IMAGE"].header.remove("NOISEFAC", ignore_missing=True)
            if value is not None:
                hdus["IMAGE"].header["NOISEFAC"] = value
            buffer = io.BytesIO()
            hdus.writeto(buffer)
            if expected is None:
                with pytest.raises(FitsFileError, match="NOISEFAC"):
                    read_template(buffer.getvalue())
            else:
                assert read_template(buffer.getvalue()).noise_factor == expected
