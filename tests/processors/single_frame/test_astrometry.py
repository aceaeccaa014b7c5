"""World coordinates from star patterns, against astropy's own solutions and the truth."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import fit_wcs_from_points

from infra.telescope.imaging_scenes.geometry import PixelSky, make_visit, science_pointing
from processors.single_frame.astrometry import Pointing, match, propagate, solve_astrometry
from processors.single_frame.errors import AstrometryError, MissingReferenceError
from processors.single_frame.plate import choose_fit, fit_plate, fit_radial
from processors.single_frame.projection import deproject, project
from schemas.camera import load_camera

SHAPE = (1024, 1024)
SCALE = 0.2


def true_sky(
    x: np.ndarray, y: np.ndarray, pointing: Pointing, shift: tuple[float, float], turn: float, distortion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sky of pixels when the telescope is off, seen through a radial distortion (share at 1500 pixels)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [pointing.ra + shift[0] / 3600 / np.cos(np.radians(pointing.dec)), pointing.dec + shift[1] / 3600]
    wcs.wcs.crpix = [1.0, 1.0]
    angle = np.radians(pointing.rotation + turn)
    wcs.wcs.cd = SCALE / 3600 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    u, v = x - pointing.centre[0] + pointing.offset[0], y - pointing.centre[1] + pointing.offset[1]
    stretch = 1 - distortion * (u**2 + v**2) / 1500**2
    return wcs.all_pix2world(u * stretch, v * stretch, 0)


def case(
    seed: int, *, stars: int = 150, distortion: float = 0.005, ra: float = 0.001, dec: float = 1.0, shape=SHAPE
) -> tuple[tuple, tuple, Pointing, tuple[float, float]]:
    """Sources with spurious ones among them, a catalogue of a wider field with some stars missing, a pointing."""
    rng = np.random.default_rng(seed)
    pointing = Pointing(
        ra=ra,
        dec=dec,
        centre=((shape[1] - 1) / 2, (shape[0] - 1) / 2),
        offset=(-532.0, 532.0),
        quarter_turns=0,
        rotation=float(rng.uniform(0, 360)),
        plate_scale=SCALE,
    )
    angle = rng.uniform(0, 2 * np.pi)
    shift = (19 * np.cos(angle), 19 * np.sin(angle))
    turn = rng.uniform(-0.1, 0.1)
    wide = (shape[0] + 600) * (shape[1] + 600) / (shape[0] * shape[1])
    x, y = (rng.uniform(-300, side + 300, int(stars * wide)) for side in (shape[1], shape[0]))
    flux = 10 ** rng.uniform(3, 5, len(x))
    sky = true_sky(x, y, pointing, shift, turn, distortion)
    known = rng.random(len(x)) < 0.9
    seen = (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1) & (rng.random(len(x)) < 0.95)
    extra = stars // 8
    error = np.concatenate([0.5 * np.sqrt(1e3 / flux[seen]) * 0.3, np.full(extra, 0.1)])
    sx = np.concatenate([x[seen], rng.uniform(0, shape[1], extra)]) + rng.normal(0, error)
    sy = np.concatenate([y[seen], rng.uniform(0, shape[0], extra)]) + rng.normal(0, error)
    order = np.argsort(-np.concatenate([flux[seen], 10 ** rng.uniform(3, 5, extra)]))
    sources = (sx[order], sy[order], error[order])
    catalogue = (sky[0][known] % 360, sky[1][known], flux[known])
    return sources, catalogue, pointing, (shift, turn, distortion)


def error_mas(wcs: WCS, pointing: Pointing, truth: tuple, shape=SHAPE) -> float:
    gx, gy = np.meshgrid(np.linspace(0, shape[1] - 1, 15), np.linspace(0, shape[0] - 1, 15))
    ours = SkyCoord(*wcs.all_pix2world(gx, gy, 0), unit="deg")
    true = SkyCoord(*true_sky(gx, gy, pointing, *truth), unit="deg")
    return float(np.sqrt(np.mean(ours.separation(true).mas ** 2) / 2))


def test_the_pattern_is_found_for_every_seed() -> None:
    errors = []
    for seed in range(25):
        sources, stars, pointing, truth = case(seed)
        solution = solve_astrometry(sources, stars, pointing, SHAPE)
        errors.append(error_mas(solution.wcs, pointing, truth))
        assert solution.order == 3
    assert max(errors) < 15
    assert np.median(errors) < 7


@pytest.mark.parametrize(("stars", "limit"), [(20, 60.0), (14, 60.0), (60, 40.0)])
def test_a_small_ccd_with_few_stars_is_solved(stars: int, limit: float) -> None:
    for seed in range(10):
        sources, catalogue, pointing, truth = case(seed, stars=stars, distortion=0.0005, shape=(256, 256))
        solution = solve_astrometry(sources, catalogue, pointing, (256, 256))
        assert error_mas(solution.wcs, pointing, truth, (256, 256)) < limit


CCD = load_camera("full-ccd").detectors[0]


def optics_case(
    seed: int, references: int | None, *, unseen: int = 0, other_sky: bool = False
) -> tuple[tuple, tuple, Pointing, PixelSky]:
    """A full CCD behind the simulator's optics, 20 arcsec and 0.1 degree off; the catalogue's brightest or a few stars.

    Some of the few may be unseen, or all sources those of another sky.
    """
    rng = np.random.default_rng(seed)
    camera = load_camera("full-ccd")
    visit = make_visit(camera, seed, 0.8, rng)
    angle = rng.uniform(0, 2 * np.pi)
    off = replace(
        visit.conditions,
        pointing_error=(20 * np.cos(angle), 20 * np.sin(angle)),
        rotation_error=float(rng.choice([-0.1, 0.1])),
    )
    visit = replace(visit, rotation=float(rng.uniform(0, 360)), conditions=off)
    sky = PixelSky(pointing=science_pointing(visit), width=CCD.width, height=CCD.height)
    count = 1500
    x, y = rng.uniform(-300, CCD.width + 300, count), rng.uniform(-300, CCD.height + 300, count)
    flux = np.minimum(10 ** (rng.exponential(0.6, count) + 3.3), 3e6)
    ra, dec = sky.all_pix2world(x, y, 0)
    seen = (x > 0) & (y > 0) & (x < CCD.width - 1) & (y < CCD.height - 1)
    listed = flux > 8e3
    if references is not None:
        known = np.concatenate(
            [
                rng.choice(np.flatnonzero(seen & listed), references, replace=False),
                rng.choice(np.flatnonzero(~seen & listed), references // 3, replace=False),
            ]
        )
        seen[known[:unseen]] = False
    else:
        known = np.flatnonzero(listed & (rng.random(count) < 0.95))
        seen &= rng.random(count) < 0.97
    if other_sky:
        x, y = rng.uniform(-300, CCD.width + 300, count), rng.uniform(-300, CCD.height + 300, count)
        seen = (x > 0) & (y > 0) & (x < CCD.width - 1) & (y < CCD.height - 1)
    error = np.hypot(0.01, 400 / flux[seen])
    spurious = 120
    columns = [np.concatenate([p[seen] + rng.normal(0, error), rng.uniform(0, side, spurious)])
               for p, side in ((x, CCD.width), (y, CCD.height))]  # fmt: skip
    errors = np.concatenate([error, np.full(spurious, 0.05)])
    order = np.argsort(-np.concatenate([flux[seen], 10 ** (rng.exponential(0.6, spurious) + 3.3)]))
    motion = rng.normal(0, 5 / 3.6e6, (2, len(known)))
    catalogue = (ra[known] + motion[0] / np.cos(np.radians(dec[known])), dec[known] + motion[1], flux[known])
    pointing = Pointing(
        ra=visit.ra,
        dec=visit.dec,
        centre=((CCD.width - 1) / 2, (CCD.height - 1) / 2),
        offset=CCD.centre,
        quarter_turns=CCD.quarter_turns,
        rotation=visit.rotation,
        plate_scale=camera.plate_scale,
    )
    return (columns[0][order], columns[1][order], errors[order]), catalogue, pointing, sky


def optics_error_mas(wcs: WCS, sky: PixelSky) -> float:
    gx, gy = np.meshgrid(np.linspace(0, CCD.width - 1, 15), np.linspace(0, CCD.height - 1, 15))
    ours = SkyCoord(*wcs.all_pix2world(gx, gy, 0), unit="deg")
    return float(np.sqrt(np.mean(ours.separation(SkyCoord(*sky.all_pix2world(gx, gy, 0), unit="deg")).mas ** 2) / 2))


def test_a_full_ccd_behind_the_optics_is_solved_for_fifty_seeds() -> None:
    errors = []
    for seed in range(1100, 1150):
        sources, stars, pointing, sky = optics_case(seed, None)
        wcs = solve_astrometry(sources, stars, pointing, (CCD.height, CCD.width)).wcs
        assert wcs.wcs.ctype[0] == "RA---TAN-SIP"
        errors.append(optics_error_mas(wcs, sky))
    assert max(errors) < 10
    assert np.sqrt(np.mean(np.square(errors))) < 5


@pytest.mark.parametrize("references", [5, 7, 10, 20])
def test_few_references_solve_a_full_ccd(references: int) -> None:
    errors = []
    for seed in range(1200, 1208):
        sources, stars, pointing, sky = optics_case(seed, references)
        errors.append(optics_error_mas(solve_astrometry(sources, stars, pointing, (CCD.height, CCD.width)).wcs, sky))
    assert np.sqrt(np.mean(np.square(errors))) < 50


@pytest.mark.parametrize(("references", "unseen"), [(5, 1), (7, 2)])
def test_few_references_of_which_some_are_not_seen_solve_a_full_ccd(references: int, unseen: int) -> None:
    errors = []
    for seed in range(1220, 1226):
        sources, stars, pointing, sky = optics_case(seed, references, unseen=unseen)
        errors.append(optics_error_mas(solve_astrometry(sources, stars, pointing, (CCD.height, CCD.width)).wcs, sky))
    assert np.sqrt(np.mean(np.square(errors))) < 50


def test_four_chance_matches_of_another_sky_are_no_solution() -> None:
    for seed in range(1240, 1252):
        sources, stars, pointing, _ = optics_case(seed, 5, other_sky=True)
        with pytest.raises(AstrometryError):
            solve_astrometry(sources, stars, pointing, (CCD.height, CCD.width))


def test_a_nominal_plane_holds_four_stars_and_lets_them_turn_and_stretch() -> None:
    rng = np.random.default_rng(8)
    turn, centre, axis = 0.0017, (2000.0, 2000.0), (2500.0, -700.0)
    nominal = np.array([[0.2, 0.0], [0.0, 0.2]])
    true = 0.2 * np.array([[1.0001, -turn], [turn, 0.9998]])
    x, y = rng.uniform(200, 3800, (2, 4))
    plane = true @ np.array([x, y]) + rng.normal(0, 0.004, (2, 4))
    gx, gy = rng.uniform(0, 4000, (2, 200))
    errors = {}
    for name, given in (("held", nominal), ("free", None)):
        fit = fit_radial((x, y), (plane[0], plane[1]), np.full(4, 1 / 0.02**2), centre, axis, nominal=given)
        errors[name] = np.sqrt(np.mean((np.array(fit.to_plane(gx, gy)) - true @ np.array([gx, gy])) ** 2))
    assert errors["held"] < 0.03
    assert errors["held"] < 0.5 * errors["free"]


def test_a_radial_distortion_is_found_from_five_stars() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 4000, 5), rng.uniform(0, 4000, 5)
    axis, centre = (2500.0, -700.0), (2000.0, 2000.0)

    def plane(px: np.ndarray, py: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dx, dy = px - axis[0], py - axis[1]
        stretch = 1 + 2e-10 * (dx**2 + dy**2)
        return (0.2 * dx + 0.01 * dy) * stretch, (0.2 * dy - 0.01 * dx) * stretch + 3

    fit = fit_radial((x, y), plane(x, y), np.ones(5), centre, axis)
    gx, gy = rng.uniform(0, 4000, (2, 50))
    np.testing.assert_allclose(fit.to_plane(gx, gy), plane(gx, gy), atol=2e-3)
    assert fit.axis == axis
    assert fit_plate((x, y), plane(x, y), np.ones(5), 1, centre).rms > 0.02


def test_the_wcs_round_trips_and_survives_its_header() -> None:
    sources, stars, pointing, _ = case(3)
    wcs = solve_astrometry(sources, stars, pointing, SHAPE).wcs
    gx, gy = np.meshgrid(np.linspace(0, 1023, 12), np.linspace(0, 1023, 12))
    sky = wcs.all_pix2world(gx, gy, 0)
    np.testing.assert_allclose(wcs.all_world2pix(*sky, 0), (gx, gy), atol=1e-5)
    undistorted = wcs.wcs_world2pix(np.column_stack([sky[0].ravel(), sky[1].ravel()]), 1) - wcs.wcs.crpix
    approximate = wcs.sip_foc2pix(undistorted, 1)
    np.testing.assert_allclose(approximate, np.column_stack([gx.ravel(), gy.ravel()]) + 1, atol=5e-3)
    again = WCS(wcs.to_header(relax=True))
    np.testing.assert_allclose(again.all_pix2world(gx, gy, 0), sky, rtol=0, atol=1e-11)


def test_the_solution_is_as_good_as_astropys_on_the_same_pairs() -> None:
    sources, stars, pointing, truth = case(5)
    solution = solve_astrometry(sources, stars, pointing, SHAPE)
    mine, theirs = solution.sources, solution.references
    sky = SkyCoord(stars[0][theirs], stars[1][theirs], unit="deg")
    peer = fit_wcs_from_points((sources[0][mine], sources[1][mine]), sky, sip_degree=3)
    ours, other = (error_mas(w, pointing, truth) for w in (solution.wcs, peer))
    assert ours < 1.2 * other + 1


def test_too_few_stars_or_the_wrong_sky_is_no_solution() -> None:
    sources, stars, pointing, _ = case(1)
    with pytest.raises(MissingReferenceError):
        solve_astrometry(sources, (stars[0] + 40, stars[1], stars[2]), pointing, SHAPE)
    with pytest.raises(MissingReferenceError):
        solve_astrometry(sources, tuple(s[:0] for s in stars), pointing, SHAPE)
    with pytest.raises(AstrometryError):
        solve_astrometry(tuple(s[:3] for s in sources), stars, pointing, SHAPE)
    _, other_stars, other, _ = case(2)
    with pytest.raises(AstrometryError):
        solve_astrometry(sources, other_stars, other, SHAPE)


def test_quarter_turns_and_offsets_are_undone() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1000, 50), rng.uniform(0, 500, 50)
    for turns in range(4):
        pointing = Pointing(
            ra=10,
            dec=20,
            centre=(499.5, 249.5),
            offset=(30.0, -70.0),
            quarter_turns=turns,
            rotation=33.0,
            plate_scale=0.2,
        )
        np.testing.assert_allclose(pointing.to_pixels(*pointing.to_plane(x, y)), (x, y), atol=1e-9)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.999, -30.0), (123.0, 89.0), (200.0, -85.0)])
def test_the_projection_is_astropys(ra: float, dec: float) -> None:
    rng = np.random.default_rng(2)
    xi, eta = rng.uniform(-3000, 3000, 40), rng.uniform(-3000, 3000, 40)
    sky = deproject(xi, eta, ra, dec)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [1, 1]
    wcs.wcs.cdelt = [1 / 3600, 1 / 3600]
    np.testing.assert_allclose(wcs.all_world2pix(*sky, 0), (xi, eta), atol=1e-6)
    back = project(*sky, ra, dec)
    np.testing.assert_allclose(back[:2], (xi, eta), atol=1e-6)
    assert back[2].all()


@pytest.mark.filterwarnings("ignore:ERFA function")
def test_proper_motions_are_astropys() -> None:
    rows = np.zeros(3, [(n, "<f8") for n in ("ra", "dec", "pmra", "pmdec", "epoch_mjd")])
    rows["ra"], rows["dec"] = [0.0001, 120.0, 359.9999], [10.0, -60.0, 0.0]
    rows["pmra"], rows["pmdec"], rows["epoch_mjd"] = [-400, 50, np.nan], [30, -200, np.nan], 57388.0
    ra, dec = propagate(rows, 61305.0)
    still = np.nan_to_num(rows["pmra"]), np.nan_to_num(rows["pmdec"])
    stars = SkyCoord(
        rows["ra"] * u.deg,
        rows["dec"] * u.deg,
        pm_ra_cosdec=still[0] * u.mas / u.yr,
        pm_dec=still[1] * u.mas / u.yr,
        obstime=Time(57388.0, format="mjd"),
    )
    moved = stars.apply_space_motion(Time(61305.0, format="mjd"))
    assert SkyCoord(ra, dec, unit="deg").separation(SkyCoord(moved.ra, moved.dec)).mas.max() < 0.5


def test_matches_are_mutual() -> None:
    mine, theirs = match((np.array([0.0, 1.0, 50.0]), np.zeros(3)), (np.array([0.9, 49.0]), np.zeros(2)), 2.0)
    assert list(zip(mine, theirs, strict=True)) == [(1, 0), (2, 1)]


def test_the_degree_follows_the_data() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 1000, 200), rng.uniform(0, 1000, 200)
    noise = rng.normal(0, 0.01, (2, 200))
    flat = (0.2 * x + noise[0], 0.2 * y + noise[1])
    bent = (flat[0] + 2e-7 * (x - 500) ** 2, flat[1])
    weight, centre = np.ones(200), (500.0, 500.0)
    assert choose_fit((x, y), flat, weight, 3, centre).order == 1
    assert choose_fit((x, y), bent, weight, 3, centre).order == 2
    assert choose_fit((x[:8], y[:8]), (bent[0][:8], bent[1][:8]), weight[:8], 3, centre).order == 1
    spoiled = (flat[0].copy(), flat[1])
    spoiled[0][:10] += 5
    assert fit_plate((x, y), spoiled, weight, 1, centre).rms == pytest.approx(0.01, rel=0.15)
