"""The truth against the light itself: what a perfect difference of noise-free images shows is what truth says."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.telescope import CameraBuffer, Night
from infra.telescope.light_curves import Curve, relative_flux
from infra.telescope.paint import psf_image
from infra.telescope.setup import BANDS
from infra.telescope.sky import EPOCH_MJD, Kind, positions
from infra.telescope.templates import airmass_bin, epochs, template_flux


def as_the_release_saw_it(night: Night, band: str, which: int) -> Night:
    """Return the night with every star as bright, and where, as the template has it, and without what is new."""
    old = Night(night.camera, night.seed, night.visits)
    old.asteroids = []  # before anything is placed
    catalogue = old.catalogue
    flux = template_flux(catalogue, night.camera, night.seed, band, which)
    mean = float(np.mean([e.mjd for e in epochs(night.camera, night.seed, band, which)]))
    catalogue["ra"], catalogue["dec"] = positions(catalogue, mean)
    catalogue["pmra"] = catalogue["pmdec"] = 0.0
    catalogue["curve"] = Curve.CONSTANT
    catalogue["mag_r"] = 31.4 - 2.5 * np.log10(np.maximum(flux, 1e-9)) - BANDS[band].colour_slope * catalogue["colour"]
    return old


@pytest.fixture(scope="module")
def truth(tiny_night, tmp_path_factory):
    """Rows of the first visit."""
    folder = tmp_path_factory.mktemp("truth")
    camera = CameraBuffer(tiny_night, folder, detectors=[0, 1])
    visit = tiny_night.visits[0]
    for snap in range(2):
        camera.observe(visit, snap)
    camera.write_truth(visit, folder / "truth.parquet")
    return pq.read_table(folder / "truth.parquet").to_pylist()


@pytest.fixture(scope="module")
def filtered(tiny_night):
    """Function that gives the matched-filtered flux difference (nJy) at a place of a detector."""
    visit = tiny_night.visits[0]
    old = as_the_release_saw_it(tiny_night, visit.band, airmass_bin(visit.air.airmass))
    images = {}
    for detector in tiny_night.camera.detectors[:2]:
        response = tiny_night.response(detector.id)
        scale = visit.throughput() * response.throughput * 2
        light = sum((tiny_night.light(visit, s, detector) - old.light(visit, s, detector)) for s in (0, 1))
        images[detector.id] = light / response.flat(visit.band) / scale

    def flux_at(row) -> float:
        x, y = round(row["x"]), round(row["y"])
        half = 9
        shapes = visit.field_psf(0).shapes(*(np.array([c]) for c in tiny_night.camera.detector(row["detector"]).centre))
        stamp = psf_image(shapes, 0, half + 3).astype(float)
        best = 0.0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                part = images[row["detector"]][y + dy - half : y + dy + half + 1, x + dx - half : x + dx + half + 1]
                weight = stamp[3:-3, 3:-3]
                value = float(np.sum(part * weight) / np.sum(weight**2))
                best = value if abs(value) > abs(best) else best
        return best

    return flux_at


def test_flux_differences_are_those_of_the_images(truth, filtered):
    judged = 0
    for row in truth:
        if row["masked"] or row["predicted_snr"] < 8 or row["kind"] == "star_motion":
            continue
        assert filtered(row) == pytest.approx(row["flux_difference_nJy"], rel=0.08), row
        judged += 1
    assert judged >= 5


def test_lobes_of_moved_stars_are_as_high_as_told_and_where(truth, filtered):
    lobes = [r for r in truth if r["kind"] == "star_motion" and r["predicted_snr"] > 50 and not r["masked"]]
    assert len(lobes) >= 2
    for row in lobes:
        assert filtered(row) == pytest.approx(row["flux_difference_nJy"], rel=0.25), row


def test_every_residual_of_a_perfect_difference_is_in_the_truth(tiny_night, truth):
    """Nothing changes that truth is silent about: strong residuals of noise-free images lie within an arcsecond of a row."""
    visit = tiny_night.visits[0]
    old = as_the_release_saw_it(tiny_night, visit.band, airmass_bin(visit.air.airmass))
    for detector in tiny_night.camera.detectors[:2]:
        light = tiny_night.light(visit, 0, detector)
        residual = np.abs(light - old.light(visit, 0, detector)) / np.sqrt(light)
        y, x = np.nonzero(residual > 3)
        rows = [r for r in truth if r["detector"] == detector.id]
        distance = np.min([np.hypot(x - r["x"], y - r["y"]) for r in rows], axis=0)
        assert np.mean(distance > 12) < 0.02


def test_predicted_noise_is_what_noise_there_is(tiny_night, tiny_release, truth):
    visit, detector = tiny_night.visits[0], tiny_night.camera.detectors[0]
    row = next(r for r in truth if r["kind"] == "vanished" and r["detector"] == 0)
    told = abs(row["flux_difference_nJy"]) / row["predicted_snr"]
    response = tiny_night.response(0)
    random = np.random.default_rng(1)
    sky = visit.sky_electrons() * response.throughput
    blank = sum(
        random.poisson(sky, (512, 512)) - sky + random.normal(0, response.amplifiers.read_noise.mean(), (512, 512))
        for _ in range(2)
    )
    shapes = visit.field_psf(0).shapes(np.array([detector.centre[0]]), np.array([0.0]))
    stamp = psf_image(shapes, 0, 15).astype(float)
    spectrum = np.fft.rfft2(blank) * np.conj(np.fft.rfft2(stamp, s=blank.shape))
    filtered = np.fft.irfft2(spectrum, s=blank.shape) / np.sum(stamp**2)
    science = filtered.std() / (visit.throughput() * response.throughput * 2)
    # What is left is the template's share: four epochs of 30 s in good seeing, half of one visit's noise or so.
    assert science < told < 1.35 * science


def test_light_curves_do_what_their_names_say():
    assert relative_flux(Curve.CONSTANT, 0, 0, 0, 1.0) == 1.0
    assert relative_flux(Curve.SUPERNOVA, 100.0, 18.0, 40.0, 99.0) == 0.0
    assert relative_flux(Curve.SUPERNOVA, 100.0, 18.0, 40.0, 118.0) == pytest.approx(1.0)
    assert relative_flux(Curve.VANISHED, EPOCH_MJD, 0, 0, EPOCH_MJD + 1) == 0.0
    assert relative_flux(Curve.ECLIPSING, 0.5, 0.4, 10.0, 10.0) == pytest.approx(0.6, abs=1e-6)
    assert relative_flux(Curve.FLARE, 10.0, 2.0, 0.02, 9.9) == 1.0
    assert relative_flux(Curve.FLARE, 10.0, 2.0, 0.02, 10.0) == pytest.approx(3.0)
    for curve in (Curve.RR_LYRAE, Curve.PULSATING):
        cycle = [relative_flux(curve, 0.5, 1.0, 0.0, t) for t in np.linspace(0, 0.5, 200)]
        assert 1.3 < 2.5 * np.log10(max(cycle) / min(cycle)) + 0.5 < 2.2
        assert cycle[0] == pytest.approx(cycle[-1], rel=1e-6)
    assert Kind.STAR == 0
