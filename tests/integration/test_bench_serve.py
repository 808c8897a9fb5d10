"""`moderation bench serve` on a real server process: it counts every request, fails where a bound is broken, and says why a server did not start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moderation.assemble_serve import _WORDS
from moderation.cli.main import run
from moderation.compiler.golden import golden_pictures
from moderation.encoder.recorded import load_recording, write_recording
from moderation.item import Modality
from moderation.policy.lock import lock_path, write_lock
from tests.conftest import ROOT
from tests.fakes import at, golden, lock

SETTINGS = """
[encoders.default]
loader = "recorded"
checkpoint = "{folder}/recorded.safetensors"

[serve]
locks = ["weapons.lock.json"]
port = 1
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server whose encoder is a recording, which knows what servers are tried with: everything else is an error of its item."""
    folder = tmp_path_factory.mktemp("bench")
    pictures = dict(zip(golden_pictures(), golden(), strict=True))
    recording = folder / "recorded.safetensors"
    write_recording(recording, name="made", texts={_WORDS: at(0.5), "1.0": at(1.0), "0.0": at(0.0)}, images=pictures)
    seen = load_recording(recording).fingerprint
    made = lock(
        modalities=(Modality.IMAGE, Modality.TEXT), encoder_identity=seen.identity, encoder_numeric=seen.numeric
    )
    write_lock(made, lock_path(folder, "weapons"))
    (folder / "serve.toml").write_text(SETTINGS.format(folder=folder))
    return folder / "serve.toml"


def bench(config: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "moderation", "bench", "serve", str(config), "--seconds", "0.6", "--clients", "4", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_every_request_is_counted_at_every_load(config: Path, tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    code, told, errors = bench(config, "--at", "0.4", "--at", "0.5", "--bad", "0.3", "--cancels", "0.5", "--json", "--html", str(page))  # fmt: skip
    found: dict[str, Any] = json.loads(told)
    assert (code, found["broken"], found["schema"], errors) == (0, [], "bench-serve/v1", "")
    assert found["capacity"] == found["busy"]["rate"] > 0
    assert [one["fraction"] for one in found["steps"]] == [0.4, 0.5]
    for step in found["steps"]:
        assert step["offered"] == pytest.approx(step["fraction"] * found["capacity"])
        one = step["found"]
        assert one["asked"] == one["answered"] + one["refused"] + one["told_bad"] + one["left"]
        assert one["told_bad"] > 0
        assert one["failed"] == {}
        assert 0 < one["latency"]["p50"] <= one["latency"]["p99"] <= one["latency"]["largest"]
    assert sum(one["found"]["left"] for one in found["steps"]) > 0
    assert found["peak_bytes"] >= found["warm_bytes"] > 10_000_000
    html = page.read_text()
    assert html.count("<polyline") == 5
    assert "<script" not in html


def test_bounds_that_are_broken_fail_it_each_in_words(config: Path) -> None:
    bounds = ["--min-rate", "1e9", "--max-p99", "1e-6", "--min-goodput", "50", "--max-growth", "-1"]
    code, told, _ = bench(config, "--at", "0.2", "--at", "1", *bounds)
    assert code == 8
    broken = [line for line in told.splitlines() if line.startswith("broken: ")]
    assert [one.split()[1:3] for one in broken] == [["the", "capacity"], ["at", "0.2"], ["at", "1"], ["memory", "grew"]]


def test_a_server_that_does_not_start_is_told_of_with_what_it_says(config: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "serve.toml"
    wrong.write_text(config.read_text().replace("recorded.safetensors", "nowhere.safetensors"))
    (tmp_path / "weapons.lock.json").write_bytes((config.parent / "weapons.lock.json").read_bytes())
    (tmp_path / "weapons.lock.safetensors").write_bytes((config.parent / "weapons.lock.safetensors").read_bytes())
    code, _, errors = bench(wrong)
    assert code == 69
    assert "the server ended with exit code 12; it says:\n" in errors
    assert "nowhere.safetensors" in errors


def test_settings_without_a_server_are_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.toml").write_text("")
    assert run(["bench", "serve", str(tmp_path / "none.toml")]) == 2
    assert "[serve]" in capsys.readouterr().err
