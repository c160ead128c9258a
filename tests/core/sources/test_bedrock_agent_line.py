"""The connection of an agent's turn, which another thread may cut at any time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from motive_core.sources.bedrock_agent_boto import Line


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    """A connection, and its other end."""
    near, far = socket.socketpair()
    far.settimeout(5)
    yield SimpleNamespace(sock=near, line=None), far
    near.close()
    far.close()


def is_cut(far: socket.socket) -> bool:
    far.settimeout(0)
    try:
        return far.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_turn_that_waits_is_woken(pair: tuple[Any, socket.socket]) -> None:
    connection, _ = pair
    line = Line(threading.Lock())
    line.take(connection)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(connection.sock.recv(1)))
    reader.start()
    line.cut()
    reader.join(5)
    assert got == [b""]


def test_a_turn_that_is_cut_before_it_has_a_connection_gets_none(pair: tuple[Any, socket.socket]) -> None:
    connection, far = pair
    line = Line(threading.Lock())
    line.cut()
    line.take(connection)
    assert is_cut(far)


def test_a_connection_that_serves_another_turn_by_now_is_left_alone(pair: tuple[Any, socket.socket]) -> None:
    connection, far = pair
    lock = threading.Lock()
    old, new = Line(lock), Line(lock)
    old.take(connection)
    new.take(connection)
    old.cut()
    assert not is_cut(far)
    new.cut()
    assert is_cut(far)


def test_one_that_has_ended_by_itself(pair: tuple[Any, socket.socket]) -> None:
    connection, far = pair
    line = Line(threading.Lock())
    line.take(connection)
    far.close()
    connection.sock.close()
    line.cut()
    connection.sock = None
    line.cut()
    assert line.is_cut
