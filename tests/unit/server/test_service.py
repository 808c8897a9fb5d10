"""Items on their way to decisions: whose turn it is to be read, who is too late, and what time is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from moderation.encoder.base import Encoded
from moderation.errors import OverloadedError
from moderation.item import Part
from moderation.server.service import MOST_UNREAD, Job, Service
from tests.fakes import FakeReader, Swayed, item
from tests.served import serving


class Reading(FakeReader):
    """Begins, and goes on once it is let; `seen` is what it was shown, in order."""

    def __init__(self) -> None:
        super().__init__(answer=self._read)
        self.seen: list[bytes] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def _read(self, parts: tuple[Part, ...]) -> Any:
        self.begun.set()
        assert self.go.wait(20)
        self.seen += [one.content for one in parts]
        return [()] * len(parts)


def ask(service: Service, picture: str, caller: str, *, seconds: float = 60.0) -> Job:
    return service.decide([item(Part.image(picture.encode()))], caller=caller, seconds=seconds)


@contextmanager
def held(reader: Reading) -> Iterator[Service]:
    """The reader is at a picture of `bulk`; what is asked for meanwhile waits."""
    with serving(readers=[reader]) as place:
        try:
            first = ask(place.service, "0.1", "bulk")
            assert reader.begun.wait(20)
            yield place.service
        finally:
            reader.go.set()
        first.answer.result(20)


def test_who_sends_many_pictures_keeps_nobody_elses_from_being_read() -> None:
    reader = Reading()
    with held(reader) as service:
        bulk = [ask(service, f"0.{n}", "bulk") for n in range(100, 130)]
        shop = ask(service, "0.9", "shop")
        reader.go.set()
        for one in (*bulk, shop):
            assert one.answer.result(20)
    assert reader.seen.index(b"0.9") <= 2


def test_a_callers_own_crowd_is_refused_and_nobody_elses_first() -> None:
    reader = Reading()
    with held(reader) as service:
        bulk = [ask(service, f"0.{n}", "bulk") for n in range(100, 100 + MOST_UNREAD)]
        with pytest.raises(OverloadedError, match="too much waits to be read"):
            ask(service, "0.8", "bulk")
        shop = ask(service, "0.9", "shop")
        for one in bulk:
            service.leave(one)
        reader.go.set()
        assert shop.answer.result(20)
    assert reader.seen == [b"0.1", b"0.9"]


def test_who_would_be_read_too_late_is_refused_by_what_its_own_share_takes() -> None:
    reader = Reading()
    with held(reader) as service:
        service._reading.took(1, 5.0)  # a second a part, as new ones count
        bulk = [ask(service, f"0.{n}", "bulk") for n in range(100, 110)]
        with pytest.raises(OverloadedError, match="it would take 11"):
            ask(service, "0.8", "bulk", seconds=10)
        service.leave(ask(service, "0.9", "shop", seconds=10))
        for one in bulk:
            service.leave(one)


def test_whose_deadline_passes_while_it_waits_is_told_so_and_nothing_is_read_for_it() -> None:
    reader = Reading()
    with held(reader) as service:
        late = ask(service, "0.7", "bulk", seconds=0.05)
        assert not threading.Event().wait(0.1)
        reader.go.set()
        with pytest.raises(OverloadedError, match="its deadline passed while it waited"):
            late.answer.result(20)
    assert reader.seen == [b"0.1"]


def test_what_is_encoded_alone_counts_in_the_time_that_an_item_took() -> None:
    class Decoding(Swayed):
        """Says that each part takes a second to decode."""

        def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
            return replace(super()._encode(contents, pictures=pictures), decode_seconds=float(len(contents)))

    with serving(encoder=Decoding()) as place:
        items = [item(Part.text(one), id=one) for one in ("0.1", "0.7071", "0.3")]
        made = place.service.decide(items, seconds=20).answer.result(20)
    assert sum(one.timing.decode for one in made) == pytest.approx(4.0)
