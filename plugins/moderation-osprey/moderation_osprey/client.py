"""What Osprey's side knows of decisions: how to ask for them, and what a rule is told. The standard library alone."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

URL, SECONDS = "OSPREY_MODERATION_URL", "OSPREY_MODERATION_SECONDS"
MATCH, REVIEW, NO_MATCH, ERROR = "match", "review", "no_match", "error"
NOT_LIVE, NOT_JUDGED = "not_live", "not_judged"

_MOST_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """What is judged: a text, a picture's file as base64, or both; `surface` may be in a policy's scope."""

    item: str
    text: str = ""
    picture: str = ""
    surface: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is anything to judge."""
        return bool(self.text or self.picture)


@dataclass(frozen=True, slots=True)
class Answers:
    """Decisions by content, as moderation writes them, and the policies that were asked. Empty where nobody answered."""

    policies: frozenset[str] = frozenset()
    decisions: Mapping[Content, Mapping[str, Any]] = field(default_factory=dict)

    def outcome(self, content: Content, policy: str, *, shadow: bool) -> str:
        """What a rule is told.

        MATCH, REVIEW or NO_MATCH of a policy that is live, or of any with `shadow`; NOT_LIVE of another; NOT_JUDGED where nothing of the content
        is in its scope; ERROR for everything else, that nobody answered and that no policy has this name among them.
        """
        if not content.is_there:
            return NOT_JUDGED
        if content not in self.decisions or policy not in self.policies:
            return ERROR
        found = [one for one in self.decisions[content]["verdicts"] if one["policy"] == policy]
        if not found:
            return NOT_JUDGED
        return str(found[0]["outcome"]) if shadow or found[0]["status"] == "live" else NOT_LIVE


def ask(contents: Sequence[Content]) -> Answers:
    """Decisions on these, each once, in one request; no answer in time, and an answer that cannot be read, are none."""
    wanted = tuple(dict.fromkeys(one for one in contents if one.is_there))
    if not wanted:
        return Answers()
    body = json.dumps({"items": [asdict(one) for one in wanted]}).encode()
    url = os.environ.get(URL, "http://127.0.0.1:8731") + "/v1/decisions"
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=float(os.environ.get(SECONDS, "2"))) as answer:  # noqa: S310
            told = json.loads(answer.read(_MOST_BYTES))
        return Answers(frozenset(told["policies"]), dict(zip(wanted, told["decisions"], strict=True)))
    except (OSError, ValueError, KeyError, TypeError):
        return Answers()
