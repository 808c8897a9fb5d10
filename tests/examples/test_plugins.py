"""Every package in plugins/: installed as pip would leave it, its own tests pass; the first example stays short."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import DATA, ROOT

PACKAGES = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


MARKS = {"moderation-pytx": pytest.mark.needs_pytx}  # what it adapts to cannot be installed everywhere


def metadata(package: Path, folder: Path) -> None:
    """The package's own metadata, as an installation would write it, so that it is found by its entry points."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    named = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(named, encoding="utf-8")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in one.items()) for group, one in groups]
    (info / "entry_points.txt").write_text("".join(lines), encoding="utf-8")


def test_there_is_one() -> None:
    assert [package.name for package in PACKAGES] == [
        "moderation-hashes",
        "moderation-keywords",
        "moderation-openai",
        "moderation-osprey",
        "moderation-pytx",
        "moderation-video",
    ]


@pytest.mark.parametrize(
    "package", [pytest.param(path, marks=MARKS.get(path.name, ()), id=path.name) for path in PACKAGES]
)
def test_a_plugin_passes_its_own_tests_once_installed(package: Path, tmp_path: Path) -> None:
    metadata(package, tmp_path)
    paths = os.pathsep.join(map(str, [tmp_path, package, ROOT]))
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), str(package / "tests")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "MODERATION_DATA": str(DATA)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_osprey
def test_rules_of_osprey_are_told_what_policies_say(tmp_path: Path) -> None:
    """In its own engine, in its own Python: found by its entry point, checked and executed with Osprey's own functions."""
    package, policies = ROOT / "plugins" / "moderation-osprey", ROOT / "policies"
    metadata(package, tmp_path)
    picture = (policies / "pictures" / "test" / "ak47.webp").read_bytes()
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"picture": base64.b64encode(picture).decode()}))
    locks = [str(policies / f"{one}.lock.json") for one in ("weapons", "gore")]
    command = [sys.executable, "-m", "moderation_osprey.sidecar", "--port", "0", *locks]
    ours = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ours) as sidecar:
        assert sidecar.stdout
        (address,) = re.findall(r"listening on (\S+):", sidecar.stdout.readline())
        theirs = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(package), os.environ.get("OSPREY_PATH", "")]),
            "OSPREY_MODERATION_URL": f"http://{address}",
            "OSPREY_MODERATION_SECONDS": "30",
        }
        asking = [os.environ["OSPREY_PYTHON"], str(package / "tests" / "in_osprey.py"), str(event)]
        told = subprocess.run(asking, capture_output=True, text=True, check=False, env=theirs)
        sidecar.terminate()
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout.splitlines()[-1])
    assert answer["found"] == {
        "Caption": None,
        "Weapon": "review",
        "Gore": "no_match",
        "Acting": "not_live",
        "Misspelt": "error",
        "OfText": "not_judged",
        "IsWeapon": True,
    }
    assert answer["errors"] == []
    assert answer["asked"] == [1, 4]  # one waits for no field of the event


def test_a_working_detector_takes_25_lines_at_most() -> None:
    module = ROOT / "plugins" / "moderation-keywords" / "moderation_keywords.py"
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 25
