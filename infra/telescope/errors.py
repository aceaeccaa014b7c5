"""Errors of the simulated telescope.

PermanentFailure (schemas)
└── TelescopeError
    ├── PlanError          a night that cannot be planned as asked
    └── SalMessageError    an OCS message that does not say what it must
"""

from __future__ import annotations

from schemas.errors import PermanentFailure

__all__ = ["PlanError", "SalMessageError", "TelescopeError"]


class TelescopeError(PermanentFailure):
    """The simulated telescope cannot do what it was asked to."""

    code = "telescope"


class PlanError(TelescopeError):
    """The night cannot be planned as asked."""

    code = "telescope_plan"


class SalMessageError(TelescopeError):
    """An OCS message lacks what it must say, or says it in a form that is not its own."""

    code = "sal_message"
