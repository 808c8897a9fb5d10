"""The detector: texts against the lists of the settings, each list a label."""

from __future__ import annotations

import hashlib

from moderation import DetectionBatch, Modality, Score
from moderation.errors import DataError, Problem
from moderation_lists.entries import Entry, read_list
from moderation_lists.matcher import Matcher
from moderation_lists.sections import Sections


class Lists:
    """Scores each list by the entry of the highest score that stands in a text. The concept names list and entry, never what they say."""

    id = "lists"
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False

    def __init__(self, sections: Sections) -> None:
        self._sections = sections
        self.labels = tuple(sections.lists)
        self._matcher: Matcher | None = None
        self.revision = ""  # of the lists as they were read, and of how texts are looked at

    def setup(self) -> None:
        """Read the lists. Raises DataError with every problem of all of them."""
        entries: list[Entry] = []
        allowed: list[Entry] = []
        problems: list[Problem] = []
        for name, one in self._sections.lists.items():
            try:
                entries += read_list(one.path, name, one.score)
            except DataError as error:
                problems += error.problems
        if self._sections.allow:
            try:
                allowed = read_list(self._sections.allow, "", 0.0)
            except DataError as error:
                problems += error.problems
            problems += [
                Problem(self._sections.allow, one.line, 0, "L010", "is a pattern; expected a word or a phrase")
                for one in allowed
                if one.pattern is not None
            ]
        if problems:
            raise DataError(problems)
        how = {"leet": self._sections.leet, "stretch": self._sections.stretch}
        self._matcher = Matcher(entries, allowed, **how)
        self.revision = hashlib.sha256(repr((entries, allowed, how)).encode()).hexdigest()[:12]

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        """A score for each list; 0 where none of its entries stands in the text."""
        assert self._matcher is not None, "setup comes first"
        return [self._judged(self._matcher, part.content.decode()) for part in batch.parts]

    def _judged(self, matcher: Matcher, text: str) -> tuple[Score, ...]:
        found = matcher.find(text)
        return tuple(
            Score(label, found[label].score, concept=f"{label} {found[label].id}")
            if label in found
            else Score(label, 0.0)
            for label in self.labels
        )
