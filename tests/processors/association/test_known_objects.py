"""What a visit is told of its field does not depend on how far association has gone on."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from processors.association.known_objects import field_radius, known_objects
from processors.association.rules import Rules
from schemas.camera import load_camera
from tests.support.association_cases import FIRST_MJD, Night, detector_result, midpoint_of, source_rows, visit_number

RULES = Rules()


def night_of(visits: int, ra: float = 0.0, dec: float = 0.0) -> Night:
    """Return a night whose visits each see one old object again, a little aside, and one new one."""
    night = Night()
    for index in range(visits):
        shift = 0.1 * index / 3600.0
        rows = source_rows(
            [(ra + shift) % 360.0, (ra + 0.01) % 360.0],
            [dec, dec + index / 100.0],
            visit=visit_number(index),
            mjd=midpoint_of(index),
        )
        night.decide(visit_number(index), [detector_result(rows, visit=visit_number(index), mjd=midpoint_of(index))])
    return night


@pytest.mark.parametrize("ra", [0.0, 359.995, 120.0])
def test_later_visits_do_not_show(ra: float) -> None:
    for index in range(4):
        as_of = visit_number(index), midpoint_of(index)
        early = known_objects(night_of(index + 1, ra).view, (ra, 0.0), 600.0, as_of=as_of, rules=RULES)
        late = known_objects(night_of(6, ra).view, (ra, 0.0), 600.0, as_of=as_of, rules=RULES)
        assert early.tobytes() == late.tobytes()
        assert len(early) == index + 2


def test_positions_are_means_of_the_visits_that_count() -> None:
    known = known_objects(
        night_of(6, 30.0).view, (30.0, 0.0), 600.0, as_of=(visit_number(2), midpoint_of(2)), rules=RULES
    )
    assert known["ra"][0] == pytest.approx(30.0 + 0.1 / 3600.0, abs=1e-10)


def test_only_the_field_is_named() -> None:
    night, visit = Night(), visit_number(0)
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-0.4, 0.4, 400) % 360.0, rng.uniform(-0.4, 0.4, 400)
    rows = source_rows(ra, dec, visit=visit)
    night.decide(visit, [detector_result(rows, visit=visit)])
    known = known_objects(night.view, (0.05, 0.0), 900.0, as_of=(visit, FIRST_MJD), rules=RULES)
    centre = SkyCoord(0.05, 0.0, unit="deg")
    inside = centre.separation(SkyCoord(ra, dec, unit="deg")).arcsec <= 900.0
    assert set(known["diaObjectId"].tolist()) == set(rows["diaSourceId"][inside].tolist())


def test_objects_unseen_for_a_year_are_left_out() -> None:
    night, visit = Night(), visit_number(0)
    night.decide(visit, [detector_result(source_rows([3.0], [3.0], visit=visit), visit=visit)])
    where = (3.0, 3.0), 60.0
    assert len(known_objects(night.view, *where, as_of=(visit, FIRST_MJD + 365.0), rules=RULES)) == 1
    assert len(known_objects(night.view, *where, as_of=(visit, FIRST_MJD + 366.0), rules=RULES)) == 0


def test_the_circle_holds_every_corner_of_the_camera() -> None:
    for name in ("tiny", "demo", "lsstcam"):
        camera = load_camera(name)
        corners = [
            np.hypot(d.centre[0] + x * d.width / 2, d.centre[1] + y * d.height / 2)
            for d in camera.detectors
            for x in (-1, 1)
            for y in (-1, 1)
        ]
        assert field_radius(camera) >= max(corners) * camera.plate_scale + 30.0
