"""Shortcuts whose damage shows on a star, a filter or a patch of noise: each beside what we do instead."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import sep
from numpy.typing import NDArray
from reproject import reproject_adaptive
from scipy.ndimage import shift as shift_image

from infra.fits_io import read_image, write_image
from infra.telescope.imaging_scenes.coadd import coadd_noise
from processors.differencing.fitting import forced_fluxes
from processors.differencing.pipeline import DifferenceResult, difference
from processors.differencing.psf import ConstantPsf, PsfGrid, adaptive_moments, render_psf
from processors.differencing.templates import Template
from processors.differencing.warp import warp_template
from processors.single_frame import snaps
from processors.single_frame.frames import RawAmplifier, Section
from processors.single_frame.isr import DetectorImage
from processors.single_frame.overscan import subtract_overscan
from processors.single_frame.snaps import combine
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, Scene, add_sources, make_scene, match, tan_wcs
from tests.support.score_maps import score_white

PSF = Moffat(4.0)


@functools.cache
def sharper() -> Scene:
    """A science image sharper than its template, so that it is smoothed and whitened."""
    return make_scene(
        seed=51, shape=(512, 512), science_fwhm=3.4, template_fwhm=4.2, n_changes=40, change_snr=(30.0, 90.0)
    )


def flux_ratios(result: DifferenceResult, psf: PsfGrid) -> NDArray[np.float64]:
    """Return measured over true fluxes of the changes with a PSF."""
    changes = sharper().changes
    good = match(changes["x"], changes["y"], sharper().static["x"], sharper().static["y"], 12.0) < 0
    grid = psf.x_nodes, psf.y_nodes, psf.coefficients
    usable = np.ones(result.image.shape, bool)
    x, y = changes["x"][good], changes["y"][good]
    flux, *_ = forced_fluxes(result.image, result.variance, usable, *grid, x, y, 10)
    return np.asarray(flux / changes["flux"][good])


def test_fluxes_measured_with_the_science_psf_are_wrong_on_a_whitened_difference() -> None:
    result = difference(sharper().science, sharper().template)
    assert result.matching.smoothing_sigma > 0
    damaged, ours = flux_ratios(result, result.science_psf), flux_ratios(result, result.psf)
    assert len(ours) >= 15
    assert abs(np.median(ours) - 1) < 0.02
    assert np.median(damaged) / np.median(ours) < 0.95


def test_a_psf_cut_at_33_pixels_misses_light_that_the_fit_allows_for() -> None:
    winged = Moffat(4.0, beta=2.5)
    whole, cut = winged.draw(0, 0, 60), winged.draw(0, 0, 60)[44:77, 44:77]
    assert whole.sum() - cut.sum() > 0.002
    image = 1e5 * whole
    grid = PsfGrid.sample(ConstantPsf(winged.draw(0, 0, 60)), image.shape, 60)
    args = (image, np.ones(image.shape), np.ones(image.shape, bool), grid.x_nodes, grid.y_nodes, grid.coefficients)
    flux, *_ = forced_fluxes(*args, np.array([60.0]), np.array([60.0]), 10)
    naive = np.sum(image[44:77, 44:77] * cut / cut.sum()) / np.sum((cut / cut.sum()) ** 2)
    assert abs(flux[0] / 1e5 - 1) < 0.002
    assert abs(naive / 1e5 - 1) > 0.002


def test_one_depth_for_a_template_that_has_two_makes_one_half_noisy_and_the_other_dull() -> None:
    made, rng = make_scene(seed=52, shape=(512, 512), n_changes=0, n_stars=90), np.random.default_rng(52)
    template = made.template
    image, variance = template.image.astype(float), template.variance.copy()
    left = np.s_[:, : image.shape[1] // 2]
    image[left] += rng.normal(size=image[left].shape) * np.sqrt(15 * variance[left])
    variance[left] *= 16
    true = replace(template, image=image.astype("f4"), variance=variance)
    flat = replace(true, variance=np.full_like(variance, variance.mean()))

    def halves(shown: Template) -> list[float]:
        result = difference(made.science, shown)
        out = []
        for columns in (np.s_[30:220], np.s_[292:482]):
            box = np.s_[30:482, columns]
            score = result.score
            blank = np.isfinite(score.error[box]) & (np.abs(score.static_flux[box]) < 5 * score.error[box])
            out.append(float(np.diff(np.percentile(score.snr[box][blank], [25, 75]))[0] / 1.349))
        return out

    damaged, ours = halves(flat), halves(true)
    assert damaged[0] > 1.12 * damaged[1]
    assert ours == [pytest.approx(1.0, abs=0.06), pytest.approx(1.0, abs=0.06)]


def test_lanczos_recentring_changes_the_width_of_a_psf_and_quintic_splines_do_not() -> None:
    half = 20
    drawn = PSF.draw(0, 0, half)
    grid = PsfGrid.sample(ConstantPsf(drawn), (100, 100), half)

    def size(image: NDArray[np.float64], x: float, y: float) -> float:
        xx, yy, _, _ = adaptive_moments(image, x, y, 1.7, float(half))
        return float(xx + yy)

    lanczos, quintic = [], []
    for dx, dy in ((0.5, 0.5), (0.3, -0.4), (0.5, 0.0)):
        truth = size(PSF.draw(dx, dy, half), half + dx, half + dy)
        lanczos.append(size(_lanczos_3(drawn, dx, dy), half + dx, half + dy) / truth - 1)
        out = np.empty((3, 2 * half + 1, 2 * half + 1))
        render_psf(grid.x_nodes, grid.y_nodes, grid.coefficients, 50 + dx * 0.999, 50 + dy * 0.999, out)
        quintic.append(size(out[0].copy(), half + dx * 0.999, half + dy * 0.999) / truth - 1)
    assert max(map(abs, lanczos)) > 8e-4
    assert max(map(abs, quintic)) < 0.25 * max(map(abs, lanczos))


def _lanczos_3(image: NDArray[np.float64], dx: float, dy: float) -> NDArray[np.float64]:
    """Shift by Lanczos windows of three pixels, each of sum 1."""
    for axis, step in ((1, dx), (0, dy)):
        taps = np.arange(-3, 4)
        weights = np.sinc(taps - step) * np.sinc((taps - step) / 3) * (np.abs(taps - step) < 3)
        weights /= weights.sum()
        image = sum(w * np.roll(image, int(t), axis) for w, t in zip(weights, taps, strict=True))
    return image


def test_pixels_counted_from_one_are_a_fifth_of_an_arcsecond_off() -> None:
    made = make_scene(seed=53, shape=(384, 384), n_changes=16, change_snr=(30.0, 60.0))
    sources, changes, wcs = difference(made.science, made.template).sources, made.changes, made.science.wcs
    found = match(sources["x"], sources["y"], changes["x"], changes["y"], 2.0)
    sources, changes = sources[found >= 0], changes[found[found >= 0]]
    off = {}
    for origin in (0, 1):
        # What the sky's place is when the truth's columns are read as counted from 0, or from 1.
        ra, dec = wcs.all_pix2world(changes["x"], changes["y"], origin)
        east = (sources["ra"] - ra + 180) % 360 - 180
        off[origin] = 3600 * float(np.hypot(np.median(east), np.median(sources["dec"] - dec)))
    assert off[0] < 0.02
    assert off[1] > 0.2


def test_seps_cleaning_takes_real_sources_from_a_matched_filter() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(400, 400)).astype("f4")
    x, y = rng.uniform(10, 390, (2, 1500))
    add_sources(image, PSF, x, y, np.exp(rng.uniform(np.log(300), np.log(3000), x.size)))
    sep.set_extract_pixstack(1_000_000)
    options = {"filter_kernel": PSF.draw(0, 0, 7).astype("f4"), "filter_type": "matched", "err": 1.0, "minarea": 1}
    cleaned, kept = (sep.extract(image, 5.0, clean=clean, **options) for clean in (True, False))
    gone = kept[match(kept["x"], kept["y"], cleaned["x"], cleaned["y"], 1.0) < 0]
    assert len(gone) >= 0.03 * len(kept)
    real = match(gone["x"], gone["y"], x, y, 3.0) >= 0
    assert real.mean() > 0.8
    score = score_white(image, PSF.draw(0, 0), 1.0).snr
    rows, columns = np.rint(gone["y"]).astype(int), np.rint(gone["x"]).astype(int)
    assert (score[rows, columns] > 5).mean() > 0.9


def test_sep_refuses_the_byte_order_of_fits_and_our_reader_has_turned_it() -> None:
    image = np.random.default_rng(55).normal(size=(64, 64)).astype("f4")
    with pytest.raises(ValueError, match=r"byte order|[Ee]ndian"):
        sep.Background(image.astype(">f4"))
    _, planes = read_image(write_image({}, {"IMAGE": image}, {}))
    assert planes["IMAGE"].dtype.isnative
    assert planes["IMAGE"].flags.c_contiguous
    sep.Background(planes["IMAGE"])


def test_normal_equations_in_single_precision_of_pixels_are_not_solved() -> None:
    rng = np.random.default_rng(56)
    x, y = rng.uniform(0, 4000, (2, 300))
    truth = np.array([1.0, 0.02, -0.03, 0.01, 0.02, -0.01, 0.01, 0.02, -0.02, 0.01])

    def terms(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([u**0, u, v, u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3], axis=1)

    scaled = terms(2 * x / 4000 - 1, 2 * y / 4000 - 1)
    values = scaled @ truth
    raw = terms(x, y).astype("f4")
    single = np.linalg.solve(raw.T @ raw, raw.T @ values.astype("f4"))
    double = np.linalg.solve(scaled.T @ scaled, scaled.T @ values)
    assert np.abs(raw @ single - values).max() > 1e-5
    assert np.abs(scaled @ double - values).max() < 1e-10
    assert np.linalg.cond(scaled.T @ scaled) < 1e3
    assert np.linalg.cond(raw.T.astype(float) @ raw.astype(float)) > 1e12


def test_an_adaptive_resampler_smooths_noise_away_and_ours_hardly_touches_it() -> None:
    science_wcs, template_wcs = tan_wcs((160, 160)), tan_wcs((220, 220), rotation_deg=3.0, dx=2.3, dy=1.6)
    noise = np.random.default_rng(57).normal(size=(220, 220)).astype("f4")
    template = Template(
        image=noise,
        variance=np.ones_like(noise),
        mask=np.zeros(noise.shape, "u2"),
        psf=PSF.draw(0, 0),
        wcs=template_wcs,  # type: ignore[arg-type]
    )
    ours = warp_template(template, science_wcs, (160, 160), 0).image
    smooth, _ = reproject_adaptive((noise, template_wcs), science_wcs, (160, 160))
    assert np.nanvar(smooth[20:140, 20:140]) < 0.4
    assert ours[20:140, 20:140].var() > 0.8
    # Scattered light of a wide sum has all of its noise: that is what the template's variance speaks of.
    sums = ours[20:140, 20:140].reshape(12, 10, 12, 10).sum(axis=(1, 3))
    assert sums.std() == pytest.approx(10.0, rel=0.25)


def test_convolution_without_a_border_brings_a_star_back_on_the_other_side() -> None:
    image = np.zeros((200, 200))
    add_sources(image, PSF, [1.0], [100.0], [3e5])
    image += np.random.default_rng(58).normal(size=image.shape)
    psf = np.pad(PSF.draw(0, 0), [(0, 200 - 41)] * 2)
    psf = np.roll(psf, (-20, -20), (0, 1))
    wrapped = np.fft.irfft2(np.fft.rfft2(image) * np.conj(np.fft.rfft2(psf)), s=image.shape) / np.sqrt(np.sum(psf**2))
    ours = score_white(image, PSF.draw(0, 0), 1.0).snr
    far = np.s_[90:111, 190:]
    assert wrapped[far].max() > 20
    assert np.nan_to_num(ours[far]).max() < 5


def snap(image: NDArray[np.float64], variance: NDArray[np.float64]) -> DetectorImage:
    zeros = np.zeros(image.shape, np.uint16)
    return DetectorImage(
        image=image.astype("f4"), variance=variance.astype("f4"), mask=zeros, read_noise={"A": 5.0}, dead=()
    )


def pair_of_seeings() -> list[DetectorImage]:
    rng, images = np.random.default_rng(59), []
    x, y = rng.uniform(10, 190, (2, 50))
    flux = 10 ** rng.uniform(4.3, 5.3, 50)
    for fwhm in (3.6, 4.1):
        clean = np.full((200, 200), 500.0)
        add_sources(clean, Moffat(fwhm), x, y, flux)
        images.append(snap(rng.poisson(clean) + rng.normal(0, 5, clean.shape), clean + 25))
    return images


def test_a_pixelwise_comparison_of_snaps_alone_eats_stars_when_the_seeing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = np.count_nonzero(combine(pair_of_seeings()).snaps.rejected)
    first, second = pair_of_seeings()
    plain = np.abs(first.image - second.image) > 5 * np.sqrt(2 * np.minimum(first.variance, second.variance))
    assert np.count_nonzero(plain) > 100
    assert ours <= 4
    assert snaps.PEAK_FRACTION > 0


def test_a_shifted_image_of_cubic_splines_is_a_little_too_wide() -> None:
    half = 20
    drawn = PSF.draw(0, 0, half)
    truth = adaptive_moments(PSF.draw(0.5, 0.5, half), half + 0.5, half + 0.5, 1.7, 20.0)
    cubic = adaptive_moments(shift_image(drawn, 0.5, order=3), half + 0.5, half + 0.5, 1.7, 20.0)
    quintic = adaptive_moments(shift_image(drawn, 0.5, order=5), half + 0.5, half + 0.5, 1.7, 20.0)
    wrong = [abs((m[0] + m[1]) / (truth[0] + truth[1]) - 1) for m in (cubic, quintic)]
    assert wrong[1] < 0.5 * wrong[0]


def test_charge_that_comes_late_lowers_every_row_unless_the_first_overscan_columns_are_skipped() -> None:
    data = np.full((60, 60), 1000.0) + np.random.default_rng(60).normal(0, 2, (60, 60))
    data[:, 30:33] += (60.0, 25.0, 10.0)
    imaging, serial = Section(x0=0, y0=0, x1=30, y1=60), Section(x0=30, y0=0, x1=60, y1=60)
    amplifier = RawAmplifier(
        name="A", data=data, imaging=imaging, serial=serial, parallel=None, detector=imaging, gain=1.5, read_noise=5.0,
        saturation=60000.0,
    )  # fmt: skip
    damaged = data[:, :30] - data[:, 30:].mean(axis=1, keepdims=True)
    ours, _ = subtract_overscan(amplifier)
    assert damaged.mean() < -2.0
    assert abs(ours.mean()) < 0.3


def test_the_variances_of_two_snaps_are_not_that_of_a_pixel_which_one_gives() -> None:
    rng = np.random.default_rng(61)
    first, second = rng.normal(100, 10, (2, 300, 300))
    rays = np.zeros(first.shape, bool)
    rays[4::12, 4::12] = True
    flat = np.full(first.shape, 100.0)
    combined = combine([snap(first + 900 * rays, flat), snap(second, flat)])
    off = combined.image[rays] - 200
    assert (combined.mask[rays] & MaskPlane.CR).all()
    assert np.std(off / np.sqrt(200.0)) == pytest.approx(np.sqrt(2), abs=0.1)
    assert np.std(off / np.sqrt(combined.variance[rays])) == pytest.approx(1.0, abs=0.08)


def test_a_templates_noise_at_the_scale_of_a_psf_is_more_than_its_pixels_say() -> None:
    drawn, wcs = coadd_noise((480, 480), 4, np.random.default_rng(62)), tan_wcs((480, 480))
    wide = Moffat(5.0).draw(0, 0)
    template = Template(
        image=drawn.noise,
        variance=drawn.variance,
        mask=np.zeros(drawn.noise.shape, "u2"),
        psf=wide,
        wcs=wcs,  # type: ignore[arg-type]
        noise_factor=drawn.factor,
    )
    ours = warp_template(template, tan_wcs((440, 440), rotation_deg=1.0), (440, 440), 0)

    def pull(image: NDArray[np.float32], variance: float) -> float:
        places = [(r, c) for r in range(0, 380, 9) for c in range(0, 380, 9)]
        return float(np.std([np.sum(image[r : r + 41, c : c + 41] * wide) for r, c in places])) / float(
            np.sqrt(variance * np.sum(wide**2))
        )

    assert pull(drawn.noise, float(drawn.variance.mean())) > 1.08
    assert pull(ours.image, float(np.median(ours.variance))) == pytest.approx(1.0, abs=0.06)
