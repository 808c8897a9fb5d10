"""Items decided by the real pipeline and kept, for backtests to be held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moderation import assemble
from moderation.decision import Decision
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.history.items import Fact
from moderation.history.log import write_decisions
from moderation.history.vectors import KeptItem, KeptPart, write_vectors
from moderation.item import ContentItem
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy
from moderation.release.backtest import Backtest, backtest
from moderation.release.replay import Trial, replay_vectors
from moderation.release.replay_log import replay_log, source_of
from moderation.settings import Settings
from tests.fakes import ACTIONS, FakeEncoder, plugins_with
from tests.policy_text import POLICY, write


def policy(folder: Path, text: str = POLICY) -> Policy:
    """The weapons policy of the other tests: prevalence 0.004 to 0.012, review with a budget of 0.02."""
    return load_policy(write(folder, text), action_names=ACTIONS)


def decide(
    lock: Lock, items: Sequence[ContentItem], *, encoder: FakeEncoder | None = None, status: str = "draft"
) -> list[Decision]:
    """What the pipeline says of the items under a lock."""
    embedder = Embedder(encoder or FakeEncoder(), MemoryCache(1_000_000))
    pipeline = assemble.pipeline(Settings(), [lock], embedders={"default": embedder}, known=plugins_with())
    decisions = pipeline.decide(items)
    return [
        replace(one, verdicts=tuple(replace(verdict, status=status) for verdict in one.verdicts)) for one in decisions
    ]


def keep(
    folder: Path,
    items: Sequence[ContentItem],
    facts: Mapping[str, Fact] | None = None,
    *,
    encoder: FakeEncoder | None = None,
) -> Path:
    """The items' vectors, kept as `policy embed` keeps them."""
    encoder = encoder or FakeEncoder()
    parts = [part for item in items for part in item.parts]
    embedded = Embedder(encoder, MemoryCache(1_000_000)).embed(parts)
    errors = [embedded.errors[place].reason if place in embedded.errors else "" for place in range(len(parts))]
    walk = iter(KeptPart(part.modality, part.digest, error) for part, error in zip(parts, errors, strict=True))
    known = facts or {}
    kept = [
        KeptItem(known.get(item.id, Fact(item.id, attributes=item.attributes)), tuple(next(walk) for _ in item.parts))
        for item in items
    ]
    print_ = encoder.fingerprint
    write_vectors(folder / "kept.parquet", kept, embedded.vectors, identity=print_.identity, numeric=print_.numeric)
    return folder


def log(path: Path, decisions: Sequence[Decision], facts: Mapping[str, Fact] | None = None) -> Path:
    """Decisions, kept as `policy keep` keeps them."""
    write_decisions(path, decisions, [(facts or {}).get(one.item_id, Fact(one.item_id)) for one in decisions])
    return path


def from_vectors(folder: Path, before: Lock | None, after: Lock, own: Policy, **options: Any) -> Backtest:
    """A backtest on kept vectors."""
    trial = Trial(before, after, ACTIONS, **options)
    return backtest(replay_vectors([folder], trial), trial, own, source="vectors")


def from_log(places: Sequence[Path], before: Lock | None, after: Lock, own: Policy, **options: Any) -> Backtest:
    """A backtest on kept decisions."""
    trial = Trial(before, after, ACTIONS, **options)
    source = source_of(places, trial)
    return backtest(replay_log(places, trial, source), trial, own, source=source)
