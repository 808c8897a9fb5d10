"""What `moderation search` and `classify` compare pictures with: words, or other pictures, as vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import typer

from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Vectors
from moderation.errors import DataError, EncoderError, ItemError, Problem
from moderation.item import Modality, Part
from moderation.source.find import find


@dataclass(frozen=True, slots=True)
class Query:
    """Words, or a picture, which is called by its path."""

    name: str
    part: Part


def of_words(words: Iterable[str]) -> list[Query]:
    """Each of these texts; a usage error for one that is blank, or no UTF-8."""
    queries = []
    for one in words:
        if not one.strip():
            raise typer.BadParameter("expected words, found none")
        try:
            queries.append(Query(one, Part.text(one)))
        except UnicodeEncodeError:
            raise typer.BadParameter("the words are not UTF-8") from None
    return queries


def of_pictures(files: Iterable[Path], *, max_bytes: int) -> list[Query]:
    """Each of these pictures. Raises DataError for a file that is none."""
    return [Query(str(path), _picture(path, max_bytes)) for path in files]


def embed_queries(queries: Sequence[Query], embedder: Embedder) -> Vectors:
    """Their vectors, float16 [q, d]. Raises EncoderError for an encoder that has not the towers for them and for pictures, DataError for a picture that cannot be decoded."""
    for part in (Part.image(b""), *(one.part for one in queries)):
        if refused := embedder.refusal(part):
            raise EncoderError(str(refused))
    found = embedder.embed([one.part for one in queries])
    for place, error in found.errors.items():
        raise _no_query(Path(queries[place].name), str(error))
    return found.vectors


def _picture(path: Path, max_bytes: int) -> Part:
    try:
        items = [entry.read() for entry in islice(find([path], max_bytes=max_bytes).entries, 2)]
    except ItemError as error:
        raise _no_query(path, str(error)) from None
    match [part for item in items for part in item.parts]:
        case [Part(modality=Modality.IMAGE) as picture]:
            return picture
        case parts:
            raise _no_query(path, f"expected one picture, found {_in_words(parts)}")


def _in_words(parts: Sequence[Part]) -> str:
    return f"a part of kind {parts[0].modality}" if len(parts) == 1 else "more than one part"


def _no_query(path: Path, message: str) -> DataError:
    return DataError([Problem(path, 0, 0, "D000", f"cannot be searched by: {message}")])
