from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.policy.languages import language_of, same_language


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"), ("EN", "en"), ("en-GB", "en"), ("en_US", "en"), (" eng ", "en"), ("en-Latn-GB", "en"),
        ("deu", "de"), ("ger", "de"), ("cmn", "zh"), ("zh-Hant-TW", "zh"), ("iw", "he"), ("fil", "fil"),
        ("no", "no"), ("nb-NO", "no"), ("nno", "no"),
    ],
)  # fmt: skip
def test_one_language_however_it_is_written(tag: str, language: str) -> None:
    assert language_of(tag) == language
    assert same_language(tag, ["sw", language])


@pytest.mark.parametrize(
    "tag",
    [
        "",
        " ",
        "und",
        "mul",
        "zxx",
        "mis",
        "und-Latn",
        "English",
        "xx",
        "qaa",
        "x-ours",
        "en-",
        "e",
        "日本",
        "en-" + "abcde-" * 5000,
    ],
)
def test_what_states_no_language(tag: str) -> None:
    assert language_of(tag) is None
    assert not same_language(tag, ["en", tag])


@given(st.text())
def test_any_text_is_a_language_or_none(tag: str) -> None:
    assert (language_of(tag) or "en").isalpha()
