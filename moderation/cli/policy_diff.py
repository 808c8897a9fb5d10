"""What `moderation policy diff` does: two locks of one policy, side by side on the same items."""

from __future__ import annotations

from pathlib import Path

from moderation import assemble
from moderation.cli import terminal
from moderation.embedding.embedder import Embedder
from moderation.policy.lock import read_lock
from moderation.policy.manifest import load_manifest
from moderation.release.comparison import Compared, Moved
from moderation.release.diff import SAME_BUILD, Difference, compare_locks
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
        found = compare_locks(*locks, rows, (first, second), order=settings.actions, advance=advance)
    if as_json:
        terminal.emit(found.to_dict())
    else:
        _tell(found)


def _tell(found: Difference) -> None:
    terminal.say(
        f"policy {found.policy!r}: revision {found.before} to {found.after}, {terminal.counted(found.compared.items, 'item')}, {found.changed:,} {'changes' if found.changed == 1 else 'change'} band"
    )
    if found.before == found.after:
        terminal.say(SAME_BUILD)
    tell_changes(found.compared)
    why = f": {'; '.join(found.why)}" if found.why else ""
    terminal.say(f"version: {'no change' if found.bump == 'none' else f'a {found.bump} change'}{why}")


def tell_changes(found: Compared) -> None:
    """Who changes band and where, for people."""
    seen = found.seen
    terminal.table(
        ["before, after", *seen], [[band, *(f"{found.matrix[band][other]:,}" for other in seen)] for band in seen]
    )
    for flip in found.flips:
        judged = (
            f", of those judged {flip.violating:,} violating and {flip.benign:,} benign"
            if flip.violating + flip.benign
            else ""
        )
        terminal.say(
            f"  {flip.before} to {flip.after}: {terminal.counted(flip.share.hits, 'item')} of {terminal.counted(flip.share.clusters or 0, 'cluster')}, "
            f"{flip.share.value:.4f} of all ({flip.share.low:.4f} to {flip.share.high:.4f}){judged}"
        )
    for title, slices in (("group", found.by_group), ("nearest phrase", found.by_concept)):
        changed = [one for one in slices if one.changed.hits]
        for one in changed[:SHOWN]:
            terminal.say(
                f"  {title} {terminal.one_line(one.name)}: {one.changed.hits:,} of {one.items:,} ({one.changed.low:.3f} to {one.changed.high:.3f}), "
                f"{one.stricter.hits:,} stricter, {one.milder.hits:,} milder"
            )
        if len(changed) > SHOWN:
            terminal.say(f"  and {len(changed) - SHOWN} more by {title}: --json has them all")
    for moved in found.examples:
        terminal.say(f"  {terminal.one_line(_moved(moved))}")


def _moved(one: Moved) -> str:
    scores = ["none" if score is None else f"{score:.4f}" for score in (one.score_before, one.score_after)]
    side = {True: " (violating)", False: " (benign)", None: ""}[one.target]
    near = f", near {one.concept!r}" if one.concept else ""
    return f"{one.ending(32)}{side}: {one.before} to {one.after}, score {' to '.join(dict.fromkeys(scores))}{near}"
