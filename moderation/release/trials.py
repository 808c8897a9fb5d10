"""A test file's tests of single items, pairs and made content, as trials; set_trials.py has those over manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from moderation.compiler.degenerate import degenerate
from moderation.decision import Outcome, Verdict
from moderation.item import ContentItem, Modality
from moderation.release.set_trials import set_trials
from moderation.release.suite import Case, Direction, Expectation, Item, Pair, Suite
from moderation.release.trial import UNCERTIFIED, Answer, Trial, Verdicts, outcome_of, unjudged


def trials(suite: Suite, modalities: Sequence[Modality], order: Sequence[str]) -> Iterator[Trial]:
    """Every test of a file, in its order; made content in each of the policy's modalities, `order` of actions by force.

    Raises DataError where a manifest cannot be read.
    """
    for case in suite.cases:
        yield _case(suite, case, "case")
    for pair in suite.pairs:
        yield _pair(suite, pair)
    for direction in suite.directions:
        yield _direction(suite, direction)
    yield from set_trials(suite, order)
    for kind in suite.degenerate:
        for modality in modalities:
            for part in degenerate(kind, modality):
                one = f"{kind}-{modality}-{part.name}"
                item = ContentItem(one, (part,))
                answer = partial(_expected, (Expectation.NOTHING,))
                yield Trial(suite.suite, one, "degenerate", (partial(_same, item),), answer)
    for case in suite.todo:
        yield _case(suite, case, "todo")


def holds(expected: Expectation, verdict: Verdict | None) -> bool:
    """Whether a verdict is what was expected. A policy without thresholds errs on everything: that is never the right answer."""
    return verdict is not None and expected.holds(verdict.outcome) and verdict.error != UNCERTIFIED


def _same(item: ContentItem) -> ContentItem:
    return item


def _reader(suite: Suite, item: Item, name: str) -> Callable[[], ContentItem]:
    return partial(suite.read, item, id=name)


def _case(suite: Suite, case: Case, kind: str) -> Trial:
    answer = partial(_expected, (case.expect,))
    return Trial(suite.suite, case.id, kind, (_reader(suite, case.item, case.id),), answer, case.covers)


def _pair(suite: Suite, pair: Pair) -> Trial:
    items = _reader(suite, pair.a, f"{pair.id}/a"), _reader(suite, pair.b, f"{pair.id}/b")
    return Trial(suite.suite, pair.id, "pair", items, partial(_expected, (pair.a_expect, pair.b_expect)), pair.covers)


def _direction(suite: Suite, direction: Direction) -> Trial:
    items = _reader(suite, direction.a, f"{direction.id}/a"), _reader(suite, direction.b, f"{direction.id}/b")
    return Trial(suite.suite, direction.id, "direction", items, partial(_moved, direction), direction.covers)


def _expected(expectations: Sequence[Expectation], verdicts: Verdicts) -> Answer:
    pairs = list(zip(expectations, verdicts, strict=True))
    misses = [_miss(expect, verdict) for expect, verdict in pairs if not holds(expect, verdict)]
    alone = verdicts[0] if len(verdicts) == 1 else None
    return Answer(
        holds=not misses,
        expected=" / ".join(expect.value for expect in expectations),
        found=" / ".join(map(outcome_of, verdicts)),
        message="; ".join(misses),
        score=alone.score if alone else None,
        threshold=alone.threshold if alone else None,
        unjudged=any(map(unjudged, verdicts)),
    )


def _moved(direction: Direction, verdicts: Verdicts) -> Answer:
    first, second = (verdict.score if verdict else None for verdict in verdicts)
    expected = f"score {direction.score}"
    if first is None or second is None or any(map(unjudged, verdicts)):
        found = " / ".join(map(outcome_of, verdicts))
        return Answer(
            holds=False, expected=expected, found=found, message=f"expected {expected}, found {found}", unjudged=True
        )
    moved = second - first
    found = f"score {first:.4f} to {second:.4f}"
    right = moved > 0 if direction.score == "rises" else moved < 0
    return Answer(
        holds=right, expected=expected, found=found, message="" if right else f"expected {expected}, found {found}"
    )


def _miss(expected: Expectation, found: Verdict | None) -> str:
    if found is None:
        return f"expected {expected.value}, but the item is not in the policy's scope"
    if found.outcome is Outcome.ERROR:
        return f"expected {expected.value}, found error: {found.error}"
    score = "no score" if found.score is None else f"score {found.score:.4f}"
    cut = "" if found.threshold is None else f", threshold {found.threshold:.4f}"
    concept = f", nearest to {found.concept!r}" if found.concept else ""
    return f"expected {expected.value}, found {found.outcome.value} ({score}{cut}{concept})"
