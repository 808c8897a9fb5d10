"""What operators copy fits the code: every metric exists with its labels, every alert and exit code has its place in the runbook, settings are read."""

from __future__ import annotations

import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from moderation.cli.main import app
from moderation.errors import ExitCode, SettingsError
from moderation.server import listen
from moderation.settings import load_settings
from tests.conftest import ROOT
from tests.unit.server import test_metrics as test_server_metrics
from tests.unit.stream import test_deliver_metrics, test_gauges

DEPLOY = ROOT / "examples" / "deploy"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
RESTARTED = {ExitCode.INTERNAL, ExitCode.UNAVAILABLE, ExitCode.STALLED, ExitCode.RESTART}


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(io.StringIO((DEPLOY / name).read_text(encoding="utf-8"))))


def alerts() -> list[dict[str, Any]]:
    (rules,) = documents("alerts.yaml")
    return [rule for group in rules["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    board = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


METRICS = {
    **test_server_metrics.families(),
    **test_deliver_metrics.families(),
    **test_gauges.families(),  # of a worker, where others have one too
}


@pytest.mark.parametrize("query", sorted({*queries(), *(rule["expr"] for rule in alerts())}))
def test_a_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    used = re.findall(r"\b((?:moderation|process)_\w+|up)(?:\{([^}]*)\})?", query)
    assert used
    assert query.count("(") == query.count(")")
    labels = {label for name, _ in used if name != "up" for label in METRICS.get(name, ())}
    for name, chosen in used:
        assert name == "up" or name in METRICS, name
        assert set(re.findall(r'(\w+)\s*!?=~?\s*"', chosen)) <= METRICS.get(name, set()) | SCRAPED, name
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(grouped.split(", ")) <= labels | SCRAPED


def test_every_metric_of_ours_is_looked_at() -> None:
    looked_at = " ".join([*queries(), *(rule["expr"] for rule in alerts())])
    ours = {
        re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in METRICS if name.startswith("moderation_")
    }
    assert [name for name in sorted(ours) if name not in looked_at] == []


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_has_its_section(rule: dict[str, Any]) -> None:
    assert f"\n### {rule['alert']}\n" in RUNBOOK
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_a_section_has_its_alert() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_every_exit_code_stands_in_the_runbook() -> None:
    told = re.findall(r"^\| (\d+) \| (\w+) \|", RUNBOOK, re.MULTILINE)
    assert told == [(str(code.value), code.name) for code in ExitCode]


def _worker_stops() -> float:
    """Seconds in which a worker commits what it has, and closes its connections (`Session.commit`, `Session.close`)."""
    settings = load_settings(DEPLOY / "worker.toml", environ={"MODERATION_STREAM__SLOT": "a"}).stream
    assert settings
    return settings.commit_seconds + 1 + 3 * settings.request_seconds


@pytest.mark.parametrize("name", ["moderation-worker@.service", "moderation-serve.service"])
def test_a_unit_restarts_what_the_runbook_restarts_and_waits_for_what_is_in_work(name: str) -> None:
    unit = (DEPLOY / name).read_text(encoding="utf-8")
    (prevented,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    assert {int(one) for one in prevented.split()} == {*ExitCode} - RESTARTED - {ExitCode.OK}
    assert "\nRestart=on-failure\n" in unit  # so that 0, which a process that was told to stop ends with, is the end
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(patience) > max(_worker_stops(), listen._PATIENCE)


@pytest.mark.parametrize("name", ["moderation-worker@.service", "moderation-serve.service"])
def test_a_unit_runs_a_command_that_there_is_on_settings_that_lie_here(name: str) -> None:
    unit = (DEPLOY / name).read_text(encoding="utf-8")
    ((command, file),) = re.findall(
        r"^ExecStart=/opt/moderation/bin/moderation (\w+) /etc/moderation/(\S+)$", unit, re.MULTILINE
    )
    assert command in get_command(app).commands  # type: ignore[attr-defined]
    assert (DEPLOY / file).exists()


def embedded(manifest: str, name: str) -> list[str]:
    """A settings file of the folder, alone and inside of a manifest."""
    maps = [one for one in documents(manifest) if one["kind"] == "ConfigMap"]
    return [(DEPLOY / name).read_text(encoding="utf-8"), *(one["data"][name] for one in maps)]


@pytest.mark.parametrize("text", embedded("kubernetes.yaml", "worker.toml"))
def test_settings_of_a_worker_are_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text(f"{text}\n[stream.kafka.tls]\n", encoding="utf-8")  # as whoever copies it may write below it
    settings = load_settings(file, environ={"MODERATION_STREAM__SLOT": "moderation-worker-0"})
    assert settings.stream
    assert settings.stream.kafka.tls
    assert settings.worker
    assert settings.worker.probe
    assert (settings.stream.slot, settings.worker.probe.port) == ("moderation-worker-0", 9464)


KEY = {"MODERATION_SERVE__KEYS__SHOP__SHA256": "ab" * 32}


@pytest.mark.parametrize("text", embedded("kubernetes-serve.yaml", "serve.toml"))
def test_settings_of_a_server_are_read_with_a_key_beside_them_and_refused_without(text: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    settings = load_settings(file, environ=KEY).serve
    assert settings
    assert (settings.host, settings.port, list(settings.keys)) == ("0.0.0.0", 8000, ["shop"])  # noqa: S104
    with pytest.raises(SettingsError, match="keys: expected at least one"):
        load_settings(file, environ={})


def pods(manifest: str) -> dict[str, Any]:
    """What a manifest says of its pods."""
    (found,) = [one["spec"]["template"]["spec"] for one in documents(manifest) if "template" in one.get("spec", {})]
    return dict(found)


@pytest.mark.parametrize(
    ("manifest", "name", "port"), [("kubernetes.yaml", "metrics", 9464), ("kubernetes-serve.yaml", "http", 8000)]
)
def test_probes_ask_where_it_answers(manifest: str, name: str, port: int) -> None:
    (container,) = pods(manifest)["containers"]
    assert container["ports"] == [{"name": name, "containerPort": port}]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [one["path"] for one in probes] == ["/healthz", "/healthz", "/readyz"]
    assert {one["port"] for one in probes} == {name}
    assert "memory" in container["resources"]["limits"]


def test_pods_are_given_the_time_to_finish_what_is_in_work() -> None:
    assert pods("kubernetes.yaml")["terminationGracePeriodSeconds"] > _worker_stops()
    serve = pods("kubernetes-serve.yaml")
    pause = int(serve["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert serve["terminationGracePeriodSeconds"] > pause + listen._PATIENCE


@pytest.mark.parametrize("manifest", ["kubernetes.yaml", "kubernetes-serve.yaml"])
def test_everything_in_a_manifest_is_about_its_pods(manifest: str) -> None:
    found = {one["kind"]: one for one in documents(manifest)}
    workload = found.get("StatefulSet") or found["Deployment"]
    name = workload["metadata"]["name"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": name} == workload["spec"]["selector"]["matchLabels"]
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert {one["metadata"]["name"] for one in found.values()} == {name}
    (container,) = pods(manifest)["containers"]
    command, file = container["args"]
    assert command in get_command(app).commands  # type: ignore[attr-defined]
    assert Path(file).name in found["ConfigMap"]["data"]
    volumes = {one["name"] for one in pods(manifest)["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes


def test_a_server_does_not_start_without_the_secret_that_holds_its_keys() -> None:
    (container,) = pods("kubernetes-serve.yaml")["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "moderation-serve"}}]
    told = (DEPLOY / "kubernetes-serve.yaml").read_text(encoding="utf-8")
    assert f"--from-literal={next(iter(KEY))}=" in told


def test_one_image_is_for_all() -> None:
    images = {pods(manifest)["containers"][0]["image"] for manifest in ("kubernetes.yaml", "kubernetes-serve.yaml")}
    assert len(images) == 1
    assert '".[serve]"' in (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def test_an_image_is_built_of_what_the_package_is_made_of_and_of_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        project["project"]["readme"],
        *project["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == needed | {"constraints.txt", "pyproject.toml"}
    assert all((ROOT / one).exists() for one in needed)


@pytest.mark.parametrize("manifest", ["kubernetes.yaml", "kubernetes-serve.yaml"])
def test_pods_are_hardened(manifest: str) -> None:
    found = pods(manifest)
    inside = found["containers"][0]["securityContext"]
    assert found["securityContext"]["runAsNonRoot"]
    assert not found["automountServiceAccountToken"]
    assert inside == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_compose_waits_for_what_is_in_work_and_lets_no_topic_go_unmade() -> None:
    (compose,) = documents("compose.yaml")
    assert int(compose["services"]["worker"]["stop_grace_period"].removesuffix("s")) > _worker_stops()
    (line,) = compose["services"]["topics"]["command"]
    (made,) = re.findall(r"for topic in (.*?);", line)
    worker = load_settings(DEPLOY / "worker.toml", environ={"MODERATION_STREAM__SLOT": "a"})
    assert worker.stream
    assert worker.worker
    assert worker.worker.review
    used = {*worker.stream.inputs, worker.worker.decisions, worker.worker.dead_letters, worker.worker.review.topic}
    assert {*made.split()} == used
    assert "|| exit 1" in line


def test_what_compose_runs_is_hardened() -> None:
    (compose,) = documents("compose.yaml")
    worker = compose["services"]["worker"]
    assert (worker["read_only"], worker["cap_drop"], worker["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
