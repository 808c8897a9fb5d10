"""Before the server is there, its encoders are tried: a broken one never gets ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation import assemble_serve
from moderation.encoder.base import Encoded
from moderation.errors import EncoderError
from moderation.item import Modality
from moderation.plugin.brought import Plugins
from moderation.policy.lock import lock_path, write_lock
from moderation.settings import EncoderSettings, Settings
from tests.fakes import FakeEncoder, lock, plugins_with


class Broken(FakeEncoder):
    """Does to every vector what a test says."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], modality: str) -> None:
        super().__init__()
        self._change, self._modality = change, modality

    def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
        sound = super()._encode(contents, pictures=pictures)
        broken = pictures == (self._modality == "image")
        return Encoded(self._change(sound.vectors), sound.errors) if broken else sound


def serve(encoder: FakeEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    known = Plugins((), plugins_with().detectors, {"fake": lambda _: encoder})
    monkeypatch.setattr(assemble_serve, "plugins", lambda _: known)
    write_lock(lock(modalities=(Modality.IMAGE, Modality.TEXT)), lock_path(folder, "weapons"))
    settings = Settings.model_validate(
        {"encoders": {"default": EncoderSettings(loader="fake")}, "serve": {"locks": ("weapons.lock.json",)}}
    )
    with assemble_serve.server(settings, folder=folder):
        return True


def test_a_sound_encoder_gets_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve(FakeEncoder(), tmp_path, monkeypatch)


def turned(vectors: np.ndarray) -> np.ndarray:
    """Finite, of length 1, and of something else: what a wrong kernel or wrong weights give."""
    return np.roll(vectors, 1, axis=1)


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turned, "fails its self-test: .* golden vector"),
        (lambda vectors: vectors * np.float16(0.5), "golden vector|expected width 8, length 1"),
        (lambda vectors: vectors * np.float16(np.nan), "not finite"),
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
