"""The gallery's script, as a module; and encoders and vectors that the tests of what is shipped have in common."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from moderation import assemble
from moderation.embedding.cache import EmbeddingCache
from moderation.encoder.base import Encoder
from moderation.plugin.brought import Plugins
from moderation.settings import Settings
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def gallery() -> ModuleType:
    """examples/gallery.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        return importlib.import_module("gallery")


class Kept:
    """What `assemble` makes of the same settings, made once: each command would load the encoder and encode the same pictures anew."""

    def __init__(self) -> None:
        self._encoders: dict[str, Encoder] = {}
        self._caches: dict[str, EmbeddingCache] = {}
        self._load, self._cache = assemble.encoder, assemble.embedding_cache

    def encoder(self, settings: Settings, name: str = "default", *, known: Plugins | None = None) -> Encoder:
        wanted = f"{settings.encoders[name]!r} {settings.images!r}"
        if wanted not in self._encoders:
            self._encoders[wanted] = self._load(settings, name, known=known)
        return self._encoders[wanted]

    def embedding_cache(self, settings: Settings) -> EmbeddingCache:
        return self._caches.setdefault(repr(settings.cache), self._cache(settings))


@pytest.fixture(scope="session")
def kept() -> Kept:
    return Kept()


@pytest.fixture
def encoded_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process share encoders, and vectors by their content."""
    monkeypatch.setattr(assemble, "encoder", kept.encoder)
    monkeypatch.setattr(assemble, "embedding_cache", kept.embedding_cache)
