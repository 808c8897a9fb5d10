"""A connection is someone's to close, whatever becomes of it."""

from __future__ import annotations

import socket
import ssl
import time

import pytest

from moderation.errors import ItemError
from moderation.fetcher.dial import Deadline, Dialer
from moderation.fetcher.url import read_url


def test_a_connection_that_took_all_the_time_is_closed() -> None:
    ours, theirs = socket.socketpair()

    def connect(_address: str, _port: int, seconds: float) -> socket.socket:
        time.sleep(seconds)
        return ours

    dialer = Dialer(ssl.create_default_context(), private=["127.0.0.1:80"], connect=connect)
    with theirs, pytest.raises(ItemError) as caught:
        dialer.dial(read_url("http://127.0.0.1/"), Deadline(0.05))
    assert caught.value.cause == "too_slow"
    assert ours.fileno() == -1
