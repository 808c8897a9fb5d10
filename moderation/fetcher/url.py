"""What a reference may look like, and which hosts may be asked: one strict form, so that no two parsers can read it differently."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from moderation.item import unfetchable

PORTS = {"http": 80, "https": 443}
LONGEST = 8000  # characters of a reference
# Plain ASCII, no user, no brackets, no percent in the host: what is not exactly this is refused, never mended.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!-\"$-\[\]-~]*)?)(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Url:
    """An HTTP address in parts: `target` is the path with its query. Printed it tells the origin alone: the rest may name a person."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the scheme's own: what stands in the header Host."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def __repr__(self) -> str:
        return f"Url({self})"


def read_url(text: str) -> Url:
    """The address that a reference is. Raises ItemError with cause `wrong_reference`; its message quotes nothing."""
    found = _URL.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise unfetchable(
            "wrong_reference", "expected http(s)://HOST[:PORT]/PATH in ASCII, percent-encoded, without a user"
        )
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or PORTS[scheme])
    if not 0 < port < 65536 or ".." in host:
        raise unfetchable("wrong_reference", "host or port are none")
    return Url(scheme, host, port, "/" + found["target"].removeprefix("/"))


def allowed(url: Url, patterns: Iterable[str]) -> bool:
    """Whether this host may be asked: `host` or `*.host`, all names below it, on port 80 or 443; `host:port` on that port alone."""
    return any(_fits(one, url.host, url.port) for one in patterns)


def named(host: str, names: Iterable[str]) -> bool:
    """Whether a host, or a bucket, is one of those names."""
    return any(_is_host(one, host) for one in names)


def _fits(pattern: str, host: str, port: int) -> bool:
    name, _, only = pattern.partition(":")
    return _is_host(name, host) and (port == int(only) if only else port in PORTS.values())


def _is_host(name: str, host: str) -> bool:
    return host.endswith(name[1:]) and host != name[1:] if name.startswith("*.") else host == name
