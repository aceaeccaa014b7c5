"""`nightcast ccd` on a simulated CCD: what it writes can be read by others, and agrees with the truth."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import QTable
from astropy.wcs import WCS
from PIL import Image
from typer.testing import CliRunner

from processors.detector import DetectorInputs, DetectorProducts, process_detector
from processors.single_frame.errors import BadHeaderError
from schemas.masks import MaskPlane
from streams.cli import main as cli
from streams.files.ccd_command import BadPositionsError, CcdReport, run
from streams.files.release_files import ReleaseFileMismatchError, ReleaseFileMissingError, ReleaseFiles
from tests.support.night_harness import simulate


@pytest.fixture(scope="module")
def night() -> Path:
    return simulate("tiny", 3, 3)


def snaps_of(night: Path, detector: int = 0) -> list[Path]:
    visit = int((night / "visits.txt").read_text().split()[0])
    return [night / "raw" / str(e) / f"{e}-{detector:03d}.fits" for e in (visit, visit + 1)]


def truth_of(night: Path) -> list[dict[str, Any]]:
    visit = int((night / "visits.txt").read_text().split()[0])
    rows: list[dict[str, Any]] = pq.read_table(night / "truth" / f"{visit}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(night: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> CcdReport:
    folder = tmp_path_factory.mktemp("ccd")
    first = next(row for row in truth_of(night) if row["detector"] == 0)
    (folder / "at.csv").write_text(f"diaObjectId,ra,dec\n7,{first['ra']},{first['dec']}\n8,180.0,0.0\n")
    return run(
        snaps_of(night),
        release=ReleaseFiles(directory=night / "release"),
        out_dir=folder / "out",
        positions=folder / "at.csv",
        progress=lambda step, _done, _steps: steps.append(step),
    )


def test_every_step_is_named_as_it_begins(report: CcdReport, steps: list[str]) -> None:
    assert report.files
    assert steps == ["read", "read", "single_frame", "read", "difference", "reliability", "fakes", "forced", "write"]


def test_catalogues_agree_in_every_form(report: CcdReport) -> None:
    parquet = pq.read_table(report.files["diasources"])
    votable = parse_single_table(report.files["votable"]).to_table()
    assert len(parquet) == len(votable) == int(report.metrics["n_sources"])
    assert parquet["diaSourceId"].to_pylist() == votable["diaSourceId"].tolist()
    assert QTable(votable)["psfFlux"].unit == u.nJy
    assert parquet.schema.field("psfFlux").metadata == {b"unit": b"nJy"}
    calibrated = pq.read_table(report.files["sources"]).schema
    assert calibrated.field("psf_flux").metadata == {b"unit": b"nJy"}
    assert calibrated.field("ixx").metadata == {b"unit": b"pix2"}


def test_every_source_has_a_reliability_and_the_model_is_named(report: CcdReport) -> None:
    table = pq.read_table(report.files["diasources"])
    document = json.loads(report.files["metrics"].read_text())
    assert all(0 <= value <= 1 for value in table["reliability"].to_pylist())
    assert set(table["reliabilityVersion"].to_pylist()) == {f"trees-{document['reliability'][:8]}"}


def test_what_the_snaps_say_is_a_table_beside_the_sources(report: CcdReport) -> None:
    told, sources = pq.read_table(report.files["snaps"]), pq.read_table(report.files["diasources"])
    assert told["dia_source_id"].to_pylist() == sources["diaSourceId"].to_pylist()
    metrics = json.loads(report.files["metrics"].read_text())["metrics"]
    presence = told["presence"].to_pylist()
    assert metrics["n_both_snaps"] == presence.count(3) > 0
    assert metrics["n_one_snap"] == presence.count(1) + presence.count(2)


def test_the_image_has_a_wcs_that_places_the_sources(report: CcdReport) -> None:
    table = pq.read_table(report.files["diasources"])
    with fits.open(report.files["image"]) as hdus:
        header = hdus["IMAGE"].header
        wcs = WCS(header)
        assert {"IMAGE", "VARIANCE", "MASK", "DIFFERENCE", "SCORE"} <= {hdu.name for hdu in hdus}
    ra, dec = wcs.all_pix2world(table["x"].to_numpy(), table["y"].to_numpy(), 0)
    assert np.allclose((ra - table["ra"].to_numpy() + 180.0) % 360.0 - 180.0, 0.0, atol=2e-6)
    assert np.allclose(dec, table["dec"].to_numpy(), atol=2e-6)


def test_the_image_says_what_was_observed_and_what_its_masks_bits_mean(report: CcdReport) -> None:
    first = pq.read_table(report.files["diasources"]).slice(0, 1).to_pylist()[0]
    for name in ("IMAGE", "MASK"):
        header = fits.getheader(report.files["image"], name)
        assert (header["VISIT"], header["DETECTOR"], header["BAND"]) == (first["visit"], 0, first["band"])
        assert header["MJD-AVG"] == pytest.approx(first["midpointMjdTai"], abs=1e-9)
        assert {2 ** int(card[5:]): header[card] for card in header if card.startswith("MASKB")} == {
            plane.value: plane.name for plane in MaskPlane
        }


def test_forced_photometry_is_at_the_positions_on_the_ccd(report: CcdReport) -> None:
    forced = pq.read_table(report.files["forced"])
    assert forced["diaObjectId"].to_pylist() == [7]


def test_true_changes_are_among_the_sources(report: CcdReport, night: Path) -> None:
    assert json.loads(report.files["metrics"].read_text())["detector"] == 0
    wanted = [t for t in truth_of(night) if t["detector"] == 0 and t["predicted_snr"] > 8 and not t["masked"]]
    found = pq.read_table(report.files["diasources"]).to_pylist()
    for true in (t for t in wanted if t["kind"] != "star_motion"):
        nearest = min(
            np.hypot((row["ra"] - true["ra"] + 180.0) % 360.0 - 180.0, row["dec"] - true["dec"]) for row in found
        )
        assert nearest * 3600.0 < 1.0, true


def test_the_page_shows_every_plot(report: CcdReport) -> None:
    page = report.files["page"].read_text()
    pictures = sorted(report.files["page"].parent.glob("*.png"))
    assert len(pictures) >= 6
    for picture in pictures:
        assert picture.name in page
        with Image.open(picture) as opened:
            assert np.asarray(opened.convert("L")).std() > 5
    assert f"{report.metrics['psf_fwhm_pixels']:.6g}" in page
    assert '<meta name="viewport" content="width=device-width' in page


def test_what_is_missing_is_said_in_one_sentence(night: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseFileMissingError, match=r"^No master calibrations of detector 0: .*--masters"):
        run(snaps_of(night), release=ReleaseFiles(), out_dir=tmp_path)
    with pytest.raises(ReleaseFileMissingError, match=r"no readable release\.json"):
        run(snaps_of(night), release=ReleaseFiles(directory=tmp_path), out_dir=tmp_path)
    release = json.loads((night / "release" / "release.json").read_text())
    (tmp_path / "release.json").write_text(json.dumps(release))
    with pytest.raises(ReleaseFileMissingError, match=r"^The release names det-000\.fits, but there is no file"):
        run(snaps_of(night), release=ReleaseFiles(directory=tmp_path), out_dir=tmp_path)
    del release["masters"]
    (tmp_path / "poor").mkdir()
    (tmp_path / "poor" / "release.json").write_text(json.dumps(release))
    with pytest.raises(ReleaseFileMissingError, match="says nothing of masters"):
        run(snaps_of(night), release=ReleaseFiles(directory=tmp_path / "poor"), out_dir=tmp_path)
    third = snaps_of(night)[0].parents[1] / str(int((night / "visits.txt").read_text().splitlines()[1].split()[0]))
    other = next(third.glob("*-000.fits"))
    with pytest.raises(BadHeaderError, match="different visits"):
        run([snaps_of(night)[0], other], release=ReleaseFiles(directory=night / "release"), out_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,ra\n1,2\n", "at.csv has no column diaObjectId; it needs diaObjectId, ra, dec."),
        ("diaObjectId,ra,dec\n1,,2\n", "at.csv has empty cells."),
        ("diaObjectId,ra,dec\n1,x,2\n", "The column ra of at.csv holds what is no number."),
        ("diaObjectId,ra,dec\n1,2,3\n1,2,3,4\n", "at.csv cannot be read as CSV: Number of header columns"),
    ],
)
def test_positions_that_are_none_are_refused(night: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "at.csv").write_text(text)
    release = ReleaseFiles(directory=night / "release")
    with pytest.raises(BadPositionsError, match=f"^{re.escape(sentence)}"):
        run(snaps_of(night), release=release, out_dir=tmp_path, positions=tmp_path / "at.csv")


def test_files_of_another_detector_or_band_are_refused(night: Path, tmp_path: Path) -> None:
    release = ReleaseFiles(directory=night / "release")
    for changed, sentence in (
        (replace(release, masters=night / "release/masters/det-001.fits"), "det-001.fits is of detector 1, the snaps"),
        (replace(release, template=night / "release/templates/r-a1-det-001.fits"), "is of detector 1, the snaps"),
        (replace(release, template=night / "release/templates/i-a1-det-000.fits"), "is of band i, the snaps are of"),
    ):
        with pytest.raises(ReleaseFileMismatchError, match=sentence):
            run(snaps_of(night), release=changed, out_dir=tmp_path)


def test_a_ccd_on_which_nothing_changed_has_its_page(
    night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_changed(inputs: DetectorInputs, **kwargs: Any) -> DetectorProducts:
        products = process_detector(inputs, **kwargs)
        difference = products.difference
        assert difference.snaps is not None
        none = replace(difference, sources=difference.sources[:0], snaps=difference.snaps[:0])
        return replace(products, difference=none)

    monkeypatch.setattr("streams.files.ccd_command.process_detector", nothing_changed)
    report = run(snaps_of(night), release=ReleaseFiles(directory=night / "release"), out_dir=tmp_path)
    assert len(pq.read_table(report.files["diasources"])) == len(pq.read_table(report.files["snaps"])) == 0
    assert len(parse_single_table(report.files["votable"]).to_table()) == 0
    assert report.files["page"].read_text().count("<img ") == len(list(tmp_path.glob("*.png"))) == 9


def test_the_command_ends_with_the_reason(night: Path, tmp_path: Path) -> None:
    arguments = ["ccd", *map(str, snaps_of(night)), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.build(), arguments)
    assert result.exit_code == 1
    assert "No master calibrations" in result.stderr
    arguments += ["--release", str(night / "release"), "--references", str(snaps_of(night)[0])]
    result = CliRunner().invoke(cli.build(), arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error (missing_hdu): {snaps_of(night)[0].name}: The file has no table.")
