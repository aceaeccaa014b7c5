"""One detector job on simulated pixels: the right result, and a typed failure for each kind of damage."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from infra.objects import ObjectStore
from schemas import avro
from schemas.camera import load_camera
from schemas.events import CutoutPack, DetectorResult, SnapPresence
from schemas.tables import Claim, Table
from streams.detectors.task import JobTask
from streams.detectors.work import DetectorBench
from streams.inputs import ingest_release
from streams.night.truth import read_truth
from tests.support.night_harness import simulate

CAMERA = "tiny"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A simulated visit with its release in an object store."""

    folder: Path
    objects: ObjectStore
    bench: DetectorBench
    release: Claim
    visit: int
    band: str

    def raw(self, snap: int, detector: int) -> bytes:
        exposure = self.visit + snap
        return (self.folder / "raw" / str(exposure) / f"{exposure}-{detector:03d}.fits").read_bytes()

    def task(self, detector: int, *raws: bytes) -> JobTask:
        frames = raws or (self.raw(0, detector), self.raw(1, detector))
        return JobTask(
            job_id=f"d-{detector}",
            epoch=1,
            instrument="NightcastSim",
            visit=self.visit,
            detector=detector,
            is_wavefront=load_camera(CAMERA).detector(detector).is_wavefront,
            camera=CAMERA,
            band=self.band,
            n_snaps=2,
            raws=tuple(self.objects.put(frame) for frame in frames),
            release_sha256=self.release.sha256,
            known_objects=None,
        )


@pytest.fixture(scope="module")
def site() -> Site:
    folder = simulate(CAMERA, 1, 3)
    objects = ObjectStore.memory()
    visit, band = (folder / "visits.txt").read_text().split()[:2]
    release = ingest_release(folder / "release", objects)
    return Site(
        folder=folder, objects=objects, bench=DetectorBench(objects), release=release, visit=int(visit), band=band
    )


@pytest.fixture(scope="module")
def result(site: Site) -> DetectorResult:
    product = site.bench.run(site.task(0))
    assert product.failure is None
    assert product.result is not None
    return product.result


def test_a_ccd_gives_the_changes_that_are_there(site: Site, result: DetectorResult) -> None:
    rows = result.diasources.to_array()
    truth = read_truth(site.folder / "truth" / f"{site.visit}.parquet")
    strong = truth[(truth["detector"] == 0) & (truth["predicted_snr"] > 12) & ~truth["masked"]]
    assert len(strong) > 0
    for change in strong:
        east = (rows["ra"] - change["ra"] + 180) % 360 - 180
        distance = 3600 * np.hypot(east * np.cos(np.radians(change["dec"])), rows["dec"] - change["dec"])
        assert distance.min() < 1.0
    names = {"release", "masters", "refcat", "template", "reliability", "raw_0", "raw_1"}
    assert set(result.inputs) == names
    assert all(result.inputs.values())
    assert (rows["reliability"] >= 0).all()
    assert set(rows["reliabilityVersion"]) == {f"trees-{result.inputs['reliability'][:8]}"}
    assert result.snaps is not None
    told = result.snaps.to_array()
    assert told["dia_source_id"].tolist() == rows["diaSourceId"].tolist()
    assert np.count_nonzero(told["presence"] == SnapPresence.BOTH) == result.metrics["n_both_snaps"] > 0


def test_every_row_has_three_stamps_that_astropy_reads(site: Site, result: DetectorResult) -> None:
    assert result.cutouts is not None
    pack = avro.decode(CutoutPack, site.objects.get(result.cutouts))
    assert [s.dia_source_id for s in pack.stamps] == result.diasources.to_array()["diaSourceId"].tolist()
    for stamp in (pack.stamps[0].difference, pack.stamps[0].science, pack.stamps[0].template):
        image = CCDData.read(io.BytesIO(stamp), format="fits")
        assert image.wcs is not None
        assert image.mask is not None
        assert min(image.shape) >= 30


def test_the_calibrated_image_is_kept_with_its_sky(site: Site, result: DetectorResult) -> None:
    assert result.calibrated is not None
    with fits.open(io.BytesIO(site.objects.get(result.calibrated))) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["IMAGE", "VARIANCE", "MASK"]
        assert hdus["IMAGE"].header["CTYPE1"].startswith("RA---TAN")
        assert hdus["IMAGE"].data.shape == (256, 256)


def test_known_objects_get_forced_photometry(site: Site, result: DetectorResult) -> None:
    rows = result.diasources.to_array()
    known = np.zeros(len(rows), [("diaObjectId", "<i8"), ("ra", "<f8"), ("dec", "<f8")])
    known["diaObjectId"], known["ra"], known["dec"] = rows["diaSourceId"], rows["ra"], rows["dec"]
    claim = site.objects.put(avro.encode(Table.from_array(known)))
    measured = site.bench.run(replace(site.task(0), known_objects=claim)).result
    assert measured is not None
    forced = measured.forced.to_array()
    assert set(forced["diaObjectId"]) == set(known["diaObjectId"])
    clean = rows["isDipole"] != 1
    order = np.argsort(forced["diaObjectId"])
    pull = (forced["psfFlux"][order] - rows["psfFlux"])[clean] / rows["psfFluxErr"][clean]
    assert np.nanmedian(np.abs(pull)) < 1.0


def test_a_wavefront_sensor_is_measured_and_not_differenced(site: Site) -> None:
    product = site.bench.run(site.task(2))
    assert product.result is not None
    assert product.result.diasources.rows == 0
    assert product.result.snaps is None
    assert product.result.metrics["psf_fwhm_arcsec"] > 0.5


def test_one_snap_is_enough(site: Site) -> None:
    product = site.bench.run(site.task(0, site.raw(0, 0)))
    assert product.failure is None
    assert product.result is not None
    assert product.result.metrics["snaps"] == 1
    assert product.result.snaps is None


def changed(frame: bytes, pixels: Callable[[Any], Any], last: int | None = None) -> bytes:
    """A raw file whose amplifiers, up to the last one kept, hold other pixels."""
    with fits.open(io.BytesIO(frame)) as hdus:
        kept = [hdus[0], *(fits.ImageHDU(pixels(hdu.data), hdu.header) for hdu in hdus[1:last])]
        buffer = io.BytesIO()
        fits.HDUList(kept).writeto(buffer)
        return buffer.getvalue()


def sky_alone(data: Any) -> Any:
    noise = np.random.default_rng(int(data[0, 0])).normal(0.0, 8.0, data.shape)
    return (np.median(data) + noise).astype(np.uint16)


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": ("truncated_file", lambda frame: frame[: len(frame) // 2]),
    "no FITS": ("fits_file", lambda frame: b"x" * 5760),
    "amplifier missing": ("missing_amplifier", lambda frame: changed(frame, lambda data: data, last=-1)),
    "wrong shape": ("wrong_shape", lambda frame: changed(frame, lambda data: data[:-7])),
    "saturated": ("saturated_detector", lambda frame: changed(frame, lambda data: np.full_like(data, 65535))),
    "no number": (
        "saturated_detector",
        lambda frame: changed(frame, lambda data: np.full(data.shape, np.nan, np.float32)),
    ),
    "no stars": ("too_few_stars", lambda frame: changed(frame, sky_alone)),
}
"""Kinds of damage with the code of the failure and what damages a raw file."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_frames_are_permanent_failures_with_a_code_of_their_own_and_the_next_ccd_goes_on(
    site: Site, damage: str
) -> None:
    code, spoil = DAMAGES[damage]
    failure = site.bench.run(site.task(0, spoil(site.raw(0, 0)), spoil(site.raw(1, 0)))).failure
    assert failure is not None
    assert (failure.code, failure.retriable) == (code, False)
    assert failure.reason.endswith(".")
    assert site.bench.run(site.task(2)).failure is None


def test_rows_that_are_no_numbers_cost_those_pixels_only(site: Site, result: DetectorResult) -> None:
    def holed(data: Any) -> Any:
        return np.where(np.arange(data.shape[0])[:, None] % 60 == 3, np.nan, data.astype(np.float32))

    product = site.bench.run(site.task(0, changed(site.raw(0, 0), holed), site.raw(1, 0)))
    assert product.result is not None
    usable = product.result.metrics["usable_fraction"]
    assert 0.9 < usable < result.metrics["usable_fraction"] - 0.01
    assert np.isfinite(product.result.diasources.to_array()["ra"]).all()


def test_a_release_that_is_not_there_is_said_in_one_sentence(site: Site) -> None:
    failure = site.bench.run(replace(site.task(0), release_sha256="0" * 64)).failure
    assert failure is not None
    assert failure.code == "release"


def test_no_template_of_the_band_is_a_permanent_failure(site: Site) -> None:
    failure = site.bench.run(replace(site.task(0), band="u")).failure
    assert failure is not None
    assert not failure.retriable


def test_a_template_beside_the_field_is_a_permanent_failure(site: Site) -> None:
    manifest = json.loads(site.objects.get(site.release))
    for entry in manifest["templates"]:
        template = (site.folder / "release" / "templates" / f"{site.band}-a0-det-000.fits").read_bytes()
        with fits.open(io.BytesIO(template)) as hdus:
            hdus["IMAGE"].header["CRVAL2"] += 0.5
            buffer = io.BytesIO()
            hdus.writeto(buffer)
        entry["claim"] = asdict(site.objects.put(buffer.getvalue()))
    elsewhere = site.objects.put(json.dumps(manifest).encode())
    failure = site.bench.run(replace(site.task(0), release_sha256=elsewhere.sha256)).failure
    assert failure is not None
    assert (failure.code, failure.retriable) == ("template_coverage", False)


def test_missing_calibrations_are_a_permanent_failure_since_a_release_never_changes(site: Site) -> None:
    manifest = json.loads(site.objects.get(site.release))
    del manifest["masters"]["0"]
    poorer = site.objects.put(json.dumps(manifest).encode())
    failure = site.bench.run(replace(site.task(0), release_sha256=poorer.sha256)).failure
    assert failure is not None
    assert (failure.code, failure.retriable) == ("missing_calibration", False)
