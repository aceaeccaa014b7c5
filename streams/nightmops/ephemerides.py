"""What NightMOPS' stage calls: build a night's coarse ephemerides from all orbits, and predict a visit from them."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system, observatory
from infra.errors import ObjectStoreError
from infra.logs import get_logger
from infra.night_catalogues import map_catalogue
from infra.objects import ObjectStore
from infra.parquet import from_parquet, to_parquet
from processors.association.known_objects import field_radius
from processors.moving_objects.nightly import NightCatalogue, build_night, catalogue_chunks, open_catalogue
from processors.moving_objects.nightly_covariance import factors_of
from processors.moving_objects.nightly_query import (
    PREDICTION,
    objects_around,
    opposition_of,
    predict_visit_rows,
    warm_up,
)
from processors.moving_objects.orbits import known_orbits
from processors.moving_objects.solar_system import SolarSystem
from processors.moving_objects.stored_orbits import named_rows
from schemas import avro
from schemas.camera import load_camera
from schemas.errors import NightcastError
from schemas.events import Announced, EphemerisCatalogue, PredictedField, PredictedSsObjects
from schemas.orbits import ORBIT_ROW, STATE_COLUMNS, covariances_of, orbit_rows, set_covariances, states_of
from schemas.predictions import predicted_dtype, predicted_rows
from schemas.tables import Claim, Table
from streams.moving_objects.orbit_store import OrbitsAtHand
from streams.nightmops.records import OrbitRecords

__all__ = ["EphemerisBench", "build_ephemerides", "mid_night_of", "predicted_field"]

MARGIN_DEG = 20.0 / 3600.0
"""How far beyond the camera's corners objects are named, besides the pointing's own margin: what moves in during a visit."""

LONGEST_STORE_S = 4.0
"""How long storing a prediction may hold its transaction open, which ends by itself after ten seconds."""

_MJD_EPOCH = dt.date(1858, 11, 17)
_ELLIPSE = {"smaa_arcsec": "semi_major_arcsec", "smia_arcsec": "semi_minor_arcsec", "pa_deg": "position_angle_deg"}
"""Columns of a prediction that are no columns of ssSource, and what they are called in the event."""

_DONE = object()

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A night's ephemerides, ready to be asked."""

    catalogue: NightCatalogue
    places: NDArray[np.int64]
    """Row of the orbits of each row of the catalogue."""
    designations: NDArray[Any]
    """Of each row of the catalogue."""
    solar_system: SolarSystem
    records: OrbitRecords

    def ahead(self, centre: tuple[float, float]) -> Iterator[None]:
        """Make the records of objects about a place, a slice with each step."""
        rings = objects_around(self.catalogue, ra_deg=centre[0], dec_deg=centre[1])
        return self.records.ahead(self.places[ring] for ring in rings)


def mid_night_of(day_obs: int, code: str) -> float:
    """Return the middle of a night, MJD TAI: local mean midnight at an observatory."""
    date = dt.date(day_obs // 10_000, day_obs // 100 % 100, day_obs % 100)
    east = (observatory(code).longitude_deg + 180.0) % 360.0 - 180.0
    return float((date - _MJD_EPOCH).days + 1 - east / 360.0)


def build_ephemerides(
    at_hand: OrbitsAtHand,
    day_obs: int,
    *,
    instrument: str,
    code: str,
    objects: ObjectStore,
    memory_limit_bytes: float = 8e9,
) -> EphemerisCatalogue:
    """Build a night's coarse ephemerides and store them.

    Parameters
    ----------
    at_hand
        All orbits.
    day_obs
        The night, YYYYMMDD.
    instrument, code
        Whose night it is, and the code of its observatory.
    objects
        Where the files go.
    memory_limit_bytes
        What building may take.

    Raises
    ------
    UnknownObservatoryError, EphemerisSpanError, CatalogueTooLargeError
        When the observatory is not known, an epoch lies outside the planetary ephemeris, or memory does not suffice.
    """
    middle, rows = mid_night_of(day_obs, code), at_hand.rows
    good = np.isfinite(states_of(rows)).all(axis=1) & np.isfinite(rows["epoch_mjd_tdb"])
    kept = rows[good]
    epochs = np.concatenate([kept["epoch_mjd_tdb"], [middle]])
    solar_system = load_solar_system(float(epochs.min()), float(epochs.max()))
    orbits = known_orbits(
        kept["ss_object_id"],
        states_of(kept),
        kept["epoch_mjd_tdb"],
        h=kept["h"],
        slope=kept["g"],
        factors=factors_of(covariances_of(kept)),
    )
    catalogue, _ = build_night(
        solar_system, observatory(code), orbits, middle, memory_limit_bytes=int(memory_limit_bytes)
    )
    refused = len(rows) - len(catalogue)
    log.info("ephemerides built", day_obs=day_obs, objects=len(catalogue), refused=refused)
    return EphemerisCatalogue(
        instrument=instrument,
        day_obs=day_obs,
        mid_night_mjd_tai=middle,
        count=len(catalogue),
        file=objects.put(b"".join(catalogue_chunks(catalogue))),
        orbits=objects.put(to_parquet(kept)),
        orbits_sha256=at_hand.sha256,
        refused=refused,
    )


def predicted_field(
    opened: _Opened, code: str, *, centre: tuple[float, float], radius_deg: float, mjd_tai: float
) -> PredictedField:
    """Return the known moving objects of a field, with their mpc_orbits records."""
    found, which = predict_visit_rows(
        opened.catalogue,
        opened.solar_system,
        observatory(code),
        ra_deg=centre[0],
        dec_deg=centre[1],
        radius_deg=radius_deg,
        mjd_tai=mjd_tai,
    )
    rows = predicted_rows(len(found))
    columns = _columns()
    rows[list(columns.values())] = found[list(columns)]
    rows["designation"] = opened.designations[which]
    return PredictedField(
        mjd_tai=mjd_tai,
        rows=Table.from_array(rows),
        mpc_orbits=opened.records.of(opened.places[which]),
    )


class EphemerisBench:
    """Predicts visits; keeps the last nights' ephemerides open.

    Parameters
    ----------
    instrument, code
        Whose visits, and the code of its observatory.
    objects
        Where files are.
    folder
        Where files of a remote store are kept, so that they can be mapped into memory.
    """

    def __init__(self, instrument: str, code: str, *, objects: ObjectStore, folder: Path) -> None:
        self._instrument, self._code = instrument, code
        self._objects, self._folder = objects, folder
        self._opened = functools.lru_cache(maxsize=2)(self._open)
        self._newest: EphemerisCatalogue | None = None
        self._ready: EphemerisCatalogue | None = None
        self._ahead: Iterator[None] = iter(())
        self._storing: list[Future[None]] = []
        self._careful = False

    def predict(self, ephemerides: EphemerisCatalogue, visit: int, announced: Announced) -> PredictedSsObjects:
        """Name the known moving objects of an announced visit and begin to store the prediction; `settle` ends it.

        Raises
        ------
        OutsideEphemerisError
            When the visit does not belong to the night of the ephemerides.
        CatalogueFormatError, CorruptObjectError, ObjectMissingError
            When their file is gone or broken.
        """
        opened = self._opened(ephemerides.file, ephemerides.orbits)
        middle = announced.start_mjd_tai + 0.5 * announced.duration / 86_400.0
        radius = _radius_deg(announced.camera)
        centre = (announced.ra, announced.dec)
        found = predicted_field(opened, self._code, centre=centre, radius_deg=radius, mjd_tai=middle)
        self._ahead = opened.ahead(centre)
        return PredictedSsObjects(
            instrument=self._instrument,
            visit=visit,
            day_obs=announced.day_obs,
            mjd_tai=middle,
            count=len(found.mpc_orbits),
            ephemeris_sha256=ephemerides.file.sha256,
            predicted=self._stored(avro.encode(found)),
        )

    def is_open(self, ephemerides: EphemerisCatalogue) -> bool:
        """Tell whether ephemerides were opened ahead and predictions are put aside, so that one takes milliseconds."""
        return ephemerides == self._ready and not self._careful

    def settle(self) -> None:
        """Wait until the predictions are stored.

        Raises
        ------
        DiskFullError, ObjectStoreError
            When one cannot be, or takes longer than a transaction may wait; the next is then stored before `predict` returns.
        """
        storing, self._storing = self._storing, []
        self._careful = True
        try:
            for one in storing:
                one.result(LONGEST_STORE_S)
        except TimeoutError as error:
            raise ObjectStoreError(f"A prediction was not stored within {LONGEST_STORE_S:.0f} s.") from error
        self._careful = False

    def _stored(self, data: bytes) -> Claim:
        if self._careful:
            claim = self._objects.put(data)
            self._careful = False
            return claim
        claim, storing = self._objects.put_aside(data)
        self._storing.append(storing)
        return claim

    def open(self, ephemerides: EphemerisCatalogue) -> None:
        """Open a night's ephemerides before they are asked, so that the first visit after a start takes no longer than the others.

        Where they cannot be opened the visit will say so. What was opened last is not opened again.
        """
        if ephemerides == self._newest:
            return
        self._newest = ephemerides
        try:
            opened = self._opened(ephemerides.file, ephemerides.orbits)
        except NightcastError as error:
            log.warning("ephemerides not opened", day_obs=ephemerides.day_obs, code=error.code, reason=str(error))
        else:
            self._ready = ephemerides
            self._ahead = opened.ahead(opposition_of(opened.catalogue, opened.solar_system, observatory(self._code)))

    def work_ahead(self) -> bool:
        """Make some records of objects near the last field, or near opposition before the first; return whether any are left."""
        return next(self._ahead, _DONE) is not _DONE

    def warm(self, day_obs: int) -> None:
        """Compile, or load from the cache on disk, all that a night calls: build and ask ephemerides of one made-up orbit."""
        row = orbit_rows(1)
        row["designation"], row["epoch_mjd_tdb"] = "1900 AA", mid_night_of(day_obs, self._code) - 1.0
        for name, value in zip(STATE_COLUMNS, (2.5, 0.1, 0.0, 0.0, 0.0105, 0.001), strict=True):
            row[name] = value
        rows = named_rows(row)
        set_covariances(rows, np.eye(6)[None] * 1e-12)
        scratch = ObjectStore.memory()
        at_hand = OrbitsAtHand(rows=rows, own=frozenset())
        built = build_ephemerides(at_hand, day_obs, instrument=self._instrument, code=self._code, objects=scratch)
        opened = _opened(open_catalogue(scratch.get(built.file)), rows, self._code)
        predicted_field(opened, self._code, centre=(0.0, 0.0), radius_deg=180.0, mjd_tai=built.mid_night_mjd_tai)

    def _open(self, file: Claim, orbits: Claim) -> _Opened:
        rows = from_parquet(self._objects.get(orbits), ORBIT_ROW)
        return _opened(open_catalogue(self._mapped(file)), rows, self._code)

    def _mapped(self, claim: Claim) -> memoryview:
        """Map a file into memory, so that all processes of the machine share it; checked against its hash when fetched."""
        path = self._folder / claim.sha256
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".{path.name}.part")
            scratch.write_bytes(self._objects.get(claim))
            scratch.replace(path)
        return map_catalogue(path)


@functools.cache
def _columns() -> dict[str, str]:
    """Return which columns of a prediction become which of the event's."""
    names = {name: _ELLIPSE.get(name, name) for name in PREDICTION.names or ()}
    return {name: its for name, its in names.items() if its in (predicted_dtype().names or ())}


@functools.cache
def _radius_deg(camera: str) -> float:
    return field_radius(load_camera(camera)) / 3600.0 + MARGIN_DEG


def _opened(catalogue: NightCatalogue, rows: NDArray[Any], code: str) -> _Opened:
    middle = catalogue.mid_night_mjd_tai
    solar_system = load_solar_system(middle - 1.0, middle + 1.0)
    warm_up(catalogue, solar_system, observatory(code))
    order = np.argsort(rows["ss_object_id"], kind="stable")
    places = order[np.searchsorted(rows["ss_object_id"], catalogue.object_id, sorter=order)]
    return _Opened(
        catalogue=catalogue,
        places=places,
        designations=_short(rows["designation"][places]),
        solar_system=solar_system,
        records=OrbitRecords(rows),
    )


def _short(names: NDArray[Any]) -> NDArray[Any]:
    """Return names in a quarter of the memory where they are ASCII, as designations are."""
    try:
        return names.astype(f"S{names.dtype.itemsize // 4}")
    except UnicodeEncodeError:
        return names
