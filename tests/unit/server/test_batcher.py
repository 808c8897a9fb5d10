"""The batcher on a device of known cost: no timer, one encoding for equal content, refusals that keep their word, fairness, cancels, faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from moderation.compiler.degenerate import SIDE, png
from moderation.embedding.cache import MemoryCache, TieredCache
from moderation.embedding.embedder import Embedder, Encoding
from moderation.encoder.base import Encoded, Vectors
from moderation.errors import EncoderError, ItemError, OverloadedError
from moderation.item import Modality, Part
from moderation.rollout.company import TEXTS
from moderation.server.batcher import Batcher
from moderation.server.costs import SIZES, Costs, Kind, measure
from moderation.server.ticket import Ticket
from tests.fakes import FakeEncoder

KIND = Kind("default", Modality.TEXT)


class Device(FakeEncoder):
    """Takes `seconds(n)` for n parts, or waits to be let go on; `batches` are the texts it was given. What is tried at the start costs nothing."""

    def __init__(self, seconds: Callable[[int], float] = lambda _: 0.0) -> None:
        super().__init__()
        self._seconds, self.batches, self.go = seconds, list[Sequence[str]](), threading.Event()
        self.go.set()

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        if set(texts) <= set(TEXTS):
            return super().encode_text(texts)
        self.batches.append(tuple(texts))
        assert self.go.wait(20)
        time.sleep(self._seconds(len(texts)))
        return super().encode_text(texts)


def costs(seconds: Callable[[int], float]) -> Costs:
    return Costs({kind: {size: seconds(size) for size in SIZES} for kind in (KIND, Kind("default", Modality.IMAGE))})


@contextmanager
def batching(
    device: FakeEncoder,
    seconds: Callable[[int], float] = lambda _: 0.01,
    *,
    far: bool | MemoryCache = False,
    **more: object,
) -> Iterator[Batcher]:
    near = MemoryCache(10**7)
    cache = TieredCache(near, MemoryCache(10**7) if far is True else far) if far is not False else near
    one = Batcher({"default": Embedder(device, cache)}, costs(seconds), near=near, far=far is not False, **more)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        if isinstance(device, Device):
            device.go.set()
        one.close()


def ask(batcher: Batcher, *texts: str, caller: str = "", seconds: float = 10.0) -> Ticket:
    return batcher.ask({"default": [Part.text(text) for text in texts]}, caller=caller, seconds=seconds)


def stuck(batcher: Batcher) -> list[str]:
    """The names of its threads that get nowhere."""
    return [one.name for one in batcher.threads if one.stuck]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def held(device: Device, batcher: Batcher) -> Iterator[None]:
    """The device is at work on something; what is asked for meanwhile waits."""
    device.go.clear()
    first = ask(batcher, "0.9", caller="somebody")
    until(lambda: len(device.batches) > 0)
    yield
    device.go.set()
    first.done.result(20)


def test_vectors_are_those_of_the_embedder_and_errors_their_parts_own() -> None:
    encoder = FakeEncoder()
    parts = [Part.text("0.25"), Part.image(b"0.5"), Part.image(b"no picture"), Part.text("0.25")]
    with batching(encoder) as batcher:
        found = batcher.ask({"default": parts}, seconds=10).done.result(20)
    alone = Embedder(FakeEncoder(), MemoryCache(10**6)).embed(parts)
    assert len(found) == 3
    for row, part in enumerate(parts):
        outcome = found["default", part.modality, part.content]
        if row == 2:
            assert (outcome.vector, str(outcome.error)) == (None, str(alone.errors[2]))
        else:
            assert outcome.vector is not None
            assert outcome.vector.tobytes() == alone.vectors[row].tobytes()


@pytest.mark.parametrize("far", [False, True])
def test_what_is_remembered_does_not_wait_for_the_device(*, far: bool) -> None:
    device = Device()
    with batching(device, far=far) as batcher:
        ask(batcher, "0.1").done.result(20)
        with held(device, batcher):
            again = ask(batcher, "0.1")
            assert again.done.done()
            assert [one.hit for one in again.done.result().values()] == [True]


def test_what_the_far_cache_has_does_not_wait_for_the_device_either() -> None:
    device = Device()
    with batching(device, far=True) as batcher:
        embedder = batcher.embedders["default"]
        Embedder(FakeEncoder(), embedder.cache.far).embed([Part.text("0.3")])  # type: ignore[attr-defined]
        with held(device, batcher):
            assert [one.hit for one in ask(batcher, "0.3").done.result(20).values()] == [True]


def test_the_free_device_takes_all_that_waits_and_equal_content_once() -> None:
    device = Device()
    with batching(device) as batcher:
        with held(device, batcher):
            tickets = [ask(batcher, f"0.{n % 5}") for n in range(10)]
        for one in tickets:
            one.done.result(20)
    assert sorted(map(len, device.batches)) == [1, 5]


def test_a_batch_is_never_larger_than_its_largest() -> None:
    device = Device()
    with batching(device, largest=4) as batcher:
        with held(device, batcher):
            tickets = [ask(batcher, f"0.{n}") for n in range(10, 20)]
        for one in tickets:
            one.done.result(20)
    assert [len(one) for one in device.batches] == [1, 4, 4, 2]


def test_who_could_not_be_answered_in_time_is_refused_at_once_and_told_when_to_come_again() -> None:
    device = Device()
    with batching(device, lambda _: 1.0, largest=1) as batcher, held(device, batcher):
        kept = [ask(batcher, f"0.{n}", seconds=10.0) for n in range(1, 8)]
        with pytest.raises(OverloadedError) as refused:
            ask(batcher, "0.81", "0.82", "0.83", seconds=5.0)
        assert 0.05 <= refused.value.after_seconds <= 120
        assert batcher.waiting[0] == len(kept)
        device.go.set()
        for one in kept:
            one.done.result(20)


def test_how_sure_it_must_be_and_how_long_who_is_refused_stays_away() -> None:
    device = Device()
    with batching(device, float, clock=lambda: 5.0) as batcher, held(device, batcher):
        ask(batcher, "0.1", seconds=1000)
        wait = batcher.forecast.ahead("", {KIND: 1})
        with pytest.raises(OverloadedError) as soon:
            ask(batcher, "0.3", seconds=(wait - 0.001) / 0.85)
        assert soon.value.after_seconds == 0.05
        ask(batcher, "0.2", seconds=(wait + 0.001) / 0.85)
        ask(batcher, *(f"0.{n}" for n in range(1000, 1400)), seconds=1000)
        with pytest.raises(OverloadedError) as late:
            ask(batcher, "0.3", seconds=5)
        assert late.value.after_seconds == 120


def test_who_is_refused_since_too_much_waits_stays_away_until_half_of_it_is_done() -> None:
    device = Device()
    with batching(device, float, clock=lambda: 5.0, most_parts=3) as batcher, held(device, batcher):
        ask(batcher, "0.1", "0.2", "0.3", seconds=1000)
        with pytest.raises(OverloadedError, match="too much waits") as refused:
            ask(batcher, "0.4", caller="another", seconds=1000)
    assert refused.value.after_seconds == 2.0  # of one that runs and three that wait


def test_who_asks_for_what_another_queued_is_charged_and_for_what_runs_is_not() -> None:
    device = Device()
    with batching(device, float, clock=lambda: 5.0) as batcher, held(device, batcher):
        queued = ask(batcher, "0.1", caller="a", seconds=1000)
        with pytest.raises(OverloadedError):
            ask(batcher, "0.1", caller="b", seconds=1.2)
        running = ask(batcher, "0.9", caller="b", seconds=0.1)
        device.go.set()
        assert [len(one.done.result(20)) for one in (queued, running)] == [1, 1]


def test_a_batch_that_gets_nowhere_is_told_and_so_is_a_look_that_ended() -> None:
    device, now = Device(), [5.0]
    with batching(device, far=True, clock=lambda: now[0]) as batcher:
        with held(device, batcher):
            assert stuck(batcher) == []
            now[0] += 61
            assert stuck(batcher) == ["device"]
            now[0] -= 61
        assert stuck(batcher) == []
        assert batcher._far
        batcher._far.close(20)
        assert stuck(batcher) == ["lookup"]


def test_the_next_batch_begins_before_anybody_is_told_of_the_last_one() -> None:
    device, began = Device(), list[int]()

    def told(_: object) -> None:
        until(lambda: len(device.batches) == 2)
        began.append(len(device.batches))

    with batching(device) as batcher:
        with held(device, batcher):
            (running,) = batcher._waiting.values()
            running.tickets[0].done.add_done_callback(told)
            following = ask(batcher, "0.1")
        assert following.done.result(20)
    assert began == [2]


def test_closing_waits_until_everybody_is_told() -> None:
    device, others = Device(), list[bool]()
    with batching(device, largest=1) as batcher:
        device.go.clear()
        slow, *rest = [ask(batcher, f"0.{n}") for n in range(1, 5)]
        slow.done.add_done_callback(lambda _: time.sleep(0.2))
        device.go.set()
        batcher.close()
        others += [one.done.done() for one in rest]
    assert others == [True] * 3


def test_who_tells_or_looks_up_and_hangs_is_told_and_the_device_that_waits_for_it() -> None:
    device, now, far = Device(), [0.0], Slow()
    with batching(device, far=far, largest=1, clock=lambda: now[0]) as batcher:
        ask(batcher, "0.1", seconds=1000)
        until(lambda: bool(device.batches) and batcher.forecast.drain() == 0)
        time.sleep(0.1)
        now[0] += 61
        assert stuck(batcher) == ["tell"]  # while the device rests, for as long as you like
        for number in range(6):
            ask(batcher, f"0.2{number}", seconds=1000)
        until(lambda: len(device.batches) == 6)  # one is being kept, four wait for that, and one is ready to
        time.sleep(0.1)
        now[0] += 61
        assert stuck(batcher) == ["tell", "device"]
        far.go.set()
        until(lambda: stuck(batcher) == [])
        far.there.clear()
        ask(batcher, "0.3", seconds=1000)
        until(lambda: far.asked)
        now[0] += 61
        assert stuck(batcher) == ["lookup"]
        far.there.set()


def test_a_device_whose_thread_tells_for_too_long_is_told() -> None:
    """Where nothing waits for the device, its own thread tells who waited. That has its own time, whatever the batch took."""
    device, now, go = Device(), [0.0], threading.Event()
    with batching(device, clock=lambda: now[0]) as batcher:
        device.go.clear()
        one = ask(batcher, "0.1", seconds=1000)
        one.done.add_done_callback(lambda _: go.wait(20))
        until(lambda: bool(device.batches))
        now[0] += 40
        device.go.set()
        until(one.done.done)
        now[0] += 50
        assert stuck(batcher) == []
        now[0] += 11
        assert stuck(batcher) == ["device"]
        go.set()
        until(lambda: stuck(batcher) == [])


def test_who_tells_answers_and_ended_is_missed() -> None:
    with batching(Device()) as batcher:
        assert stuck(batcher) == []
        batcher._teller.close(20)
        assert stuck(batcher) == ["tell"]


def test_hits_and_misses_are_counted_once_each() -> None:
    near, far = MemoryCache(10**7), MemoryCache(10**7)
    one = Embedder(FakeEncoder(), TieredCache(near, far))
    batcher = Batcher({"default": one}, costs(lambda _: 0.0), near=near, far=True)
    try:
        Embedder(FakeEncoder(), far).embed([Part.text("0.1")])
        ask(batcher, "0.1", "0.2", "0.3").done.result(20)
        assert (one.stats.hits, one.stats.misses) == (1, 2)
        ask(batcher, "0.2", "0.4").done.result(20)
        assert (one.stats.hits, one.stats.misses) == (2, 3)
    finally:
        batcher.close()


class Sizing(Device):
    """Takes a second of its own clock for every picture, and one for a batch; `sizes` are those of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.sizes = 0.0, list[int]()

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        self.sizes.append(len(images))
        self.now += 1.0 + len(images)
        return super().encode_images(images)


def test_of_large_pictures_a_batch_takes_no_more_than_double_its_time_and_its_usual_cost_stays() -> None:
    device, kind, near = Sizing(), Kind("default", Modality.IMAGE), MemoryCache(10**7)
    known = Costs({one: dict.fromkeys(SIZES, 1.0) for one in (KIND, kind)}, pixel_seconds={kind: 1 / SIDE**2})
    batcher = Batcher({"default": Embedder(device, near)}, known, near=near, clock=lambda: device.now)
    try:
        with held(device, batcher):
            large = [Part.image(png(bytes([n]) * (3 * SIDE**2))) for n in range(6)]
            asked = batcher.ask({"default": large}, seconds=1000)
        assert len(asked.done.result(20)) == 6
    finally:
        batcher.close()
    assert device.sizes == [2, 2, 2]
    assert known.seconds(kind, 1) == pytest.approx(1.0)


def test_who_finds_the_device_idle_is_charged_its_own_parts_only() -> None:
    with batching(Device(), lambda n: 0.1 * n) as batcher:
        assert batcher.forecast.ahead("", {KIND: 1}) == pytest.approx(0.1)
        assert batcher.forecast.ahead("", {KIND: 40}) == pytest.approx(0.1 * (32 + 8))


def test_who_joins_a_queue_is_charged_whole_batches() -> None:
    device = Device()
    with batching(device, lambda n: 0.5 + 0.01 * n) as batcher, held(device, batcher):
        ask(batcher, "0.1")
        wait = batcher.forecast.ahead("", {KIND: 1})
        assert 0.82 <= wait <= 0.82 + 0.51


def test_where_more_in_a_batch_gain_nothing_batches_are_small_and_nobody_is_charged_more() -> None:
    device = Device()
    with batching(device, lambda n: 0.1 * n) as batcher:
        with held(device, batcher):
            waiting = [ask(batcher, f"0.{n}") for n in range(1, 4)]
            assert batcher.forecast.ahead("", {KIND: 1}) <= 0.1 + 0.4 + 0.01
        for one in waiting:
            one.done.result(20)
    assert [len(one) for one in device.batches] == [1, 1, 1, 1]


def test_costs_learn_from_batches_that_ran() -> None:
    known = costs(lambda n: 0.1)
    for _ in range(100):
        known.took(KIND, 4, 0.3)
    assert known.seconds(KIND, 4) == pytest.approx(0.3, rel=0.01)
    assert known.usual(KIND, 4) == pytest.approx(0.1)


def test_a_batch_is_no_larger_than_makes_parts_nearly_as_cheap_as_any() -> None:
    kind = Kind("default", Modality.TEXT)
    table = {size: size * (1.0 if size == 32 else 1.05 if size == 16 else 1.15) for size in SIZES}
    assert Costs({kind: table}).largest(kind) == 16


def test_what_is_encoded_alone_costs_a_batch_of_one_for_each_part() -> None:
    known, alone = costs(lambda n: 1.0 + 0.1 * n), KIND._replace(alone=True)
    assert known.seconds(alone, 5) == pytest.approx(5 * 1.1)
    assert known.seconds(KIND, 5) == pytest.approx(1.8)
    assert (known.largest(alone), known.largest(KIND)) == (1, 32)
    for _ in range(100):
        known.took(alone, 5, 11.0)  # twice as long as it was, and so does all else of the encoder
    assert known.seconds(KIND, 1) == pytest.approx(2.2, rel=0.01)


def test_large_pictures_are_charged_by_their_pixels_and_leave_turns_to_others() -> None:
    device = Device()
    kind = Kind("default", Modality.IMAGE)
    table = {one: {size: 0.01 + 0.001 * size for size in SIZES} for one in (KIND, kind)}
    near = MemoryCache(10**7)
    one = Batcher({"default": Embedder(device, near)}, Costs(table, pixel_seconds={kind: 1e-6}), near=near)
    large = [Part.image(png(bytes([n]) * (3 * SIDE**2))) for n in range(8)]
    try:
        with held(device, one):
            asked = one.ask({"default": large}, caller="large", seconds=30)
            usual = one.forecast.full(kind)
            assert one.forecast.drain() > 8 * SIDE**2 * 1e-6 + usual
            small = ask(one, "0.5", caller="small")
            assert one._queue.held.extra == pytest.approx(8 * SIDE**2 * 1e-6)
        small.done.result(20)
        asked.done.result(20)
        assert one._queue.held.extra == 0
    finally:
        device.go.set()
        one.close()


@pytest.mark.parametrize("bound", [{"most_parts": 3}, {"most_bytes": 9}])
def test_what_waits_is_bounded_in_parts_and_in_bytes(bound: dict[str, int]) -> None:
    device = Device()
    with batching(device, lambda _: 0.0, **bound) as batcher, held(device, batcher):
        for n in range(3):
            ask(batcher, f"0.{n}")
        with pytest.raises(OverloadedError, match="too much waits"):
            ask(batcher, "0.7")


def test_a_caller_with_little_does_not_wait_behind_one_with_much() -> None:
    device = Device()
    with batching(device, lambda _: 0.001, largest=4) as batcher:
        with held(device, batcher):
            much = [ask(batcher, f"0.{n}", caller="much") for n in range(10, 50)]
            little = ask(batcher, "0.001", caller="little")
            assert batcher.forecast.ahead("third", {KIND: 1}) < batcher.forecast.ahead("much", {KIND: 1})
        little.done.result(20)
        for one in much:
            one.done.result(20)
    assert "0.001" in device.batches[1]


def test_weights_are_shares() -> None:
    device = Device()
    with batching(device, lambda _: 0.001, largest=8, weights={"a": 3.0}) as batcher:
        with held(device, batcher):
            tickets = [
                ask(batcher, f"0.{n}", caller=caller)
                for caller, start in (("a", 100), ("b", 200))
                for n in range(start, start + 40)
            ]
        for one in tickets:
            one.done.result(20)
    assert [sum(text.startswith("0.1") for text in batch) for batch in device.batches[1:4]] == [6, 6, 6]


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    device = Device()
    with batching(device) as batcher:
        with held(device, batcher):
            gone, shared = ask(batcher, "0.1", "0.2"), ask(batcher, "0.2", "0.3")
            batcher.leave(gone)
            assert batcher.waiting[0] == 2
        assert len(shared.done.result(20)) == 2
        assert gone.done.cancelled()
        assert (device.batches[1:], batcher.dropped) == ([("0.2", "0.3")], 1)


def test_what_would_come_too_late_is_not_begun() -> None:
    device = Device()
    with batching(device, lambda _: 0.0) as batcher:
        with held(device, batcher):
            late, calm = ask(batcher, "0.1", seconds=0.05), ask(batcher, "0.2")
            time.sleep(0.1)
        calm.done.result(20)
        with pytest.raises(OverloadedError, match="deadline"):
            late.done.result(20)
        assert (device.batches[1:], batcher.dropped) == ([("0.2",)], 1)


def test_an_encoder_that_fails_on_everything_is_told_to_who_waits_and_the_next_batch_is_tried() -> None:
    class Moody(FakeEncoder):
        broken = True

        def encode_text(self, texts: Sequence[str]) -> Encoded:
            if self.broken:
                raise RuntimeError("device-side assert")
            return super().encode_text(texts)

    device = Moody()
    with batching(device) as batcher:
        assert batcher.state == "working"
        with pytest.raises(EncoderError, match="fails on everything"):
            ask(batcher, "0.1").done.result(20)
        assert batcher.state == "broken"
        device.broken = False
        assert len(ask(batcher, "0.1").done.result(20)) == 1
        assert batcher.state == "working"


def test_the_bytes_that_wait_are_those_of_contents() -> None:
    device = Device()
    with batching(device) as batcher, held(device, batcher):
        for text in ("0.1", "0.123", "0.1"):
            ask(batcher, text)
        assert batcher.waiting == (2, 8)


def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    device = Device()
    with batching(device) as batcher:
        device.go.clear()
        ask(batcher, "0.9")
        until(lambda: len(device.batches) > 0)
        waiting = ask(batcher, "0.1")
        closing = threading.Thread(target=batcher.close, daemon=True)
        closing.start()
        until(lambda: batcher._closed)
        with pytest.raises(OverloadedError, match="shutting down"):
            ask(batcher, "0.2")
        device.go.set()
        closing.join(20)
        assert waiting.done.result(20)


def test_no_wait_is_added_where_the_device_is_idle() -> None:
    """A law of structure, no measure of time: nothing in it sleeps, and a lone part is a batch at once."""
    device = Device()
    with batching(device) as batcher:
        for n in range(5):
            ask(batcher, f"0.{n}").done.result(20)
    assert device.batches == [(f"0.{n}",) for n in range(5)]


def test_many_threads_and_cancels_leave_nothing_behind() -> None:
    device = Device(lambda n: 0.0002 * n)
    answered = np.zeros(4, int)
    with batching(device, lambda _: 0.001, far=True) as batcher:

        def work(number: int) -> None:
            for n in range(60):
                one = ask(batcher, f"0.{number}{n}", f"0.{n}", caller=str(number % 2), seconds=60)
                if n % 7 == 3:
                    batcher.leave(one)
                else:
                    assert len(one.done.result(30)) == 2
                    answered[number] += 1

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answered.tolist() == [sum(n % 7 != 3 for n in range(60))] * 4
        until(lambda: batcher.waiting == (0, 0) and not batcher._waiting)


def test_kinds_that_a_caller_mixes_still_share_batches() -> None:
    device = Device()
    with batching(device) as batcher:
        with held(device, batcher):
            tickets = [
                batcher.ask({"default": [Part.text(f"0.{n}"), Part.image(f"0.{n}".encode())]}, seconds=10)
                for n in range(10, 40)
            ]
        for one in tickets:
            assert len(one.done.result(20)) == 2
        assert batcher.batches == 3


@pytest.mark.parametrize("far", [False, True])
def test_what_the_encoder_has_no_tower_for_is_that_parts_error_and_nobody_hangs(*, far: bool) -> None:
    with batching(FakeEncoder(modalities=("text",)), far=far) as batcher:
        found = batcher.ask(
            {"default": [Part.image(b"0.5"), Part.video(b"x"), Part.text("0.5")]}, seconds=10
        ).done.result(20)
        assert [one.error.reason if one.error else "" for one in found.values()] == [
            "unsupported_modality",
            "unsupported_input",
            "",
        ]
        assert stuck(batcher) == []


def test_a_far_cache_that_breaks_fails_who_asked_and_is_asked_again() -> None:
    device = Device()
    with batching(device, far=True) as batcher:
        embedder, broken = batcher.embedders["default"], [True]
        look_up = embedder.look_up

        def breaking(keys: Sequence[str], cache: object) -> object:
            if broken[0] and cache is embedder.cache:
                raise RuntimeError("a value that nobody foresaw")
            return look_up(keys, cache)  # type: ignore[arg-type]

        embedder.look_up = breaking  # type: ignore[method-assign, assignment]
        with pytest.raises(RuntimeError):
            ask(batcher, "0.1").done.result(20)
        broken[0] = False
        assert len(ask(batcher, "0.1").done.result(20)) == 1


def test_who_is_refused_after_a_look_into_the_far_cache_leaves_nothing_of_any_kind_behind() -> None:
    device = Device()
    with batching(device, far=True, most_parts=1) as batcher:
        with held(device, batcher):
            ticket = batcher.ask({"default": [Part.text("0.1"), Part.image(b"0.2")]}, seconds=10)
            with pytest.raises(OverloadedError, match="too much waits"):
                ticket.done.result(20)
            time.sleep(0.1)
        ask(batcher, "0.3").done.result(20)
        assert (batcher.encoded, batcher.dropped) == (2, 1)


def test_who_left_while_the_far_cache_was_asked_is_not_encoded_for() -> None:
    device = Device()
    with batching(device, far=True) as batcher:
        embedder, go = batcher.embedders["default"], threading.Event()
        look_up = embedder.look_up

        def slowly(keys: Sequence[str], cache: object) -> object:
            assert cache is not embedder.cache or go.wait(20)
            return look_up(keys, cache)  # type: ignore[arg-type]

        embedder.look_up = slowly  # type: ignore[method-assign, assignment]
        batcher.leave(ask(batcher, "0.1"))
        go.set()
        assert len(ask(batcher, "0.2").done.result(20)) == 1  # looked up after the other
    assert device.batches == [("0.2",)]


def test_who_waits_for_what_another_queued_does_not_wait_as_long_as_that_one() -> None:
    device = Device()
    with batching(device, lambda _: 0.001, largest=4) as batcher:
        with held(device, batcher):
            bulk = [ask(batcher, f"0.{n}", caller="bulk") for n in range(100, 160)]
            shop = ask(batcher, "0.159", caller="shop")
        shop.done.result(20)
        for one in bulk:
            one.done.result(20)
    assert "0.159" in device.batches[1]


def test_a_deadline_is_ones_own_though_another_waits_longer_for_the_same() -> None:
    device = Device()
    with batching(device, lambda _: 0.0) as batcher:
        with held(device, batcher):
            calm, hasty = ask(batcher, "0.1", seconds=30), ask(batcher, "0.1", seconds=0.05)
            time.sleep(0.1)
        assert len(calm.done.result(20)) == 1
        with pytest.raises(OverloadedError, match="deadline"):
            hasty.done.result(20)


def test_what_cannot_be_held_or_done_at_all_is_no_matter_of_coming_again() -> None:
    with batching(Device(), lambda _: 1.0, most_parts=3) as batcher:
        for texts, seconds in ((("0.1",), 0.5), (("0.1", "0.2", "0.3", "0.4"), 100.0)):
            with pytest.raises(ItemError, match="too_much"):
                ask(batcher, *texts, seconds=seconds)


def test_weights_hold_for_callers_whose_lines_run_empty() -> None:
    """One at a time each, so that a line is empty whenever its caller is served: the heavy one still gets its share."""
    device = Device(lambda _: 0.002)
    counts = {"heavy": 0, "light": 0}
    with batching(device, lambda _: 0.002, largest=1, weights={"light": 0.1}) as batcher:
        end = time.monotonic() + 1.0

        def work(caller: str, number: int) -> None:
            n = 0
            while time.monotonic() < end:
                n += 1
                ask(batcher, f"0.{number}{n}", caller=caller, seconds=60).done.result(20)
                counts[caller] += 1

        threads = [
            threading.Thread(target=work, args=(caller, 10 + 10 * turn + (caller == "light")), daemon=True)
            for caller in counts
            for turn in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts["heavy"] > 2 * counts["light"]


def test_what_left_leaves_no_content_behind() -> None:
    device = Device()
    with batching(device) as batcher, held(device, batcher):
        for n in range(20):
            batcher.leave(ask(batcher, f"0.{n}", caller=str(n)))
        assert (batcher.waiting, batcher._queue._lines) == ((0, 0), {})


def test_closing_does_not_wait_for_ever_while_the_far_cache_is_asked_and_leaves_nobody_who_then_wants_the_device() -> (
    None
):
    class Slow(MemoryCache):
        def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
            time.sleep(0.2)
            return super().get_many(keys)

    device = Device()
    one = Batcher(
        {"default": Embedder(device, TieredCache(MemoryCache(10**6), Slow(10**6)))},
        costs(lambda _: 0.0),
        near=MemoryCache(10**6),
        far=True,
    )
    ticket = ask(one, "0.1")
    closing = threading.Thread(target=one.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert ticket.done.result(20)


def test_it_is_not_told_broken_for_ever() -> None:
    now = [1000.0]
    with batching(Device(), clock=lambda: now[0]) as batcher:
        batcher._broken = now[0]
        assert batcher.state == "broken"
        now[0] += 11
        assert batcher.state == "working"


class Seeing(Device):
    """Tells what it was asked to begin with, and when it ran it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, bytes]] = []

    def prepare_images(self, images: Sequence[bytes]) -> None:
        self.told += [("prepare", one) for one in images]

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        self.told += [("encode", one) for one in images]
        return super().encode_images(images)


def test_pictures_are_begun_while_the_device_is_at_another_batch() -> None:
    """Those that wait, and those that come; in the order of their turn, each before it is encoded."""
    device = Seeing()
    pictures = [b"0.%d" % n for n in range(1, 6)]
    with batching(device, largest=2) as batcher:
        with held(device, batcher):
            for one in pictures:
                batcher.ask({"default": [Part.image(one)]}, seconds=10)
            # A batch's worth as they come; the others when their turn is near.
            assert device.told == [("prepare", one) for one in pictures[:2]]
        until(lambda: sum(what == "encode" for what, _ in device.told) == 5)
    for one in pictures:
        assert device.told.index(("prepare", one)) < device.told.index(("encode", one))
    for first, second in zip(pictures[:3], pictures[2:], strict=True):
        began = device.told.index(("encode", first))
        assert ("prepare", second) in device.told[:began], "the next batch's are begun before this one runs"


def test_an_encoder_that_fails_to_begin_is_asked_all_the_same() -> None:
    class Failing(Seeing):
        def prepare_images(self, images: Sequence[bytes]) -> None:
            raise OSError

    with batching(Failing()) as batcher:
        found = batcher.ask({"default": [Part.image(b"0.5")]}, seconds=10).done.result(20)
    assert [one.error for one in found.values()] == [None]


def measured(*seconds: float) -> tuple[float, int]:
    """What is thought of a size whose rounds take these seconds, and how many of them were run."""
    now, rounds = [0.0], iter(seconds)

    def run(parts: int) -> None:
        now[0] += next(rounds) if parts == 1 else 9.0

    found = measure(run, clock=lambda: now[0])[1]
    return pytest.approx(found), len(seconds) - len(list(rounds))


def test_a_size_is_timed_until_two_rounds_agree_and_else_by_the_median_after_the_first() -> None:
    assert measured(1.0, 1.05, 9.0, 9.0) == (1.05, 2)
    assert measured(9.0, 1.0, 1.0, 7.0) == (1.0, 3)
    assert measured(9.0, 1.0, 3.0, 2.0, 8.0) == (2.0, 4)
    assert measured(1.0, 9.0, 3.0, 5.0, 8.0) == (5.0, 4)


def test_a_size_that_was_timed_on_a_busy_machine_is_thought_to_take_no_longer_than_a_larger_one() -> None:
    now = [0.0]

    def run(parts: int) -> None:
        now[0] += {1: 40.0, 8: 2.0, 16: 9.0}.get(parts, parts / 4)

    assert measure(run, clock=lambda: now[0]) == {1: 0.5, 2: 0.5, 4: 1.0, 8: 2.0, 16: 8.0, 32: 8.0}


def test_who_leaves_while_a_batch_is_handed_out_takes_no_answer_from_others() -> None:
    device = Device()
    with batching(device) as batcher:
        with held(device, batcher):
            first, *others = (ask(batcher, "0.5", caller=caller) for caller in "abc")

            def leave(_: object) -> None:
                leaving = threading.Thread(target=batcher.leave, args=(first,), daemon=True)
                leaving.start()
                leaving.join()

            first.done.add_done_callback(leave)
        assert [len(one.done.result(20)) for one in others] == [1, 1]


def test_two_names_of_one_encoder_are_each_answered() -> None:
    """They keep vectors under one key, since their fingerprints are one."""
    device, near = Device(), MemoryCache(10**7)
    embedders = {name: Embedder(device, near) for name in ("default", "alias")}
    rows = {Kind(name, Modality.TEXT): dict.fromkeys(SIZES, 0.01) for name in embedders}
    one = Batcher(embedders, Costs(rows), near=near)
    try:
        with held(device, one):
            both = one.ask({name: [Part.text("0.5")] for name in embedders}, seconds=10)
            later = one.ask({"alias": [Part.text("0.5")]}, seconds=10)
        assert {name for name, *_ in both.done.result(20)} == {"default", "alias"}
        assert {name for name, *_ in later.done.result(20)} == {"alias"}
    finally:
        device.go.set()
        one.close()


def test_large_pictures_that_take_less_than_charged_make_small_ones_no_cheaper() -> None:
    """They are decoded ahead and side by side: the device sees little of what their pixels cost alone."""
    kind = Kind("default", Modality.IMAGE)
    known = Costs({kind: {size: 0.04 + 0.01 * size for size in SIZES}}, pixel_seconds={kind: 1 / SIDE**2})
    large = Part.image(png(bytes(3 * SIDE**2)))
    for _ in range(100):
        known.took(kind, 4, known.seconds(kind, 4) + 0.3, extra=4 * known.added(kind, large))
    assert known.seconds(kind, 32) == pytest.approx(0.36)
    assert known.added(kind, large) == pytest.approx(0.25)  # the least that is believed
    for _ in range(100):
        known.took(kind, 4, known.seconds(kind, 4) + 2.0, extra=4 * known.added(kind, large))
    assert known.added(kind, large) == pytest.approx(0.5, rel=0.01)
    assert known.added(kind, Part.image(b"no picture")) == 0.0
    for _ in range(100):
        known.took(kind, 4, 0.16, extra=0.01)
    assert known.seconds(kind, 4) == pytest.approx(0.15, rel=0.02)


def test_what_was_answered_is_let_go_of_at_once() -> None:
    """A part and who waits for it hold each other while it waits; what holds each other is found by the collector alone, and it stops all threads."""
    with batching(Device()) as batcher:
        ticket = ask(batcher, "0.1", "0.2")
        ticket.done.result(20)
        until(lambda: not batcher._waiting)
        assert [one.tickets for one in ticket.waits] == [[], []]


class Slow(MemoryCache):
    """Keeps nothing before it is let go on, and, if it is not to be `there`, tells nothing; `asked` is whether it was then."""

    def __init__(self) -> None:
        super().__init__(10**7)
        self.go, self.there, self.asked = threading.Event(), threading.Event(), False
        self.there.set()

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked = not self.there.is_set()
        assert self.there.wait(20)
        return super().get_many(keys)

    def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
        assert self.go.wait(20)
        return super().put_many(values)


def test_the_device_does_not_wait_for_a_far_cache_to_keep_what_it_made_and_makes_it_once() -> None:
    device, far = Device(), Slow()
    with batching(device, far=far) as batcher:
        first = ask(batcher, "0.1")
        until(lambda: len(device.batches) == 1)
        again, other = ask(batcher, "0.1"), ask(batcher, "0.2")
        until(lambda: len(device.batches) == 2)
        assert not first.done.done()  # its vector is another worker's, where that one was first
        far.go.set()
        assert [len(one.done.result(20)) for one in (first, again, other)] == [1, 1, 1]
        assert device.batches == [("0.1",), ("0.2",)]
        assert not batcher._waiting


def test_a_far_cache_that_is_slower_than_the_device_slows_it_down() -> None:
    device, far = Device(), Slow()
    with batching(device, far=far, largest=1) as batcher:
        tickets = [ask(batcher, f"0.{n}") for n in range(10, 30)]
        until(lambda: len(device.batches) == 6)  # one is being kept, four wait for that, and one is ready to
        time.sleep(0.1)
        assert len(device.batches) == 6
        far.go.set()
        for one in tickets:
            one.done.result(20)


def test_who_waits_is_told_where_what_was_made_cannot_be_kept() -> None:
    device = Device()
    with batching(device, far=True) as batcher:
        embedder = batcher.embedders["default"]
        remember, broken = embedder.remember, [True]

        def breaking(made: Encoding) -> Mapping[str, Vectors]:
            if broken[0]:
                raise RuntimeError("a value that nobody foresaw")
            return remember(made)

        embedder.remember = breaking  # type: ignore[method-assign]
        with pytest.raises(EncoderError, match="RuntimeError"):
            ask(batcher, "0.1").done.result(20)
        broken[0] = False
        assert len(ask(batcher, "0.1").done.result(20)) == 1
        assert stuck(batcher) == []


def test_one_of_several_callers_leaves_room_for_the_others_whatever_its_deadlines() -> None:
    device = Device()
    with batching(device, most_parts=100, weights={"bulk": 1.0, "shop": 1.0}) as batcher, held(device, batcher):
        for number in range(80):
            ask(batcher, f"0.{100 + number}", caller="bulk", seconds=600)
        with pytest.raises(OverloadedError, match="too much waits"):
            ask(batcher, "0.3", caller="bulk", seconds=600)
        ask(batcher, "0.2", caller="shop")


def test_what_was_dropped_as_too_late_counts_for_nobody() -> None:
    device, now = Device(), [0.0]
    with batching(device, lambda _: 1.0, largest=1, clock=lambda: now[0]) as batcher:
        with held(device, batcher):
            late = [ask(batcher, f"0.{n}", caller="first", seconds=50) for n in range(10, 14)]
            now[0] = 51.0
            kept = ask(batcher, "0.2", caller="first", seconds=500)
            other = [ask(batcher, f"0.{n}", caller="second", seconds=500) for n in range(30, 33)]
        for one in (kept, *other):
            one.done.result(20)
        assert all(isinstance(one.done.exception(), OverloadedError) for one in late)
    assert device.batches.index(("0.2",)) <= 2  # behind one of the other's at most
