"""A lock keeps to the readers that it was certified with: one that is missing, or another, is refused, and more parts than then are too many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ItemError, LockError
from moderation.item import ContentItem, Modality, Part
from moderation.policy.lock import LockedReader
from moderation.rollout.readers import count_parts, readers_for
from tests.fakes import FakeReader, item, lock, picture

IMAGES = (Modality.IMAGE,)
NAMED = (LockedReader("tiles", "1-96-64", 9),)


def reader(id: str = "tiles", revision: str | None = "1-96-64", yields: Any = IMAGES) -> FakeReader:  # noqa: A002
    made = FakeReader(id, reads=IMAGES, yields=yields)
    if revision is not None:
        made.revision = revision  # type: ignore[attr-defined]
    return made


def derived(by: str, count: int = 1) -> tuple[Part, ...]:
    return tuple(replace(picture(0.1), source="part-0", reader=by) for _ in range(count))


def with_parts(*parts: Part, by: tuple[str, ...] = ("1-96-64",)) -> ContentItem:
    return replace(item(*parts), read_by=frozenset(("tiles", one) for one in by))


def test_readers_that_yield_what_the_policy_judges_are_its_readers() -> None:
    tiles, ocr, plain = reader(), reader("ocr", yields=(Modality.TEXT,)), reader("frames", None)
    assert readers_for(lock(), (tiles, ocr, plain)) == (tiles, plain)
    assert readers_for(lock(readers=NAMED), (tiles, ocr, plain)) == (tiles, plain)
    assert readers_for(lock(readers=(LockedReader("frames", "", 3),)), (plain,)) == (plain,)


def test_so_are_those_that_derive_what_they_read() -> None:
    tiles, ocr = FakeReader("tiles", reads=IMAGES, yields=IMAGES, crops=True), reader("ocr", yields=(Modality.TEXT,))
    video = FakeReader("video", reads=(Modality.VIDEO,), yields=IMAGES)
    texts = lock(modalities=(Modality.TEXT,), readers=(LockedReader("video", "", 3),))
    assert readers_for(texts, (tiles, ocr, video)) == (ocr, video)
    with pytest.raises(LockError, match="certified with reader 'video', which is not in force"):
        readers_for(texts, (tiles, ocr))


@pytest.mark.parametrize(
    ("readers", "told"),
    [
        ((), "certified with reader 'tiles', which is not in force"),
        ((reader("other"),), "certified with reader 'tiles', which is not in force"),
        ((reader(yields=(Modality.TEXT,)),), "certified with reader 'tiles', which is not in force"),
        ((reader(revision="1-224-64"),), "of revision '1-96-64'; the one in force is of '1-224-64'"),
        ((reader(revision=None),), "of revision '1-96-64'; the one in force is of ''"),
    ],
)
def test_a_lock_without_the_readers_that_it_was_certified_with_is_refused(
    readers: tuple[FakeReader, ...], told: str
) -> None:
    with pytest.raises(LockError, match="policy 'weapons': ") as refused:
        readers_for(lock(readers=NAMED), readers)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("parts", "counted"),
    [
        ((picture(1),), 1),
        ((picture(1), picture(2)), 2),
        ((picture(1), *derived("tiles", 9)), 1),
        ((picture(1), *derived("tiles", 10)), 5),  # one more than max_parts
        ((picture(1), *derived("tiles", 9), *derived("frames", 1)), 5),
        (derived("tiles", 9), 0),
        ((picture(1), *derived("tiles", 5), *derived("video/tiles", 4)), 5),  # of no video anything was certified
        ((*[picture(n) for n in range(7)], *derived("tiles", 10)), 7),
        ((picture(1), replace(derived("frames")[0], unread=ItemError("reader_error", ""))), 1),
    ],
)
def test_an_items_own_parts_count_and_those_derived_within_what_was_certified_do_not(
    parts: tuple[Part, ...], counted: int
) -> None:
    assert count_parts(lock(max_parts=4, readers=NAMED), with_parts(*parts), range(len(parts))) == counted


@pytest.mark.parametrize(
    ("by", "counted"),
    [(("1-96-64",), 1), (("2-96-64",), 5), (("",), 5), (("1-96-64", "2-96-64"), 5), (("1-96-64", ""), 5), ((), 5)],
)
def test_what_a_reader_of_another_revision_or_of_none_any_more_derives_was_certified_by_nobody(
    by: tuple[str, ...], counted: int
) -> None:
    parts, certified = (picture(1), *derived("tiles", 2)), lock(max_parts=4, readers=NAMED)
    assert count_parts(certified, with_parts(*parts, by=by), range(3)) == counted
    assert count_parts(certified, with_parts(picture(1), by=by), range(1)) == 1
    unstated = lock(max_parts=4, readers=(LockedReader("tiles", "", 9),))
    assert count_parts(unstated, with_parts(*parts, by=by), range(3)) == (1 if by == ("",) else 5)


@given(st.integers(1, 8), st.integers(0, 12), st.integers(0, 6), st.integers(0, 12))
def test_a_verdict_is_held_back_exactly_where_more_was_derived_or_shown_than_was_certified(
    own: int, tiles: int, most: int, certified: int
) -> None:
    parts = (*[picture(n) for n in range(own)], *derived("tiles", tiles))
    made = lock(max_parts=most, readers=(LockedReader("tiles", "", certified),))
    beyond = count_parts(made, with_parts(*parts, by=("",)), range(len(parts))) > most
    assert beyond == (own > most or tiles > certified)
    unnamed = count_parts(lock(max_parts=most), with_parts(*parts), range(len(parts))) > most
    assert unnamed == (own > most or tiles > 0)
