"""Errors of the view, the toolkit and the commands that ask them.

PermanentFailure (schemas)
└── ViewError
    ├── RequestError     a question that makes no sense: position, filter, form or file
    └── NotInViewError   the view holds no such alert, object, visit or annotation
TransientFailure (schemas)
└── NotFoldedYetError    what was written has not reached the view in time
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = ["NotFoldedYetError", "NotInViewError", "RequestError", "ViewError"]


class ViewError(PermanentFailure):
    """The view cannot answer."""

    code = "view"


class RequestError(ViewError):
    """The question makes no sense."""

    code = "request"


class NotInViewError(ViewError):
    """The view holds no such thing."""

    code = "not_found"


class NotFoldedYetError(TransientFailure):
    """What was written has not reached the view in time."""

    code = "not_folded_yet"
