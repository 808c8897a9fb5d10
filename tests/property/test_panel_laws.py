"""Laws of a panel: whoever needs whose scores, each detector is asked once, and is shown what its sources said of that very part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from moderation import assemble
from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.item import ContentItem, Modality, Part
from moderation.settings import Settings
from tests.fakes import FakeDetector, FakeEncoder, lock, plugins_with

NAMES = ("a", "b", "c", "d", "e")


@st.composite
def detectors(draw: st.DrawFn) -> dict[str, tuple[tuple[str, ...], frozenset[Modality]]]:
    """By id, whose scores each needs (all of them earlier in the alphabet), and what it judges: always text, so that it has an item to share."""
    found = {}
    for number, id_ in enumerate(NAMES[: draw(st.integers(1, 5))]):
        needs = tuple(draw(st.lists(st.sampled_from(NAMES[:number]), unique=True))) if number else ()
        sees = draw(st.sampled_from([frozenset({Modality.TEXT}), frozenset({Modality.TEXT, Modality.IMAGE})]))
        found[id_] = (needs, sees)
    return found


def word(id_: str, part: Part, shown: object) -> Detection:
    """An answer that hangs on everything that the detector was shown of the part."""
    told = int(hashlib.sha256(repr((id_, part, shown)).encode()).hexdigest()[:8], 16)
    return Abstention("shy") if told % 5 == 0 else (Score("risk", (told % 1000) / 1000),)


def answering(id_: str) -> Callable[[DetectionBatch], list[Detection]]:
    def answer(batch: DetectionBatch) -> list[Detection]:
        rows = batch.scores or [None] * len(batch)
        shown = [None if row is None else sorted(row.items()) for row in rows]
        return [word(id_, part, told) for part, told in zip(batch.parts, shown, strict=True)]

    return answer


parts = st.builds(Part, st.sampled_from((Modality.TEXT, Modality.IMAGE)), st.sampled_from([b"0.1", b"0.9", b"x"]))
items = st.lists(st.lists(parts, min_size=1, max_size=3).map(lambda some: ContentItem("i", tuple(some))), max_size=4)


TEXT = frozenset({Modality.TEXT})
CHAIN = {"a": ((), TEXT), "b": (("a",), TEXT), "c": (("b",), TEXT), "d": (("a", "c"), TEXT)}


@example(CHAIN, {"d"}, [ContentItem("i", (Part.text("x"),))])
@example(CHAIN, {"c"}, [ContentItem("i", (Part.text("x"),))])
@given(detectors(), st.sets(st.sampled_from(NAMES), min_size=1), items)
def test_each_is_asked_once_and_shown_what_its_sources_said(
    graph: dict[str, tuple[tuple[str, ...], frozenset[Modality]]], named: set[str], batch: list[ContentItem]
) -> None:
    brought = [
        FakeDetector(id_, answering(id_), needs_scores=needs, modalities=sees) for id_, (needs, sees) in graph.items()
    ]
    counted = sorted(named & graph.keys()) or ["a"]
    both = (Modality.IMAGE, Modality.TEXT)
    pipeline = assemble.pipeline(
        Settings(),
        [lock("p", detectors=tuple(counted), modalities=both)],
        embedders={"default": Embedder(FakeEncoder(), MemoryCache(1_000_000))},
        known=plugins_with(*brought),
    )
    decisions = pipeline.decide(batch)

    def expected(id_: str, part: Part) -> Detection:
        needs, _ = graph[id_]
        shown = {one: expected(one, part) for one in needs if part.modality in graph[one][1]}
        return word(id_, part, sorted(shown.items()) if needs else None)

    for one in brought:
        assert len(one.batches) <= 1
        for shown in one.batches:
            assert (shown.scores is None) == (not one.needs_scores)
            for part, row in zip(shown.parts, shown.scores or (), strict=False):
                sources = [name for name in one.needs_scores if part.modality in graph[name][1]]
                assert row == {name: expected(name, part) for name in sources}
    for item, decision in zip(batch, decisions, strict=True):
        said = [expected(id_, part) for id_ in counted for part in item.parts if part.modality in graph[id_][1]]
        scores = [score.value for answer in said if not isinstance(answer, Abstention) for score in answer]
        (verdict,) = decision.verdicts
        if verdict.detector not in {"p", None} and verdict.error is None:
            assert verdict.score == max(scores)
