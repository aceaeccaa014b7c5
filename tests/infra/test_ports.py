"""Ports."""

from __future__ import annotations

import socket

import pytest

from infra.errors import PortTakenError
from infra.ports import free_port, is_listening, require_free


def test_a_taken_port_is_named_with_the_setting_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(port)
        with pytest.raises(PortTakenError, match=f"Port {port} for the Kafka broker .*NIGHTCAST_KAFKA__PORT"):
            require_free(port, what="Kafka broker", setting="kafka.port")
    assert not is_listening(port)


def test_a_free_port_passes() -> None:
    require_free(free_port(), what="web page", setting="web.port")
