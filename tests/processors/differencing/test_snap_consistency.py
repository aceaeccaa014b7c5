"""Which snaps saw a source, and how it moved between them: on raw snaps of a simulated sky, and on pairs drawn by hand."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.differencing.artefacts import is_sharper_than_psf
from processors.differencing.fitting import fit_point_sources
from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult, difference
from processors.differencing.psf import ConstantPsf, PsfGrid
from processors.differencing.sky import offset_on_sky
from processors.differencing.snap_consistency import (
    MOTION_SIGMAS,
    SNAP_DTYPE,
    SnapPair,
    SnapPresence,
    seen_once,
    snap_metrics,
)
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, Scene, add_sources, make_scene
from tests.support.imaging_traps import TrapScene, snap_scene, template_of

SEED = 71


@pytest.fixture(scope="module")
def trap() -> TrapScene:
    return snap_scene(SEED)


@functools.cache
def differenced(trap: TrapScene, with_snaps: bool = True) -> DifferenceResult:
    science, pair = trap.reduced_with_snaps()
    return difference(
        science, template_of(trap.scene), info=VisitInfo(visit=2026010100001), snaps=pair if with_snaps else None
    )


@dataclasses.dataclass(frozen=True)
class Matched:
    """Sources and what the snaps say of them, each with the true change it is."""

    sources: NDArray[Any]
    told: NDArray[Any]
    truth: NDArray[Any]

    def of(self, *kinds: str) -> Matched:
        chosen = np.isin(self.truth["kind"], kinds)
        return Matched(self.sources[chosen], self.told[chosen], self.truth[chosen])


def matched(trap: TrapScene) -> Matched:
    result, changes = differenced(trap), trap.scene.truth.changes
    assert result.snaps is not None
    sources = result.sources
    distance, nearest = cKDTree(np.column_stack([changes["x"], changes["y"]])).query(
        np.column_stack([sources["x"], sources["y"]])
    )
    good = distance < 3
    return Matched(sources[good], result.snaps[good], changes[nearest[good]])


def test_every_source_has_a_row_in_the_same_order(trap: TrapScene) -> None:
    result = differenced(trap)
    assert result.snaps is not None
    assert result.snaps.dtype == SNAP_DTYPE
    np.testing.assert_array_equal(result.snaps["dia_source_id"], result.sources["diaSourceId"])
    assert differenced(trap, with_snaps=False).snaps is None
    assert "n_one_snap" not in differenced(trap, with_snaps=False).metrics


def test_a_flash_is_known_with_the_snap_that_saw_it(trap: TrapScene) -> None:
    flashes = matched(trap).of("glint")
    assert len(flashes.sources) >= 20
    right = flashes.told["presence"] == np.array([SnapPresence.FIRST, SnapPresence.SECOND])[flashes.truth["snap"]]
    assert right.mean() >= 0.95
    assert not (flashes.told["presence"] == SnapPresence.BOTH).any()
    expected = 1.0 - flashes.truth["snap"]
    pull = (flashes.told["first_share"] - expected) / flashes.told["first_share_error"]
    assert np.median(np.abs(pull)) == pytest.approx(0.6745, abs=0.4)


def test_what_changed_for_good_is_in_both_snaps_and_at_rest(trap: TrapScene) -> None:
    steady = matched(trap).of("transient", "variable", "vanished")
    assert len(steady.sources) >= 50
    assert not np.isin(steady.told["presence"], [SnapPresence.FIRST, SnapPresence.SECOND]).any()
    clear = steady.sources["snr"] > 9
    assert (steady.told["presence"][clear] == SnapPresence.BOTH).mean() > 0.95
    pull = (steady.told["first_share"] - 0.5) / steady.told["first_share_error"]
    assert np.std(pull[np.isfinite(pull)]) == pytest.approx(1.0, abs=0.35)
    assert np.count_nonzero(steady.told["motion_snr"] > MOTION_SIGMAS) == 0
    assert np.isnan(steady.sources["trailLength"]).all()


def test_rows_of_flashes_are_flagged_and_nothing_that_lasts_is(trap: TrapScene) -> None:
    found = matched(trap)
    steady, flashes = found.of("transient", "variable", "vanished"), found.of("glint")
    assert not (steady.sources["glint_trail"] == 1).any()
    trains = trap.scene.truth.glints[16:]
    rows = cKDTree(np.column_stack([trains["x"], trains["y"]])).query(
        np.column_stack([flashes.sources["x"], flashes.sources["y"]])
    )[0]
    assert (rows < 3).sum() >= 6
    assert (flashes.sources["glint_trail"][rows < 3] == 1).mean() >= 0.8
    assert (flashes.sources["glint_trail"][rows > 3] == 1).mean() <= 0.15


def test_movers_go_the_right_way_by_the_right_distance(trap: TrapScene) -> None:
    movers, wcs = matched(trap).of("trail"), trap.scene.science.wcs
    sure = movers.told["motion_snr"] > MOTION_SIGMAS
    assert sure.sum() >= 5
    far = []
    for told, source, truth in zip(movers.told[sure], movers.sources[sure], movers.truth[sure], strict=True):
        angle = np.radians(truth["angle_deg"])
        step = truth["length_arcsec"] / 0.2 * np.array([np.cos(angle), np.sin(angle)])
        _, bearing = offset_on_sky(wcs, truth["x"], truth["y"], *step)
        off = (told["motion_angle_deg"] - bearing + 180) % 360 - 180
        assert abs(off) < 4 * np.degrees(1 / told["motion_snr"]) + 2
        assert told["presence"] == SnapPresence.BOTH
        # Between the middles of two snaps of 15 s, 3 s apart, lie 18 s of 33.
        length = truth["length_arcsec"]
        distance = abs(told["motion_arcsec"] - length * 18 / 33) / (4 * told["motion_error_arcsec"] + 0.016 * length)
        trail = abs(source["trailLength"] - length) / (4 * source["trailLengthErr"] + 0.03 * length)
        far.append(max(distance, trail))
    # A trail may pass a star too bright to see through.
    assert np.mean(np.array(far) < 1) >= 0.85


def test_the_snaps_show_trails_that_the_sum_does_not(trap: TrapScene) -> None:
    both, alone = differenced(trap).sources, differenced(trap, with_snaps=False).sources
    short = [np.count_nonzero(rows["trailLength"] < 1.0) for rows in (both, alone)]
    assert short[0] >= short[1]
    shortest = [np.nanmin(rows["trailLength"]) for rows in (both, alone)]
    assert shortest[0] < 0.7
    assert shortest[0] < shortest[1]


@functools.cache
def plain() -> Scene:
    return make_scene(seed=72, shape=(320, 320), n_changes=0, n_galaxies=0, n_stars=80)


def exposed(
    first: list[tuple[float, float, float]], second: list[tuple[float, float, float]], blind: Any = None
) -> DifferenceResult:
    """Difference a scene to whose snaps sources (x, y, flux) are added, on an empty place of the sky."""
    made, rng = plain(), np.random.default_rng(73)
    added = [np.zeros((320, 320)), np.zeros((320, 320))]
    for image, sources in zip(added, (first, second), strict=True):
        for x, y, flux in sources:
            add_sources(image, made.truth_psf, [x], [y], [flux])
    variance = made.science.variance
    noise = rng.normal(size=variance.shape) * np.sqrt(variance)
    pair = SnapPair(
        difference=(added[0] - added[1] + noise).astype("f4"), variance=variance, exposure_s=15.0, gap_s=3.0
    )
    image = (made.science.image + added[0] + added[1]).astype("f4")
    mask = made.science.mask.copy()
    if blind is not None:
        mask[blind] |= np.uint16(MaskPlane.CR)
    return difference(dataclasses.replace(made.science, image=image, mask=mask), made.template, snaps=pair)


def empty_place() -> tuple[float, float]:
    """The place farthest from every star."""
    static = plain().static
    y, x = np.mgrid[40:280:8, 40:280:8]
    places = np.column_stack([x.ravel(), y.ravel()])
    distance, _ = cKDTree(np.column_stack([static["x"], static["y"]])).query(places)
    return tuple(places[np.argmax(distance)].astype(float))


def told_at(result: DifferenceResult, x: float, y: float) -> tuple[Any, Any]:
    distance = np.hypot(result.sources["x"] - x, result.sources["y"] - y)
    assert distance.min() < 4
    assert result.snaps is not None
    return result.sources[np.argmin(distance)], result.snaps[np.argmin(distance)]


FLUX = 2.5e4


def test_a_source_of_one_snap_of_either() -> None:
    x, y = empty_place()
    _, told = told_at(exposed([(x, y, FLUX)], []), x, y)
    assert told["presence"] == SnapPresence.FIRST
    assert told["first_share"] == pytest.approx(1.0, abs=4 * float(told["first_share_error"]))
    _, told = told_at(exposed([], [(x, y, FLUX)]), x, y)
    assert told["presence"] == SnapPresence.SECOND
    assert np.isnan(told["motion_arcsec"])


def test_a_source_that_moved_by_less_than_a_pixel() -> None:
    x, y = empty_place()
    source, told = told_at(exposed([(x - 0.3, y, 2 * FLUX)], [(x + 0.3, y, 2 * FLUX)]), x, y)
    assert told["presence"] == SnapPresence.BOTH
    assert told["motion_snr"] > MOTION_SIGMAS
    assert told["motion_arcsec"] == pytest.approx(0.6 * 0.2, abs=3 * float(told["motion_error_arcsec"]))
    wcs = plain().science.wcs
    assert told["motion_angle_deg"] == pytest.approx(offset_on_sky(wcs, x, y, 1.0, 0.0)[1], abs=12)
    # The trail is that of 33 seconds, of which the motion is that of 18.
    assert source["trailLength"] == pytest.approx(told["motion_arcsec"] * 33 / 18, rel=1e-3)


def test_without_usable_pixels_nothing_is_told() -> None:
    x, y = empty_place()
    ix, iy = round(x), round(y)
    blind = np.s_[iy - 2 : iy + 3, ix - 2 : ix + 3]
    _, told = told_at(exposed([(x, y, FLUX)], [(x, y, FLUX)], blind), x, y)
    assert told["presence"] == SnapPresence.UNKNOWN
    assert np.isnan(told["first_share"])


def test_a_faint_ray_in_one_snap_is_dropped_where_a_sharp_source_of_both_is_not() -> None:
    psf = Moffat(4.0)
    grid = PsfGrid.sample(ConstantPsf(psf.draw(0, 0)), (120, 120), 20)
    image = np.random.default_rng(75).normal(scale=10.0, size=(120, 120)).astype("f4")
    image[60, 60] += 50.0
    image[60, 61] += 30.0
    variance, usable = np.full((120, 120), 100.0, "f4"), np.ones((120, 120), bool)
    places = np.array([60.0]), np.array([60.0])
    fits = fit_point_sources(image, variance, usable, grid.x_nodes, grid.y_nodes, grid.coefficients, *places, 10)
    judged = [
        bool(is_sharper_than_psf(image, variance, usable, grid, fits=fits, one_snap=np.array([once]))[0])
        for once in (True, False)
    ]
    assert judged == [True, False]


def test_no_snaps_no_rows() -> None:
    assert seen_once(None) is None
    assert snap_metrics(None) == {}
    assert snap_metrics(np.zeros(0, SNAP_DTYPE)) == {
        "n_one_snap": 0.0,
        "n_both_snaps": 0.0,
        "n_moved_between_snaps": 0.0,
    }
