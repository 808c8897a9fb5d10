"""New builds while the server answers: taken for every key, each with its own policies, and refused where the server could not answer by them."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble_serve
from moderation.plugin.brought import Plugins
from moderation.policy.lock import lock_path, write_lock
from moderation.settings import EncoderSettings, Settings
from tests.fakes import FakeEncoder, FakeReader, lock, plugins_with
from tests.integration.test_serve import ask
from tests.served import BOTH, Place, listening
from tests.unit.server.test_batcher import until

KEYS = {"shop": {"policies": ("weapons",)}, "all": {}}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of two policies, with two keys."""
    keys = {name: {**one, "sha256": hashlib.sha256(name.encode()).hexdigest()} for name, one in KEYS.items()}
    with started(tmp_path, monkeypatch, keys=keys) as address:
        yield address


@contextmanager
def started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reader: FakeReader | None = None, **more: Any
) -> Iterator[str]:
    """A server of two policies; of two encoders in the settings the locks need one. A fault of the reader is one too many."""
    readers = {reader.id: reader} if reader else {}
    known = Plugins((), plugins_with().detectors, {"fake": lambda _: FakeEncoder()}, readers=readers)
    monkeypatch.setattr(assemble_serve, "plugins", lambda _: known)
    for policy in ("weapons", "drugs"):
        write_lock(lock(policy, modalities=BOTH), lock_path(tmp_path, policy))
    own = {"locks": ("weapons.lock.json", "drugs.lock.json"), "port": 0, "reload_seconds": 0.05, **more}
    encoders = {name: EncoderSettings(loader="fake") for name in ("default", "other")}
    once = {"use": tuple(readers), "faults_before_quarantine": 1, "quarantine_seconds": 600}
    settings = Settings.model_validate({"encoders": encoders, "serve": own, "readers": once})
    assert settings.serve
    with assemble_serve.server(settings, folder=tmp_path) as app, listening(app, settings.serve) as address:
        yield address


def versions(url: str, key: str) -> dict[str, Any]:
    """The versions of the policies that decide for a key, as it is told and as decisions say."""
    place = Place(url, None, None, None)  # type: ignore[arg-type]
    told = {one["id"]: one["version"] for one in ask(place, "/v1/policies", key=key)[2]["data"]}
    status, _, answer = ask(place, "/v1/decisions", {"items": [{"text": "0.95"}]}, key=key)
    assert status == 200, answer
    decided = {one["policy"]: one["version"] for one in answer["decisions"][0]["verdicts"]}
    return told if told == decided else {"told": told, "decided": decided}


def test_a_new_build_is_taken_for_every_key_and_each_keeps_its_policies(url: str, tmp_path: Path) -> None:
    assert versions(url, "shop") == {"weapons": "1.0.0"}
    write_lock(lock("weapons", version="2.0.0", modalities=BOTH), lock_path(tmp_path, "weapons"))
    until(lambda: versions(url, "shop") == {"weapons": "2.0.0"})
    until(lambda: versions(url, "all") == {"weapons": "2.0.0", "drugs": "1.0.0"})


def test_a_build_on_an_encoder_that_was_not_there_at_the_start_is_refused(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        changed = lock("weapons", version="2.0.0", encoder="other", modalities=BOTH)
        write_lock(changed, lock_path(tmp_path, "weapons"))
        until(lambda: "encoder 'other', which was not there at the start; start the server again" in caplog.text)
    assert versions(url, "all") == {"weapons": "1.0.0", "drugs": "1.0.0"}


def test_a_build_without_a_policy_that_a_key_is_bound_to_is_refused(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else that key would be told that nothing is wrong with anything."""
    with caplog.at_level(logging.ERROR):
        write_lock(lock("arms", modalities=BOTH), lock_path(tmp_path, "weapons"))
        until(lambda: "serve.keys.shop: unknown policy 'weapons'; expected one of arms, drugs" in caplog.text)
    assert versions(url, "shop") == {"weapons": "1.0.0"}


def test_categories_stand_without_any_key_at_the_start_and_for_a_new_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, monkeypatch, categories={"weapons": ("violence",)}) as url:
        assert versions(url, "") == {"weapons": "1.0.0", "drugs": "1.0.0"}
        write_lock(lock("weapons", version="2.0.0", modalities=BOTH), lock_path(tmp_path, "weapons"))
        until(lambda: versions(url, "") == {"weapons": "2.0.0", "drugs": "1.0.0"})


def test_what_is_known_of_a_plugin_that_failed_outlives_a_new_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every new build lets it fail again, and takes what its counters told."""
    reader = FakeReader(answer=lambda _: 1 / 0)
    picture = {"items": [{"image": base64.b64encode(b"0.95").decode()}]}
    with started(tmp_path, monkeypatch, reader=reader) as url:
        place = Place(url, None, None, None)  # type: ignore[arg-type]
        for version in ("1.0.0", "2.0.0"):
            write_lock(lock("weapons", version=version, modalities=BOTH), lock_path(tmp_path, "weapons"))
            until(lambda expected=version: versions(url, "")["weapons"] == expected)  # type: ignore[misc]
            assert ask(place, "/v1/decisions", picture)[0] == 200
            assert 'moderation_reader_quarantined{reader="ocr"} 1.0' in ask(place, "/metrics")[2].decode()
            assert len(reader.batches) == 1
