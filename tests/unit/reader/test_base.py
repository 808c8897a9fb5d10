"""What a reader may answer; everything else is a bad answer of its part, and too much is nobody's fault but not judged either."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Abstention
from moderation.detector.faults import WRONG
from moderation.errors import ItemError
from moderation.item import Modality, Part
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reading, check_readings

TEXT = frozenset({Modality.TEXT})
LIMITS = ReaderSettings(most_parts=3, most_bytes=10)
GOOD = [Part.text("a", name="t=1.5"), Part.text("b")]


def check(answers: Any, length: int = 1) -> tuple[Reading, ...]:
    return check_readings(answers, length, yields=TEXT, limits=LIMITS)


def test_a_good_answer_is_kept_and_claims_no_source() -> None:
    told = Abstention("damaged_file", "detail", "TruncatedError")
    claims = Part(Modality.TEXT, b"a", "t=1.5", "another", ItemError("x", "y"), "another")
    assert check([[claims, Part.text("b")], (), told], 3) == (tuple(GOOD), (), told)


@pytest.mark.parametrize("answers", [None, 7, "ab", b"ab", [], [[], []], {0: []}, ([] for _ in range(1))])
def test_a_wrong_length_or_type_spoils_all(answers: Any) -> None:
    assert all(one is WRONG for one in check(answers))


@pytest.mark.parametrize(
    "answer",
    [
        None, "text", b"text", 7, [b"text"], ["text"], Part.text("a"), [Part.image(b"a")], [Part.video(b"a")],
        [Part(Modality.TEXT, "text")], [Part(Modality.TEXT, bytearray(b"a"))],  # type: ignore[arg-type]
        [Part(Modality.TEXT, b"a", None)], [Part.text("a", name="x" * 65)], [Part.text("a", name="a\nb")],  # type: ignore[arg-type]
        [Part.text("a", name="\u202egun")], [Part.text("a", name="\ud800")], Abstention("a long text of content"), Abstention("word", "", "two words"),
    ],
)  # fmt: skip
def test_what_is_no_reading_is_a_bad_answer_of_its_part_alone(answer: Any) -> None:
    assert check([GOOD, answer, ()], 3) == (tuple(GOOD), WRONG, ())


REGION = (0.25, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    "region",
    [
        7, (), REGION[:3], (*REGION, 1.0), list(REGION), (0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0), (0.25, 1.0, 0.5, 0.0), (-0.1, 0.0, 0.5, 1.0),
        (0.25, 0.0, 1.1, 1.0), (math.nan, 0.0, 0.5, 1.0), (0.25, 0.0, math.inf, 1.0),
    ],
)  # fmt: skip
def test_a_region_lies_in_its_picture(region: Any) -> None:
    assert check([[replace(GOOD[0], region=REGION)]])[0] == (replace(GOOD[0], region=REGION),)
    assert check([[replace(GOOD[0], region=region)]]) == (WRONG,)


def test_too_much_is_an_abstention_and_no_bad_answer() -> None:
    assert check([[Part.text("a")] * 3])[0] == (Part.text("a"),) * 3
    assert check([[Part.text("a")] * 4]) == (Abstention("unsupported_input", cause="too_many_parts"),)
    assert check([[Part.text("a" * 10)]])[0] == (Part.text("a" * 10),)
    assert check([[Part.text("a" * 6), Part.text("b" * 5)]]) == (
        Abstention("unsupported_input", cause="too_many_bytes"),
    )


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.binary(max_size=3)
    | st.builds(Part, st.sampled_from(Modality), st.binary(max_size=5), st.text(max_size=5))
    | st.builds(Abstention, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple),
)  # fmt: skip


@given(JUNK, st.integers(0, 3))
def test_whatever_comes_there_is_one_reading_a_part_within_the_limits(answers: Any, length: int) -> None:
    found = check(answers, length)
    assert len(found) == length
    for one in found:
        if not isinstance(one, Abstention):
            assert len(one) <= 3
            assert sum(len(part.content) for part in one) <= 10
            assert all(part.modality is Modality.TEXT and not part.source and part.unread is None for part in one)
