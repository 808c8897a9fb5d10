"""The kits for encoders and fetchers, on ones that keep their promises, and on ones that break one each."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from moderation.encoder.base import Encoded, Fingerprint
from moderation.errors import ItemError
from moderation.item import unfetchable
from moderation.testing import EncoderKit, FetcherKit
from tests.fakes import FakeEncoder

COUNT = itertools.count()


class TestEncoder(EncoderKit):
    make = FakeEncoder
    name = "fixed"
    images = (b"0.25", b"0.5", b"-0.5")


class Shelf:
    def fetch(self, reference: str) -> bytes:
        box, _, name = reference.partition("://")[2].partition("/")
        if box != "box" or not name:
            raise unfetchable("host_not_allowed", "the settings do not allow this box")
        return name.encode()


class TestFetcher(FetcherKit):
    make = Shelf
    scheme = "shelf"
    found = {"shelf://box/a": b"a", "shelf://box/b": b"b"}
    refused = {"shelf://other/a": "host_not_allowed"}


class Renamed(FakeEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.fingerprint = Fingerprint(str(next(COUNT)), "fake")


class Long(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        found = super()._encode(contents, pictures=pictures)
        return Encoded(found.vectors * np.float16(2.0), found.errors)


class Blind(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        return super()._encode(["0.5"] * len(contents), pictures=pictures)


class Moody(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        self.jitter = next(COUNT) % 7 / 100
        return super()._encode(contents, pictures=pictures)


class Relative(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        self.jitter = 0.3 if len(contents) == 1 else 0.0
        return super()._encode(contents, pictures=pictures)


class Fragile(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        assert all(contents)
        return super()._encode(contents, pictures=pictures)


class Wide(FakeEncoder):
    def _encode(self, contents: Any, *, pictures: bool) -> Encoded:
        found = super()._encode(contents, pictures=pictures)
        return Encoded(found.vectors if len(contents) else np.zeros((0, 3), np.float16), found.errors)


BROKEN_ENCODERS = {
    "identity_stays": Renamed, "shape_of_vectors": Long, "shape_tells_contents_apart": Blind, "determinism_of_equal_batches": Moody,
    "batching_changes_no_vector": Relative, "failure_of_hostile_content_is_its_own": Fragile, "shape_of_no_content": Wide,
}  # fmt: skip


@pytest.mark.parametrize("test", BROKEN_ENCODERS)
def test_an_encoder_that_breaks_a_promise_fails_its_test(test: str) -> None:
    kit = type("Broken", (TestEncoder,), {"make": BROKEN_ENCODERS[test], "__test__": False})()
    with pytest.raises(AssertionError):
        getattr(kit, f"test_{test}")()


class Text(Shelf):
    def fetch(self, reference: str) -> Any:
        return super().fetch(reference).decode()


class Worded(Shelf):
    def fetch(self, reference: str) -> bytes:
        try:
            return super().fetch(reference)
        except ItemError:
            raise unfetchable("Not Allowed!", "no") from None


class Changing(Shelf):
    def fetch(self, reference: str) -> bytes:
        return super().fetch(reference) + str(next(COUNT)).encode()


class Chatty(Shelf):
    def fetch(self, reference: str) -> bytes:
        try:
            return super().fetch(reference)
        except ItemError:
            raise unfetchable("host_not_allowed", f"cannot get {reference}") from None


class Raising(Shelf):
    def fetch(self, reference: str) -> bytes:
        if "\x00" in reference:
            raise ItemError("null_byte", "no")
        return super().fetch(reference)


class Shared(Shelf):
    calls: Any = itertools.count()

    def fetch(self, reference: str) -> bytes:
        return super().fetch(reference) if next(self.calls) < 3 else b"another's"


BROKEN_FETCHERS = {
    "shape_of_what_it_gets": Text, "shape_of_what_it_refuses": Worded, "determinism_of_equal_references": Changing,
    "failure_tells_no_secrets": Chatty, "failure_of_hostile_references": Raising, "failure_of_one_thread_reaches_no_other": Shared,
}  # fmt: skip


@pytest.mark.parametrize("test", BROKEN_FETCHERS)
def test_a_fetcher_that_breaks_a_promise_fails_its_test(test: str) -> None:
    kit = type("Broken", (TestFetcher,), {"make": BROKEN_FETCHERS[test], "__test__": False})()
    with pytest.raises(AssertionError):
        getattr(kit, f"test_{test}")()


def test_a_fetcher_that_takes_too_long_fails_its_test() -> None:
    kit = type("Broken", (TestFetcher,), {"seconds": 0.0, "__test__": False})()
    with pytest.raises(AssertionError, match="took longer"):
        kit.test_cost_is_within_its_own_time()


def test_every_test_of_the_kits_is_seen_to_fail() -> None:
    """But those of every kit (test_detector_kit.py), and the one above."""
    shared = {"identity_arrives_by_its_entry_point", "import_asks_no_network", "cost_is_within_its_own_time"}
    for kit, broken in ((EncoderKit, BROKEN_ENCODERS), (FetcherKit, BROKEN_FETCHERS)):
        assert {name.removeprefix("test_") for name in dir(kit) if name.startswith("test_")} - shared == set(broken)
