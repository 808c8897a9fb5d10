"""Items on their way to decisions: whose turn it is to be read, who is too late, who is decided with whom, and what time is counted."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from moderation.decision import Decision, Severity
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.embedding.prepared import UnpreparedError
from moderation.encoder.base import Encoded
from moderation.errors import ItemError, OverloadedError
from moderation.item import ContentItem, Modality, Part
from moderation.server.batcher import Batcher
from moderation.server.job import Job
from moderation.server.ready import TOGETHER
from moderation.server.service import MOST_UNREAD, Service
from moderation.server.watched import STALLED
from tests.fakes import FakeReader, Swayed, item
from tests.served import serving
from tests.unit.server.test_batcher import Device, costs, until


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
def held(reader: Reading, **settings: Any) -> Iterator[Service]:
    """The reader is at a picture of `bulk`; what is asked for meanwhile waits."""
    with serving(readers=[reader], **settings) as place:
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
        service._reading.took({Modality.IMAGE: 1}, 5.0)  # a second a part, as new ones count
        bulk = [ask(service, f"0.{n}", "bulk") for n in range(100, 110)]
        with pytest.raises(OverloadedError, match="it would take 11"):
            ask(service, "0.8", "bulk", seconds=10)
        service.leave(ask(service, "0.9", "shop", seconds=10))
        for one in bulk:
            service.leave(one)


def test_what_no_reader_reads_waits_for_none() -> None:
    with held(Reading()) as service:
        service._reading.took({Modality.IMAGE: 1}, 500.0)
        jobs = [ask(service, f"0.{n}", "bulk", seconds=10_000.0) for n in range(100, 103)]
        text = service.decide([item(Part.text("0.3"))], caller="bulk", seconds=10.0)
        assert text.answer.result(20)
        assert not any(one.answer.done() for one in jobs)


def test_who_left_holds_no_place_and_is_charged_for_nothing() -> None:
    reader = Reading()
    with held(reader) as service:
        for one in [ask(service, f"0.{n}", "bulk") for n in range(100, 100 + MOST_UNREAD)]:
            service.leave(one)
        assert (service._unread.of("bulk"), service._unread.bytes) == (0, 0)
        last = ask(service, "0.8", "bulk")
        reader.go.set()
        assert last.answer.result(20)
        service.leave(last)  # it is late for that
    assert reader.seen == [b"0.1", b"0.8"]


def test_what_waits_to_be_read_is_bounded_in_bytes_whosever_it_is() -> None:
    reader = Reading()
    with held(reader) as service:
        service.batcher.most_bytes = 10
        first = ask(service, "0.1234", "bulk")
        with pytest.raises(OverloadedError, match="too much waits to be read"):
            ask(service, "0.123", "shop")
        with pytest.raises(ItemError, match="11 bytes; expected at most 10"):
            ask(service, "0.123456789", "shop")
        ask(service, "0.12", "shop")
        service.leave(first)
        ask(service, "0.123", "shop")


def test_who_has_all_that_may_wait_to_be_read_leaves_room_for_another_key() -> None:
    keys = {name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("bulk", "shop")}
    reader = Reading()
    with held(reader, keys=keys) as service:
        service.batcher.most_bytes = 50
        for _ in range(8):
            ask(service, "0.123", "bulk")
        with pytest.raises(OverloadedError, match="too much waits to be read"):
            ask(service, "0.123", "bulk")
        ask(service, "0.123", "shop")


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


READERS = SimpleNamespace(modalities={Modality.TEXT})


class Deciding:
    """In a pipeline's place: decides once it is let, each call taking `seconds` of the clock; `calls` are the items of each."""

    def __init__(self, clock: list[float], *, seconds: float = 0.0, trusted: bool = True, readers: Any = None) -> None:
        self.readers, self.calls = readers, list[list[str]]()
        self.running = SimpleNamespace(detectors={"other": SimpleNamespace(trusted=trusted)})
        self.wants: Any = dict
        self.begun, self.go = threading.Event(), threading.Event()
        self._clock, self._seconds = clock, seconds

    def read(self, items: Sequence[ContentItem]) -> Sequence[ContentItem]:
        return items

    def wanted(self, items: Sequence[ContentItem]) -> dict[str, list[Part]]:
        found: dict[str, list[Part]] = self.wants()
        return found

    def decide(self, items: Sequence[ContentItem], **_prepared: Any) -> list[Decision]:
        self.begun.set()
        assert self.go.wait(20)
        self._clock[0] += self._seconds
        self.calls.append([one.id for one in items])
        return [Decision(one.id, one.id, "allow", Severity.INFO, "allow", (), {}) for one in items]


@contextmanager
def service(
    clock: list[float],
    device: Device | None = None,
    *,
    threads: int = 1,
    readers_seconds: float = 10.0,
    detectors_seconds: float = 10.0,
    **pipelines: Deciding,
) -> Iterator[Service]:
    """One thread that decides by the pipeline of the caller's name, or several."""
    near, device = MemoryCache(10**6), device or Device()
    batcher = Batcher({"default": Embedder(device, near)}, costs(lambda _: 0.001), near=near, clock=lambda: clock[0])
    made = Service(
        lambda caller: pipelines[caller],  # type: ignore[arg-type, return-value]
        batcher,
        threads=threads,
        readers_seconds=readers_seconds,
        detectors_seconds=detectors_seconds,
        clock=lambda: clock[0],
    )
    try:
        yield made
    finally:
        device.go.set()
        for one in pipelines.values():
            one.go.set()
        made.close()


def begun(made: Service, caller: str, *ids: str, seconds: float = 10.0) -> list[Job]:
    return [made.decide([item(Part.text("0.1"), id=one)], caller=caller, seconds=seconds) for one in ids]


@pytest.mark.parametrize(("line", "name"), [("_unread", "read"), ("_ready", "decide")])
def test_a_server_whose_readers_or_deciders_are_gone_says_so(line: str, name: str) -> None:
    with service([0.0]) as made:
        assert made.stuck == []
        getattr(made, line).close()  # as if its thread had died
        made._threads[line == "_ready"].join(20)
        assert made.stuck == [name]


def test_a_server_whose_reader_hangs_says_so_and_not_of_one_that_is_slow_within_its_limit() -> None:
    clock, reading, go = [0.0], threading.Event(), threading.Event()

    class Slow(Deciding):
        def read(self, items: Sequence[ContentItem]) -> Sequence[ContentItem]:
            reading.set()
            assert go.wait(20)
            return items

    with service(clock, readers_seconds=300.0, a=Slow(clock, readers=READERS)) as made:
        begun(made, "a", "a0", seconds=10_000)
        assert reading.wait(20)
        clock[0] += 300 + STALLED
        assert made.stuck == []
        clock[0] += 1
        assert made.stuck == ["read"]
        go.set()
        until(lambda: made.stuck == [])


def test_a_server_that_hangs_where_it_decides_says_so_and_not_of_detectors_that_are_slow_within_their_limit() -> None:
    """Which are asked twice by each of so many threads, in turn, and all of it again once the one encoder had something alone."""
    clock = [0.0]
    with service(clock, threads=3, detectors_seconds=10.0, a=(a := Deciding(clock))) as made:
        begun(made, "a", "a0", seconds=10_000)
        assert a.begun.wait(20)
        clock[0] += 2 * 2 * 3 * 10 + STALLED
        assert made.stuck == []
        clock[0] += 1
        assert made.stuck == ["decide"]
        a.go.set()
        until(lambda: made.stuck == [])


@pytest.mark.parametrize("readers", [None, READERS])
def test_who_comes_once_it_is_closed_is_told_at_once(readers: Any) -> None:
    """Whoever reads and decides has ended by then: it would wait for its deadline."""
    a = Deciding([0.0], readers=readers)
    with service([0.0], a=a) as made:
        a.go.set()
        made.close()
        with pytest.raises(OverloadedError, match="shutting down"):
            begun(made, "a", "late")


def test_who_waits_to_be_decided_is_decided_with_its_like_and_in_turn_and_closing_forgets_nobody() -> None:
    clock = [0.0]
    a, b = Deciding(clock), Deciding(clock)
    with service(clock, a=a, b=b) as made:
        jobs = begun(made, "a", "a0")
        assert a.begun.wait(20)
        for _ in range(3):
            jobs += begun(made, "a", "a1", "a2") + begun(made, "b", "b1")
        closing = threading.Thread(target=made.close, daemon=True)
        closing.start()
        a.go.set()
        b.go.set()
        closing.join(20)
        assert [len(one.answer.result(20)) for one in jobs] == [1] * 10
    assert a.calls == [["a0"], ["a1", "a2"] * 3]
    assert b.calls == [["b1"] * 3]


def test_closing_waits_for_what_is_being_read_before_the_device_takes_nothing_more() -> None:
    reader = Reading()
    with held(reader) as service:
        waits = ask(service, "0.2", "bulk")
        closing = threading.Thread(target=service.close, daemon=True)
        closing.start()
        until(lambda: service._closed)
        assert not threading.Event().wait(0.2)
        assert service.state == "working"
        reader.go.set()
        closing.join(20)
        assert waits.answer.result(20)


def test_who_has_thousands_of_remembered_items_decided_keeps_nobody_waiting_for_more_than_two_calls() -> None:
    clock = [0.0]
    flood, shop = Deciding(clock), Deciding(clock, seconds=1.0)
    with service(clock, flood=flood, shop=shop, calm=flood) as made:
        many = [item(Part.text("0.1"), id=f"flood {n}") for n in range(100)]
        jobs = [made.decide(many, caller="flood", seconds=1000)]
        assert flood.begun.wait(20)
        jobs += [made.decide(many, caller="flood", seconds=1000) for _ in range(50)]
        jobs += begun(made, "shop", "shop")
        jobs += begun(made, "calm", "calm")
        flood.go.set()
        shop.go.set()
        for one in jobs:
            assert one.answer.result(20)
    at = next(number for number, one in enumerate(flood.calls) if "calm" in one)
    assert at <= 2
    assert sum(map(len, flood.calls[: at + 1])) <= 100 + 2 * (TOGETHER + 100)


def test_a_caller_is_told_to_wait_for_what_others_have_decided_as_far_as_its_share_goes() -> None:
    clock = [0.0]
    a, b = Deciding(clock, seconds=1.0), Deciding(clock)
    with service(clock, a=a, b=b) as made:
        a.go.set()
        begun(made, "a", "first", seconds=100)[0].answer.result(20)
        assert made._deciding.seconds(1) == pytest.approx(0.2)
        a.go.clear()
        a.begun.clear()
        begun(made, "a", "held", seconds=1000)
        assert a.begun.wait(20)
        made.decide([item(Part.text("0.1"), id=str(n)) for n in range(1000)], caller="a", seconds=1000)
        begun(made, "b", "its own", seconds=1.0)  # all that waits takes 200 s
        with pytest.raises(OverloadedError, match="it would take"):
            begun(made, "a", "another", seconds=1.0)


def test_a_pipeline_that_nothing_waits_for_is_held_by_no_queue() -> None:
    clock = [0.0]
    a = Deciding(clock)
    with service(clock, a=a) as made:
        a.go.set()
        begun(made, "a", "a0")[0].answer.result(20)
        assert (made._ready._jobs.held.kinds, made._ready._jobs._lines) == ({}, {})


def test_where_others_detectors_stand_callers_are_not_decided_together() -> None:
    clock = [0.0]
    a = Deciding(clock, trusted=False)
    with service(clock, a=a) as made:
        jobs = begun(made, "a", "a0", "a1", "a2")
        a.go.set()
        assert [one.answer.result(20)[0].item_id for one in jobs] == ["a0", "a1", "a2"]
    assert a.calls == [["a0"], ["a1"], ["a2"]]


def test_who_would_be_decided_too_late_is_refused_at_once() -> None:
    clock = [0.0]
    a = Deciding(clock, seconds=5.0, trusted=False)
    with service(clock, a=a) as made:
        a.go.set()
        for one in begun(made, "a", "a0", seconds=100):
            one.answer.result(20)
        a.go.clear()
        a.begun.clear()
        begun(made, "a", "a1", "a2", seconds=100)  # one that is decided, one that waits
        assert a.begun.wait(20)
        with pytest.raises(OverloadedError, match=r"it would take 2.00 s, and 1.00 are left"):
            begun(made, "a", "a3", seconds=1.0)
        begun(made, "a", "a4", seconds=3.0)


def test_who_had_large_requests_decided_makes_small_ones_no_slower() -> None:
    clock = [0.0]
    a = Deciding(clock, seconds=1.0, trusted=False)
    with service(clock, a=a) as made:
        a.go.set()
        large = [item(Part.text("0.1"), id=f"large {n}") for n in range(100)]
        for _ in range(10):
            made.decide(large, caller="a", seconds=100).answer.result(20)
        a.go.clear()
        a.begun.clear()
        begun(made, "a", "first", seconds=100)
        assert a.begun.wait(20)
        begun(made, "a", *"12345678", seconds=2.0)
        made.decide(large, caller="a", seconds=100)
        with pytest.raises(OverloadedError, match=r"it would take 0.97 s, and 1.00 are left"):
            begun(made, "a", "9", seconds=1.0)


def test_how_long_reading_takes_is_learnt_by_the_part() -> None:
    class Slow(Deciding):
        def read(self, items: Sequence[ContentItem]) -> Sequence[ContentItem]:
            self.begun.set()
            assert self.go.wait(20)
            self._clock[0] += 10.0
            return items

    clock = [0.0]
    a = Slow(clock, readers=READERS)
    with service(clock, a=a) as made:
        a.go.set()
        pair = ContentItem("pair", (Part.text("0.1"), Part.text("0.2")), {})
        made.decide([pair], caller="a", seconds=100).answer.result(20)
        a.go.clear()
        a.begun.clear()
        begun(made, "a", "a1", seconds=100)
        assert a.begun.wait(20)
        begun(made, "a", "a2", seconds=100)
        with pytest.raises(OverloadedError, match=r"it would take 3.00 s, and 2.00 are left"):
            made.decide([pair], caller="a", seconds=2.0)
        begun(made, "a", "a3", seconds=3.0)


def test_who_has_what_takes_long_to_read_is_charged_for_that_even_where_it_fails() -> None:
    order = list[str]()

    class Slow(Deciding):
        def read(self, items: Sequence[ContentItem]) -> Sequence[ContentItem]:
            self.begun.set()
            assert self.go.wait(20)
            order.append(items[0].id)
            self._clock[0] += self._seconds
            if items[0].id == "film0":
                raise RuntimeError
            return items

    clock = [0.0]
    films, shop = Slow(clock, seconds=5.0, readers=READERS), Slow(clock, seconds=0.05, readers=READERS)
    with service(clock, films=films, shop=shop) as made:
        jobs = begun(made, "films", "film0", "film1", seconds=1000)
        assert films.begun.wait(20)
        jobs += begun(made, "shop", *"123", seconds=1000)
        shop.go.set()
        films.go.set()
        with pytest.raises(RuntimeError):
            jobs[0].answer.result(20)
        for one in jobs[1:]:
            one.answer.exception(20)
    assert order == ["film0", "1", "2", "3", "film1"]


def test_who_leaves_while_its_parts_are_asked_for_leaves_none_behind() -> None:
    clock, device = [0.0], Device()
    a = Deciding(clock, readers=READERS)
    with service(clock, device, a=a) as made:
        device.go.clear()
        held = made.batcher.ask({"default": [Part.text("0.9")]}, seconds=10)
        until(lambda: len(device.batches) == 1)
        jobs: list[Job] = []
        known = threading.Event()

        def left() -> dict[str, list[Part]]:
            assert known.wait(20)
            made.leave(jobs[0])
            return {"default": [Part.text("0.4")]}

        a.wants = left
        jobs += begun(made, "a", "a0")
        known.set()
        until(lambda: jobs[0].ticket is not None and jobs[0].ticket.done.cancelled())
        assert made.batcher.waiting == (0, 0)
        device.go.set()
        held.done.result(20)


def test_who_is_near_to_a_threshold_and_has_no_time_to_be_encoded_alone_is_told_so() -> None:
    class Near(Deciding):
        def decide(self, items: Sequence[ContentItem], **_prepared: Any) -> list[Decision]:
            super().decide(items)
            raise UnpreparedError("default", items[0].parts)

    clock = [0.0]
    a = Near(clock, seconds=20.0)
    with service(clock, a=a) as made:
        (job,) = begun(made, "a", "a0")
        a.go.set()
        with pytest.raises(OverloadedError):
            job.answer.result(20)


def test_what_is_missing_still_once_it_was_made_ends_the_job() -> None:
    class Never(Deciding):
        def decide(self, items: Sequence[ContentItem], **_prepared: Any) -> list[Decision]:
            self.asked = getattr(self, "asked", 0) + 1
            raise UnpreparedError("default", items[0].parts)

    a = Never([0.0])
    with service([0.0], a=a) as made:
        (job,) = begun(made, "a", "a0", seconds=100)
        a.go.set()
        with pytest.raises(UnpreparedError):
            job.answer.result(20)
    assert a.asked == 2


def test_who_was_answered_is_let_go_of_without_the_garbage_collector() -> None:
    class Held(list[ContentItem]):
        """A list that can be looked at once it is gone."""

    with serving() as place:
        items = Held([item(Part.image(b"0.1"))])
        gone = ref(items)
        gc.disable()
        try:
            place.service.decide(items, caller="a", seconds=60.0).answer.result(20)
            del items

            def let_go() -> bool:
                ask(place.service, "0.2", "a").answer.result(20)  # who waits for more still has the last one
                return gone() is None

            until(let_go)
        finally:
            gc.enable()
