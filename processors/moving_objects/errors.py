"""Errors of the moving-object room.

ProcessingError
├── OutsideEphemerisError       a time lies outside the span for which the Solar System was loaded
├── PropagationError            an orbit cannot be carried to the time asked for
├── CatalogueFormatError        the bytes of a night's catalogue are not what its header says
├── CatalogueTooLargeError      a night's catalogue does not fit the memory allowed
├── DayTooLargeError            a night or its window has more detections or objects than the settings allow
└── NightTooOldError            a night comes so late that what it would change is no longer kept
InputError
├── InvalidDesignationError     text that is no designation, or has no packed form
├── InvalidDetectionsError      detections break the contract of their columns
└── InvalidOrbitsError          orbits break the contract of their columns
"""

from __future__ import annotations

from processors.errors import InputError, ProcessingError

__all__ = [
    "CatalogueFormatError",
    "CatalogueTooLargeError",
    "DayTooLargeError",
    "InvalidDesignationError",
    "InvalidDetectionsError",
    "InvalidOrbitsError",
    "NightTooOldError",
    "OutsideEphemerisError",
    "PropagationError",
]


class OutsideEphemerisError(ProcessingError):
    """A time lies outside the span for which the Solar System was loaded."""

    code = "outside_ephemeris"


class PropagationError(ProcessingError):
    """An orbit cannot be carried to the time asked for."""

    code = "propagation"


class CatalogueFormatError(ProcessingError):
    """The bytes of a night's catalogue are not what its header says."""

    code = "catalogue_format"


class CatalogueTooLargeError(ProcessingError):
    """A night's catalogue does not fit the memory allowed."""

    code = "catalogue_too_large"


class DayTooLargeError(ProcessingError):
    """A night or its window has more detections or objects than the settings allow."""

    code = "day_too_large"


class NightTooOldError(ProcessingError):
    """A night comes so late that what it would change is no longer kept."""

    code = "night_too_old"


class InvalidDesignationError(InputError):
    """A text is no designation, or one that has no packed form."""

    code = "invalid_designation"


class InvalidDetectionsError(InputError):
    """Detections break the contract of their columns."""

    code = "invalid_detections"


class InvalidOrbitsError(InputError):
    """Orbits break the contract of their columns."""

    code = "invalid_orbits"
