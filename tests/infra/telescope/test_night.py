"""A night on disk: same seed, same bytes; the layout of raw files; what reduces out of them; faults."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from infra.telescope import CameraBuffer, Fault, Night, Release, plan_night
from infra.telescope.__main__ import main
from infra.telescope.sky import Kind
from schemas.camera import load_camera
from tests.support.raw_reduction import reduce_raw, section


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def observed(night: Night, folder: Path, visit: int = 0, **options) -> tuple[CameraBuffer, Path]:
    camera = CameraBuffer(night, folder, **options)
    for snap in range(night.visits[visit].n_snaps):
        camera.observe(night.visits[visit], snap)
    return camera, folder


@pytest.fixture(scope="module")
def raws(tiny_night, tmp_path_factory) -> Path:
    """Raw files of the first visit."""
    return observed(tiny_night, tmp_path_factory.mktemp("raw"))[1]


def test_same_seed_gives_same_bytes_and_another_other_ones(tmp_path):
    options = ["--camera", "tiny", "--visits", "1", "--bands", "r", "--detectors", "1", "2"]
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main([*options, "--seed", seed, "--out", str(tmp_path / name)]) == 0
    first, second, third = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert len(first) > 12
    raw = next(name for name in first if name.endswith("-001.fits") and name.startswith("raw"))
    assert first[raw] != third[raw]


def test_order_of_exposures_does_not_matter(tiny_night, raws, tmp_path):
    visit = tiny_night.visits[0]
    camera = CameraBuffer(tiny_night, tmp_path, detectors=[1])
    camera.observe(visit, 1)
    name = f"{visit.exposure(1)}/{visit.exposure(1)}-001.fits"
    assert (tmp_path / name).read_bytes() == (raws / name).read_bytes()


def test_raw_files_say_what_they_are(tiny_night, raws):
    visit = tiny_night.visits[0]
    exposure = visit.exposure(1)
    folder = raws / str(exposure)
    listed = json.loads((folder / "complete.json").read_text())
    assert sorted(listed) == [f"{exposure}-{d:03d}.fits" for d in range(3)]
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert (folder / f"{name}.sha256").read_text().split()[0] == digest
    with fits.open(folder / f"{exposure}-002.fits") as file:
        header = file[0].header
        assert (header["VISIT"], header["EXPID"], header["SNAP"], header["NSNAPS"]) == (visit.visit, exposure, 1, 2)
        assert (header["CCDTYPE"], header["DETECTOR"], header["RAFT"]) == ("WAVEFRONT", 2, "R44")
        assert (header["FILTER"], header["EXPTIME"], header["IMGTYPE"]) == ("r", 15.0, "OBJECT")
        assert header["MJD-END"] - header["MJD-BEG"] == pytest.approx(15 / 86400, abs=1e-9)
        assert header["DATE-BEG"].startswith("2026-09-22T")
        assert "DATE" not in header
        assert "CHECKSUM" not in header


def test_amplifier_sections_tile_the_ccd(tiny_night, raws):
    visit = tiny_night.visits[0]
    detector = tiny_night.camera.detectors[0]
    seen = np.zeros((detector.height, detector.width), int)
    with fits.open(raws / str(visit.exposure(0)) / f"{visit.exposure(0)}-000.fits") as file:
        for hdu, amplifier in zip(file[1:], detector.amplifiers, strict=True):
            assert hdu.name == amplifier.name
            assert hdu.data.dtype == np.uint16
            assert hdu.data.shape == amplifier.raw_shape
            a0, a1, b0, b1 = section(hdu.header["DETSEC"])
            assert (a0 > a1, b0 > b1) == (amplifier.flip_x, amplifier.flip_y)
            seen[min(b0, b1) - 1 : max(b0, b1), min(a0, a1) - 1 : max(a0, a1)] += 1
    assert (seen == 1).all()


def test_reduced_image_is_the_expected_light_with_its_noise(tiny_night, tiny_release, raws):
    visit, detector = tiny_night.visits[0], tiny_night.camera.detectors[0]
    path = raws / str(visit.exposure(0)) / f"{visit.exposure(0)}-000.fits"
    image = reduce_raw(path, _master(tiny_release, 0), "r")
    response = tiny_night.response(0)
    expected = tiny_night.light(visit, 0, detector)
    noise = np.sqrt(expected + response.amplifiers.read_noise.mean() ** 2)
    pull = (image * response.flat("r") + 15 * response.dark - expected) / noise
    good = ~response.defects & (expected < 30_000)
    clipped = pull[good & (np.abs(pull) < 5)]
    assert clipped.mean() == pytest.approx(0.0, abs=0.03)
    assert clipped.std() == pytest.approx(1.0, abs=0.03)
    assert np.mean(np.abs(pull[good]) > 5) < 5e-3  # cosmic rays


def test_commanded_wcs_is_off_by_the_pointing_error(tiny_night, raws):
    visit, detector = tiny_night.visits[0], tiny_night.camera.detectors[0]
    header = fits.getheader(raws / str(visit.exposure(0)) / f"{visit.exposure(0)}-000.fits")
    placed = tiny_night.place(visit, 0, detector)
    stars = (placed.catalogue["kind"] == Kind.STAR) & (np.abs(placed.x - 128) < 128) & (np.abs(placed.y - 128) < 128)
    x, y = WCS(header).all_world2pix(placed.catalogue["ra"][stars], placed.catalogue["dec"][stars], 0)
    miss = np.hypot(x - placed.x[stars], y - placed.y[stars]) * 0.2
    told = np.hypot(*visit.conditions.pointing_error)
    assert np.median(miss) == pytest.approx(told, abs=0.7)
    assert np.linalg.det(WCS(header).wcs.cd) < 0  # the sky as seen: east to the left of north


def test_tiny_field_has_stars_enough_and_demo_has_good_ones(tiny_night):
    visit = tiny_night.visits[0]
    for detector in tiny_night.camera.detectors[:2]:
        placed = tiny_night.place(visit, 0, detector)
        inside = (placed.x > 0) & (placed.x < 256) & (placed.y > 0) & (placed.y < 256)
        stars = inside & (placed.catalogue["kind"] == Kind.STAR) & (placed.electrons > 5_000)
        assert np.count_nonzero(stars) >= 25
    camera = load_camera("demo")
    night = Night(camera, 1, plan_night(camera, 1, n_visits=2))
    for detector in camera.detectors[:4]:
        placed = night.place(night.visits[0], 0, detector)
        inside = (placed.x > 0) & (placed.x < 1024) & (placed.y > 0) & (placed.y < 1024)
        stars = inside & (placed.catalogue["kind"] == Kind.STAR)
        assert np.count_nonzero(stars) > 200
        assert np.count_nonzero(stars & (placed.electrons > 8_000) & (placed.electrons < 1e6)) >= 60
        assert np.count_nonzero(inside & (placed.catalogue["kind"] == Kind.GALAXY)) > 200


def test_field_straddles_ra_zero_and_a_healpix_corner(tiny_night):
    for detector in tiny_night.camera.detectors[:2]:
        ra, dec = (
            tiny_night.visits[0]
            .true_pointing(0)
            .to_sky(
                *(np.array(c) for c in zip(*[(x, y) for x in (-264.0, 264.0) for y in (-128.0, 128.0)], strict=True))
            )
        )
        assert detector.width == 256
        assert (ra > 180).any()
        assert (ra < 180).any()
        assert (dec > 0).any()
        assert (dec < 0).any()


@pytest.mark.parametrize(
    ("fault", "files"),
    [(Fault.NO_IMAGE, 0), (Fault.MISSING_SNAP, 2), (Fault.TRUNCATED_FITS, 4), (Fault.SATURATED_CCD, 4)],
)
def test_faults_do_what_they_say(tiny_night, tmp_path, fault, files):
    visit = tiny_night.visits[1]
    observed(tiny_night, tmp_path, visit=1, detectors=[0, 2], faults={visit.visit: fault})
    found = sorted(tmp_path.rglob("*.fits"))
    assert len(found) == files
    if fault is Fault.TRUNCATED_FITS:
        stored = found[0].with_name(found[0].name + ".sha256").read_text().strip()
        assert hashlib.sha256(found[0].read_bytes()).hexdigest() != stored
        assert found[0].stat().st_size < 0.6 * found[2].stat().st_size
    if fault is Fault.SATURATED_CCD:
        with fits.open(found[0]) as file:
            assert all((hdu.data == 65535).all() for hdu in file[1:])


@pytest.mark.parametrize("fault", [Fault.MISSING_AMPLIFIER, Fault.DEAD_AMPLIFIER])
def test_amplifier_faults(tiny_night, tmp_path, fault):
    visit = tiny_night.visits[1]
    observed(tiny_night, tmp_path, visit=1, detectors=[0], faults={visit.visit: fault})
    with fits.open(min(tmp_path.rglob("*.fits"))) as file:
        if fault is Fault.MISSING_AMPLIFIER:
            assert len(file) == 4
        else:
            assert (file[1].data == 0).all()
            assert (file[2].data > 0).all()


def _master(release: Release, detector: int) -> Path:
    return release.directory / release.document["masters"][str(detector)]


def test_truth_file_has_its_columns_for_science_detectors_only(tiny_night, tmp_path):
    camera, _ = observed(tiny_night, tmp_path / "raw")
    visit = tiny_night.visits[0]
    camera.write_truth(visit, tmp_path / "truth.parquet")
    rows = pq.read_table(tmp_path / "truth.parquet").to_pylist()
    assert {row["detector"] for row in rows} == {0, 1}
    assert {row["visit"] for row in rows} == {visit.visit}
    strong = [row for row in rows if row["predicted_snr"] > 8 and row["kind"] != "star_motion"]
    assert len(strong) >= 5
    assert {"variable", "supernova", "moving", "vanished", "star_motion"} <= {row["kind"] for row in rows}
