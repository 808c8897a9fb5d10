"""Tests over the items of a manifest, as trials: invariance, capability, benign content, parity of groups, stability.

What counts is the cluster: a capability holds for a cluster where it holds for all of its items, a misfire on one item is its cluster's.
Fewer items than a test asks for, none that `where` names, or any without a verdict are failures: what was skipped has not passed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from moderation.audit.cells import LEAST_CLUSTERS, cells_of
from moderation.audit.gaps import compare
from moderation.compiler.bounds import lower, upper
from moderation.decision import Verdict
from moderation.errors import DataError, Problem, counted
from moderation.item import ContentItem
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.paths import join_path
from moderation.release.change import changed
from moderation.release.suite import Benign, Capability, Expectation, Invariance, Parity, SetTest, Stability, Suite
from moderation.release.trial import UNCERTIFIED, Answer, Trial, Verdicts, unjudged

_NAMED = 3  # items that a message names

_Pair = tuple[Verdict | None, Verdict | None]


def set_trials(suite: Suite, order: Sequence[str]) -> Iterator[Trial]:
    """Every test over a manifest, in the file's order; `order` names the actions by force. Raises DataError for manifests."""
    for invariance in suite.invariance:
        yield _invariance(suite, invariance)
    for capability in suite.capabilities:
        yield _over_rows(suite, capability, "capability", partial(_capability, capability))
    for benign in suite.benign:
        yield _over_rows(suite, benign, "benign", partial(_benign, benign, order))
    for parity in suite.groups:
        yield _over_rows(suite, parity, "group parity", partial(_parity, parity))
    for stability in suite.stability:
        yield _over_rows(suite, stability, "stability", partial(_stability, stability), batches=stability.batches)


def counted_rows(suite: Suite) -> list[TargetRow]:
    """The rows, each once, by which a file's tests bound a share of clusters that is right, or acted on: evidence, which others only repeat."""
    rows = [row for test in (*suite.capabilities, *suite.benign, *suite.groups) for row in _rows(suite, test)]
    return list({(row.manifest, row.line): row for row in rows}.values())


def _rows(suite: Suite, test: SetTest) -> list[TargetRow]:
    path = join_path(test.items, suite.path.parent)
    if path is None:
        raise DataError([Problem(suite.path, 0, 0, "T101", f"{test.items!r} is no path relative to the test file")])
    return [row for row in load_manifest(path) if _wanted(row, test)]


def _wanted(row: TargetRow, test: SetTest) -> bool:
    right = test.target is None or row.target is test.target
    return right and all(row.attributes.get(name) == value for name, value in test.where.items())


def _over_rows(
    suite: Suite,
    test: SetTest,
    kind: str,
    answer: Callable[[Sequence[TargetRow], Verdicts], Answer],
    *,
    batches: tuple[int, ...] = (),
) -> Trial:
    rows = _rows(suite, test)
    items = [row.item for row in rows]
    return Trial(suite.suite, test.id, kind, items, partial(answer, rows), test.covers, batches, _groups(rows))


def _groups(rows: Sequence[TargetRow]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, value in row.attributes.items():
            found[name].add(value)
    return {name: frozenset(values) for name, values in found.items()}


def _failed(expected: str, found: str, *, unjudged: bool = False) -> Answer:
    return Answer(
        holds=False, expected=expected, found=found, message=f"expected {expected}, found {found}", unjudged=unjudged
    )


def _answer(expected: str, found: str, *, holds: bool) -> Answer:
    return Answer(holds=holds, expected=expected, found=found) if holds else _failed(expected, found)


def _holds(expected: Expectation, verdict: Verdict | None) -> bool:
    return verdict is not None and expected.holds(verdict.outcome) and verdict.error != UNCERTIFIED


def _by_cluster(rows: Sequence[TargetRow], good: Sequence[bool]) -> dict[str, bool]:
    """Whether every item of each cluster is good."""
    clusters: dict[str, bool] = {}
    for row, one in zip(rows, good, strict=True):
        clusters[row.cluster] = clusters.get(row.cluster, True) and one
    return clusters


def _too_few(count: int, least: int, test: SetTest) -> str | None:
    """What is said of a set that shows nothing."""
    where = f" with {', '.join(f'{name} {value}' for name, value in test.where.items())}" if test.where else ""
    return None if count >= least else f"{counted(count, 'cluster')}{where} in {test.items}, fewer than {least}"


def _capability(test: Capability, rows: Sequence[TargetRow], verdicts: Verdicts) -> Answer:
    clusters = _by_cluster(rows, [_holds(test.expect, verdict) for verdict in verdicts])
    expected = f"{test.expect.value} for at least {test.floor:g} of clusters, surely"
    if few := _too_few(len(clusters), test.min_items, test):
        return _failed(expected, few)
    count, kept = len(clusters), sum(clusters.values())
    bound = float(lower(kept, count, 1.0 - test.confidence))
    found = f"{kept} of {count}, at least {bound:.3f}{_first(rows, [not _holds(test.expect, one) for one in verdicts])}"
    return _answer(expected, found, holds=bound >= test.floor)


def _benign(test: Benign, order: Sequence[str], rows: Sequence[TargetRow], verdicts: Verdicts) -> Answer:
    weakest = 1 if test.action is None else order.index(test.action)
    fired = [
        unjudged(one) or (one is not None and one.action is not None and order.index(one.action) >= weakest)
        for one in verdicts
    ]
    clusters = _by_cluster(rows, [not one for one in fired])
    expected = f"{test.action or 'any action'} on at most {test.cap:g} of clusters, surely"
    if few := _too_few(len(clusters), test.min_items, test):
        return _failed(expected, few)
    count = len(clusters)
    wrong = count - sum(clusters.values())
    bound = float(upper(wrong, count, 1.0 - test.confidence))
    lost = sum(map(unjudged, verdicts))
    told = f"{wrong} of {count}, at most {bound:.4f}{_first(rows, fired)}" + (
        f"; {lost} could not be judged" if lost else ""
    )
    return _answer(expected, told, holds=bound <= test.cap)


def _parity(test: Parity, rows: Sequence[TargetRow], verdicts: Verdicts) -> Answer:
    stated = [place for place, row in enumerate(rows) if row.attributes.get(test.attribute)]
    expected = f"{test.expect.value} about as often by {test.attribute}: no two groups more than {test.max_gap:g} apart, surely"
    if not stated:
        return _failed(expected, f"no item of {test.items} that states {test.attribute}")
    if lost := sum(unjudged(verdicts[place]) for place in stated):
        return _failed(expected, f"{counted(lost, 'item')} that could not be judged", unjudged=True)
    names, codes = np.unique([rows[place].attributes[test.attribute] for place in stated], return_inverse=True)
    _, clusters = np.unique([rows[place].cluster for place in stated], return_inverse=True)
    event = np.array([_holds(test.expect, verdicts[place]) for place in stated], np.float64)
    cells = cells_of(codes.astype(np.int64), event, clusters.astype(np.int64), groups=len(names))
    few = [f"{name} {int(count)}" for name, count in zip(names, cells.clusters, strict=True) if count < LEAST_CLUSTERS]
    if few or len(names) < 2:
        return _failed(
            expected,
            f"insufficient evidence: clusters {', '.join(few) or names[0]}, two groups of {LEAST_CLUSTERS} are needed",
        )
    pairs = compare(cells, alpha=1.0 - test.confidence)
    gap, bound = pairs[0], max(pair.upper for pair in pairs)
    shares = f"{names[gap.a]} {cells.rate[gap.a]:.3f} and {names[gap.b]} {cells.rate[gap.b]:.3f}"
    if bound < test.max_gap:
        return _answer(expected, f"{shares}, at most {bound:.3f} apart", holds=True)
    surely = max(pair.lower for pair in pairs)
    verdict = (
        f"at least {surely:.3f} apart" if surely > test.max_gap else f"insufficient evidence: up to {bound:.3f} apart"
    )
    return _failed(expected, f"{shares}, {verdict}")


def _invariance(suite: Suite, test: Invariance) -> Trial:
    """An item that the change leaves as it is shows nothing, and is left out."""
    rows: list[TargetRow] = []
    pairs: list[Callable[[], ContentItem]] = []
    for row in _rows(suite, test):
        item = row.item()
        parts = [changed(part, test.change, test.swap) for part in item.parts]
        if any(parts):
            altered = tuple(new or old for new, old in zip(parts, item.parts, strict=True))
            rows.append(row)
            pairs += [row.item, partial(_same, replace(item, id=f"{item.id}/{test.change}", parts=altered))]
    answer = partial(_unmoved, test, rows)
    return Trial(suite.suite, test.id, "invariance", pairs, answer, test.covers, (), _groups(rows))


def _same(item: ContentItem) -> ContentItem:
    return item


def _unmoved(test: Invariance, rows: Sequence[TargetRow], verdicts: Verdicts) -> Answer:
    outcomes = (
        f"the outcome of at most {test.max_band_changes:g} of clusters, surely,"
        if test.max_band_changes
        else "no outcome"
    )
    expected = f"{test.change} changes {outcomes} and no score by more than {test.max_score_change:g}"
    if few := _too_few(len({row.cluster for row in rows}), test.min_items, test):
        return _failed(expected, f"that {test.change} alters: {few}")
    pairs = list(zip(verdicts[::2], verdicts[1::2], strict=True))
    if lost := _lost(pairs):
        return _failed(expected, lost, unjudged=True)
    flips = [_flips(a, b) for a, b in pairs]
    clusters = _by_cluster(rows, [not one for one in flips])
    count, wrong = len(clusters), len(clusters) - sum(clusters.values())
    bound, apart = float(upper(wrong, count, 1.0 - test.confidence)), _apart(pairs)
    found = f"{wrong} of {counted(count, 'cluster')}, at most {bound:.4f}{_first(rows, flips)}; scores by {apart:.6f} at most"
    few_enough = bound <= test.max_band_changes if test.max_band_changes else not wrong
    return _answer(expected, found, holds=few_enough and apart <= test.max_score_change)


def _stability(test: Stability, rows: Sequence[TargetRow], verdicts: Verdicts) -> Answer:
    sizes = ", ".join(map(str, test.batches))
    expected = f"the same outcomes and scores within {test.max_score_change:g} in batches of {sizes}"
    if not rows:
        return _failed(expected, f"no item in {test.items}")
    runs = [verdicts[start : start + len(rows)] for start in range(0, len(verdicts), len(rows))]
    pairs = [pair for other in runs[1:] for pair in zip(runs[0], other, strict=True)]
    if lost := _lost(pairs):
        return _failed(expected, lost, unjudged=True)
    flips, apart = sum(_flips(a, b) for a, b in pairs), _apart(pairs)
    found = f"{flips} of {len(pairs)} outcomes change, scores by {apart:.6f} at most"
    return _answer(expected, found, holds=not flips and apart <= test.max_score_change)


def _lost(pairs: Sequence[_Pair]) -> str:
    lost = sum(unjudged(a) or unjudged(b) for a, b in pairs)
    return f"{lost} of {len(pairs)} that could not be judged" if lost else ""


def _flips(a: Verdict | None, b: Verdict | None) -> bool:
    return a is not None and b is not None and a.outcome is not b.outcome


def _apart(pairs: Sequence[_Pair]) -> float:
    """The largest difference of two scores."""
    return max(abs((a.score or 0.0) - (b.score or 0.0)) for a, b in pairs if a is not None and b is not None)


def _first(rows: Sequence[TargetRow], wrong: Sequence[bool]) -> str:
    """Where the first wrong ones stand, for whoever must look at them."""
    found = [f"{row.manifest.name}:{row.line}" for row, bad in zip(rows, wrong, strict=True) if bad]
    return f" (not {', '.join(found[:_NAMED])}{', ...' if len(found) > _NAMED else ''})" if found else ""
