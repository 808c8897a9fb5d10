"""Certification: the pipeline's scores, whole evidence or none, and what the lock remembers of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moderation.decision import Abstention, Score
from moderation.errors import DataError, LockError
from moderation.item import ContentItem, content_digest
from moderation.policy.lock import marks
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.release.bins import BINS, histogram
from moderation.release.certification import Shown, certify_lock, merged_pairs, remember, score_targets
from tests.fakes import lock

POLICY: Any = SimpleNamespace(
    id="weapons",
    path=Path("weapons.yaml"),
    prevalence=SimpleNamespace(low=0.1, high=0.2),
    data=SimpleNamespace(fit=None, certify=None, audit=None),
    exemplars=SimpleNamespace(violating=None, contrast=None),
    actions=(
        SimpleNamespace(
            action="review", guarantee=SimpleNamespace(metric="recall", at_least=0.5, confidence=0.9), budget=None
        ),
    ),
)


class FakePipeline:
    """Scores a text by the number it is, `moved` where it is scored alone; what is no number cannot be judged."""

    def __init__(self, *, moved: float = 0.0, company: float = 0.0) -> None:
        one = SimpleNamespace(
            id="weapons",
            numeric="fake",
            readers=(),
            scope=lambda item: range(len(item.parts)),
            terms=SimpleNamespace(company=company),
        )
        self.running: Any = SimpleNamespace(policies=(one,))
        self.moved, self.alone = moved, list[str]()

    def score(
        self, items: Sequence[ContentItem], *, shown: Shown = lambda _items: None, alone: bool = False
    ) -> list[dict[str, Score | Abstention]]:
        shown(items)
        if alone:
            texts = [item.parts[0].content.decode() for item in items]
            self.alone += texts
            return [self.one(f"{float(text) + self.moved:.6f}") for text in texts]
        return [self.one(max(part.content.decode() for part in item.parts)) for item in items]

    def one(self, text: str) -> dict[str, Score | Abstention]:
        try:
            return {"weapons": Score("weapons", float(text)), "other": Score("other", 1.0)}
        except ValueError:
            return {"weapons": Abstention("unsupported_input")} if text == "broken" else {}


def rows(folder: Path, texts: Sequence[str]) -> tuple[TargetRow, ...]:
    path = folder / "certify.jsonl"
    lines = [{"text": text, "target": text.startswith("0.9"), "cluster": f"c{n}"} for n, text in enumerate(texts)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return load_manifest(path)


def test_every_target_gets_the_score_of_its_own_policy(tmp_path: Path) -> None:
    texts = [f"0.{n:03}" for n in range(1, 150)]
    told: list[int] = []
    scored = score_targets(POLICY, rows(tmp_path, texts), FakePipeline(), advance=told.append)
    assert [one.score for one in scored] == [float(text) for text in texts]
    assert [one.cluster for one in scored] == [f"c{n}" for n in range(149)]
    assert told == [64, 64, 21]


def test_evidence_with_holes_is_refused_and_every_hole_is_named(tmp_path: Path) -> None:
    found = rows(tmp_path, ["0.91", "broken", "0.1", "elsewhere"])
    with pytest.raises(DataError) as caught:
        score_targets(POLICY, found, FakePipeline())
    assert [problem.line for problem in caught.value.problems] == [2, 4]
    assert "unsupported_input" in str(caught.value)
    assert "out_of_scope" in str(caught.value)


def test_a_lock_is_certified_on_the_numeric_class_it_was_compiled_on(tmp_path: Path) -> None:
    texts = [f"0.9{n:02}" for n in range(20)] + [f"0.1{n:02}" for n in range(30)]
    with pytest.raises(LockError, match="compiled on torch-cuda-float32, the encoder runs as fake"):
        certify_lock(
            lock(encoder_numeric="torch-cuda-float32"), POLICY, rows(tmp_path, texts), FakePipeline(), background=()
        )


def test_targets_near_to_a_threshold_are_scored_alone_as_they_will_be_decided(tmp_path: Path) -> None:
    texts = [f"0.9{n:02}" for n in range(20)] + [f"0.1{n:02}" for n in range(30)]
    before = certify_lock(lock(), POLICY, rows(tmp_path, texts), FakePipeline(), background=()).actions[0].threshold
    assert before is not None
    scorer = FakePipeline(moved=-0.0004, company=0.0005)
    after = certify_lock(lock(), POLICY, rows(tmp_path, texts), scorer, background=()).actions[0].threshold
    assert after == pytest.approx(before - 0.0004)
    assert scorer.alone == [f"{before:.3f}"]
    far = FakePipeline(
        moved=-0.0004, company=0.2
    )  # the thresholds move, and what is near to them does, until nothing new is near
    certify_lock(lock(), POLICY, rows(tmp_path, texts), far, background=())
    assert len(far.alone) == len(set(far.alone)) == 20


def test_a_file_that_changed_since_the_manifest_is_a_hole_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0.9")
    line = {"path": "a.txt", "sha256": "0" * 64, "target": True, "cluster": "a"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match="the manifest says"):
        score_targets(POLICY, load_manifest(tmp_path / "m.jsonl"), FakePipeline())


def test_the_lock_remembers_what_its_thresholds_rest_on(tmp_path: Path) -> None:
    texts = [f"0.9{n:02}" for n in range(20)] + [f"0.1{n:02}" for n in range(30)]
    before = lock(evidence={"level": "kept"})
    after = certify_lock(before, POLICY, rows(tmp_path, texts), FakePipeline(), background=())
    assert (after.policy, after.max_parts, after.evidence["level"]) == ("weapons", 1, "kept")
    assert after.revision != before.revision
    (action,) = after.actions
    assert action.threshold is not None
    assert 0.5 < action.threshold <= 0.92
    certified = after.evidence["certify"]
    assert certified["targets"] == certified["clusters"] == {"violating": 20, "benign": 30}
    assert sum(certified["histogram"]["benign"]) == 30
    assert after.calibration is None
    assert after.evidence["calibration"]["method"] == "none"
    again = certify_lock(before, POLICY, rows(tmp_path, texts[::-1]), FakePipeline(), background=())
    assert again.evidence["certify"]["digest"] == certified["digest"]


def test_what_the_classifier_was_made_from_cannot_certify_it_whatever_the_manifests_say_by_now(tmp_path: Path) -> None:
    targets = rows(tmp_path, ["0.9", "0.8", "0.1"])
    for used in (marks((targets[1].sha256,), ()), marks((), (targets[1].cluster,))):
        made = lock(arrays={**lock().arrays, "used": used})
        with pytest.raises(DataError, match="made from") as error:
            certify_lock(made, POLICY, targets, FakePipeline(), background=())
        assert [problem.line for problem in error.value.problems] == [targets[1].line]


def test_shared_content_is_told_with_the_cluster_it_was_fitted_under_and_never_with_its_new_one(tmp_path: Path) -> None:
    targets = rows(tmp_path, ["0.9", "0.8", "0.1"])
    made = lock(arrays={**lock().arrays, "used": marks((targets[1].sha256,), ("c2",))})
    fitted = replace(targets[1], cluster="old", manifest=tmp_path / "fit.jsonl", line=7)
    for fit, told in (((fitted,), f", there of cluster 'old' ({tmp_path / 'fit.jsonl'}:7);"), ((), ";")):
        with pytest.raises(DataError) as error:
            certify_lock(made, POLICY, targets, FakePipeline(), background=fit)
        content, cluster = (problem.message for problem in error.value.problems)
        assert content.startswith(f"the classifier was made from this very content, the text{told}")
        assert "c1" not in content
        assert cluster.startswith("the classifier was made from cluster 'c2'")


COPIED = "0.9" + "1234567890" * 4


def test_copies_of_one_picture_are_one_object_however_many_clusters_they_are_named_for(tmp_path: Path) -> None:
    apart = rows(tmp_path, [f"0.9{n:02}" for n in range(50)] + [f"0.1{n:02}" for n in range(30)])
    honest = certify_lock(lock(), POLICY, apart, FakePipeline(), background=())
    assert honest.actions[0].threshold is not None
    assert honest.evidence["certify"]["merged"] == []
    copies = rows(tmp_path, [f"{COPIED}{n:02}" for n in range(50)] + [f"0.1{n:02}" for n in range(30)])
    found = certify_lock(lock(), POLICY, copies, FakePipeline(), background=())
    assert found.actions[0].threshold is None
    told = found.evidence["certify"]
    assert (told["targets"]["violating"], told["clusters"]) == (50, {"violating": 1, "benign": 30})
    pairs = merged_pairs(found, copies)
    assert [[row.sha256 for row in pair] for pair in pairs] == told["merged"]
    assert len(pairs) == 49
    assert {row.cluster for pair in pairs for row in pair} == {f"c{n}" for n in range(50)}


@pytest.mark.parametrize(
    ("text", "cluster", "code"), [("0.123", "other", "D007"), ("0.456", "c1", "D007"), (COPIED + "7", "other", "D008")]
)
def test_what_the_background_shows_cannot_certify(tmp_path: Path, text: str, cluster: str, code: str) -> None:
    targets = rows(tmp_path, [COPIED, "0.123", "0.3"])
    ordinary = replace(targets[0], text=text, sha256=content_digest(text.encode()), cluster=cluster)
    with pytest.raises(DataError) as caught:
        certify_lock(lock(), POLICY, targets, FakePipeline(), background=[ordinary])
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == (code, 1 if code == "D008" else 2)


def test_what_the_classifier_was_made_from_and_nobody_shows_any_more_is_counted(tmp_path: Path) -> None:
    targets = rows(tmp_path, [f"0.9{n:02}" for n in range(20)])
    gone = replace(targets[0], text="0.5", sha256=content_digest(b"0.5"), cluster="gone")
    made = lock(arrays={**lock().arrays, "used": marks((gone.sha256,), (gone.cluster,))})
    unseen = [
        certify_lock(made, POLICY, targets, FakePipeline(), background=rest).evidence["certify"]["unseen"]
        for rest in ((), (replace(gone, cluster="new"),), (gone,))
    ]
    assert unseen == [2, 1, 0]


def test_the_histogram_counts_every_score_once() -> None:
    counts = histogram([0.0, 1.0, 0.5, 0.999999, 1 / BINS])
    assert sum(counts) == 5
    assert (counts[0], counts[1], counts[-1]) == (1, 1, 2)


def test_a_new_question_to_the_same_targets_is_counted_and_the_same_one_is_not(tmp_path: Path) -> None:
    targets = rows(tmp_path, [f"0.9{n:02}" for n in range(20)] + [f"0.1{n:02}" for n in range(30)])
    first = certify_lock(lock(), POLICY, targets, FakePipeline(), background=())
    again = certify_lock(remember(lock(), first), POLICY, targets, FakePipeline(), background=())
    offset = lock().arrays["offset"]
    another = lock(arrays={**lock().arrays, "offset": offset + 0.5})
    second = certify_lock(remember(another, again), POLICY, targets, FakePipeline(), background=())
    fewer = certify_lock(remember(another, again), POLICY, targets[1:], FakePipeline(), background=())
    others = [replace(row, sha256=f"{number:064x}", cluster=f"new {number}") for number, row in enumerate(targets)]
    fresh = certify_lock(remember(another, again), POLICY, others, FakePipeline(), background=())
    promises = SimpleNamespace(**{**vars(POLICY), "prevalence": SimpleNamespace(low=0.15, high=0.2)})
    easier = certify_lock(remember(lock(), again), promises, targets, FakePipeline(), background=())
    found = (first, again, second, fewer, fresh, easier)
    assert [one.evidence["certify"]["asked"] for one in found] == [1, 1, 2, 2, 1, 2]


def test_enough_targets_make_a_calibration_at_the_middle_of_the_prevalence_and_decisions_show_it(
    tmp_path: Path,
) -> None:
    texts = [f"0.9{n:02}" for n in range(60)] + [f"0.1{n:02}" for n in range(60)]
    after = certify_lock(lock(), POLICY, rows(tmp_path, texts), FakePipeline(), background=())
    assert after.calibration is not None
    told = after.evidence["calibration"]
    assert (told["method"], told["violating"], told["prevalence"]) == ("sigmoid", 60, pytest.approx(0.15))
    assert after.calibration.probability(0.95) > 0.8
    assert after.calibration.probability(0.1) < 0.05


def test_items_of_several_parts_are_scored_whole_and_the_lock_keeps_how_many_it_saw(tmp_path: Path) -> None:
    lines = [
        {
            "parts": [{"text": f"0.9{n:02}"}, {"text": f"0.0{n:02}"}, {"text": "0.001"}][: 2 + n % 2],
            "target": True,
            "cluster": f"v{n}",
        }
        for n in range(20)
    ]
    lines += [{"text": f"0.1{n:02}", "target": False, "cluster": f"b{n}"} for n in range(30)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    targets = load_manifest(tmp_path / "m.jsonl")
    assert score_targets(POLICY, targets, FakePipeline())[3].score == 0.903
    after = certify_lock(lock(), POLICY, targets, FakePipeline(), background=())
    assert after.max_parts == 3
    made = lock(arrays={**lock().arrays, "used": marks((targets[4].parts[1].sha256,), ())})
    with pytest.raises(DataError, match="this very content, an item of 2 parts; it cannot certify it") as error:
        certify_lock(made, POLICY, targets, FakePipeline(), background=())
    assert [problem.line for problem in error.value.problems] == [5]
