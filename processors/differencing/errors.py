"""Errors of image differencing, each with a stable code.

PermanentFailure
└── ProcessingError
    └── DifferencingError
        ├── InvalidImageError           shapes or pixel types do not fit together, or no pixel can be used
        ├── NoTemplateError             the release has no template of this detector and band
        ├── TemplateCoverageError       the template covers too little of the detector
        ├── TooFewKernelStarsError      the matching kernel cannot be fitted
        ├── HopelessDifferenceError     the residuals of the kernel stars are so large that sources would be artefacts
        └── ReliabilityModelError       the file of the reliability model is not one that can score our features
"""

from __future__ import annotations

from processors.errors import ProcessingError

__all__ = [
    "DifferencingError",
    "HopelessDifferenceError",
    "InvalidImageError",
    "NoTemplateError",
    "ReliabilityModelError",
    "TemplateCoverageError",
    "TooFewKernelStarsError",
]


class DifferencingError(ProcessingError):
    """A science image cannot be differenced."""

    code = "differencing"


class InvalidImageError(DifferencingError):
    """Shapes or pixel types do not fit together, or no pixel can be used."""

    code = "invalid_image"


class NoTemplateError(DifferencingError):
    """The release has no template of this detector and band."""

    code = "no_template"


class TemplateCoverageError(DifferencingError):
    """The template covers too little of the detector."""

    code = "template_coverage"


class TooFewKernelStarsError(DifferencingError):
    """There are too few unsaturated stars to fit the matching kernel."""

    code = "too_few_kernel_stars"


class HopelessDifferenceError(DifferencingError):
    """The residuals of the kernel stars are so large that the CCD's sources would be artefacts."""

    code = "hopeless_difference"


class ReliabilityModelError(DifferencingError):
    """The file of the reliability model is not one that can score our features."""

    code = "reliability_model"
