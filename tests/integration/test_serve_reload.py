"""New builds while the server answers: taken for every key, each with its own policies, and refused where the server could not answer by them."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble_serve
from moderation.errors import SettingsError
from moderation.plugin.brought import Plugins
from moderation.policy.lock import lock_path, write_lock
from moderation.sections import KeySettings
from moderation.server.batcher import Batcher
from moderation.server.errors import ApiError
from moderation.server.in_force import InForce, Standing, keys_of
from moderation.server.watched import STALLED, Watched
from moderation.settings import EncoderSettings, Settings, load_settings
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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reader: FakeReader | None = None,
    file: Path | None = None,
    **more: Any,
) -> Iterator[str]:
    """A server of two policies; of two encoders in the settings the locks need one. A fault of the reader is one too many. Keys are taken anew from `file`."""
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
    with assemble_serve.server(settings, folder=tmp_path, file=file) as app, listening(app, settings.serve) as address:
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


def test_a_server_of_true_settings_tells_of_threads_that_get_nowhere(url: str) -> None:
    place = Place(url, None, None, None)  # type: ignore[arg-type]
    (read,) = [one for one in threading.enumerate() if isinstance(one, Watched) and one.name == "read"]
    for seconds, stuck in ((0.0, 0), (-STALLED - 1, 1)):
        read.begins(seconds)
        assert f"moderation_stuck_threads {stuck}.0" in ask(place, "/metrics")[2].decode()
    read.rests()


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
            until(lambda expected=version: versions(url, "").get("weapons") == expected)  # type: ignore[misc]
            assert ask(place, "/v1/decisions", picture)[0] == 200
            assert 'moderation_reader_quarantined{reader="ocr"} 1.0' in ask(place, "/metrics")[2].decode()
            assert len(reader.batches) == 1


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """A settings file whose keys change while a server runs, and that server; each key is its caller's name, unless another one is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.file, self.url = folder, folder / "serve.toml", ""
        self._monkeypatch = monkeypatch

    def write(self, *lines: str, **keys: Mapping[str, Any]) -> None:
        """By a rename, as editors do, so that no half of it is read."""
        told = ["[serve]", 'locks = ["weapons.lock.json"]', *lines]
        for name, one in keys.items():
            told += [f"[serve.keys.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in one.items())]
        new = self.file.with_suffix(".new")
        new.write_text("\n".join(told), encoding="utf-8")
        new.replace(self.file)

    @contextmanager
    def served(self, **keys: Mapping[str, Any]) -> Iterator[None]:
        self.write(**keys)
        with started(self.folder, self._monkeypatch, keys=keys, file=self.file) as self.url:
            yield

    def status(self, key: str, path: str = "/v1/decisions") -> int:
        body = {"items": [{"text": "0.95"}]} if path == "/v1/decisions" else None
        return ask(Place(self.url, None, None, None), path, body, key=key)[0]  # type: ignore[arg-type]

    def refused(self) -> bool:
        told = ask(Place(self.url, None, None, None), "/metrics")[2].decode()  # type: ignore[arg-type]
        return 'moderation_reloads_total{result="refused"}' in told and '{result="refused"} 0.0' not in told


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    return Keys(tmp_path, monkeypatch)


SHOP, CHAT, ALL = ({"sha256": digest(name)} for name in ("shop", "chat", "all"))


def batchers(monkeypatch: pytest.MonkeyPatch) -> list[Batcher]:
    """Those of servers that start from now on."""
    made = list[Batcher]()

    class Told(Batcher):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(assemble_serve, "Batcher", Told)
    return made


def test_a_door_that_was_open_is_shut_by_the_first_key_whose_weight_counts(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = batchers(monkeypatch)
    with keys.served():
        assert keys.status("") == 200
        keys.write(shop={**SHOP, "weight": 3.0})
        until(lambda: keys.status("") == 401)
        assert keys.status("shop") == 200
        assert made[0]._queue.weight("shop") == 3.0


def test_a_key_that_leaks_is_taken_away_and_a_new_one_counts_while_others_never_notice(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = batchers(monkeypatch)
    with keys.served(shop=SHOP, all=ALL):
        assert [keys.status(one) for one in ("shop", "all", "rotated", "chat")] == [200, 200, 401, 401]
        keys.write(shop={"sha256": digest("rotated"), "weight": 3.0}, all=ALL, chat={**CHAT, "policies": ["weapons"]})
        others = list[int]()
        until(lambda: others.append(keys.status("all")) or keys.status("chat") == 200)  # type: ignore[func-returns-value]
        assert [keys.status(one) for one in ("shop", "rotated", "")] == [401, 200, 401]
        assert set(others) == {200}
        assert versions(keys.url, "chat") == {"weapons": "1.0.0"}
        assert versions(keys.url, "all") == {"weapons": "1.0.0", "drugs": "1.0.0"}
        assert made[0]._queue.weight("shop") == made[0].weights["shop"] == 3.0
        keys.write(shop={"sha256": digest("rotated")})
        until(lambda: keys.status("chat") == 401)
        assert [keys.status(one) for one in ("rotated", "all")] == [200, 401]
        until(lambda: made[0].weights == {"shop": 1.0} and "key of chat: taken away" in caplog.messages)
    gone = [one for one in caplog.messages if one.startswith("key of") and one.endswith("taken away")]
    new = [one for one in caplog.messages if one.startswith("key of") and one not in gone]
    assert gone == [f"key of {one}: taken away" for one in ("shop", "all", "chat")]
    assert new == [f"key of {one}: in force" for one in ("chat", "shop", "shop")]


@pytest.mark.parametrize(
    ("lines", "shop", "said"),
    [
        (["[serve"], SHOP, "is not valid TOML"),
        ([], {"sha256": "mod-a-key"}, "serve.keys.shop.sha256: found '***'"),
        ([], {**SHOP, "policies": ["weapon"]}, "serve.keys.shop: unknown policy 'weapon'"),
        ([], None, "serve.keys: none is left"),
    ],
    ids=["no TOML", "a key itself", "of no policy", "nobody"],
)
def test_keys_that_cannot_be_read_or_would_let_everybody_in_leave_those_in_force(
    keys: Keys, lines: list[str], shop: Mapping[str, Any] | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with keys.served(shop=SHOP):
        keys.write(*lines, **({"shop": shop} if shop else {}))
        until(keys.refused)
        assert [keys.status(one) for one in ("shop", "", "mod-a-key")] == [200, 401, 401]
    (told,) = [one for one in caplog.messages if "what is in force stays" in one]
    assert said in told
    assert "mod-a-key" not in caplog.text


def test_keys_that_could_not_be_read_for_a_moment_are_read_again(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    full, failed = True, set[int]()

    def load(file: Path) -> Settings:
        if full:
            failed.add(threading.get_ident())
            raise SettingsError("settings: cannot read: Too many open files")
        return load_settings(file)

    with keys.served(shop=SHOP):
        monkeypatch.setattr("moderation.rollout.reload.AGAIN", 0.01)
        monkeypatch.setattr("moderation.server.in_force.load_settings", load)
        keys.write(shop={"sha256": digest("rotated")})
        until(lambda: len(failed) == 2)  # who looks at the keys, and who builds
        full = False
        until(lambda: keys.status("rotated") == 200)


def test_a_key_is_taken_away_though_a_build_is_refused_and_nobody_is_let_in_for_that(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with keys.served(shop=SHOP):
        lock_path(keys.folder, "weapons").write_text("no lock", encoding="utf-8")
        keys.write(shop={"sha256": digest("rotated")})
        until(lambda: keys.refused() and keys.status("shop") == 401)
        assert [keys.status(one) for one in ("", "rotated")] == [401] * 2
        write_lock(lock("weapons", version="2.0.0", modalities=BOTH), lock_path(keys.folder, "weapons"))
        until(lambda: keys.status("rotated") == 200)
        assert [keys.status(one) for one in ("shop", "")] == [401] * 2
    assert "key of shop: taken away" in caplog.messages


def test_who_asked_before_its_key_was_taken_away_gets_nothing_by_it() -> None:
    """Least of all by policies that it was not bound to."""
    bound: Any = KeySettings(sha256="0" * 64, policies=("weapons",))
    everything, some = object(), object()
    one = InForce(everything, {frozenset({"weapons"}): some}, {"shop": bound})  # type: ignore[arg-type, dict-item]
    assert one.pipeline("shop") is some
    assert one.among({"shop": bound.model_copy(update={"policies": None})}).pipeline("shop") is some
    for caller in ("shop", "chat", ""):
        with pytest.raises(ApiError, match="this key is not known"):
            one.among({"chat": bound}).pipeline(caller)
    everybody = InForce(everything, {}, None)  # type: ignore[arg-type]
    assert everybody.among({"shop": bound}).pipeline("") is everything
    assert one.among(None).pipeline("shop") is some  # a door that was open: the key came this moment


def test_what_is_in_force_is_put_together_once_for_each_change_of_builds_or_keys() -> None:
    key = KeySettings(sha256="0" * 64)
    builds: list[InForce] = [InForce(object(), {}, {"shop": key, "lab": key})]  # type: ignore[arg-type]
    keys: list[Mapping[str, KeySettings] | None] = [{"shop": key}]
    in_force = Standing(lambda: builds[-1], lambda: keys[-1])
    first = in_force()
    assert (first.keys, in_force()) == ({"shop": key}, first)  # the very same: every request asks
    keys.append({"lab": key})
    assert in_force().keys == {"lab": key}
    builds.append(InForce(object(), {}, {"lab": key}))  # type: ignore[arg-type]
    assert in_force().everything is builds[-1].everything


def test_a_door_that_was_open_at_the_start_may_be_shut_and_stays_so(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('[serve]\nlocks = ["x"]\n', encoding="utf-8")
    assert keys_of(None, file) is keys_of(None, None) is None
    file.write_text(f'[serve]\nlocks = ["x"]\n[serve.keys.shop]\nsha256 = "{"0" * 64}"\n', encoding="utf-8")
    found = keys_of(None, file)
    assert found
    assert [*found] == ["shop"]
    file.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="none is left"):
        keys_of(found, file)


def test_a_file_that_loses_the_keys_that_it_had_not_at_the_start_lets_nobody_in(keys: Keys) -> None:
    with keys.served():
        keys.write(shop=SHOP)
        until(lambda: keys.status("") == 401)
        keys.write()
        until(keys.refused)
        assert [keys.status(one) for one in ("shop", "")] == [200, 401]


def test_a_key_that_is_taken_away_while_encoders_are_loaded_never_counts(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes a while, and settings were read before it."""
    keys.write(all=ALL)
    with started(keys.folder, monkeypatch, keys={"shop": SHOP, "all": ALL}, file=keys.file) as keys.url:
        assert [keys.status(one) for one in ("shop", "all")] == [401, 200]


def test_a_key_is_taken_away_while_a_build_is_under_way_and_does_not_come_back_with_it(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin may take two minutes to be set up, and who has a leaked key needs none."""
    building, go = threading.Event(), threading.Event()
    at_once = assemble_serve.pipeline

    def slow(*args: Any, **more: Any) -> Any:
        building.set()
        assert go.wait(20)
        return at_once(*args, **more)

    with keys.served(shop=SHOP, all=ALL):
        monkeypatch.setattr(assemble_serve, "pipeline", slow)
        write_lock(lock("weapons", version="2.0.0", modalities=BOTH), lock_path(keys.folder, "weapons"))
        assert building.wait(20)
        keys.write(all=ALL)
        until(lambda: keys.status("shop") == 401)
        assert versions(keys.url, "all") == {"weapons": "1.0.0", "drugs": "1.0.0"}
        building.clear()
        go.set()
        seen = list[int]()
        until(lambda: seen.append(keys.status("shop")) or building.is_set())  # type: ignore[func-returns-value]
        until(lambda: versions(keys.url, "all").get("weapons") == "2.0.0")
        assert {*seen, keys.status("shop")} == {401}
