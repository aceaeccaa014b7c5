"""What handlers ask FastAPI for: the toolkit of the application, and proof that a form comes from our own page."""

from __future__ import annotations

from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request

from streams.toolkit.service import Toolkit
from streams.views.errors import RequestError

__all__ = ["OwnPage", "TheToolkit", "identifier"]


def _toolkit(request: Request) -> Toolkit:
    return cast("Toolkit", request.app.state.toolkit)


def _own_page(request: Request) -> None:
    """Refuse a form that another web site made the browser send."""
    origin = request.headers.get("origin")
    if origin and origin != "null" and urlsplit(origin).netloc != request.headers.get("host"):
        raise RequestError("This form was sent from another web site; use the page of this toolkit.")


def identifier(text: str) -> int:
    """Return an identifier in an address as a number.

    Raises
    ------
    RequestError
        When it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 63:
        raise RequestError(f"'{text}' is no identifier: identifiers are whole numbers of up to 63 bits.")
    return int(text)


TheToolkit = Annotated[Toolkit, Depends(_toolkit)]
OwnPage = Depends(_own_page)
