"""What the HTTP API answers; 64-bit identifiers are text, because JavaScript's numbers cannot hold them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from streams.toolkit.lightcurve import Measurement
from streams.views.rows import AlertRow, AnnotationRow, ObjectRow, VisitRow

__all__ = [
    "Alert",
    "AlertPage",
    "Annotation",
    "Health",
    "LightCurve",
    "NewAnnotation",
    "Night",
    "ObjectAnswer",
    "OpenedPacket",
    "Point",
    "Problem",
    "Visit",
]

Identifier = Annotated[str, BeforeValidator(str), Field(description="63-bit identifier, as text")]
OptionalIdentifier = Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))]


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Problem(_Answer):
    """What went wrong, in one sentence."""

    code: str
    sentence: str


class Alert(_Answer):
    """An alert in the index."""

    alert_id: Identifier
    object_id: OptionalIdentifier
    ss_object_id: OptionalIdentifier
    ra: float = Field(description="ICRS, degrees")
    dec: float = Field(description="ICRS, degrees")
    mjd: float = Field(description="midpoint, MJD TAI")
    band: str | None
    visit: Identifier
    detector: int
    flux: float | None = Field(description="PSF flux on the difference image, nJy")
    flux_error: float | None
    science_flux: float | None = Field(description="PSF flux on the direct image, nJy")
    science_flux_error: float | None
    snr: float | None
    reliability: float | None
    schema_id: int
    size: int = Field(description="bytes of the message")
    appended_unix_s: float

    @classmethod
    def of(cls, row: AlertRow) -> Alert:
        """Make the answer from a row."""
        return cls.model_validate(row)


class AlertPage(_Answer):
    """Alerts, latest first, and where the next page begins."""

    alerts: list[Alert]
    next: str | None = Field(description="value of `before` for the next page; null at the end")


class ObjectAnswer(_Answer):
    """A DIAObject in its newest version."""

    object_id: Identifier
    ra: float
    dec: float
    n_sources: int
    first_mjd: float | None
    last_mjd: float | None
    visit: Identifier
    separation_arcsec: float | None = None
    record: dict[str, Any] | None = Field(default=None, description="the whole record, identifiers as text")

    @classmethod
    def of(cls, row: ObjectRow, record: dict[str, Any] | None = None) -> ObjectAnswer:
        """Make the answer from a row and, where wanted, its record."""
        answer = cls.model_validate(row)
        return answer.model_copy(update={"record": record})


class Point(_Answer):
    """One point of a light curve."""

    kind: str
    source_id: Identifier
    alert_id: OptionalIdentifier
    mjd: float
    utc: str = ""
    band: str | None
    flux: float | None
    flux_error: float | None
    science_flux: float | None
    science_flux_error: float | None
    snr: float | None
    visit: Identifier
    detector: int


class LightCurve(_Answer):
    """A light curve; fluxes in nJy (AB magnitude = 31.4 - 2.5 log10 of them)."""

    object_id: OptionalIdentifier
    points: list[Point]

    @classmethod
    def of(cls, object_id: int | None, points: list[Measurement], utc: list[str]) -> LightCurve:
        """Make the answer from measurements and their times as text."""
        listed = [
            Point.model_validate(point).model_copy(update={"utc": text})
            for point, text in zip(points, utc, strict=True)
        ]
        return cls.model_validate({"object_id": object_id, "points": listed})


class Annotation(_Answer):
    """A remark; never changed, only superseded or retracted."""

    annotation_id: str
    target_kind: str
    target_id: Identifier
    author: str
    author_kind: str
    topic: str
    version: str
    created_unix_s: float
    classification: str
    explanation: str
    data: str
    url: str
    supersedes: str | None
    retracts: str | None
    superseded_by: str | None
    retracted_by: str | None

    @classmethod
    def of(cls, row: AnnotationRow) -> Annotation:
        """Make the answer from a row."""
        return cls.model_validate(row)


class NewAnnotation(BaseModel):
    """A remark to be added."""

    model_config = ConfigDict(extra="forbid")

    target_kind: str = Field(pattern="^(object|alert)$")
    target_id: Annotated[str, BeforeValidator(str), Field(pattern=r"^\d{1,19}$")]
    author: str = Field(min_length=1, max_length=120)
    author_kind: str = Field(default="human", pattern="^(human|robot)$")
    topic: str = Field(default="remark", max_length=120)
    version: str = Field(default="", max_length=40)
    classification: str = Field(default="", max_length=120)
    explanation: str = Field(default="", max_length=4000)
    data: str = Field(default="", max_length=20_000, description="free JSON, as text")
    url: str = Field(default="", max_length=500)
    supersedes: str | None = None
    retracts: str | None = None


class Visit(_Answer):
    """A visit as far as it is known."""

    visit: Identifier
    band: str | None
    expected: int | None
    published: int | None
    quarantined: int | None
    complete: bool | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_max_s: float | None
    alerts: int
    jobs: dict[str, int]
    verdict: str | None
    quality: dict[str, Any]
    reasons: list[str] = Field(description="why the verdict is not good")

    @classmethod
    def of(cls, row: VisitRow) -> Visit:
        """Make the answer from a row."""
        return cls.model_validate(row)


class Night(_Answer):
    """A night and its visits."""

    day_obs: int | None
    visits: list[Visit]


class OpenedPacket(_Answer):
    """An alert that was sent in as a file."""

    alert_id: Identifier
    schema_name: str
    schema_id: int | None
    violations: list[dict[str, str]]
    record: dict[str, Any]


class Health(_Answer):
    """Whether the toolkit does its work."""

    status: str = Field(description="ok, or behind while Kafka or the registry does not answer")
    trouble: str | None
    caught_up: bool
    alerts: int
