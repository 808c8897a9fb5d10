"""What `moderation policy embed` and `keep` do: vectors and decisions kept once, for builds to be tried on as often as anyone likes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderation import assemble
from moderation.cli import terminal
from moderation.cli.facts import fact_of, read_facts
from moderation.cli.summary import of_another_kind
from moderation.embedding.embedder import Embedder
from moderation.errors import DataError, ItemError, Problem
from moderation.history.files import kept_whole
from moderation.history.items import Fact
from moderation.history.lines import read_lines
from moderation.history.log import write_decisions
from moderation.history.vectors import KeptItem, KeptPart, write_vectors
from moderation.item import ContentItem, content_digest
from moderation.settings import load_settings
from moderation.source.find import Found, batches, find
from moderation.source.together import Read, read_together

BATCH, FILE, DECISIONS = (
    64,
    8192,
    50_000,
)  # items encoded at once, fewer where they are large; items, and decisions, in a file
_NO_POLICY = "targets are left out: name the policy that they are about (--policy)"


def embed(paths: Sequence[Path], *, out: Path, encoder: str, policy: str | None) -> None:
    """Encode items and keep their vectors; what cannot be read is left out and told, what cannot be encoded is kept as that."""
    counts: Counter[str] = Counter()
    with kept_whole(out) as folder:
        settings = load_settings()
        found = find(paths, max_bytes=settings.images.max_bytes)
        with terminal.working("loading the encoder"):
            embedder = assemble.embedder(settings, encoder)
        _embed(found, folder / (paths[0].stem.strip("-") or "stdin"), embedder, policy, counts)
    if counts["targets"] and policy is None:
        terminal.note(_NO_POLICY)
    terminal.say(
        f"kept {terminal.counted(counts['items'], 'item')}, {terminal.counted(counts['vectors'], 'vector')} of encoder "
        f"{embedder.encoder.fingerprint} in {out}"
    )
    for reason in sorted(counts.keys() - {"items", "vectors", "targets"}):
        terminal.say(f"  {counts[reason]:,} {reason}")
    if found.left_alone:
        terminal.say(f"  {of_another_kind(found.left_alone, found.kinds)}")


def _embed(found: Found, name: Path, embedder: Embedder, policy: str | None, counts: Counter[str]) -> None:
    fingerprint = embedder.encoder.fingerprint
    kept: list[KeptItem] = []
    made: list[NDArray[np.float16]] = []
    files = taken = 0

    def write() -> None:
        path = name.with_name(f"{name.name}-{files:05}.parquet")
        if kept:
            write_vectors(path, kept, np.concatenate(made), identity=fingerprint.identity, numeric=fingerprint.numeric)

    with terminal.progress("encoding", found.total) as advance:
        for read in read_together(found.entries, BATCH):
            kept += _kept(list(_readable(read, policy, counts)), embedder, made, counts)
            taken += len(read)
            advance(len(read))
            if taken >= FILE:
                write()
                kept, made, taken, files = [], [], 0, files + 1
        write()


def keep(paths: Sequence[Path], *, out: Path, items: Path | None, policy: str | None) -> None:
    """Keep decisions as Parquet, with what the lines of `items` say of their items."""
    with kept_whole(out) as folder:
        facts = read_facts(items, policy, max_bytes=load_settings().images.max_bytes) if items else {}
        kept, known = keep_decisions(paths, folder, facts, items=items)
    terminal.say(
        f"kept {terminal.counted(kept, 'decision')} in {out}" + (f", {known:,} of items in {items}" if items else "")
    )
    if items and policy is None:
        terminal.note(_NO_POLICY)


def keep_decisions(
    paths: Sequence[Path], out: Path, facts: Mapping[str, Fact], *, items: Path | None = None
) -> tuple[int, int]:
    """Every decision of these files as Parquet in a folder; how many there were, and of how many anything was known.

    Raises DataError where there is none, and where `facts`, those of `items`, are about none of them.
    """
    kept = known = 0
    first = ""
    for place, path in enumerate(paths):
        with terminal.progress(f"reading {path.name}", None) as advance:
            for number, batch in enumerate(batches((decision for _, decision in read_lines(path)), DECISIONS)):
                first = first or batch[0].item_id
                stated = [facts.get(one.item_id, Fact(one.item_id)) for one in batch]
                write_decisions(out / f"{place:03}-{path.stem}-{number:05}.parquet", batch, stated)
                kept, known = kept + len(batch), known + sum(one.item_id in facts for one in batch)
                advance(len(batch))
    if not kept:
        message = "holds no decisions; expected what `moderation scan --json` writes"
        raise DataError([Problem(paths[0], 0, 0, "D001", message)])
    if items and not known:
        raise DataError([_about_none(items, facts, first)])
    return kept, known


def _about_none(items: Path, facts: Mapping[str, Fact], decided: str) -> Problem:
    message = (
        f"is about none of the decisions: its first id is {next(iter(facts), '')!r}, that of the first decision {decided!r}; expected the file "
        "that was scanned. A line without `id` and `path` is named by its file as the path was typed: type it alike, or give every line an `id`"
    )
    return Problem(items, 0, 0, "D003", message)


def _readable(read: Iterable[Read], policy: str | None, counts: Counter[str]) -> Iterator[tuple[Fact, ContentItem]]:
    for entry, item in read:
        fact = fact_of(entry, policy)
        counts["targets"] += "target" in entry.row
        if isinstance(item, ItemError):
            counts[f"left out: {item.cause or item.reason}"] += 1
            terminal.note(terminal.one_line(f"{entry.id}: {item}"))
            continue
        digest = _digest(item)
        if entry.row.get("sha256", digest) != digest:
            message = f"the content is not what its digest says: found {digest}; expected {entry.row['sha256']}"
            raise DataError([Problem(entry.file, entry.line, 1, "D006", message)])
        # Copies of one content are one unit of evidence, whoever posted them.
        yield Fact(fact.item, fact.cluster or digest, fact.time, fact.attributes, fact.targets), item


def _kept(
    items: Sequence[tuple[Fact, ContentItem]],
    embedder: Embedder,
    made: list[NDArray[np.float16]],
    counts: Counter[str],
) -> list[KeptItem]:
    """The items with their parts, whose vectors are added to `made`."""
    parts = [part for _, item in items for part in item.parts]
    embedded = embedder.embed(parts)
    errors = {place: error.cause or error.reason for place, error in embedded.errors.items()}
    walk = iter([KeptPart(part.modality, part.digest, errors.get(place, "")) for place, part in enumerate(parts)])
    made.append(embedded.vectors)
    counts.update(items=len(items), vectors=len(parts) - len(errors))
    counts.update(Counter(f"kept without a vector: {reason}" for reason in errors.values()))
    return [KeptItem(fact, tuple(itertools.islice(walk, len(item.parts)))) for fact, item in items]


def _digest(item: ContentItem) -> str:
    """The digest of an item, as data manifests have it."""
    digests = [part.digest for part in item.parts]
    return digests[0] if len(digests) == 1 else content_digest("\n".join(digests).encode())
