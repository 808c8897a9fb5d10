"""What Osprey's side knows of decisions: how to ask `moderation serve` for them, and what a rule is told. The standard library alone."""

from __future__ import annotations

import base64
import binascii
import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

URL, KEY, SECONDS = "OSPREY_MODERATION_URL", "OSPREY_MODERATION_KEY", "OSPREY_MODERATION_SECONDS"
ERROR, NOT_LIVE, NOT_JUDGED = "error", "not_live", "not_judged"

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

    def to_json(self) -> dict[str, Any]:
        """The item as moderation states it. Raises ValueError for what it would refuse, and all others of the request with it."""
        try:
            base64.b64decode(self.picture, validate=True)
            self.text.encode()
        except (binascii.Error, UnicodeEncodeError) as error:
            raise ValueError("no base64, or no Unicode") from error
        parts = ([{"text": self.text}] if self.text else []) + ([{"image": self.picture}] if self.picture else [])
        return {"id": self.item, "parts": parts, "attributes": {"surface": self.surface} if self.surface else {}}


@dataclass(frozen=True, slots=True)
class Answers:
    """Decisions by content, as moderation writes them; of what nobody answered there is none. `policies` are those that decide, where they had to be asked for."""

    decisions: Mapping[Content, Mapping[str, Any]] = field(default_factory=dict)
    policies: frozenset[str] = frozenset()

    def outcome(self, content: Content, policy: str, *, shadow: bool) -> str:
        """What a rule is told: the verdict's outcome, of a policy that is live, or of any with `shadow`.

        NOT_LIVE of another; NOT_JUDGED where there is no content, or nothing of it in the policy's scope; ERROR for everything else: that nobody
        answered, and that no policy has this name, are among it.
        """
        if not content.is_there:
            return NOT_JUDGED
        if content not in self.decisions:
            return ERROR
        found = [one for one in self.decisions[content]["verdicts"] if one["policy"] == policy]
        if not found:
            return NOT_JUDGED if policy in self.policies else ERROR
        return str(found[0]["outcome"]) if shadow or found[0]["status"] == "live" else NOT_LIVE


def ask(contents: Sequence[Content], policies: Sequence[str]) -> Answers:
    """Decisions on these, each once, in one request, of which these policies are wanted; what is late, or cannot be read, is no answer.

    Where a policy says nothing of a content, it is asked which ones there are.
    """
    wanted = {}
    for one in contents:
        try:
            if one.is_there:
                wanted[one] = one.to_json()
        except ValueError:
            continue
    try:
        told = _request("/v1/decisions", {"items": list(wanted.values())})["decisions"] if wanted else []
        decisions = dict(zip(wanted, told, strict=True))
        spoken = [{verdict["policy"] for verdict in one["verdicts"]} for one in decisions.values()]
        silent = any(policy not in one for policy in policies for one in spoken)
        known = [one["id"] for one in _request("/v1/policies")["data"]] if silent else ()
        return Answers(decisions, frozenset(known))
    except (OSError, ValueError, KeyError, TypeError):
        return Answers()


def _request(path: str, body: Mapping[str, Any] | None = None) -> Any:
    seconds = float(os.environ.get(SECONDS, "2"))
    headers = {"Content-Type": "application/json", "x-deadline-ms": str(max(1, int(1000 * seconds)))}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    data = None if body is None else json.dumps(body).encode()
    url = os.environ.get(URL, "http://127.0.0.1:8000") + path
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - what the operator named
    with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
        return json.loads(answer.read(_MOST_BYTES))
