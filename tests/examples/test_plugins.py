"""Every package in plugins/: installed as pip would leave it, its own tests pass; the first example stays short."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
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


def missing(package: Path) -> list[str]:
    """Which of the package's dependencies are not installed: the set-up that installs them is older than the package."""
    wanted = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    installed = {one.name.lower().replace("_", "-") for one in importlib.metadata.distributions()}
    return sorted({re.split(r"[^\w.-]", one)[0] for one in wanted} - installed)


def own_tests(package: Path, folder: Path, name: str = "", *, options: Sequence[str] = ()) -> str:
    """What its own tests say, in a process of their own. They must pass."""
    metadata(package, folder)
    paths = os.pathsep.join(map(str, [folder, package, ROOT]))
    tests = str(package / "tests" / name)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), tests, *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "MODERATION_DATA": str(DATA)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_one() -> None:
    folders = {path.name for path in (ROOT / "plugins").iterdir() if path.name.startswith("moderation-")}
    assert {package.name for package in PACKAGES} == folders >= {"moderation-keywords"}


@pytest.mark.parametrize(
    "package", [pytest.param(path, marks=MARKS.get(path.name, ()), id=path.name) for path in PACKAGES]
)
def test_a_plugin_passes_its_own_tests_once_installed(package: Path, tmp_path: Path) -> None:
    passes(package, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_plugin_passes_the_long_form_of_its_own_tests_too(package: Path, tmp_path: Path) -> None:
    if not any("mark.soak" in path.read_text(encoding="utf-8") for path in (package / "tests").glob("*.py")):
        pytest.skip("it has none")
    passes(package, tmp_path, "-m", "soak")


def passes(package: Path, tmp_path: Path, *options: str) -> None:
    if absent := missing(package):
        pytest.skip(f"needs {', '.join(absent)}, which the set-up installs")
    own_tests(package, tmp_path, options=options)


def test_without_pytx_each_test_of_its_adapter_is_counted_as_not_run(tmp_path: Path) -> None:
    """Run by themselves, too: one that ends in an ImportError says nothing of what was not tried."""
    (tmp_path / "hidden.py").write_text("import sys\nsys.modules['threatexchange'] = None\n", encoding="utf-8")
    said = own_tests(ROOT / "plugins" / "moderation-pytx", tmp_path, options=("-p", "hidden", "-rs"))
    assert re.fullmatch(r"[1-9]\d+ skipped in .+", said.splitlines()[-1])
    assert "needs threatexchange" in said


@pytest.mark.needs_osprey
def test_rules_of_osprey_are_told_what_policies_say(tmp_path: Path) -> None:
    assert "1 passed" in own_tests(ROOT / "plugins" / "moderation-osprey", tmp_path, "test_in_osprey.py")


def test_a_working_detector_takes_25_lines_at_most() -> None:
    module = ROOT / "plugins" / "moderation-keywords" / "moderation_keywords.py"
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 25
