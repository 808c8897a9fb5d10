"""Every kind of address that is not the public internet, in every dress."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from moderation.errors import ItemError
from moderation.fetcher.address import checked, is_private, is_public

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = ["10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
NEITHER = [
    "0.0.0.0",  # noqa: S104 - to be refused
    "0.1.2.3", "169.254.169.254", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "224.0.0.1", "224.0.1.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "fd00:ec2::254", "fd20:ce::254", "2001:db8::1", "3fff::1", "5f00::1", "100::1",
    "::127.0.0.1", "::8.8.8.8", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1",
    "2001::1", "2001:0:7f00:1::", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_may_be_reached(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_private(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_only_for_hosts_that_are_called_private(address: str) -> None:
    assert (is_public(ip_address(address)), is_private(ip_address(address))) == (False, True)


@pytest.mark.parametrize("address", NEITHER)
def test_the_rest_never(address: str) -> None:
    assert (is_public(ip_address(address)), is_private(ip_address(address))) == (False, False)


def test_one_bad_answer_spoils_all() -> None:
    assert checked(["8.8.8.8", "2606:4700::1111"], private=False) == (
        ip_address("8.8.8.8"),
        ip_address("2606:4700::1111"),
    )
    assert checked(["8.8.8.8", "10.0.0.1"], private=True)
    for answers, private in ((["8.8.8.8", "10.0.0.1"], False), (["10.0.0.1", "169.254.169.254"], True)):
        with pytest.raises(ItemError) as caught:
            checked(answers, private=private)
        assert caught.value.cause == "address_not_allowed"
        assert not [one for one in answers if one in str(caught.value)]
