"""How often the targets of a certificate were asked, in plain words: the best of many answers is too good by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def asked_in_words(evidence: Mapping[str, Any]) -> str:
    """What a lock's evidence knows of other classifiers and promises that were tried on the same targets."""
    times = evidence.get("certify", {}).get("asked")
    if times is None:
        return "how often these targets were asked was not counted"
    if times == 1:
        return "asked once: nothing else was tried on these targets, as far as this lock knows"
    return f"question {times} to the same targets: each answer has its confidence, the best of {times} has less"
