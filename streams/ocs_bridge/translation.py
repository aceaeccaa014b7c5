"""What the observatory says, as facts about visits. Pure: a message and the time in, an event or a typed refusal out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra import sal
from schemas.camera import Camera
from schemas.events import Announced, Cancelled, IntegrationStarted, ReadoutEnded, VisitEvent
from schemas.ids import visit_id
from streams.errors import MalformedMessageError, StaleMessageError, UnknownInstrumentError

__all__ = ["BANDS", "BridgeRules", "translate"]

BANDS = frozenset("ugrizy")
"""Rubin's bands; a filter's name begins with that of its band, as r_57 does."""

MOST_SNAPS = 16
"""A sequence of more images is a calibration and no visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """Whom the bridge serves, and what it takes for stale."""

    instrument: str
    camera: Camera
    stale_after_s: float = 300.0
    """Age of an announcement that is refused: its exposures have been taken without us."""


def translate(event: sal.SalEvent, record: Mapping[str, Any], now: float, rules: BridgeRules) -> VisitEvent:
    """Return the fact that a message states.

    Parameters
    ----------
    event
        The topic's kind.
    record
        The decoded message.
    now
        Seconds since 1970 (UTC).
    rules
        Whom the bridge serves.

    Raises
    ------
    SalMessageError, MalformedMessageError
        When the message lacks what it must say, or contradicts itself.
    UnknownInstrumentError
        When it announces a visit of an instrument that is not ours.
    StaleMessageError
        When an announcement is too old.
    """
    return _TRANSLATORS[event.name](record, now, rules)


def _next_visit(record: Mapping[str, Any], now: float, rules: BridgeRules) -> VisitEvent:
    if record["instrument"] and record["instrument"] != rules.instrument:
        raise UnknownInstrumentError(
            f"The announcement is of {record['instrument']}; this system serves {rules.instrument}."
        )
    message = sal.NextVisit.from_record(record)
    age = now - message.sent_unix_s
    if age > rules.stale_after_s:
        raise StaleMessageError(f"The announcement of {message.group_id} is {age:.0f} s old; it is not acted upon.")
    band = message.band.split("_")[0]
    if band not in BANDS:
        raise MalformedMessageError(f"The announcement names the filter {message.band!r}, which is of no known band.")
    if message.n_snaps > MOST_SNAPS:
        raise MalformedMessageError(
            f"The announcement names {message.n_snaps} images; a visit has {MOST_SNAPS} at most."
        )
    fact = Announced(
        group_id=message.group_id,
        day_obs=sal.parse_group_id(message.group_id)[0],
        n_snaps=message.n_snaps,
        band=band,
        ra=message.ra,
        dec=message.dec,
        rotation=message.rotation,
        exposure_time=message.duration_s / message.n_snaps,
        start_mjd_tai=message.start_mjd_tai,
        duration=message.duration_s,
        camera=rules.camera.name,
        detectors=tuple(d.id for d in rules.camera.detectors),
        survey=message.survey,
    )
    return _event(rules, _visit_of(message.group_id), fact)


def _canceled(record: Mapping[str, Any], now: float, rules: BridgeRules) -> VisitEvent:
    message = sal.NextVisitCanceled.from_record(record)
    return _event(rules, _visit_of(message.group_id), Cancelled(reason="the script queue took it back"))


def _start_integration(record: Mapping[str, Any], now: float, rules: BridgeRules) -> VisitEvent:
    image, visit = _image(record)
    fact = IntegrationStarted(exposure=image.exposure, snap=image.snap, start_mjd_tai=image.mjd_tai)
    return _event(rules, visit, fact)


def _end_readout(record: Mapping[str, Any], now: float, rules: BridgeRules) -> VisitEvent:
    image, visit = _image(record)
    fact = ReadoutEnded(
        exposure=image.exposure, snap=image.snap, end_mjd_tai=image.mjd_tai, sent_unix_s=image.sent_unix_s
    )
    return _event(rules, visit, fact)


_TRANSLATORS: Mapping[str, Callable[[Mapping[str, Any], float, BridgeRules], VisitEvent]] = {
    sal.NEXT_VISIT.name: _next_visit,
    sal.NEXT_VISIT_CANCELED.name: _canceled,
    sal.START_INTEGRATION.name: _start_integration,
    sal.END_READOUT.name: _end_readout,
}


def _image(record: Mapping[str, Any]) -> tuple[sal.ImageEvent, int]:
    image = sal.ImageEvent.from_record(record)
    visit = _visit_of(image.group_id)
    if image.exposure != visit + image.snap:
        raise MalformedMessageError(
            f"The image is number {image.snap} of group {image.group_id} and cannot be exposure {image.exposure}."
        )
    return image, visit


def _visit_of(group_id: str) -> int:
    return visit_id(*sal.parse_group_id(group_id))


def _event(
    rules: BridgeRules, visit: int, fact: Announced | Cancelled | IntegrationStarted | ReadoutEnded
) -> VisitEvent:
    return VisitEvent(instrument=rules.instrument, visit=visit, fact=fact)
