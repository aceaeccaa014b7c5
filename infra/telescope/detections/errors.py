"""Errors of the catalogue-level survey.

TelescopeError (infra.telescope)
├── SurveyError          a survey that cannot be simulated as asked
└── MissingExtraError    the package that propagates the truth is not installed
"""

from __future__ import annotations

from infra.telescope.errors import TelescopeError

__all__ = ["MissingExtraError", "SurveyError"]


class SurveyError(TelescopeError):
    """The survey cannot be simulated as asked."""

    code = "telescope_survey"


class MissingExtraError(TelescopeError):
    """The package that propagates the truth is not installed."""

    code = "telescope_survey_extra"
