"""The view for commands: brought up to date first where Kafka answers, and used as it is, with a warning, where not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from infra.settings import Settings
    from streams.views.view import View

__all__ = ["current_view", "identifier_of"]


@contextmanager
def current_view(settings: Settings) -> Iterator[View]:
    """Open the view and fold what is new.

    Raises
    ------
    KafkaUnavailableError
        When Kafka does not answer and the view is empty, so that there is nothing to say.
    """
    from infra.errors import KafkaUnavailableError, RegistryUnavailableError
    from streams.views import queries
    from streams.views.view import open_view

    view = open_view(settings)
    try:
        try:
            view.reader.catch_up()
        except (KafkaUnavailableError, RegistryUnavailableError) as error:
            with view.reading() as connection:
                if not queries.count_alerts(connection):
                    raise
            typer.echo(f"Warning: {error.sentence} Shown is what was read before.", err=True)
        yield view
    finally:
        view.engine.dispose()


def identifier_of(text: str) -> int:
    """Return an identifier that was typed, with or without Rubin's prefix.

    Raises
    ------
    RequestError
        When it is none.
    """
    from streams.views.errors import RequestError

    digits = text.upper().removeprefix("LSST-AP-DS-").removeprefix("LSST-AP-DO-")
    if not digits.isascii() or not digits.isdigit() or int(digits) >= 1 << 63:
        raise RequestError(f"'{text}' is no identifier: identifiers are whole numbers of up to 63 bits.")
    return int(digits)
