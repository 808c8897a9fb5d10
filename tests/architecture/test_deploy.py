"""What operators copy fits the code: every metric exists with its labels, every alert and exit code has its place in the runbook, settings are read."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from moderation.errors import ExitCode
from moderation.settings import load_settings
from tests.conftest import ROOT
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


METRICS = {**test_deliver_metrics.families(), **test_gauges.families()}  # of a worker, where both have one


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


def test_the_unit_restarts_what_the_runbook_restarts() -> None:
    unit = (DEPLOY / "moderation-worker@.service").read_text(encoding="utf-8")
    (prevented,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    assert {int(one) for one in prevented.split()} == {*ExitCode} - RESTARTED - {ExitCode.OK}


def embedded() -> list[str]:
    """Every settings file of the folder."""
    maps = [one for one in documents("kubernetes.yaml") if one["kind"] == "ConfigMap"]
    return [(DEPLOY / "worker.toml").read_text(encoding="utf-8"), *(one["data"]["worker.toml"] for one in maps)]


@pytest.mark.parametrize("text", embedded())
def test_settings_are_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text(f"{text}\n[stream.kafka.tls]\n", encoding="utf-8")  # as whoever copies it may write below it
    settings = load_settings(file, environ={"MODERATION_STREAM__SLOT": "moderation-worker-0"})
    assert settings.stream
    assert settings.stream.kafka.tls
    assert settings.worker
    assert settings.worker.probe
    assert (settings.stream.slot, settings.worker.probe.port) == ("moderation-worker-0", 9464)


def test_probes_ask_where_the_worker_answers() -> None:
    (pods,) = [one["spec"]["template"]["spec"] for one in documents("kubernetes.yaml") if one["kind"] == "StatefulSet"]
    (container,) = pods["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9464}]
    paths = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
    assert paths == ["/healthz", "/healthz", "/readyz"]
    assert pods["terminationGracePeriodSeconds"] > 10 + 10  # of commit_seconds and request_seconds


def test_workers_are_hardened() -> None:
    (pods,) = [one["spec"]["template"]["spec"] for one in documents("kubernetes.yaml") if one["kind"] == "StatefulSet"]
    inside = pods["containers"][0]["securityContext"]
    assert pods["securityContext"]["runAsNonRoot"]
    assert inside == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    (compose,) = documents("compose.yaml")
    worker = compose["services"]["worker"]
    assert (worker["read_only"], worker["cap_drop"], worker["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
