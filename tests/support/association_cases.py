"""Makers of detector results and decided nights for tests of association."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from processors.association.blocks import MemoryBlocks
from processors.association.decide import VisitToDecide, decide, detectors_of
from processors.association.fold import fold
from processors.association.history import History
from processors.association.rules import Rules
from schemas.events import AssociationDecision, DetectorResult
from schemas.ids import pack_dia_source_id, visit_id
from schemas.public import null_rows
from schemas.tables import Claim, Table

Array = np.ndarray[Any, Any]

DAY_OBS = 20270115
FIRST_MJD = 61420.1


def visit_number(index: int) -> int:
    """Return the visit of the given place in the test night."""
    return visit_id(DAY_OBS, 2 * index + 1)


def midpoint_of(index: int) -> float:
    """Return its midpoint, MJD TAI."""
    return FIRST_MJD + index * 40.0 / 86400.0


def source_rows(
    ra: Sequence[float] | Array,
    dec: Sequence[float] | Array,
    *,
    visit: int,
    detector: int = 0,
    mjd: float = FIRST_MJD,
    error_arcsec: float = 0.05,
    flux: float | Array = 1000.0,
    band: str = "r",
) -> Array:
    """Return public DIASource rows at positions in degrees, errors the same for all."""
    rows = null_rows("diaSource", len(ra))
    rows["diaSourceId"] = [pack_dia_source_id(visit, detector, rank) for rank in range(len(ra))]
    rows["visit"], rows["detector"], rows["midpointMjdTai"] = visit, detector, mjd
    rows["ra"], rows["dec"] = ra, dec
    rows["raErr"] = rows["decErr"] = error_arcsec / 3600.0
    rows["ra_dec_Cov"] = 0.0
    rows["psfFlux"], rows["psfFluxErr"], rows["snr"] = flux, 50.0, np.asarray(flux) / 50.0
    rows["apFlux"], rows["apFluxErr"] = flux, 60.0
    rows["scienceFlux"], rows["scienceFluxErr"] = np.asarray(flux) + 500.0, 70.0
    rows["band"], rows["bboxSize"] = band, 30
    rows["timeProcessedMjdTai"] = mjd
    return rows


def forced_rows(
    object_ids: Iterable[int], ra: Any, dec: Any, *, visit: int, detector: int = 0, mjd: float = FIRST_MJD
) -> Array:
    """Return public forced rows of objects; their fluxes follow from the identifiers."""
    ids = np.array(list(object_ids), np.int64)
    rows = null_rows("diaForcedSource", len(ids))
    rows["diaObjectId"], rows["ra"], rows["dec"] = ids, ra, dec
    rows["visit"], rows["detector"], rows["midpointMjdTai"] = visit, detector, mjd
    rows["psfFlux"], rows["psfFluxErr"], rows["band"] = ids % 997, 40.0, "r"
    rows["timeProcessedMjdTai"] = mjd
    return rows


def detector_result(
    sources: Array, forced: Array | None = None, *, visit: int, detector: int = 0, mjd: float = FIRST_MJD
) -> DetectorResult:
    """Return the result of one detector with a claim on stamps that nobody redeems."""
    return DetectorResult(
        instrument="TestCam",
        visit=visit,
        detector=detector,
        job_id=f"d-{visit}-{detector:03d}",
        band="r",
        midpoint_mjd_tai=mjd,
        exposure_time=30.0,
        diasources=Table.from_array(sources),
        forced=Table.from_array(null_rows("diaForcedSource", 0) if forced is None else forced),
        metrics={},
        cutouts=Claim(uri=f"sha256/{visit}-{detector}", sha256=f"{detector:064x}", size=1),
        calibrated=None,
        inputs={},
        notes=(),
    )


class Night:
    """A state in memory with decided visits folded into it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.blocks = MemoryBlocks()
        self.view = History(self.blocks)

    def decide(self, visit: int, results: Iterable[DetectorResult], **about: Any) -> AssociationDecision:
        """Decide a visit and fold the decision."""
        asked = VisitToDecide(instrument="TestCam", visit=visit, processed_mjd_tai=FIRST_MJD + 1.0, **about)
        decision = decide(asked, results, self.view, rules=self.rules)
        self.fold(decision)
        return decision

    def fold(self, decision: AssociationDecision) -> None:
        """Fold a decision."""
        self.blocks.apply(fold(self.blocks, decision, detectors_of(decision), rules=self.rules))
