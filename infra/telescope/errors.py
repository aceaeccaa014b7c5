"""Errors of the simulated telescope.

PermanentFailure (schemas)
└── TelescopeError
    └── PlanError    a night that cannot be planned as asked
"""

from __future__ import annotations

from schemas.errors import PermanentFailure

__all__ = ["PlanError", "TelescopeError"]


class TelescopeError(PermanentFailure):
    """The simulated telescope cannot do what it was asked to."""

    code = "telescope"


class PlanError(TelescopeError):
    """The night cannot be planned as asked."""

    code = "telescope_plan"
