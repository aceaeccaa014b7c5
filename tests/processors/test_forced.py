from __future__ import annotations

import functools

import numpy as np
import pytest
from astropy.table import Table
from photutils.psf import ImagePSF, PSFPhotometry

from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult, difference
from processors.differencing.psf import ConstantPsf
from processors.errors import InputError
from processors.forced import PhotometryImage, forced_photometry, forced_sources
from schemas.ids import forced_source_id
from schemas.masks import MaskPlane
from schemas.public import forced_source_dtype, to_public_records
from tests.support.difference_scenes import Moffat, Scene, add_sources, make_scene

PSF = Moffat(4.0)
SHAPE = (300, 320)
INFO = VisitInfo(visit=2026092100001, detector=2, band="i", midpoint_mjd_tai=61000.5, processed_mjd_tai=61000.6)


def photometry_image(image: np.ndarray, sigma: float = 10.0, mask: np.ndarray | None = None) -> PhotometryImage:
    return PhotometryImage(
        image=image.astype("f4"),
        variance=np.full(image.shape, sigma**2, "f4"),
        mask=np.zeros(image.shape, "u2") if mask is None else mask,
        psf=ConstantPsf(PSF.draw(0, 0)),
    )


def test_pulls_in_random_places_have_unit_width() -> None:
    rng = np.random.default_rng(1)
    image = photometry_image(rng.normal(scale=10, size=(1000, 1000)))
    x, y = rng.uniform(0, 999, (2, 4000))
    flux, error = forced_photometry(image, x, y)
    assert np.std(flux / error) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(flux / error)) < 0.06


def test_fluxes_are_right_at_any_fraction_of_a_pixel() -> None:
    rng = np.random.default_rng(2)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 64) for a in np.meshgrid(*[np.arange(30, 270, 30)] * 2))
    image = np.zeros(SHAPE)
    add_sources(image, PSF, x, y, np.full(64, 1e4))
    flux, _ = forced_photometry(photometry_image(image), x, y)
    np.testing.assert_allclose(flux, 1e4, rtol=1e-3)


def test_fluxes_agree_with_photutils() -> None:
    rng = np.random.default_rng(3)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 36) for a in np.meshgrid(*[np.arange(40, 280, 40)] * 2))
    image = rng.normal(scale=10, size=SHAPE)
    add_sources(image, PSF, x, y, np.full(36, 5e3))
    model = ImagePSF(Moffat(4.0).draw(0, 0))
    model.x_0.fixed = model.y_0.fixed = True
    start = Table({"x_init": x, "y_init": y, "flux_init": np.full(36, 4e3)})
    peer = PSFPhotometry(model, (21, 21))(image, error=np.full(SHAPE, 10.0), init_params=start)
    flux, error = forced_photometry(photometry_image(image), x, y)
    np.testing.assert_allclose(flux, np.asarray(peer["flux_fit"]), atol=0.05 * error.max())
    np.testing.assert_allclose(error, np.asarray(peer["flux_err"]), rtol=0.02)


def test_unusable_pixels_are_left_out_and_do_not_bias() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, PSF, [100.0], [100.0], [1e4])
    mask = np.zeros(SHAPE, "u2")
    mask[100, 101] = MaskPlane.SAT
    image[100, 101] = 1e6
    image[99, 99] = np.nan
    flux, error = forced_photometry(photometry_image(image, mask=mask), [100.0], [100.0])
    assert flux[0] == pytest.approx(1e4, rel=1e-3)
    assert error[0] > 10 / np.sqrt(np.sum(PSF.draw(0, 0) ** 2))


def test_where_nothing_is_known_the_flux_is_null() -> None:
    mask = np.zeros(SHAPE, "u2")
    mask[80:120, 80:120] = MaskPlane.NO_DATA
    image = photometry_image(np.ones(SHAPE), mask=mask)
    flux, error = forced_photometry(image, [100.0, -500.0, np.nan, np.inf, 1e9], [100.0, 20.0, 5.0, 5.0, 5.0])
    assert np.isnan(flux).all()
    assert np.isnan(error).all()


def test_no_positions_are_no_error_but_unequal_lists_are() -> None:
    image = photometry_image(np.ones(SHAPE))
    assert forced_photometry(image, [], [])[0].shape == (0,)
    with pytest.raises(InputError):
        forced_photometry(image, [1.0, 2.0], [1.0])


@functools.cache
def made() -> tuple[Scene, DifferenceResult, PhotometryImage]:
    scene = make_scene(seed=31, shape=(256, 256), n_stars=60, n_changes=8)
    image = scene.science
    science = PhotometryImage(image=image.image, variance=image.variance, mask=image.mask, psf=image.psf)
    return scene, difference(image, scene.template), science


def measured(ra: np.ndarray, dec: np.ndarray, ids: np.ndarray) -> np.ndarray:
    scene, result, science = made()
    return forced_sources(result, science, scene.science.wcs, dia_object_id=ids, ra=ra, dec=dec, info=INFO)


def test_rows_are_public_records_of_the_objects_on_the_ccd_by_id() -> None:
    scene, _, _ = made()
    x = np.array([20.0, 100.3, 300.0, 200.0])
    y = np.array([30.0, 50.2, 50.0, 222.0])
    ra, dec = scene.science.wcs.all_pix2world(x, y, 0)
    ra, dec = np.append(np.mod(ra, 360), [np.nan, 190.0]), np.append(dec, [0.0, -40.0])
    rows = measured(ra, dec, np.array([9, 3, 4, 7, 1, 2], dtype=np.int64))
    assert rows.dtype == forced_source_dtype()
    assert rows["diaObjectId"].tolist() == [3, 7, 9]
    assert rows["diaForcedSourceId"].tolist() == [forced_source_id(i, INFO.visit, INFO.detector) for i in (3, 7, 9)]
    record = to_public_records(rows, "diaForcedSource")[0]
    assert record["band"] == "i"
    assert record["timeWithdrawnMjdTai"] is None
    assert all(np.isfinite(record[name]) for name in ("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr"))


def test_forced_fluxes_find_the_changes() -> None:
    scene, _, _ = made()
    changes = scene.changes
    ra, dec = scene.science.wcs.all_pix2world(changes["x"], changes["y"], 0)
    rows = measured(ra, dec, np.arange(1, len(changes) + 1))
    pull = (rows["psfFlux"] - changes["flux"]) / rows["psfFluxErr"]
    assert np.median(np.abs(pull)) < 1.5
    assert np.corrcoef(rows["psfFlux"], changes["flux"])[0, 1] > 0.98


def test_no_objects_give_no_rows() -> None:
    empty = np.zeros(0)
    assert len(measured(empty, empty, np.zeros(0, np.int64))) == 0


def test_pulls_in_random_places_of_a_difference_have_unit_width() -> None:
    scene, _, _ = made()
    rng = np.random.default_rng(12)
    x, y = rng.uniform(20, 236, (2, 3000))
    far = np.hypot(x[:, None] - scene.changes["x"], y[:, None] - scene.changes["y"]).min(axis=1) > 15
    ra, dec = scene.science.wcs.all_pix2world(x[far], y[far], 0)
    rows = measured(ra, dec, np.arange(1, far.sum() + 1))
    pull = (rows["psfFlux"] / rows["psfFluxErr"])[np.isfinite(rows["psfFlux"])]
    assert len(pull) > 1500
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1, abs=0.08)


def test_positions_by_the_border_and_where_the_psf_varies_agree_with_one_at_a_time() -> None:
    class Widening:
        def at(self, x: float, y: float) -> np.ndarray:
            return Moffat(3.5 + x / 400).draw(0, 0)

    rng = np.random.default_rng(13)
    image = photometry_image(rng.normal(scale=10, size=SHAPE))
    image = PhotometryImage(image=image.image, variance=image.variance, mask=image.mask, psf=Widening())
    x, y = rng.uniform(-12, 330, 40), rng.uniform(-12, 310, 40)
    together = forced_photometry(image, x, y)
    single = [forced_photometry(image, a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(together, np.concatenate(single, axis=1))
    assert np.isnan(together[0]).any()
    assert np.isfinite(together[0]).sum() > 25
