"""How often a certify set was asked: the first question, a later one, and a lock that never counted."""

from __future__ import annotations

from typing import Any

import pytest

from moderation.release.asked import asked_in_words


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({}, "not counted"),
        ({"certify": {"targets": {}}}, "not counted"),
        ({"certify": {"asked": 1}}, "asked once"),
        ({"certify": {"asked": 3}}, "question 3 to the same targets"),
    ],
)
def test_what_is_known_of_earlier_questions_is_said(evidence: dict[str, Any], told: str) -> None:
    assert told in asked_in_words(evidence)
