"""Policies as a classifier of pytx: one label a policy, a match where one of its thresholds fired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threatexchange.classifier.classifier import ClassificationInfo, ClassificationResult, Classifier
from threatexchange.content_type.photo import PhotoContent
from threatexchange.content_type.text import TextContent
from threatexchange.content_type.video import VideoContent

from moderation import assemble
from moderation.decision import Decision, Outcome, Verdict
from moderation.errors import SettingsError
from moderation.item import ContentItem, Part
from moderation.settings import load_settings


@dataclass
class VerdictInfo(ClassificationInfo):
    """One policy's verdict; `is_match` where it is `match` or `review`."""

    verdict: Verdict

    def weight_str(self) -> str:
        """The outcome and the score, or why there is none."""
        told = self.verdict
        return f"{told.outcome.value} {told.error}" if told.error else f"{told.outcome.value} {told.score:.3f}"


class UnjudgedError(Exception):
    """A policy could not judge the content, and no other one matched: that is not "no match"."""


class ModerationClassifier(Classifier):
    """Decides by the very pipeline that a worker runs. `locks` are those of certified policies."""

    def __init__(self, locks: Sequence[Path], attributes: dict[str, str] | None = None) -> None:
        """Raises SettingsError, LockError, PluginError as a worker's start does. `attributes` are every item's, such as its surface."""
        settings = load_settings()
        self._plugins = assemble.plugins(settings)
        self._pipeline = assemble.pipeline(settings, locks, known=self._plugins)
        self._attributes = attributes or {}

    def close(self) -> None:
        """Let go what detectors hold; pytx itself has no such moment."""
        self._plugins.close()

    @classmethod
    def get_name(cls) -> str:
        """What pytx calls it."""
        return "moderation"

    @classmethod
    def get_content_types(cls) -> list[Any]:
        """Texts, and paths of files with pictures, or with videos where the settings put a reader in force."""
        return [TextContent, PhotoContent, VideoContent]

    @classmethod
    def get_with_default_settings(cls) -> ModerationClassifier:
        """With the locks that the settings name (`plugins.settings.pytx.locks`)."""
        settings = load_settings()
        named = settings.plugins.settings.get("pytx", {}).get("locks", ())
        if not named:
            raise SettingsError("settings: plugins.settings.pytx.locks names no lock")
        return cls([settings.folder / one for one in named])

    def classify(self, content_type: Any, content_val: str) -> ClassificationResult[VerdictInfo]:
        """Every verdict under its policy's id. Raises UnjudgedError, and OSError for a file that cannot be read."""
        item = ContentItem("content", (_part(content_type, content_val),), self._attributes)
        (decision,) = self._pipeline.decide([item])
        return _result(decision)


def _part(content_type: Any, content_val: str) -> Part:
    if content_type is TextContent:
        return Part.text(content_val)
    content = Path(content_val).read_bytes()
    return Part.video(content) if content_type is VideoContent else Part.image(content)


def _result(decision: Decision) -> ClassificationResult[VerdictInfo]:
    fired = {Outcome.MATCH, Outcome.REVIEW}
    labels = {one.policy: VerdictInfo(one.outcome in fired, one) for one in decision.verdicts}
    unjudged = [one for one in decision.verdicts if one.outcome is Outcome.ERROR]
    if unjudged and not any(one.is_match for one in labels.values()):
        raise UnjudgedError(
            ", ".join(f"{one.policy}: {one.error}{(one.cause and f' ({one.cause})') or ''}" for one in unjudged)
        )
    return ClassificationResult(labels)
