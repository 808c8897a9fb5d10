"""Doctor and plugin list: what is there, where a setting came from, and an exit code when something is unusable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moderation import assemble
from moderation.cli import health
from moderation.errors import CheckpointError, ExitCode
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from tests.fakes import FakeEncoder
from tests.unit.cli.conftest import Run
from tests.unit.cli.words import WordEncoder


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> WordEncoder:
    """An encoder that encodes texts and whatever picture doctor draws."""

    class Drawn(WordEncoder):
        def encode_images(self, images):
            return super().encode_images([b"picture drawn"] * len(images))

    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Drawn())
    return Drawn()


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    records = (
        PluginRecord("builtin", "moderation", "0.1.0", PluginState.LOADED, encoders=("torch",)),
        PluginRecord("keywords", "acme-keywords", "2.0", PluginState.BROKEN, cause="cannot be imported: no module x"),
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: Plugins(records))


def test_an_encoder_that_comes_with_an_extra_may_be_absent(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    real = assemble.encoder

    def only_default(settings, name="default", *, known=None):
        if name != "default":
            raise CheckpointError("encoder 'package:x': no such package is installed")
        return real(settings, name, known=known)

    monkeypatch.setattr("moderation.assemble.encoder", only_default)
    code, out, _ = run("doctor")
    assert code == ExitCode.OK
    assert 'text: not installed (pip install "moderation[text]")' in out
    monkeypatch.setenv("MODERATION_ENCODERS__TEXT__CHECKPOINT", "package:another")
    assert run("doctor")[0] != ExitCode.OK  # whoever names it wants it


def test_a_sound_installation_is_usable(words: WordEncoder, run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (ExitCode.OK, "")
    assert "ok    encoders: default, text: loaded, and encoded a sample of each modality" in out
    assert str(words.fingerprint) in out
    assert "FAIL" not in out


def test_the_same_as_json_with_stable_keys(words: WordEncoder, run: Run) -> None:
    found = json.loads(run("doctor", "--json")[1])
    assert list(found) == [
        "schema",
        "usable",
        "device",
        "versions",
        "settings",
        "compiler",
        "encoders",
        "plugins",
        "redis",
        "fetch",
        "stream",
        "locks",
        "deliver",
    ]
    assert all(one["usable"] and one["summary"] for name, one in found.items() if name not in ("schema", "usable"))
    assert found["encoders"]["default"]["fingerprint"] == str(words.fingerprint)
    assert found["versions"]["torch"]


def test_an_encoder_that_cannot_encode_is_unusable(
    encoder: FakeEncoder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "encode_images", lambda _images: FakeEncoder().encode_images([b"not a picture"]))
    code, out, _ = run("doctor")
    assert code == ExitCode.ENCODER
    assert "FAIL  encoders: encoder 'default' cannot encode: unsupported_input" in out


def test_a_missing_checkpoint_is_told_with_all_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_ENCODERS", '{default = {checkpoint = "/no/such/folder"}}')
    code, out, _ = run("doctor")
    assert code == ExitCode.ENCODER
    assert "FAIL  encoders: " in out
    assert "ok    plugins: " in out


def test_a_broken_plugin_is_named_with_its_cause(words: WordEncoder, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    code, out, _ = run("doctor")
    assert code == ExitCode.PLUGIN
    assert "FAIL  plugins: 2 found; broken: keywords" in out
    assert "cannot be imported: no module x" in out


def test_a_plugin_without_a_setting_brings_nothing(
    words: WordEncoder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = (PluginRecord("hashes", "acme-hashes", "2.0", PluginState.LOADED),)
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: Plugins(records))
    assert "hashes: loaded, acme-hashes 2.0: nothing\n" in run("doctor")[1]


def test_what_may_be_fetched_is_told_and_what_cannot_work(
    words: WordEncoder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ok    fetch: off" in run("doctor")[1]
    monkeypatch.setenv("MODERATION_FETCH__HTTPS__HOSTS", '["cdn.test"]')
    code, out, _ = run("doctor")
    assert (code, "https: cdn.test" in out) == (ExitCode.OK, True)
    monkeypatch.setenv("MODERATION_FETCH__IPFS__HOSTS", '["x"]')
    code, out, _ = run("doctor")
    assert code == ExitCode.PLUGIN
    assert "the section fetch.ipfs of the settings needs the fetcher 'ipfs', which no plugin provides" in out


WORKER = """
[stream]
inputs = ["items"]
group = "moderation"
slot = "worker-0"
request_seconds = 1.0
[worker]
locks = ["weapons.lock.json"]
decisions = "decisions"
[stream.kafka]
bootstrap = ["127.0.0.1:9"]
"""


def test_a_workers_brokers_and_builds_are_looked_at(
    words: WordEncoder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_settings: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("moderation.stream.client.make_reader", away)  # kafka-python's own leaves its sockets open
    file = tmp_path / "worker.toml"
    file.write_text(WORKER)
    code, out, _ = run("doctor", file)
    assert code == ExitCode.UNAVAILABLE
    assert "FAIL  stream: open: OSError: no route" in out
    assert "FAIL  locks: " in out
    assert f"read from {file}" in out


def test_a_setting_that_turns_out_wrong_is_told_where_it_was_used(words: WordEncoder, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text(WORKER + '[stream.kafka.tls]\nca_file = "/no/such.pem"\n')
    code, out, _ = run("doctor", file)
    assert code == ExitCode.USAGE
    assert "ok    settings" in out
    assert "FAIL  stream: settings: stream.kafka.tls.ca_file: cannot read /no/such.pem" in out


def test_wrong_settings_are_a_finding_not_a_crash(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_CACHE__MAX_BITES", "3")
    code, out, _ = run("doctor")
    assert code == ExitCode.USAGE
    assert "FAIL  settings: " in out
    assert out.count("did you mean MODERATION_CACHE__MAX_BYTES") == 1
    assert out.count("FAIL") == 1
    assert [line[:16] for line in out.splitlines() if line.startswith("skip")] == [
        "skip  encoders: ",
        "skip  plugins: n",
        "skip  redis: not",
        "skip  fetch: not",
        "skip  stream: no",
        "skip  locks: not",
        "skip  deliver: n",
    ]
    assert json.loads(run("doctor", "--json")[1])["encoders"]["usable"] is False


def test_every_setting_says_where_it_came_from(
    words: WordEncoder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[cache]\ntenant = "acme"\nmax_bytes = 5\n')
    monkeypatch.setenv("MODERATION_SETTINGS", str(file))
    monkeypatch.setenv("MODERATION_CACHE__MAX_BYTES", "7")
    found = json.loads(run("doctor", "--json")[1])["settings"]
    assert found["cache.tenant"] == f"acme  ({file})"
    assert found["cache.max_bytes"] == "7  (MODERATION_CACHE__MAX_BYTES)"
    assert found["images.max_bytes"] == "10000000  (default)"


@pytest.mark.parametrize(
    ("keys", "value", "shown"),
    [
        (("redis", "password"), "hunter2", "****"),
        (("api_token",), "hunter2", "****"),
        (("redis", "url"), "redis://user:hunter2@host:6379/0", "redis://****@host:6379/0"),
        (("cache", "tenant"), "acme", "acme"),
        (("token",), None, "None"),
    ],
)
def test_secrets_are_masked(keys: tuple[str, ...], value: str | None, shown: str) -> None:
    assert health.masked(keys, value) == shown


def test_no_compiler_is_said_and_is_usable(words: WordEncoder, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    code, out, _ = run("doctor")
    assert code == ExitCode.OK
    assert "no C++ compiler" in out


@pytest.mark.parametrize(
    ("gpus", "said"),
    [((), "no CUDA GPU"), (("NVIDIA H100", "NVIDIA L4"), "NVIDIA H100, NVIDIA L4")],
    ids=["none", "two"],
)
def test_the_device_is_told_in_words_and_as_json(
    gpus: tuple[str, ...], said: str, words: WordEncoder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation.encoder.device.cuda_names", lambda: gpus)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 3})
    assert f"ok    device: 2 CPU cores, {said}\n        cpu_cores: 2\n" in run("doctor")[1]
    found = json.loads(run("doctor", "--json")[1])["device"]
    assert found == {"usable": True, "summary": f"2 CPU cores, {said}", "cpu_cores": 2, "cuda": list(gpus)}


def test_the_device_is_told_where_the_encoder_does_not_load(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_ENCODERS", '{default = {checkpoint = "/no/such/folder"}}')
    assert json.loads(run("doctor", "--json")[1])["device"]["cpu_cores"] >= 1


def test_plugins_are_told_with_their_hooks_and_what_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    code, out, _ = run("plugin", "doctor")
    assert code == run("plugin", "doctor", "--json")[0] == ExitCode.PLUGIN
    assert "keywords: cannot be imported: no module x" in out
    found = json.loads(run("plugin", "doctor", "--json")[1])
    assert (found["schema"], found["plugins"][1]["can_be_isolated"]) == ("plugin-doctor/v1", False)


def test_plugins_are_listed_with_their_state(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    code, out, _ = run("plugin", "list")
    assert code == run("plugin", "list", "--json")[0] == ExitCode.PLUGIN
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["builtin", "loaded"], ["keywords", "broken"]]
    assert out.splitlines()[3] == "keywords: cannot be imported: no module x"
    found = json.loads(run("plugin", "list", "--json")[1])
    assert found["plugins"][1] == {
        "id": "keywords", "distribution": "acme-keywords", "version": "2.0", "state": "broken", "detectors": [],
        "readers": [], "encoders": [], "fetchers": [], "sinks": [], "isolated": False, "cause": "cannot be imported: no module x",
    }  # fmt: skip


def test_a_plugin_that_runs_apart_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = PluginRecord("keywords", "acme-keywords", "2.0", PluginState.LOADED, ("keywords",), isolated=True)
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: Plugins((apart,)))
    assert "loaded, isolated" in run("plugin", "list")[1]
    assert json.loads(run("plugin", "list", "--json")[1])["plugins"][0]["isolated"] is True


def test_the_builtin_plugin_is_really_there(run: Run) -> None:
    rows = json.loads(run("plugin", "list", "--json")[1])["plugins"]
    assert (rows[0]["id"], rows[0]["state"], rows[0]["encoders"]) == ("builtin", "loaded", ["torch", "recorded"])
