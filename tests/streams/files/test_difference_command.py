"""`nightcast difference` on a pair made by others, and on files of ours."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from infra.fits_io import read_table, write_image
from processors.differencing.errors import InvalidImageError
from processors.forced import PhotometryImage, forced_photometry
from streams.files.difference_command import DifferenceReport, run
from tests.support.difference_scenes import Scene, make_scene, match

DATA = Path(__file__).parents[2] / "data" / "images"
STARS = np.array([(x, y) for y in (32.0, 96.0, 160.0) for x in (32.0, 96.0, 160.0)]).T


@functools.cache
def report() -> DifferenceReport:
    return run(DATA / "scienceMI.fits", DATA / "templateMI.fits", out_dir=Path(tempfile.mkdtemp()))


def science_plane(number: int) -> np.ndarray:
    with fits.open(DATA / "scienceMI.fits") as hdus:
        return np.ascontiguousarray(hdus[number].data, dtype="f4")


def test_the_pair_gets_a_constant_kernel_from_its_nine_stars() -> None:
    kernel = report().result.kernel
    assert kernel.order == 0
    assert kernel.stamps_used == 9


def test_nine_fluxes_of_the_matched_template_are_the_science_images() -> None:
    result = report().result
    quiet = np.zeros(result.image.shape, "u2")
    x, y = STARS
    matched, _ = forced_photometry(
        PhotometryImage(image=result.template, variance=science_plane(3), mask=quiet, psf=result.science_psf), x, y
    )
    science, error = forced_photometry(
        PhotometryImage(image=science_plane(1), variance=science_plane(3), mask=quiet, psf=result.science_psf), x, y
    )
    np.testing.assert_allclose(matched, 1e4, rtol=0.015)
    pull = (science - matched) / error
    assert np.abs(pull).max() < 3
    assert np.mean(science / matched) == pytest.approx(1.0, abs=0.015)


def test_residuals_in_the_stars_stamps_are_noise() -> None:
    result = report().result
    variance = science_plane(3)
    chi2 = []
    for x, y in STARS.T.astype(int):
        box = np.s_[y - 7 : y + 8, x - 7 : x + 8]
        chi2.append(float(np.mean(result.image[box] ** 2 / variance[box])))
    assert 0.8 < np.mean(chi2) < 1.3
    assert 0.8 < report().metrics["kernel_star_chi2"] < 1.3


def test_nothing_is_found_on_the_pair() -> None:
    result = report().result
    assert len(result.sources) == 0
    assert np.abs(result.score.snr).max() < 5
    assert np.isfinite(result.score.snr).all()


def test_the_linear_wcs_is_used_only_when_it_fits_the_pixels() -> None:
    """The files' WCS A says 15 pixels, their stars lie on the same pixels."""
    assert report().registration == "pixel by pixel"


def test_files_are_written_and_can_be_opened() -> None:
    with fits.open(report().image) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFFERENCE", "VARIANCE", "MASK", "SCORE", "TEMPLATE"]
        assert hdus["DIFFERENCE"].data.shape == (193, 193)
        assert hdus["DIFFERENCE"].header["KERNORD"] == 0
        assert "DATE" not in hdus["DIFFERENCE"].header
    assert len(read_table(report().sources)) == 0
    with Image.open(report().picture) as picture:
        assert picture.size[0] > 1000


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    again = run(DATA / "scienceMI.fits", DATA / "templateMI.fits", out_dir=tmp_path)
    for name in ("image", "sources", "picture"):
        assert getattr(again, name).read_bytes() == getattr(report(), name).read_bytes()


def shifted_pair(folder: Path) -> tuple[Path, Path]:
    """Write the pair with the template's pixels moved to where its WCS A says they are."""
    paths = []
    for name, shift in (("scienceMI.fits", 0), ("templateMI.fits", -15)):
        with fits.open(DATA / name) as hdus:
            for hdu in hdus[1:]:
                hdu.data = np.roll(hdu.data, (shift, shift), (0, 1))
            hdus.writeto(folder / name)
        paths.append(folder / name)
    return paths[0], paths[1]


def test_a_pair_that_follows_its_linear_wcs_is_registered_by_it(tmp_path: Path) -> None:
    science, template = shifted_pair(tmp_path)
    moved = run(science, template, out_dir=tmp_path / "out")
    assert moved.registration == "linear WCS A"
    assert moved.result.kernel.sum == pytest.approx(report().result.kernel.sum, rel=0.01)


def write_scene(scene: Scene, folder: Path) -> tuple[Path, Path]:
    paths = folder / "science.fits", folder / "template.fits"
    for path, part in zip(paths, (scene.science, scene.template), strict=True):
        planes = {"IMAGE": part.image, "VARIANCE": part.variance, "MASK": part.mask}
        path.write_bytes(write_image(dict(part.wcs.to_header()), planes, {}))  # type: ignore[union-attr]
    return paths


def test_our_files_are_registered_on_the_sky_and_a_missing_psf_is_made_from_stars(tmp_path: Path) -> None:
    scene = make_scene(seed=41, shape=(320, 320), n_stars=70, n_galaxies=5, n_changes=8)
    found = run(*write_scene(scene, tmp_path), out_dir=tmp_path)
    assert found.registration == "celestial WCS"
    rows = read_table(found.sources)
    index = match(scene.changes["x"], scene.changes["y"], rows["x"], rows["y"])
    assert (index >= 0).sum() >= 7
    ratio = rows["psfFlux"][index[index >= 0]] / scene.changes["flux"][index >= 0]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06)


def test_a_file_without_variance_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lone.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((50, 50), "f4"), name="IMAGE")]).writeto(path)
    with pytest.raises(InvalidImageError, match="VARIANCE"):
        run(path, DATA / "templateMI.fits", out_dir=tmp_path)


def test_a_celestial_and_a_plain_image_do_not_go_together(tmp_path: Path) -> None:
    scene = make_scene(seed=41, shape=(128, 128), n_stars=5, n_galaxies=0, n_changes=0)
    science, _ = write_scene(scene, tmp_path)
    with pytest.raises(InvalidImageError, match="celestial"):
        run(science, DATA / "templateMI.fits", out_dir=tmp_path)
