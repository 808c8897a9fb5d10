"""What `moderation policy embed` and `backtest` do: vectors kept once, and locks tried on them as often as anyone likes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import typer

from moderation import assemble
from moderation.cli import terminal
from moderation.errors import ExitCode, SettingsError
from moderation.policy.loader import load_policy
from moderation.policy.lock import read_lock
from moderation.policy.manifest import load_manifest
from moderation.settings import load_settings

if TYPE_CHECKING:
    from moderation.release.backtest import Backtest, Rate

BATCH, FILE = 64, 8192


def embed(items: Path, *, out: Path, encoder: str) -> None:
    """Encode a manifest's items of one part and keep their vectors."""
    vectors = _history()
    settings, rows = load_settings(), [row for row in load_manifest(items) if not row.parts]
    with terminal.working("loading the encoder"):
        embedder = assemble.embedder(settings, encoder)
    fingerprint = embedder.encoder.fingerprint
    left_out = written = 0
    with terminal.progress("encoding", len(rows)) as advance:
        for number, start in enumerate(range(0, len(rows), FILE)):
            kept, made = [], []
            for first in range(start, min(start + FILE, len(rows)), BATCH):
                batch = rows[first : min(first + BATCH, start + FILE)]
                embedded = embedder.embed([row.read() for row in batch])
                fine = [place for place in range(len(batch)) if place not in embedded.errors]
                kept += [batch[place] for place in fine]
                made.append(embedded.vectors[fine])
                left_out += len(batch) - len(fine)
                advance(len(batch))
            stored = [
                vectors.StoredRow(row.sha256, str(row.modality), row.target, row.cluster, dict(row.attributes))
                for row in kept
            ]
            if stored:
                vectors.write_vectors(
                    out,
                    f"{items.stem}-{number:05}",
                    stored,
                    np.concatenate(made),
                    identity=fingerprint.identity,
                    numeric=fingerprint.numeric,
                )
                written += len(stored)
    also = f", {left_out:,} could not be encoded" if left_out else ""
    terminal.say(f"kept {written:,} vectors of encoder {fingerprint} in {out}{also}")


def backtest(path: Path, *, vectors: Path, lock: Path, before: Path | None, as_json: bool) -> None:
    """Try a lock on kept vectors; leaves with exit code 8 where an action would have taken more than its budget."""
    history = _history()
    from moderation.release.backtest import backtest as run

    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    new, old = read_lock(lock), read_lock(before) if before else None
    with terminal.progress("deciding", None) as advance:
        found = run(
            new,
            history.read_vectors(vectors, identity=new.encoder_identity, width=new.width),
            order=settings.actions,
            before=old,
            budgets={one.action: one.budget for one in policy.actions if one.budget is not None},
            advance=advance,
        )
    if as_json:
        terminal.emit(found.to_dict())
    else:
        _tell(found)
    if found.over_budget:
        raise typer.Exit(ExitCode.OVER_BUDGET)


def _history() -> ModuleType:
    """The room of kept vectors. Raises SettingsError where its extra is not installed."""
    try:
        from moderation.history import vectors
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'kept vectors need {error.name}, which is not installed; try: pip install "moderation[history]"'
        ) from None
    return vectors


def _tell(found: Backtest) -> None:
    beside = "" if found.before is None else f", beside revision {found.before}"
    terminal.say(f"policy {found.policy!r}, revision {found.after}{beside}: {found.items:,} kept items")
    for reason, count in found.skipped.items():
        terminal.say(f"  {count:,} left out: {reason}")
    for one in found.loads:
        budget = (
            ""
            if one.budget is None
            else f", budget {one.budget:g}{' EXCEEDED' if one.action in found.over_budget else ''}"
        )
        terminal.say(
            f"  {one.action} or more: {one.items:,} items, {one.share:.4f} of all ({one.low:.4f} to {one.high:.4f}){budget}"
        )
        terminal.say(f"    precision {_rate(one.precision)}")
        terminal.say(f"    recall {_rate(one.recall)}")
    if found.before is not None:
        flips = ", ".join(f"{name}: {count:,}" for name, count in found.flips.items())
        terminal.say(f"  flips: {flips or 'none'}")
        for name, (changed, items) in found.by_group.items():
            if changed:
                terminal.say(f"    {name}: {changed:,} of {items:,}")


def _rate(one: Rate) -> str:
    if one.value is None:
        return one.why
    return (
        f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f}), {one.hits:,} of {one.of:,} judged objects of these vectors"
    )
