"""What every fetcher promises, as tests that a plugin's own test file inherits.

    class TestShelf(FetcherKit):
        make = staticmethod(lambda: Shelf(FetchSettings(hosts=("box",))))
        scheme = "shelf"
        found = {"shelf://box/a": b"content"}
        refused = {"shelf://other/a": "host_not_allowed"}

pytest finds the rest, as it does of a detector.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from moderation.detector.names import is_word
from moderation.errors import ItemError
from moderation.item import UNFETCHABLE, Fetcher
from moderation.plugin.samples import hostile_references
from moderation.testing.kit import Kit


class FetcherKit(Kit):
    """Inherit, and say how the fetcher is made, what it gets (`found`: content by reference) and what it must not (`refused`: cause by reference).

    `scheme` is what it is registered for; `seconds` are those of its settings, for all tries of one reference.
    """

    make: ClassVar[Callable[[], Fetcher]]
    scheme: ClassVar[str]
    found: ClassVar[Mapping[str, bytes]]
    refused: ClassVar[Mapping[str, str]]
    seconds: ClassVar[float] = 5.0
    brings: ClassVar[str] = "fetchers"

    # Shape

    def test_shape_of_what_it_gets(self) -> None:
        """A reference's content, as bytes."""
        assert self.found, "found has no example"
        for reference, content in self.found.items():
            given = self._made().fetch(reference)
            assert type(given) is bytes, f"found {type(given).__name__}; expected bytes"
            assert given == content

    def test_shape_of_what_it_refuses(self) -> None:
        """A reference that must not be followed is an ItemError `unfetchable` with its cause, a stable word."""
        assert self.refused, "refused has no example"
        for reference, cause in self.refused.items():
            error = self._error(reference)
            assert (error.reason, error.cause) == (UNFETCHABLE, cause)
            assert is_word(error.cause), (
                f"found cause {error.cause!r}; expected a word of lower-case letters and underscores"
            )

    # Determinism

    def test_determinism_of_equal_references(self) -> None:
        """One fetcher gets the same twice."""
        fetcher = self._made()
        for reference in self.found:
            assert fetcher.fetch(reference) == fetcher.fetch(reference)

    # Failure

    def test_failure_tells_no_secrets(self) -> None:
        """Messages hold nothing of a reference's query, where tokens stand."""
        for reference in self.refused:
            assert "canary-5d1e" not in str(self._error(f"{reference}?token=canary-5d1e"))

    def test_failure_of_hostile_references(self) -> None:
        """What is no reference at all is refused, and nothing else is raised."""
        for reference in hostile_references(self.scheme):
            assert self._error(reference).reason == UNFETCHABLE

    def test_failure_of_one_thread_reaches_no_other(self) -> None:
        """Several threads at once get each its own content."""
        fetcher, references = self._made(), list(self.found) * 8
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(fetcher.fetch, references)) == [self.found[one] for one in references]

    # Cost

    def test_cost_is_within_its_own_time(self) -> None:
        """Whatever is asked, it has answered within its seconds."""
        for reference in (*self.found, *self.refused):
            began = time.monotonic()
            with contextlib.suppress(ItemError):
                self._made().fetch(reference)
            assert time.monotonic() - began < self.seconds, f"took longer than {self.seconds} s"

    # What the tests share

    def _error(self, reference: str) -> ItemError:
        with pytest.raises(ItemError) as raised:
            self._made().fetch(reference)
        return raised.value

    def _name(self) -> str:
        return self.scheme
