"""A new plugin loads, and passes its own tests, as it was written; nothing is overwritten."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderation.cli.main import app
from moderation.plugin import brought
from moderation.plugin.scaffold import scaffold
from moderation.plugin.template import KINDS
from tests.conftest import ROOT
from tests.examples.test_plugins import metadata


def test_there_is_a_template_of_every_kind() -> None:
    assert KINDS.keys() == set(brought.KINDS)


def test_a_new_plugin_of_every_kind_installs_and_passes_the_kit(tmp_path: Path) -> None:
    """All at once: most of the time goes into starting Python and the kit."""
    installed = tmp_path / "installed"
    installed.mkdir()
    packages = [written(kind, tmp_path) for kind in KINDS]
    for package in packages:
        metadata(package, installed)
    paths = os.pathsep.join(map(str, [installed, *packages, ROOT]))
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:xdist", "-p", "no:cacheprovider"]
    tested = subprocess.run(
        [*command, *(str(package / "tests") for package in packages)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    said = tested.stdout + tested.stderr
    assert tested.returncode == 0, said
    assert "SKIPPED" not in said
    for kind in KINDS:
        assert re.search(rf"test_loud_{kind}\.py::\S+ PASSED", said), said


def written(kind: str, folder: Path) -> Path:
    """The package that `moderation plugin new` writes, named by its kind."""
    done = CliRunner().invoke(app, ["plugin", "new", f"loud-{kind}", "--kind", kind, "--folder", str(folder)])
    assert done.exit_code == 0, done.output
    assert "next: pip install -e" in done.output
    return folder / f"moderation-loud-{kind}"


def test_its_detector_takes_25_lines_at_most(tmp_path: Path) -> None:
    module, *_ = scaffold("loud-text", tmp_path)
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 25


@pytest.mark.parametrize("name", ["Loud", "loud text", "../loud", "", "loud--text"])
def test_what_is_no_id_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        scaffold(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kind_that_is_none_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plugin", "new", "loud", "--kind", "scanner", "--folder", str(tmp_path)])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "found the kind 'scanner'" in done.output


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    scaffold("loud", tmp_path)
    done = CliRunner().invoke(app, ["plugin", "new", "loud", "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert "there already" in done.output
