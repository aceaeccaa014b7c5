"""`nightcast isr` on a raw amplifier made by others (imSim) and on frames of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from infra.fits_io import read_raw
from processors.single_frame.errors import MissingCalibrationError
from processors.single_frame.isr import OPTIONAL_STEPS, STEPS
from schemas.raw import MasterCalibrations
from streams.cli.main import build
from streams.files.isr_command import IsrReport, _skipped, run
from tests.support.scenes import make_scene

SAMPLE = Path(__file__).parents[2] / "data/images/imsim_85751839_R23_S11_C00_E000.fits.gz"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> IsrReport:
    return run(SAMPLE, out_dir=tmp_path_factory.mktemp("isr"), skip=frozenset(STEPS))


def test_missing_masters_are_named_and_never_skipped_silently(tmp_path: Path) -> None:
    with pytest.raises(MissingCalibrationError, match=r"bias, dark, flat \(r\), defects, amplifiers, crosstalk"):
        run(SAMPLE, out_dir=tmp_path)
    with pytest.raises(MissingCalibrationError, match=r"missing: flat \(r\), crosstalk;"):
        run(SAMPLE, out_dir=tmp_path, skip=frozenset(STEPS) - {"flat", "crosstalk"})
    assert not list(tmp_path.iterdir())


def test_the_prescan_bias_goes_to_a_tenth_of_an_adu(report: IsrReport) -> None:
    raw = read_raw(SAMPLE)
    data, gain = raw.hdus[0].data.astype(np.float64), float(raw.header["GAIN"])
    with fits.open(report.image) as hdus:
        image, untouched = hdus["IMAGE"].data.astype(np.float64), hdus["MASK"].data == 0
    assert image.shape == (2000, 509)
    removed = (data[1:, 4:] - image / gain)[untouched]
    assert removed.mean() == pytest.approx(data[:, :4].mean(), abs=0.1)
    assert removed.std() < 0.5


def test_the_noise_is_read_noise_and_poisson(report: IsrReport) -> None:
    read_noise = float(read_raw(SAMPLE).header["RDNOISE"])
    with fits.open(report.image) as hdus:
        image, variance, sky = (hdus[name].data.astype(np.float64) for name in ("IMAGE", "VARIANCE", "SKY"))
    expected = np.sqrt(np.median(sky) + read_noise**2)
    residual = image - sky
    spread = 1.4826 * np.median(np.abs(residual - np.median(residual)))
    assert spread == pytest.approx(expected, rel=0.05)
    assert np.sqrt(np.median(variance)) == pytest.approx(expected, rel=0.02)
    assert report.metrics["read_noise_electrons"] == pytest.approx(read_noise, rel=0.05)


def test_stars_are_measured_and_drawn(report: IsrReport) -> None:
    with fits.open(report.sources) as hdus:
        sources = hdus["SOURCES"].data
        assert 100 < len(sources) < 400
        brightest = sources[np.argmax(sources["psf_flux"])]
        assert (round(float(brightest["x"])), round(float(brightest["y"]))) == (352, 675)
        assert np.all(np.isnan(sources["ra"]))
    assert report.metrics["psf_fwhm_pixels"] == pytest.approx(5.6, abs=0.3)
    with Image.open(report.picture) as picture:
        assert min(picture.size) > 200
    assert report.note == ""
    assert report.skipped == STEPS


def raw_file(folder: Path, stars: int) -> Path:
    scene = make_scene("tiny", seed=6, stars=stars, cosmic_rays=0)
    path = folder / "raw.fits"
    hdus = [fits.PrimaryHDU(header=fits.Header(scene.raws[0].header.items()))]
    for hdu in scene.raws[0].hdus:
        hdus.append(fits.ImageHDU(hdu.data, name=hdu.name, header=fits.Header(hdu.header.items())))
    fits.HDUList(hdus).writeto(path)
    return path


def test_frames_without_stars_still_give_an_image(tmp_path: Path) -> None:
    report = run(raw_file(tmp_path, 0), out_dir=tmp_path / "out", skip=frozenset(STEPS))
    assert "sources" in report.note or "stars" in report.note
    assert report.image.exists()
    assert report.picture.exists()


def test_the_same_file_gives_the_same_products(tmp_path: Path) -> None:
    path = raw_file(tmp_path, 40)
    one, other = (run(path, out_dir=tmp_path / name, skip=frozenset(STEPS)) for name in ("one", "other"))
    assert one.metrics["sources"] > 20
    for name in ("image", "sources", "picture"):
        assert getattr(one, name).read_bytes() == getattr(other, name).read_bytes()


def test_optional_steps_are_told_as_skipped_where_the_masters_describe_them() -> None:
    kernel = MasterCalibrations(flats={}, brighter_fatter=np.zeros((3, 3), "f4"))
    assert _skipped({"brighter_fatter", "charge_transfer", "dark"}, kernel) == ("dark", "brighter_fatter")
    assert _skipped(set(), kernel) == ()


def test_the_command_line_offers_the_optional_steps_and_names_them(tmp_path: Path) -> None:
    runner = CliRunner()
    wrong = runner.invoke(build(), ["isr", str(SAMPLE), "--skip", "fringe", "--out", str(tmp_path)])
    assert wrong.exit_code != 0
    for step in (*STEPS, *OPTIONAL_STEPS):
        assert step in " ".join(wrong.output.split())
    options = [word for step in (*STEPS, *OPTIONAL_STEPS) for word in ("--skip", step)]
    done = runner.invoke(build(), ["isr", str(SAMPLE), *options, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
