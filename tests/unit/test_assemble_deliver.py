"""What a deliverer is built from, and what keeps it from being built: each with the exit code that its supervisor is given."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble, assemble_deliver
from moderation.cli.main import run
from moderation.errors import ExitCode, PluginError, SettingsError
from moderation.settings import Settings, load_settings
from tests.fakes import Lived, plugins_with

CONFIG = """
[stream]
inputs = ["decisions"]
group = "deliver"
slot = "a"
{stream}
[stream.kafka]
bootstrap = ["127.0.0.1:9"]
[deliver]
sink = "desk"
{deliver}
"""


class Desk(Lived):
    def deliver(self, *_: object) -> list[Any]:
        return []


def settings(tmp_path: Path, deliver: str = "", stream: str = "") -> Settings:
    file = tmp_path / "deliver.toml"
    file.write_text(CONFIG.format(deliver=deliver, stream=stream), encoding="utf-8")
    return load_settings(file, environ={})


def test_dead_letters_lie_beside_the_decisions_unless_told_otherwise(tmp_path: Path) -> None:
    assert assemble.output_topics(settings(tmp_path)) == ("decisions.dlq",)
    assert assemble.output_topics(settings(tmp_path, 'dead_letters = "undelivered"')) == ("undelivered",)


@pytest.mark.parametrize(
    ("deliver", "stream", "told"),
    [
        ('actions = ["remove", "ban"]', "", "deliver.actions: unknown action 'ban'; expected one of allow, label"),
        ("timeout_seconds = 30.0", "stall_seconds = 30.0", "deliver.timeout_seconds: expected less than stream.stall_seconds"),
        ("actions = []", "", "deliver.actions: found []; expected at least 1"),
        ("tries = 1", "", "deliver.tries: found 1"),
        ('dead_letters = "decisions"', "", "deliver.dead_letters: 'decisions' is the topic of stream.inputs, too"),
        ('[worker]\nlocks = ["a.lock.json"]\ndecisions = "out"', "", "deliver: expected a file of its own"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, deliver: str, stream: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        assemble_deliver.deliver_settings(settings(tmp_path, deliver, stream))
    assert told in str(caught.value)


def test_the_sink_is_set_up_before_kafka_is_asked_and_refused_by_name(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    desk = Desk("desk")
    assert assemble_deliver.sink(chosen, known=plugins_with(sinks=(desk,))) is desk  # type: ignore[arg-type,comparison-overlap]
    assert desk.called == ["setup", "verify"]
    broken = Desk("desk", setup=OSError("no such file"))
    with pytest.raises(
        PluginError,
        match=r"the setting deliver\.sink needs the sink 'desk', which cannot be set up: setup failed: OSError: no such",
    ):
        assemble_deliver.sink(chosen, known=plugins_with(sinks=(broken,)))  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="needs the sink 'desk', which no plugin provides"):
        assemble_deliver.sink(chosen, known=plugins_with())


def test_nothing_is_delivered_without_the_section(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match=r"the section \[deliver\] is needed"),
        assemble_deliver.deliverer(Settings(), stop=threading.Event()),
    ):
        pass
    file = tmp_path / "empty.toml"
    file.write_text("")
    assert run(["deliver", str(file)]) == ExitCode.USAGE


def test_a_sink_that_is_not_there_is_the_exit_code_of_a_plugin(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deliver.toml"
    file.write_text(CONFIG.format(deliver="", stream=""), encoding="utf-8")
    assert run(["deliver", str(file)]) == ExitCode.PLUGIN
    assert "needs the sink 'desk', which no plugin provides" in capfd.readouterr().err
