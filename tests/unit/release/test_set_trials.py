"""Tests over manifests: what passes, what fails, and what must never pass because it was not looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from moderation.compiler.bounds import upper
from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.errors import DataError
from moderation.item import ContentItem, Modality
from moderation.policy.lock import marks
from moderation.policy.manifest import load_manifest
from moderation.release.policy_tests import Status, TestResult, prepare, run_tests
from moderation.release.suite import Suite
from tests.fakes import lock
from tests.policy_text import ACTIONS

Scorer = Callable[[ContentItem], float]


class Scores:
    """A pipeline that reviews from 0.5 on and removes from 0.9 on; `score` of -1 is an error."""

    def __init__(self, score: Scorer) -> None:
        self.score = score

    def decide(self, items: Sequence[ContentItem]) -> list[Decision]:
        return [self.one(item, len(items)) for item in items]

    def one(self, item: ContentItem, _batch: int) -> Decision:
        score = self.score(item)
        bands = ((0.9, Outcome.MATCH, "remove"), (0.5, Outcome.REVIEW, "review"), (0.0, Outcome.NO_MATCH, None))
        _, outcome, action = next((one for one in bands if score >= one[0]), (-1.0, Outcome.ERROR, "review"))
        error = "detector_error" if outcome is Outcome.ERROR else None
        verdict = Verdict(
            "p", "1.0.0", "rev", "draft", outcome, Severity.LOW, action=action, score=max(score, 0.0), error=error
        )
        return Decision(item.id, "d", "allow", Severity.LOW, "allow", (verdict,), {})


class Unsteady(Scores):
    """Scores that depend on the company an item keeps."""

    def __init__(self, by: float) -> None:
        super().__init__(lambda _item: 0.2)
        self.by = by

    def one(self, item: ContentItem, batch: int) -> Decision:
        self.score = lambda _item: 0.2 + self.by * batch
        return super().one(item, batch)


def in_text(item: ContentItem) -> float:
    """The score that a text ends with."""
    return float(item.parts[0].content.decode().rpartition(" ")[2])


def rows(folder: Path, found: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        json.dumps({"text": f"item {n} {one['score']}", "target": False, "cluster": one.get("cluster", f"c{n}"),
                    "attributes": one.get("attributes", {})})
        for n, one in enumerate(found)
    ]  # fmt: skip
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")


def result(folder: Path, section: str, test: Mapping[str, Any], pipeline: Scores | None = None) -> TestResult:
    made = Suite.model_validate({"suite": "s", section: ({"id": "one", "items": "items.jsonl", **test},)}, strict=False)
    prepared = prepare([made.at(folder / "tests.yaml")], [Modality.TEXT], ACTIONS)
    (found,) = run_tests("p", prepared, pipeline or Scores(in_text)).results
    return found


def test_a_capability_holds_at_its_lower_bound(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1}] * 59)
    assert result(tmp_path, "capabilities", {"expect": "no_match", "floor": 0.95}).status is Status.PASSED
    rows(tmp_path, [{"score": 0.1}] * 58)  # 59 without a miss are what 0.95 takes
    found = result(tmp_path, "capabilities", {"expect": "no_match", "floor": 0.95})
    assert found.status is Status.FAILED
    assert found.found == "58 of 58, at least 0.950"


def test_one_wrong_item_is_its_whole_cluster_and_is_named(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.6 if n == 7 else 0.1, "cluster": f"c{n // 2}"} for n in range(80)])
    found = result(tmp_path, "capabilities", {"expect": "no_match", "floor": 0.9})
    assert found.found.startswith("39 of 40, at least 0.88")
    assert "items.jsonl:8" in found.message


@pytest.mark.parametrize(
    ("section", "test"),
    [
        ("capabilities", {"expect": "no_match", "floor": 0.1}),
        ("benign", {"cap": 0.9}),
        ("capabilities", {"expect": "no_match", "floor": 0.1, "min_items": 1, "where": {"drawn_by": "nobody"}}),
        ("stability", {"where": {"drawn_by": "nobody"}}),
        ("invariance", {"change": "grayscale"}),
        ("groups", {"attribute": "region", "expect": "no_match", "max_gap": 0.5}),
    ],
    ids=["too few", "too few benign", "none of these", "nothing to repeat", "nothing to change", "no groups"],
)
def test_what_was_not_looked_at_has_not_passed(tmp_path: Path, section: str, test: Mapping[str, Any]) -> None:
    rows(tmp_path, [{"score": 0.1}] * 20)
    assert result(tmp_path, section, test).status is Status.FAILED


def test_ordinary_content_may_be_acted_on_so_often_and_no_more(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.6 if n < 2 else 0.1} for n in range(300)])
    assert result(tmp_path, "benign", {"cap": 0.03, "min_items": 300}).status is Status.PASSED
    assert result(tmp_path, "benign", {"cap": 0.01, "min_items": 300}).status is Status.FAILED
    only_removal = {"cap": 0.01, "min_items": 300, "action": "remove"}
    assert result(tmp_path, "benign", only_removal).status is Status.PASSED


def test_what_could_not_be_judged_counts_against_a_benign_set(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": -1 if n < 30 else 0.1} for n in range(300)])
    found = result(tmp_path, "benign", {"cap": 0.05, "min_items": 300})
    assert found.status is Status.FAILED
    assert "30 could not be judged" in found.found


@pytest.mark.parametrize(
    ("south", "status", "says"),
    [(0, Status.PASSED, "at most"), (200, Status.FAILED, "at least"), (25, Status.FAILED, "insufficient evidence")],
)
def test_groups_pass_fail_or_do_not_say(tmp_path: Path, south: int, status: Status, says: str) -> None:
    items = [{"score": 0.6 if n < south else 0.1, "attributes": {"region": "south"}} for n in range(400)]
    rows(tmp_path, [*items, *({"score": 0.1, "attributes": {"region": "north"}} for _ in range(400))])
    found = result(tmp_path, "groups", {"attribute": "region", "expect": "no_match", "max_gap": 0.06})
    assert found.status is status
    assert says in found.found


def test_a_change_that_matters_is_found(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1}] * 40)
    shouting = Scores(lambda item: 0.7 if item.parts[0].content.decode().isupper() else 0.1)
    test = {"change": "upper_case"}
    assert result(tmp_path, "invariance", test).status is Status.PASSED
    found = result(tmp_path, "invariance", test, shouting)
    assert found.status is Status.FAILED
    assert found.found == "40 of 40 clusters, at most 1.0000 (not items.jsonl:1, items.jsonl:2, items.jsonl:3, ...); scores by 0.600000 at most"  # fmt: skip
    assert result(tmp_path, "invariance", {**test, "max_band_changes": 1.0}, shouting).status is Status.PASSED
    strict = {**test, "max_band_changes": 1.0, "max_score_change": 0.5}
    assert result(tmp_path, "invariance", strict, shouting).status is Status.FAILED


def test_so_many_outcomes_may_change_surely_and_a_cluster_counts_once(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1, "cluster": f"c{n % 100}"} for n in range(200)])
    numbers = {f"ITEM {n} 0.1" for n in (0, 1, 2, 100)}  # three clusters, one of them twice
    moved = Scores(lambda item: 0.7 if item.parts[0].content.decode() in numbers else 0.1)
    bound = float(upper(3, 100, 0.05))
    assert bound > 0.07  # of 3 in 100, which the point estimate would let pass at 0.03
    for allowed, status in ((bound + 1e-6, Status.PASSED), (bound - 1e-6, Status.FAILED), (0.03, Status.FAILED)):
        test = {"change": "upper_case", "max_band_changes": allowed}
        assert result(tmp_path, "invariance", test, moved).status is status
    sure = {"change": "upper_case", "max_band_changes": bound, "confidence": 0.99}
    assert result(tmp_path, "invariance", sure, moved).status is Status.FAILED


def test_an_item_that_the_change_leaves_as_it_is_shows_nothing(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1}] * 40)
    (tmp_path / "items.jsonl").write_text((tmp_path / "items.jsonl").read_text().replace("item", "ITEM"))
    found = result(tmp_path, "invariance", {"change": "upper_case"})
    assert (found.status, found.found) == (Status.FAILED, "that upper_case alters: 0 clusters in items.jsonl, fewer than 30")  # fmt: skip


def test_too_few_altered_clusters_are_a_failure(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1, "cluster": f"c{n % 29}"} for n in range(60)])
    assert result(tmp_path, "invariance", {"change": "upper_case"}).status is Status.FAILED
    assert result(tmp_path, "invariance", {"change": "upper_case", "min_items": 29}).status is Status.PASSED


def test_words_are_swapped_whole(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1}] * 3)
    seen: list[str] = []
    watching = Scores(lambda item: (seen.append(item.parts[0].content.decode()), 0.1)[1])
    result(tmp_path, "invariance", {"change": "swap", "swap": {"ITEM": "thing", "ite": "no"}}, watching)
    assert "thing 0 0.1" in seen


def test_scores_that_hang_on_the_batch_are_found(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.2}] * 70)
    assert result(tmp_path, "stability", {}, Unsteady(1e-6)).status is Status.PASSED
    assert result(tmp_path, "stability", {}, Unsteady(1e-4)).status is Status.FAILED


def test_a_direction_needs_two_scores(tmp_path: Path) -> None:
    def direction(a: str, b: str, score: str) -> Status:
        pair = {"id": "one", "a": {"text": a}, "b": {"text": b}, "score": score}
        made = Suite.model_validate({"suite": "s", "directions": (pair,)}, strict=False).at(tmp_path / "t.yaml")
        (found,) = run_tests("p", prepare([made], [Modality.TEXT], ACTIONS), Scores(in_text)).results
        return found.status

    assert direction("0.1", "0.2", "rises") is Status.PASSED
    assert direction("0.1", "0.1", "rises") is Status.FAILED
    assert direction("0.2", "0.1", "falls") is Status.PASSED
    assert direction("-1", "0.1", "rises") is Status.FAILED


@pytest.mark.parametrize(
    ("section", "test"),
    [
        ("capabilities", {"expect": "no_match", "floor": 0.1}),
        ("benign", {"cap": 0.9}),
        ("groups", {"attribute": "region", "expect": "no_match", "max_gap": 0.5}),
    ],
)
def test_what_the_classifier_was_made_from_bounds_nothing(
    tmp_path: Path, section: str, test: Mapping[str, Any]
) -> None:
    rows(tmp_path, [{"score": 0.1}] * 4)
    found = load_manifest(tmp_path / "items.jsonl")
    made = Suite.model_validate({"suite": "s", section: ({"id": "one", "items": "items.jsonl", **test},)}, strict=False)
    suite = made.at(tmp_path / "tests.yaml")
    for used in (marks([found[2].sha256], ()), marks((), ["c2"])):
        with pytest.raises(DataError) as caught:
            prepare([suite], [Modality.TEXT], ACTIONS, lock=lock(arrays={"used": used}))
        (problem,) = caught.value.problems
        assert (problem.code, problem.line) == ("D201", 3)
        assert "it cannot test it" in problem.message
    assert prepare([suite], [Modality.TEXT], ACTIONS, lock=lock(arrays={"used": marks((), ["other"])}))


def test_what_only_repeats_may_be_of_anything(tmp_path: Path) -> None:
    rows(tmp_path, [{"score": 0.1}] * 4)
    own = lock(arrays={"used": marks((), ["c2"])})
    sets = {"invariance": ({"id": "a", "items": "items.jsonl", "change": "upper_case"},), "stability": ({"id": "b", "items": "items.jsonl"},)}  # fmt: skip
    made = Suite.model_validate({"suite": "s", **sets}, strict=False).at(tmp_path / "tests.yaml")
    assert len(prepare([made], [Modality.TEXT], ACTIONS, lock=own)) == 2


def test_a_broken_manifest_is_located(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=r"items.jsonl:1"):
        result(tmp_path, "stability", {})
