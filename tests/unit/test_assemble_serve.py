"""Before the server is there, its encoders are tried: a broken one never gets ready."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation import assemble_serve
from moderation.encoder.base import Encoded
from moderation.errors import EncoderError
from moderation.item import Modality, Part
from moderation.plugin.brought import Plugins
from moderation.policy.lock import lock_path, write_lock
from moderation.rollout.selftest import check_golden
from moderation.server.batcher import Batcher
from moderation.server.costs import Kind
from moderation.server.service import THREADS, Service
from moderation.settings import EncoderSettings, ImageLimits, Settings
from tests.fakes import FakeEncoder, FakeReader, golden, lock, plugins_with


class Broken(FakeEncoder):
    """Does to every vector what a test says."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], modality: str) -> None:
        super().__init__()
        self._change, self._modality = change, modality

    def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
        sound = super()._encode(contents, pictures=pictures)
        broken = pictures == (self._modality == "image")
        return Encoded(self._change(sound.vectors), sound.errors) if broken else sound


def serve(
    encoder: FakeEncoder,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    brought: Sequence[FakeReader] = (),
    **more: Any,
) -> bool:
    readers = {one.id: one for one in brought}
    known = Plugins((), plugins_with().detectors, {"fake": lambda _: encoder}, readers=readers)
    monkeypatch.setattr(assemble_serve, "plugins", lambda _: known)
    write_lock(lock(modalities=(Modality.IMAGE, Modality.TEXT)), lock_path(folder, "weapons"))
    own = {"serve": {"locks": ("weapons.lock.json",)}, **more}
    settings = Settings.model_validate({"encoders": {"default": EncoderSettings(loader="fake")}, **own})
    with assemble_serve.server(settings, folder=folder):
        return True


def test_a_sound_encoder_gets_ready_and_how_long_that_took_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert serve(FakeEncoder(), tmp_path, monkeypatch)
    (told,) = [vars(one)["told"] for one in caplog.records if one.getMessage() == "encoders are there"]
    assert list(told) == ["load_seconds", "try_seconds", "time_seconds"]
    assert all(0 <= float(one) < 20 for one in told.values())


def turned(vectors: np.ndarray) -> np.ndarray:
    """Finite, of length 1, and of something else: what a wrong kernel or wrong weights give."""
    return np.roll(vectors, 1, axis=1)


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turned, "fails its self-test: .* golden vector"),
        (lambda vectors: vectors * np.float16(0.5), "golden vector|expected width 8, length 1|made content"),
        (lambda vectors: vectors * np.float16(np.nan), "golden vector|expected width 8, length 1|made content"),
    ],
)
def test_a_broken_encoder_never_gets_ready(
    modality: str, change: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match=said):
        serve(Broken(change, modality), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "change", [lambda vectors: vectors[:, :4], lambda vectors: vectors * np.float16(0.5)], ids=["width", "length"]
)
def test_what_no_lock_asks_of_is_tried_too(change: Any) -> None:
    """An encoder that only gives its vectors away has no golden ones."""
    with pytest.raises(EncoderError, match="unsound vectors"):
        list(assemble_serve._timed("other", Broken(change, "text")))


def test_what_waits_is_bounded_and_shared_as_the_settings_say_and_what_is_remembered_elsewhere_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Told(Batcher):
        def __init__(self, embedders: Any, costs: Any, **more: Any) -> None:
            made.append({"embedders": embedders, **more})
            super().__init__(embedders, costs, **more)

    monkeypatch.setattr(assemble_serve, "Batcher", Told)
    keys = {
        name: {"sha256": digit * 64, "weight": weight} for name, digit, weight in (("a", "1", 2.0), ("b", "2", 1.0))
    }
    own = {"locks": ("weapons.lock.json",), "keys": keys, "queue_bytes": 12_345}
    assert serve(FakeEncoder(), tmp_path, monkeypatch, serve=own)
    redis = {"redis": {"url": "redis://127.0.0.1:9/0"}}
    assert serve(FakeEncoder(), tmp_path, monkeypatch, serve=own, cache=redis)
    alone, shared = made
    assert (alone["weights"], alone["most_bytes"]) == ({"a": 2.0, "b": 1.0}, 12_345)
    caches = [one["embedders"]["default"].cache for one in made]
    assert (alone["far"], alone["near"]) == (False, caches[0])
    assert (shared["far"], shared["near"]) == (True, caches[1].near)


def test_who_reads_and_decides_may_be_at_it_for_as_long_as_plugins_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Service] = []

    class Told(Service):
        def close(self) -> None:
            made.append(self)
            super().close()

    monkeypatch.setattr(assemble_serve, "Service", Told)
    several = [FakeReader(name) for name in ("frames", "ocr", "speech")]
    for brought, read in (([], 7.0), (several, 3 * 7.0)):  # one may be shown what another derived, in a wave of its own
        use = tuple(one.id for one in brought)
        limits = {"readers": {"timeout_seconds": 7.0, "use": use}, "detectors": {"timeout_seconds": 3.0}}
        assert serve(FakeEncoder(), tmp_path, monkeypatch, brought=brought, **limits)
        seconds = {one.name: one._seconds for one in made.pop()._threads}
        assert seconds == {"read": read, "decide": 2 * 2 * THREADS * 3.0}


def test_a_picture_that_will_be_refused_for_its_pixels_is_charged_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a few bytes that say that they are a huge picture have all that was asked with them refused as too much."""
    monkeypatch.setattr(assemble_serve, "_pixel_seconds", lambda *_, **__: 1e-6)
    known = assemble_serve._costs({"default": FakeEncoder()}, ImageLimits(max_pixels=1_000_000))
    kind = Kind("default", Modality.IMAGE)
    sizes = (1000, 1000), (1000, 1001), (60_000, 60_000)
    headers = [b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", *size) for size in sizes]
    assert [known.added(kind, Part.image(one)) for one in headers] == [pytest.approx(1.0), 0.0, 0.0]


def test_golden_pictures_are_encoded_once_however_many_locks_there_are() -> None:
    encoder, locks = FakeEncoder(), [lock(one) for one in ("weapons", "drugs", "fire")]
    check_golden(locks, encoder)
    pictures = sum(one.startswith("\x89PNG") for one in encoder.encoded)
    assert pictures == 8 + 32  # each alone, and a full batch
    other = replace(locks[2], arrays={**locks[2].arrays, "golden_pictures": -golden()})
    with pytest.raises(EncoderError, match="golden vector"):
        check_golden([*locks[:2], other], encoder)


@pytest.mark.parametrize("worker", [False, True])
def test_what_is_set_about_fetching_is_told_to_be_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, worker: bool
) -> None:
    more: dict[str, Any] = {"fetch": {"https": {"hosts": ("cdn.example.com",)}}}
    if worker:  # then it is the worker's
        kafka = {"bootstrap": ("127.0.0.1:9",)}
        more["stream"] = {"inputs": ("items",), "group": "g", "slot": "w-0", "kafka": kafka}
        more["worker"] = {"locks": ("weapons.lock.json",), "decisions": "d", "review": {"topic": "r"}}
    assert serve(FakeEncoder(), tmp_path, monkeypatch, **more)
    assert ("a server fetches nothing" in caplog.text) is not worker
