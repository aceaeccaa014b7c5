"""Ports: a taken one is a clear error before anything starts."""

from __future__ import annotations

import secrets
import socket

from infra.errors import PortTakenError

__all__ = ["free_port", "is_listening", "require_free"]


_FIRST, _LAST = 20_000, 32_000
"""Range of ports to draw from; Linux takes outgoing ones from 32768 on."""


def free_port() -> int:
    """Return a loopback port that was free a moment ago, below those that the kernel gives to outgoing connections."""
    while True:
        port = secrets.randbelow(_LAST - _FIRST) + _FIRST
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_listening(port: int, host: str = "127.0.0.1", timeout_s: float = 0.5) -> bool:
    """Tell whether some program accepts connections on a port."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def require_free(port: int, *, what: str, setting: str, host: str = "127.0.0.1") -> None:
    """Check that a port can be bound.

    Parameters
    ----------
    port
        The port.
    what
        What needs it, for the sentence.
    setting
        Path of the setting that changes it, for the sentence.
    host
        The address to be bound.

    Raises
    ------
    PortTakenError
        When another program has it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            variable = "NIGHTCAST_" + setting.upper().replace(".", "__")
            raise PortTakenError(
                f"Port {port} for the {what} is taken by another program; stop that program or set {variable}."
            ) from error
