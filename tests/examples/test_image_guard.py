"""The guard around a text-to-image model: what it shows of the shipped policies, and that whatever fails, no picture comes out."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.item import ContentItem
from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "image_guard"
PROMPTS = re.findall(r'^    "(.*)"(?: \\)?$', (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("guard")


def test_the_readme_is_what_it_prints(guard: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard.main(tmp_path, PROMPTS)
    said = [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    numbers = re.compile(r"0\.\d+|1\.0")
    told = re.findall(r"^[0-9a-f]{8}  (.*)$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [numbers.sub("#", one) for one in said] == [numbers.sub("#", one) for one in told]
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    decisions = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    steps: dict[str, list[str]] = {}
    for one in decisions:
        steps.setdefault(one["item_id"], []).extend(verdict["part"] for verdict in one["verdicts"])
    assert list(steps.values()) == [["prompt", "picture"], ["prompt", "picture"], ["prompt", "picture"], ["prompt"]]
    assert drawn == set(list(steps)[:2])


class Pipeline:
    """Says `outcome` of everything, in the name of `policy`; or does what `instead` does."""

    def __init__(self, outcome: Outcome | None, *, policy: str = "p", status: str = "live") -> None:
        self.running = SimpleNamespace(policies=[SimpleNamespace(terms=SimpleNamespace(policy=policy, status=status))])
        found = Verdict(policy, "1", "r", status, outcome or Outcome.ERROR, Severity.HIGH, score=0.9, threshold=0.5)
        self.verdicts = () if outcome is None else (found,)
        self.seen: list[ContentItem] = []
        self.instead: Callable[[], Any] | None = None

    def decide(self, items: list[ContentItem]) -> list[Decision]:
        self.seen += items
        if self.instead:
            self.instead()
        return [Decision(one.id, "d", "allow", Severity.INFO, "allow", self.verdicts, {}) for one in items]


def fails() -> Any:
    raise RuntimeError("the prompt itself")


CLEAN = Outcome.NO_MATCH


def made(guard: ModuleType, prompts: Pipeline, pictures: Pipeline, generate: Any = lambda _: b"picture") -> Any:
    return guard.Guard(prompts, pictures, generate, surfaces=("post", "sticker")).create("a prompt")


def test_a_picture_comes_out_where_both_steps_found_nothing(guard: ModuleType) -> None:
    prompts, pictures = Pipeline(CLEAN), Pipeline(CLEAN)
    answer = made(guard, prompts, pictures)
    assert (answer.picture, answer.refused, answer.why) == (b"picture", "", "")
    assert {prompts.seen[0].id, pictures.seen[0].id} == {answer.item}
    assert [one.item_id for one in answer.decisions] == [answer.item] * 2
    assert prompts.seen[0].attributes == {"surface": "post"}


@pytest.mark.parametrize("outcome", [Outcome.MATCH, Outcome.REVIEW, Outcome.ERROR, None])
def test_a_prompt_that_does_not_pass_is_never_drawn(guard: ModuleType, outcome: Outcome | None) -> None:
    drawn: list[str] = []
    answer = made(guard, Pipeline(outcome), Pipeline(CLEAN), drawn.append)
    assert (answer.picture, answer.refused, drawn) == (None, "prompt", [])
    assert answer.why


@pytest.mark.parametrize("outcome", [Outcome.MATCH, Outcome.REVIEW, Outcome.ERROR, None])
def test_a_picture_that_does_not_pass_is_never_seen(guard: ModuleType, outcome: Outcome | None) -> None:
    answer = made(guard, Pipeline(CLEAN), Pipeline(outcome))
    assert (answer.picture, answer.refused) == (None, "picture")
    assert answer.why


@pytest.mark.parametrize("step", ["prompt", "draw", "picture"])
def test_a_fault_of_any_step_is_a_refusal_that_quotes_nothing(guard: ModuleType, step: str) -> None:
    prompts, pictures = Pipeline(CLEAN), Pipeline(CLEAN)
    if step != "draw":
        {"prompt": prompts, "picture": pictures}[step].instead = fails
    answer = made(guard, prompts, pictures, (lambda _: fails()) if step == "draw" else lambda _: b"picture")
    assert (answer.picture, answer.why) == (None, "RuntimeError")
    assert answer.refused == ("prompt" if step == "prompt" else "picture")


def test_one_policy_that_says_nothing_is_enough(guard: ModuleType) -> None:
    silent = Pipeline(CLEAN)
    silent.verdicts = (replace(silent.verdicts[0], policy="another"),)
    assert made(guard, Pipeline(CLEAN), silent).why == "p did not judge"


def test_builds_that_are_not_live_are_no_guard(guard: ModuleType) -> None:
    with pytest.raises(ValueError, match="draft"):
        made(guard, Pipeline(CLEAN, status="draft"), Pipeline(CLEAN))
    empty = Pipeline(CLEAN)
    empty.running.policies.clear()
    with pytest.raises(ValueError, match="expected policies that are live"):
        made(guard, Pipeline(CLEAN), empty)
