"""Errors of single frame processing, each with a stable code.

PermanentFailure
└── ProcessingError
    ├── SingleFrameError
    │   ├── MissingAmplifierError        an amplifier of the detector is not in the raw file
    │   ├── InvalidCalibrationError      a master calibration holds values that no detector can have
    │   ├── WrongShapeError              pixels or masters have another shape than the geometry says
    │   ├── BadHeaderError               a needed header card is missing or cannot be read
    │   ├── MismatchedSnapsError         the raw frames are not snaps of one visit and detector
    │   ├── SaturatedDetectorError       almost no pixel of the CCD can be used
    │   ├── TooFewStarsError             no PSF can be measured
    │   ├── AstrometryError              the star pattern was not found in the reference catalogue
    │   └── PhotometryError              no zero point can be measured
TransientFailure
└── MissingInputError
    ├── MissingCalibrationError          a master calibration is not there yet
    └── MissingReferenceError            the reference catalogue does not cover the detector
"""

from __future__ import annotations

from processors.errors import MissingInputError, ProcessingError

__all__ = [
    "AstrometryError",
    "BadHeaderError",
    "InvalidCalibrationError",
    "MismatchedSnapsError",
    "MissingAmplifierError",
    "MissingCalibrationError",
    "MissingReferenceError",
    "PhotometryError",
    "SaturatedDetectorError",
    "SingleFrameError",
    "TooFewStarsError",
    "WrongShapeError",
]


class SingleFrameError(ProcessingError):
    """A frame cannot be calibrated."""

    code = "single_frame"


class MissingAmplifierError(SingleFrameError):
    """An amplifier of the detector is not in the raw file."""

    code = "missing_amplifier"


class InvalidCalibrationError(SingleFrameError):
    """A master calibration holds values that no detector can have."""

    code = "invalid_calibration"


class WrongShapeError(SingleFrameError):
    """Pixels or masters have another shape than the geometry says."""

    code = "wrong_shape"


class BadHeaderError(SingleFrameError):
    """A needed header card is missing or cannot be read."""

    code = "bad_header"


class MismatchedSnapsError(SingleFrameError):
    """The raw frames are not the snaps of one visit and detector."""

    code = "mismatched_snaps"


class SaturatedDetectorError(SingleFrameError):
    """Almost no pixel of the CCD can be used."""

    code = "saturated_detector"


class TooFewStarsError(SingleFrameError):
    """There are not enough stars to measure a PSF."""

    code = "too_few_stars"


class AstrometryError(SingleFrameError):
    """The pattern of stars was not found in the reference catalogue."""

    code = "astrometry"


class PhotometryError(SingleFrameError):
    """Too few reference stars remain to measure a zero point."""

    code = "photometry"


class MissingCalibrationError(MissingInputError):
    """A master calibration is not there yet."""

    code = "missing_calibration"


class MissingReferenceError(MissingInputError):
    """The reference catalogue has no stars where the detector looked."""

    code = "missing_reference"
