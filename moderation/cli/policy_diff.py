"""What `moderation policy diff` does: two locks of one policy, side by side on the same items."""

from __future__ import annotations

from pathlib import Path

from moderation import assemble
from moderation.cli import terminal
from moderation.embedding.embedder import Embedder
from moderation.policy.lock import read_lock
from moderation.policy.manifest import load_manifest
from moderation.release.diff import BANDS, Difference, Moved, compare_locks, to_dict
from moderation.settings import load_settings

SHOWN = 8  # slices, with any change


def diff(before: Path, after: Path, *, items: Path, as_json: bool) -> None:
    """Tell how two locks differ on the items of a manifest."""
    settings, rows = load_settings(), load_manifest(items)
    locks = read_lock(before), read_lock(after)
    embedders: dict[str, Embedder] = {}
    with terminal.working("loading the encoder"):
        first = assemble.pipeline(settings, [locks[0]], embedders=embedders)
        second = assemble.pipeline(settings, [locks[1]], embedders=embedders)
    with terminal.progress("deciding twice", len(rows)) as advance:
        found = compare_locks(*locks, rows, (first, second), advance=advance)
    if as_json:
        terminal.emit(to_dict(found))
    else:
        _tell(found)


def _tell(found: Difference) -> None:
    terminal.say(
        f"policy {found.policy!r}: revision {found.before} to {found.after}, {found.items:,} items, {found.changed:,} change band"
    )
    seen = [
        band for band in BANDS if any(found.matrix[band].values()) or any(row[band] for row in found.matrix.values())
    ]
    terminal.table(["before, after", *seen], [[band, *(found.matrix[band][other] for other in seen)] for band in seen])
    for name, counts in found.targets.items():
        if counts["items"]:
            terminal.say(f"  {name}: {counts['changed']:,} of {counts['items']:,} change")
    for title, slices in (("group", found.by_group), ("nearest phrase", found.by_concept)):
        changed = [one for one in slices if one.changed]
        for one in changed[:SHOWN]:
            terminal.say(f"  {title} {one.name}: {one.changed:,} of {one.items:,} ({one.low:.3f} to {one.high:.3f})")
        if len(changed) > SHOWN:
            terminal.say(f"  and {len(changed) - SHOWN} more by {title}: --json has them all")
    for moved in found.examples:
        terminal.say(f"  {_moved(moved)}")
    why = f": {'; '.join(found.why)}" if found.why else ""
    terminal.say(f"version: {'no change' if found.bump == 'none' else f'a {found.bump} change'}{why}")


def _moved(one: Moved) -> str:
    scores = " to ".join("none" if score is None else f"{score:.4f}" for score in (one.score_before, one.score_after))
    side = "violating" if one.target else "benign"
    return f"{one.item[:16]} ({side}): {one.before} to {one.after}, score {scores}"
