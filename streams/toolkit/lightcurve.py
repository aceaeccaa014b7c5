"""Light curves: every measurement of an object that its alerts carry, each once, in order of time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Measurement", "light_curve", "light_curve_csv", "packet_light_curve", "utc_texts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One point of a light curve; fluxes in nJy."""

    kind: str
    """detection, or forced: measured at the object's place whether or not anything was seen."""
    source_id: int
    alert_id: int | None
    """The alert of a detection, where the view holds it."""
    mjd: float
    """Midpoint, MJD TAI."""
    band: str | None
    flux: float | None
    """On the difference image."""
    flux_error: float | None
    science_flux: float | None
    """On the direct image: the whole brightness."""
    science_flux_error: float | None
    visit: int
    detector: int

    @property
    def snr(self) -> float | None:
        """Flux over its error on the difference image."""
        if self.flux is None or not self.flux_error:
            return None
        return self.flux / self.flux_error


def light_curve(
    detections: Iterable[Mapping[str, Any]], forced: Iterable[Mapping[str, Any]], *, held: Iterable[int] = ()
) -> list[Measurement]:
    """Return all measurements, each once, earliest first.

    Parameters
    ----------
    detections
        DIASource records of one object.
    forced
        DIAForcedSource records of the same object.
    held
        Alerts in the view, so that a point can lead to its alert.
    """
    alerts = frozenset(held)
    points = {("detection", row["diaSourceId"]): _detection(row, alerts) for row in detections}
    points |= {("forced", row["diaForcedSourceId"]): _forced(row) for row in forced}
    return sorted(points.values(), key=lambda point: (point.mjd, point.kind, point.source_id))


def packet_light_curve(record: Mapping[str, Any]) -> list[Measurement]:
    """Return the light curve that one packet tells by itself."""
    detections = [*(record.get("prvDiaSources") or ()), record["diaSource"]]
    return light_curve(detections, record.get("prvDiaForcedSources") or ())


def light_curve_csv(points: Sequence[Measurement]) -> str:
    """Return a light curve as comma-separated values with a header line; nulls are empty."""
    buffer = io.StringIO()
    names = [name for name in Measurement.__dataclass_fields__ if name != "alert_id"]
    writer = csv.DictWriter(buffer, [_CSV_NAMES.get(name, name) for name in names], lineterminator="\n")
    writer.writeheader()
    for point in points:
        values = asdict(point)
        writer.writerow({_CSV_NAMES.get(name, name): "" if values[name] is None else values[name] for name in names})
    return buffer.getvalue()


def utc_texts(mjds: Sequence[float]) -> list[str]:
    """Return MJD TAI as UTC to the second, such as 2027-01-15 02:23:23."""
    from astropy.time import Time

    if not len(mjds):
        return []
    times = Time(list(mjds), format="mjd", scale="tai", precision=0)
    return [str(text) for text in times.utc.iso]


_CSV_NAMES = {
    "mjd": "midpoint_mjd_tai",
    "flux": "difference_flux_nJy",
    "flux_error": "difference_flux_error_nJy",
    "science_flux": "science_flux_nJy",
    "science_flux_error": "science_flux_error_nJy",
}


def _detection(row: Mapping[str, Any], alerts: frozenset[int]) -> Measurement:
    identifier = int(row["diaSourceId"])
    return Measurement(
        kind="detection", source_id=identifier, alert_id=identifier if identifier in alerts else None, **_common(row)
    )


def _forced(row: Mapping[str, Any]) -> Measurement:
    return Measurement(kind="forced", source_id=int(row["diaForcedSourceId"]), alert_id=None, **_common(row))


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mjd": row["midpointMjdTai"],
        "band": row.get("band"),
        "flux": row.get("psfFlux"),
        "flux_error": row.get("psfFluxErr"),
        "science_flux": row.get("scienceFlux"),
        "science_flux_error": row.get("scienceFluxErr"),
        "visit": row["visit"],
        "detector": row["detector"],
    }
