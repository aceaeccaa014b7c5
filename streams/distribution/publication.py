"""What becomes of one assembled alert: published, dropped as a duplicate, or quarantined with its reason.

The rules are pure: they are given the alert, its stamps and what the ledger knows of it, and say which records to write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from processors.alerts import gate, oversize, packet
from processors.alerts.errors import MalformedPacketError
from processors.alerts.layout import locate
from processors.errors import ProcessingError
from schemas.errors import SchemaError
from schemas.events import AlertLedgerEntry, AssembledAlert, CutoutSet, DeadLetter

__all__ = ["MAXIMUM_BYTES", "Origin", "Publication", "letter", "publish"]

MAXIMUM_BYTES = 4 << 20
"""Largest public packet, bytes: the brokers' limit of the Rubin stream (its topic's message.max.bytes of 4 MiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an assembled alert was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    payload: bytes | None
    """Bare datum of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Records to write for one alert; None stands for nothing to write."""

    entry: AlertLedgerEntry | None
    packet: bytes | None = None
    """The public packet, a bare datum."""
    lite: bytes | None = None
    headers: Mapping[str, bytes] | None = None
    dead_letter: DeadLetter | None = None


def publish(
    alert: AssembledAlert,
    stamps: CutoutSet | None,
    known: AlertLedgerEntry | None,
    *,
    origin: Origin,
    topic: str,
    now_unix_s: float,
) -> Publication:
    """Decide what becomes of an assembled alert.

    Parameters
    ----------
    alert
        The packet without stamps.
    stamps
        Its three stamps; None when they are gone, and then the packet goes out without them and its header says so.
    known
        What the ledger says of the alert's id.
    origin
        Where it was read, for a dead letter.
    topic
        Name of the public topic, for the ledger.
    now_unix_s
        Wall clock, for headers and dead letters only.
    """
    judged = _judge(alert, stamps)
    entry = AlertLedgerEntry(
        alert_id=alert.alert_id,
        dia_object_id=alert.dia_object_id,
        ss_object_id=alert.ss_object_id,
        visit=alert.visit,
        digest=hashlib.sha256(judged.packet).hexdigest(),
        state="published",
        reason="",
        topic=topic,
    )
    if known is not None and known.digest == entry.digest:
        return Publication(entry=None)
    if known is not None:
        reason = f"Alert {alert.alert_id} was {known.state} before with other bytes ({known.digest[:12]})."
        return _refused(replace(known, reason=reason), "conflict", reason, origin, now_unix_s)
    if judged.refusal is not None:
        code, reason = judged.refusal
        return _refused(replace(entry, state="quarantined", reason=reason), code, reason, origin, now_unix_s)
    headers = _headers(alert, now_unix_s)
    if stamps is None:
        headers["notes"] = b"stamps are missing"
    if judged.trimming is not None:
        headers[oversize.TRIMMED_HEADER] = judged.trimming.header_value()
    return Publication(entry=entry, packet=judged.packet, lite=judged.lite, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A packet ready to be sent, or the reason why it may not be."""

    packet: bytes
    lite: bytes | None = None
    trimming: oversize.Trimming | None = None
    refusal: tuple[str, str] | None = None
    """Code and sentence."""


def _judge(alert: AssembledAlert, stamps: CutoutSet | None) -> _Judged:
    """Put the packet together; the gate sees it whole, before anything is trimmed off."""
    try:
        whole = locate(packet.with_cutouts(alert.packet, stamps) if stamps is not None else alert.packet)
        if whole.alert_id != alert.alert_id:
            raise MalformedPacketError(f"The packet of alert {alert.alert_id} is that of alert {whole.alert_id}.")
        violations = gate.check_encoded(whole, stamps=stamps is not None)
        fitting, trimming = oversize.fit(whole.packet, MAXIMUM_BYTES)
        lite = packet.lite(whole)
    except (ProcessingError, SchemaError) as error:
        return _Judged(packet=alert.packet, refusal=(error.code, str(error)))
    rules = ", ".join(dict.fromkeys(violation.rule for violation in violations))
    refusal = ("semantic_gate", f"{rules}: {violations[0].sentence}") if violations else None
    return _Judged(packet=fitting, lite=lite, trimming=trimming, refusal=refusal)


def _headers(alert: AssembledAlert, now_unix_s: float) -> dict[str, bytes]:
    values = {
        "alert_id": alert.alert_id,
        "visit": alert.visit,
        "detector": alert.detector,
        "last_readout_unix_s": f"{alert.last_readout_sent_unix_s:.3f}",
        "producer_timestamp": int(now_unix_s * 1000),
    }
    return {name: str(value).encode() for name, value in values.items()}


def letter(origin: Origin, *, code: str, reason: str, now_unix_s: float) -> DeadLetter:
    """Return the dead letter of an alert that was refused."""
    return DeadLetter(
        origin_topic=origin.topic,
        origin_partition=origin.partition,
        origin_offset=origin.offset,
        key=origin.key,
        payload=origin.payload,
        stage="distribution",
        code=code,
        reason=reason,
        attempts=1,
        failed_unix_s=now_unix_s,
    )


def _refused(entry: AlertLedgerEntry, code: str, reason: str, origin: Origin, now_unix_s: float) -> Publication:
    return Publication(entry=entry, dead_letter=letter(origin, code=code, reason=reason, now_unix_s=now_unix_s))
