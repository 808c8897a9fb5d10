"""Which words may name things."""

from __future__ import annotations

import pytest

from moderation.detector.names import is_label, is_slug, is_word


@pytest.mark.parametrize("text", ["a", "keywords", "self-harm", "gt_2", "a" * 64])
def test_ids(text: str) -> None:
    assert is_slug(text)
    assert is_label(text)


@pytest.mark.parametrize("text", ["", "A", "2fa", "a b", "-a", "a-", "a--b", "é", "a\n", "a" * 65, "a.b"])
def test_what_is_no_id(text: str) -> None:
    assert not is_slug(text)
    assert not is_label(text)


def test_a_label_may_have_a_sub_category() -> None:
    assert is_label("self-harm/intent")
    assert not is_slug("self-harm/intent")
    assert not is_label("self-harm/")


def test_reasons_are_words() -> None:
    assert is_word("detector_timeout")
    assert not any(is_word(text) for text in ("", "Two Words", "kebab-case", "1st", "a" * 65))
