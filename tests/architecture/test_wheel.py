"""What is in the wheel: the package, the bundled encoder within its size, the policies with their licences, and no more."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_bundled_encoder_is_there_within_25_megabytes(wheel: zipfile.ZipFile) -> None:
    entries = [one for one in wheel.infolist() if one.filename.startswith("moderation/bundled/encoder/")]
    assert {"card.json", "config.json", "model.safetensors", "tokenizer.json"} <= {
        Path(one.filename).name for one in entries
    }
    assert sum(one.file_size for one in entries) <= 25 * MEGABYTE


def test_the_demo_finds_its_policies_and_their_licences(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    folder = "moderation/bundled/policies"
    assert {f"{folder}/{one.name}" for one in (ROOT / "policies").glob("*.yaml")} <= names
    assert sum(name.startswith(f"{folder}/pictures/") for name in names) > 2000
    assert any("LICENSE" in name for name in names if name.startswith(f"{folder}/pictures/"))
    assert f"{folder}/data/ATTRIBUTION.md" in names


def test_every_policy_comes_with_both_files_of_its_lock(wheel: zipfile.ZipFile) -> None:
    inside = {Path(name).name for name in wheel.namelist() if Path(name).parent.name == "policies"}
    policies = {one.stem for one in (ROOT / "policies").glob("*.yaml")}
    assert {name for name in inside if ".lock." in name} == {
        f"{policy}.lock.{kind}" for policy in policies for kind in ("json", "safetensors")
    }


def test_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"moderation"}
    assert "moderation/py.typed" in wheel.namelist()
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".pt", ".bin"))]
