"""However a reference is spelled, and whatever names and redirects answer: nobody is reached but at an address that was allowed."""

from __future__ import annotations

import io
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moderation.errors import ItemError
from moderation.fetcher.address import is_private, is_public
from moderation.fetcher.http import HttpFetcher, trust
from moderation.sections import FetchSettings

SETTINGS = FetchSettings(
    hosts=("cdn.test", "*.img.test:8443"), private_hosts=("store.test:9000",), redirects=3, tries=1
)
TLS = trust("http", SETTINGS)
PLACES = {80, 443}

NUMBERS = st.integers(0, 2**32 - 1) | st.sampled_from([0x7F000001, 0xA9FEA9FE, 0x0A000001, 0, 0xFFFFFFFF])
QUADS = NUMBERS.map(lambda n: [n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255])
SPELLED = st.one_of(
    NUMBERS.map(str),
    NUMBERS.map(hex),
    NUMBERS.map(lambda n: f"0{n:o}"),
    QUADS.map(lambda q: ".".join(map(str, q))),
    QUADS.map(lambda q: ".".join(map(hex, q))),
    QUADS.map(lambda q: ".".join(f"0{one:o}" for one in q)),
    QUADS.map(lambda q: f"{q[0]}.{q[3]}"),
    QUADS.map(lambda q: f"[::ffff:{'.'.join(map(str, q))}]"),
    NUMBERS.map(lambda n: f"[64:ff9b::{n >> 16:x}:{n & 65535:x}]"),
    st.integers(0, 2**128 - 1).map(lambda n: f"[{ip_address(n)}]"),
    st.sampled_from(
        ["cdn.test", "a.img.test:8443", "store.test:9000", "localhost", "CDN.TEST", "cdn.test.", "metadata"]
    ),
)
GLUE = st.sampled_from(
    ["", "@", ":80", ":22", ":8443", ":9000", "%2e", "\\", "#", "?", "/", "//", ";", "\t", "。", "%00", "user@"]
)
REFERENCES = st.builds(
    lambda scheme, *parts: scheme + "".join(parts),
    st.sampled_from(["http://", "HTTP://", "http:/", "//", "https://", "file://", "http://user@", ""]),
    SPELLED, GLUE, SPELLED | st.just(""), GLUE, st.sampled_from(["", "/a.png", "/?x=1"]),
)  # fmt: skip
INNER = set(map(ip_address, ("10.0.0.1", "127.0.0.1", "::1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1")))
METADATA = set(map(ip_address, ("169.254.169.254", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254")))
ADDRESSES = st.integers(0, 2**128 - 1).map(ip_address) | NUMBERS.map(ip_address) | st.sampled_from(
    sorted({*INNER, *METADATA, *map(ip_address, ("8.8.8.8", "1.1.1.1", "2606:4700::1111"))}, key=str)
)  # fmt: skip
RESOLVED = st.lists(ADDRESSES.map(str), max_size=3)


class Connection(io.BytesIO):
    """A connection that answers with a redirect."""

    def settimeout(self, _seconds: float) -> None: ...
    def sendall(self, sent: bytes) -> None: ...
    def recv_into(self, buffer: Any) -> int:
        return self.readinto(buffer)


@given(REFERENCES | st.text(max_size=30), st.lists(RESOLVED, min_size=1, max_size=4), st.lists(REFERENCES, max_size=4))
@example("http://cdn.test/", [["8.8.8.8"], ["127.0.0.1"]], ["http://cdn.test/a"])
@example("http://cdn.test/", [["8.8.8.8"], ["10.0.0.1"]], ["http://store.test:9000/a"])
def test_nothing_outside_is_ever_reached(first: str, resolved: list[list[str]], others: list[str]) -> None:
    names: list[tuple[str, int]] = []
    reached: list[str] = []
    redirects = iter(others)

    def resolve(host: str, port: int) -> list[str]:
        names.append((host, port))
        return resolved[(len(names) - 1) % len(resolved)]

    def connect(address: str, port: int, _seconds: float) -> Any:
        host, asked = names[-1]
        assert port == asked
        reached.append(address)
        one = ip_address(address)
        assert address in {str(ip_address(answer)) for answer in resolved[(len(names) - 1) % len(resolved)]}
        assert one not in INNER or (host, port) == ("store.test", 9000)
        assert one not in METADATA
        assert is_public(one) or ((host, port) == ("store.test", 9000) and is_private(one))
        location = next(redirects, "")
        if not location.isascii() or "\n" in location:
            raise TimeoutError
        return Connection(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    got = HttpFetcher(SETTINGS, scheme="http", hosts=SETTINGS.hosts, tls=TLS, resolve=resolve, connect=connect)
    with pytest.raises(ItemError, match="unfetchable: ") as caught:
        got.fetch(first)  # at best a redirect, which is no content
    assert not [one for one in reached if one in str(caught.value)]
    for host, port in names:
        assert (
            (host == "cdn.test" and port in PLACES)
            or (host, port) == ("store.test", 9000)
            or (host.endswith(".img.test") and port == 8443)
        ), (host, port)
    if first == "http://cdn.test/":
        assert reached
