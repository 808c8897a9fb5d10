"""What a search found: of each query the nearest pictures, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moderation.cli.pictures import Picture, Pictures
from moderation.cli.query import Query
from moderation.encoder.base import Vectors
from moderation.history.search import Nearest


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture that was found, and its cosine to the query."""

    picture: Picture
    similarity: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a query found, best first."""

    query: Query
    hits: Sequence[Hit]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        hits = [{**one.picture.to_dict(), "similarity": one.similarity} for one in self.hits]
        return {"query": self.query.name, "kind": self.query.part.modality.value, "hits": hits}


def nearest(walk: Iterable[Pictures], queries: Sequence[Query], vectors: Vectors, *, top: int) -> list[Found]:
    """The best pictures of each query; `vectors` are the queries' own. Of all that were seen, only those that may yet be among them are remembered."""
    found = Nearest(vectors, top=top)
    known: dict[int, Picture] = {}
    for batch in walk:
        before = found.seen
        found.add(batch.vectors)
        held = {int(row) for ranking in found.rankings for row in ranking.rows}
        known = {row: known[row] if row < before else batch.picture(row - before) for row in held}
    return [
        Found(
            query,
            [Hit(known[int(row)], float(one)) for row, one in zip(ranking.rows, ranking.similarities, strict=True)],
        )
        for query, ranking in zip(queries, found.rankings, strict=True)
    ]
