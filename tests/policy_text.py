"""A policy that is right, as text, and ways to make it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.errors import PolicyError, Problem
from moderation.policy.loader import load_policy
from moderation.policy.schema import Policy

ACTIONS = ("allow", "label", "limit", "review", "remove")

POLICY = """\
schema: policy/v1
id: weapons
title: Weapons offered for sale
version: 1.0.0
owner: marketplace-safety
review_by: 2027-03-01
severity: high
scope: {modalities: [image], languages: [en]}
definition:
  violates: [{id: v1, text: "A working firearm is offered for sale."}]
  allowed: [{id: a1, text: "Toys, kitchen knives, museum pieces."}]
concepts:
  violating: [{id: firearm, covers: [v1], phrases: [a handgun, a rifle]}]
  contrast: [{id: toy, covers: [a1], phrases: [a water pistol, a plastic toy gun]}]
prevalence: {low: 0.004, high: 0.012, source: a random sample, n: 6000}
actions:
  - {action: remove, guarantee: {metric: precision, at_least: 0.95, confidence: 0.95}}
  - {action: review, guarantee: {metric: recall, at_least: 0.9, confidence: 0.9}, budget: 0.02}
on_error: review
tests: [tests/weapons.yaml]
"""

TESTS = """\
schema: policy-tests/v1
suite: weapons
cases:
  - {id: pistol, item: pistol.png, expect: at_least review}
  - {id: toy, item: toy.png, expect: no_match}
"""


def with_line(key: str, line: str | None, text: str = POLICY) -> str:
    """The policy with one top-level key of a single line written otherwise, or left out."""
    lines = [line if one.startswith(f"{key}:") else one for one in text.splitlines()]
    assert any(one.startswith(f"{key}:") for one in text.splitlines())
    return "\n".join(one for one in lines if one is not None) + "\n"


def write(folder: Path, text: str = POLICY, *, name: str = "weapons.yaml", tests: str = TESTS) -> Path:
    """The policy and its test file in a folder; the policy's path."""
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "weapons.yaml").write_text(tests, encoding="utf-8")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str = POLICY) -> Policy:
    """The policy of a text."""
    return load_policy(write(folder, text), action_names=ACTIONS)


def refused(path: Path) -> tuple[Problem, ...]:
    """The problems for which a file is refused."""
    with pytest.raises(PolicyError) as caught:
        load_policy(path, action_names=ACTIONS)
    return caught.value.problems


def only(path: Path) -> Problem:
    """The one problem for which a file is refused."""
    (problem,) = refused(path)
    return problem
