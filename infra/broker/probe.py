"""Ask a broker whether it serves requests, with one request by hand: no client library, no memory."""

from __future__ import annotations

import socket
import struct

__all__ = ["broker_answers"]

_API_VERSIONS = 18
_CORRELATION = 0x4E43


def broker_answers(bootstrap: str, *, timeout_s: float = 1.0) -> bool:
    """Tell whether any broker of a bootstrap address answers an ApiVersions request.

    A broker in KRaft mode answers on its listener only after its controller has let it in, so a yes means that it serves.

    Parameters
    ----------
    bootstrap
        ``host:port`` pairs, separated by commas.
    timeout_s
        How long each is waited for.
    """
    return any(_answers(address.strip(), timeout_s) for address in bootstrap.split(",") if address.strip())


def _answers(address: str, timeout_s: float) -> bool:
    host, _, port = address.rpartition(":")
    client = b"nightcast-probe"
    request = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION, len(client)) + client
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            connection.settimeout(timeout_s)
            head = _read(connection, 10)
    except (OSError, ValueError):
        return False
    _size, correlation, error = struct.unpack(">iih", head)
    return bool(correlation == _CORRELATION and error == 0)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionError("closed by the peer")
        data += chunk
    return data
