"""Pytx's classifiers and signal types as detectors. A label that it does not speak of, and content that it cannot hash, are never a score of 0."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.item import Modality, Part
from moderation.settings import ImageLimits

_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"RI": ".webp"}


class ClassifierDetector:
    """A `Classifier`. `labels` are those of its own labels that are scored, as it spells them; a score is 1 where `is_match`, else 0, or the attribute that `score` names of what it says of a label."""

    needs_embeddings = False

    def __init__(self, id_: str, path: str, labels: tuple[str, ...], reads: Modality, score: str = "") -> None:
        self.id, self.labels, self.modalities = id_, labels, frozenset({reads})
        self._path, self._reads, self._score = path, reads, score
        self._classifier: Any = None

    def setup(self) -> None:
        """Raises where there is no such class, or it does not read this kind of content."""
        made = named(self._path)
        self._content = _content_type(self._reads)
        if self._content not in made.get_content_types():
            raise TypeError(f"{self._path} does not classify {self._content.get_name()}")
        self._classifier = made.get_with_default_settings()

    def detect(self, batch: DetectionBatch) -> list[Detection]:
        """One at a time, as pytx has it. Raises what the classifier raises."""
        return [_unreadable(part) or self._judge(part) for part in batch.parts]

    def _judge(self, part: Part) -> Detection:
        with _as_argument(part) as argument:
            told = self._classifier.classify(self._content, argument).labels
        if not set(self.labels) <= told.keys():
            return Abstention("not_answered", cause="missing_label")
        return tuple(self._scored(label, told[label]) for label in self.labels)

    def _scored(self, label: str, info: Any) -> Score:
        value = getattr(info, self._score) if self._score else info.is_match
        return Score(label, float(value))


class SignalDetector:
    """A list of signals of one `SignalType`, one a line in `file`: 1 where one of them matches the content, as that type and its index have it.

    Its one label is its id; its revision is a digest of those signals, once it is set up.
    """

    needs_embeddings = False

    def __init__(self, id_: str, path: str, file: str, reads: Modality) -> None:
        self.id, self.labels, self.modalities = id_, (id_,), frozenset({reads})
        self._path, self._file, self._reads = path, file, reads
        self.revision = ""
        self._index: Any = None

    def setup(self) -> None:
        """Raises where there is no such type, it does not read this kind of content, or a line of the file is no signal of it."""
        self._type = named(self._path)
        if _content_type(self._reads) not in self._type.get_content_types():
            raise TypeError(f"{self._path} is no signal of {self._reads}")
        lines = Path(self._file).read_text(encoding="utf-8").splitlines()
        signals = [self._signal(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not signals:
            raise ValueError(f"{self._file} has no signal")
        self.revision = hashlib.sha256("\n".join(signals).encode()).hexdigest()[:12]
        self._index = self._type.get_index_cls().build((one, number) for number, one in enumerate(signals))

    def detect(self, batch: DetectionBatch) -> list[Detection]:
        """Raises what the type raises."""
        return [_unreadable(part) or self._judge(part) for part in batch.parts]

    def _signal(self, number: int, line: str) -> str:
        try:
            signal: str = self._type.validate_signal_str(line.strip())
        except Exception as error:
            raise ValueError(f"{self._file}:{number}: no signal of {self._path}") from error
        return signal

    def _judge(self, part: Part) -> Detection:
        query = self._query(part)
        if not query:
            return Abstention("not_hashed")
        found = self._index.query(query)
        concept = f"{len(found)} signals, the first at {found[0].similarity_info.pretty_str()}" if found else None
        return (Score(self.id, float(bool(found)), concept=concept),)

    def _query(self, part: Part) -> str:
        """Its hash; a type that looks for signals in texts is asked with the text."""
        if self._reads is Modality.IMAGE:
            return str(self._type.hash_from_bytes(part.content))
        text = part.content.decode()
        return str(self._type.hash_from_str(text)) if hasattr(self._type, "hash_from_str") else text


def named(path: str) -> Any:
    """What `package.module:Name` means. Raises ImportError, AttributeError."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _content_type(modality: Modality) -> Any:
    from threatexchange.content_type.photo import PhotoContent
    from threatexchange.content_type.text import TextContent

    return PhotoContent if modality is Modality.IMAGE else TextContent


def _unreadable(part: Part) -> Abstention | None:
    """Why this is no picture, if it should be one: pytx would decode whatever it is given, however large."""
    try:
        if part.modality is Modality.IMAGE:
            decode(part.content, ImageLimits())
    except ItemError as error:
        return Abstention(error.reason, cause=error.cause)
    return None


@contextmanager
def _as_argument(part: Part) -> Iterator[str]:
    """A text as it is, a picture as the path of a file that is gone afterwards."""
    if part.modality is Modality.TEXT:
        yield part.content.decode()
        return
    with tempfile.NamedTemporaryFile(suffix=_SUFFIXES.get(part.content[:2], "")) as file:
        file.write(part.content)
        file.flush()
        yield file.name
