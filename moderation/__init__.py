"""moderation: write a policy in words, get a measured, audited classifier, and run it on a stream.

Names resolve when they are first used (PEP 562), so that importing the package loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.decision import Abstention, Decision, Outcome, Score, Severity, Verdict
    from moderation.detector.base import DetectionBatch, Detector
    from moderation.errors import ModerationError
    from moderation.item import ContentItem, Modality, Part
    from moderation.plugin.hookspecs import hookimpl

__version__ = "0.1.0"

_HOMES = {
    "Abstention": "decision",
    "ContentItem": "item",
    "Decision": "decision",
    "DetectionBatch": "detector.base",
    "Detector": "detector.base",
    "Modality": "item",
    "ModerationError": "errors",
    "Outcome": "decision",
    "Part": "item",
    "Score": "decision",
    "Severity": "decision",
    "Verdict": "decision",
    "hookimpl": "plugin.hookspecs",
}

__all__ = [
    "Abstention",
    "ContentItem",
    "Decision",
    "DetectionBatch",
    "Detector",
    "Modality",
    "ModerationError",
    "Outcome",
    "Part",
    "Score",
    "Severity",
    "Verdict",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moderation' has no attribute {name!r}")
    return getattr(import_module(f"moderation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
