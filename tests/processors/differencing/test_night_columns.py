"""The rows of an ordinary night against its truth: trails, dipoles and pixel flags, not only places and fluxes."""

from __future__ import annotations

import numpy as np

from tests.support.night_harness import calibrated, contradictions, difference_of, run, simulate, true_changes

CAMERA, SEED, VISITS = "tiny", 1, 3


def test_rows_of_a_night_say_what_is_true() -> None:
    scores = run(CAMERA, SEED, VISITS, verbose=False)
    assert len(scores) == 2 * VISITS
    assert sum(score.countable for score in scores) > 20
    assert [sentence for score in scores for sentence in score.wrong] == []


def test_rows_that_say_something_else_are_told() -> None:
    folder = simulate(CAMERA, SEED, VISITS)
    visit = int((folder / "visits.txt").read_text().split()[0])
    image = calibrated(folder, CAMERA, visit, 0)
    truth, rows = true_changes(folder, image), difference_of(folder, image).sources
    truth = truth[~truth["masked"] & (truth["kind"] != "star_motion") & (truth["snr"] > 20)][:1]
    key = str(truth["key"][0])
    row = rows[[int(np.argmin(np.hypot(rows["x"] - truth["x"][0], rows["y"] - truth["y"][0])))]]
    assert contradictions(truth, row, {}) == []
    assert contradictions(truth, row, {key: (3.0, 40.0)})[0].endswith("no trail")
    row["trailLength"], row["trailLengthErr"], row["trailAngle"], row["trailAngleErr"] = 3.0, 0.05, 40.0, 1.0
    assert contradictions(truth, row, {key: (3.1, -140.0)}) == []
    assert 'a trail of 3.00 +- 0.05" where it is 0.00"' in contradictions(truth, row, {})[0]
    assert contradictions(truth, row, {key: (3.1, 60.0)})[0].endswith("a trail 20 degrees off")
    row["isDipole"] = True
    assert contradictions(truth, row, {key: (3.1, 40.0)})[0].endswith("a dipole")
    for name in row.dtype.names:
        if name.startswith("pixelFlags"):
            row[name] = False
    truth["masked"] = True
    assert contradictions(truth, row, {})[0].endswith("no pixel flag where the truth is masked")
