"""Which addresses may be reached: the public internet, and for hosts that the settings call private, a private network."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from moderation.item import unfetchable

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address is in its last 32 bits
_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that IANA has given out; what is elsewhere is local, or not there
# What `is_global` of some Python lets through: protocol assignments, relays, tunnels that carry an IPv4 address, documentation.
_NEVER = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")),
)
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7"))
)  # fmt: skip
# Where clouds hand out credentials, inside networks that are private; the usual one, 169.254.169.254, is link-local.
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))


def checked(answers: Sequence[str], *, private: bool) -> tuple[Address, ...]:
    """The addresses that a name has, where all of them may be reached; in `private` networks too where that is so.

    Raises ItemError with cause `address_not_allowed` where one may not: of a name with two faces none is trusted. No message tells an address.
    """
    found = tuple(map(ip_address, answers))
    if not all(is_public(one) or (private and is_private(one)) for one in found):
        raise unfetchable("address_not_allowed", "the host has an address that may not be reached")
    return found


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, be it IPv4 inside IPv6."""
    one = _inner(address)
    if one.is_multicast or not one.is_global or any(one in net for net in _NEVER):
        return False
    return isinstance(one, IPv4Address) or one in _UNICAST


def is_private(address: Address) -> bool:
    """Whether an address is one of a network of one's own, and no service that hands out credentials."""
    one = _inner(address)
    return any(one in net for net in _PRIVATE) and one not in _METADATA


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
