"""Single frame processing on the simulated telescope's files, judged by its truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.fits_io import read_masters, read_raw, read_refcat
from infra.telescope.__main__ import main as simulate
from processors.single_frame import CalibratedImage, calibrate, calibrate_wavefront, parse_raw
from processors.single_frame.frames import RawFrame
from schemas.camera import load_camera
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations

CAMERA = load_camera("tiny")
UNTIDY = int(MaskPlane.SAT | MaskPlane.BAD | MaskPlane.SUSPECT | MaskPlane.EDGE)


class Night:
    """Two simulated visits on disk."""

    def __init__(self, folder: Path) -> None:
        simulate(["--camera", "tiny", "--seed", "5", "--visits", "2", "--bands", "r", "--out", str(folder)])
        self.folder = folder
        self.release = json.loads((folder / "release/release.json").read_text())
        self.references = read_refcat(folder / "release" / self.release["refcat"])
        self.exposures = sorted(int(p.name) for p in (folder / "raw").iterdir())

    def frames(self, visit: int, detector: int) -> list[RawFrame]:
        numbers = self.exposures[2 * visit : 2 * visit + 2]
        paths = [self.folder / "raw" / str(n) / f"{n}-{detector:03d}.fits" for n in numbers]
        return [parse_raw(read_raw(path), CAMERA.detector(detector)) for path in paths]

    def masters(self, detector: int) -> MasterCalibrations:
        return read_masters(self.folder / "release" / self.release["masters"][str(detector)])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return Night(tmp_path_factory.mktemp("night"))


@pytest.fixture(scope="module")
def images(night: Night) -> list[CalibratedImage]:
    return [
        calibrate(
            night.frames(visit, detector),
            night.masters(detector),
            night.references,
            camera=CAMERA,
            detector=CAMERA.detector(detector),
        )
        for visit in (0, 1)
        for detector in (0, 1)
    ]


def test_fluxes_are_those_of_the_sky(night: Night, images: list[CalibratedImage]) -> None:
    static = pq.read_table(night.folder / "truth/static.parquet").to_pydict()
    stars = np.array(static["kind"]) == "star"
    sky = np.column_stack([(np.array(static["ra"])[stars] + 180) % 360, np.array(static["dec"])[stars]])
    flux = 10 ** ((31.4 - np.array(static["mag_r"])[stars]) / 2.5)
    ratios, pulls = [], []
    for image in images:
        rows = image.sources[(image.sources["mask"] & UNTIDY) == 0]
        offset = np.hypot((rows["ra"][:, None] + 180) % 360 - sky[:, 0], rows["dec"][:, None] - sky[:, 1]) * 3600
        nearest = offset.argmin(axis=1)
        paired = (offset.min(axis=1) < 0.3) & (flux[nearest] > 3e4)
        ratios.append(rows["psf_flux"][paired] / flux[nearest][paired])
        pulls.append(rows["psf_flux_err"][paired] / flux[nearest][paired])
    ratio, error = np.concatenate(ratios), np.concatenate(pulls)
    assert len(ratio) > 60
    assert np.average(ratio, weights=np.abs(ratio - np.median(ratio)) < 0.05) == pytest.approx(1, abs=0.005)
    assert 1.4826 * np.median(np.abs(ratio - np.median(ratio))) < 2 * np.median(error) + 0.005


def test_positions_are_those_of_the_catalogue(night: Night, images: list[CalibratedImage]) -> None:
    rows = {int(k): i for i, k in enumerate(night.references["id"])}
    for image in images:
        sources = image.sources[(image.sources["reference"] != 0) & (image.sources["significance"] > 50)]
        stars = night.references[[rows[int(k)] for k in sources["reference"]]]
        years = (image.midpoint_mjd_tai - stars["epoch_mjd"]) / 365.25
        east = (((sources["ra"] - stars["ra"]) + 180) % 360 - 180) * np.cos(np.radians(stars["dec"])) * 3.6e6
        east -= stars["pmra"] * years
        north = (sources["dec"] - stars["dec"]) * 3.6e6 - stars["pmdec"] * years
        spread = 1.4826 * np.median(np.abs(np.concatenate([east - np.median(east), north - np.median(north)])))
        assert len(sources) >= 15
        assert spread < 20
        assert max(abs(np.median(east)), abs(np.median(north))) < 12


def test_noise_is_what_the_variance_says(images: list[CalibratedImage]) -> None:
    for image in images:
        planes = MaskPlane.DETECTED | MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA
        blank = (image.mask & planes) == 0
        pull = image.image[blank] / np.sqrt(image.variance[blank])
        assert 0.97 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.06


def test_the_psf_has_the_seeing_of_its_stars(images: list[CalibratedImage]) -> None:
    for image in images:
        stars = image.sources[image.sources["psf_star"]]
        assert len(stars) >= 10
        assert np.median(stars["size_ratio"]) == pytest.approx(1, abs=0.05)
        assert np.median(stars["psf_chi2"]) == pytest.approx(1, abs=0.3)


def test_a_wavefront_sensor_is_calibrated(night: Night) -> None:
    wavefront = calibrate_wavefront(night.frames(0, 2), night.masters(2))
    assert wavefront.image.shape == (256, 128)
    assert wavefront.psf is not None
