"""examples/deploy by the checkers of those who will run it: systemd's own, Kubernetes' schema; and what an image is made of is there."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.architecture.test_deploy import DEPLOY, documents, pods
from tests.conftest import ROOT

UNITS = {"moderation-worker@.service": "moderation-worker@a.service", "moderation-serve.service": None}
MANIFESTS = ["kubernetes.yaml", "kubernetes-serve.yaml"]
SCHEMA = json.loads(Path(__file__).with_name("kubernetes.schema.json").read_text(encoding="utf-8"))


def installed(folder: Path, name: str, **changed: str) -> Path:
    """A unit as systemd would find it, an instance where it is a template, with a command that this machine has."""
    text = (
        (DEPLOY / name)
        .read_text(encoding="utf-8")
        .replace("/opt/moderation/bin/moderation", shutil.which("true") or "")
    )
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    if UNITS[name]:
        (folder / str(UNITS[name])).symlink_to(name)
    return folder / (UNITS[name] or name)


def verify(unit: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    assert verify(installed(tmp_path, name)) == (0, "")


@pytest.mark.needs_systemd
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("TimeoutStopSec=", "TimeoutStopSecs=", "Unknown key"),
        ("UMask=0077", "UMask=0999", "Failed to parse"),
        ("@system-service", "@system-services", "Failed to parse|Unknown system call group"),
    ],
)
@pytest.mark.parametrize("name", UNITS)
def test_systemd_would_find_a_mistake(name: str, old: str, new: str, why: str, tmp_path: Path) -> None:
    code, said = verify(installed(tmp_path, name, **{old: new}))
    assert re.search(why, said), said
    assert code or said


@pytest.mark.needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_little_exposed(name: str, tmp_path: Path) -> None:
    unit = installed(tmp_path, name)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def refused(document: dict[str, Any]) -> list[str]:
    """Where a document is not what Kubernetes' API takes, and why; no key is taken that the API does not know."""
    group, _, version = document["apiVersion"].rpartition("/")
    name = f"io.k8s.api.{group.split('.')[0] or 'core'}.{version}.{document['kind']}"
    schema = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_kubernetes_takes_a_manifest(manifest: str) -> None:
    for document in documents(manifest):
        assert refused(document) == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every mapping inside of a document, by its path."""
    if isinstance(value, dict):
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


FREE = {"data", "labels", "annotations", "matchLabels", "limits", "requests"}  # whose keys are ours


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_kubernetes_would_refuse_a_key_that_it_does_not_know_wherever_it_stands(manifest: str) -> None:
    tried = 0
    for document in documents(manifest):
        for path in places(document):
            if FREE & {*path} or (document["kind"], path[-1:]) == ("Service", ("selector",)):
                continue
            wrong = copy.deepcopy(document)
            at = wrong
            for key in path:
                at = at[key]
            at["restartpolicy"] = "Always"
            assert any("restartpolicy" in one for one in refused(wrong)), path
            tried += 1
    assert tried > 50


def container_lines(verb: str) -> list[str]:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    return re.findall(rf"^{verb} (.*)$", text, re.MULTILINE)


def test_an_image_installs_extras_that_there_are_by_constraints_that_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (command,) = container_lines("RUN")
    (extras,) = re.findall(r'"\.\[([^]]*)\]"', command)
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}
    (constraints,) = re.findall(r"--constraint (\S+)", command)
    assert (ROOT / constraints).exists()
    (base,) = container_lines("FROM")
    assert f"python:{project['requires-python'].removeprefix('>=')}" in base


def test_an_image_runs_our_command_as_nobody_of_the_machine() -> None:
    (entry,) = container_lines("ENTRYPOINT")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (name,) = json.loads(entry)
    assert name in project["scripts"]
    (user,) = container_lines("USER")
    (compose,) = documents("compose.yaml")
    in_pods = {str(pods(manifest)["securityContext"]["runAsUser"]) for manifest in MANIFESTS}
    assert {user} == in_pods == {compose["services"]["worker"]["user"]}
