"""What readers derive joins its item; what they could not read leaves a mark of each modality that they yield."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Abstention
from moderation.item import ContentItem, Modality, Part
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import downstream, upstream
from moderation.reader.step import Readers
from tests.fakes import FakeReader, item, picture

BOTH = (Modality.IMAGE, Modality.TEXT)
FRAMES = {"reads": (Modality.VIDEO,), "yields": (Modality.IMAGE,)}


def frames(parts: tuple[Part, ...]) -> Any:
    """Two frames of each video, or as its content says."""
    return [[Part.image(part.content, name=f"t={n}.0") for n in range(2)] if part.content else [] for part in parts]


def read(*items: ContentItem, readers: Any = None, **settings: Any) -> list[ContentItem]:
    return Readers(readers or [FakeReader()], ReaderSettings(**settings)).read(items)


def told(parts: tuple[Part, ...]) -> list[tuple[str, str, str, str]]:
    return [(one.modality.value, one.name, one.source, one.unread.reason if one.unread else "") for one in parts]


def test_what_is_derived_joins_its_item_and_names_its_source() -> None:
    first, second = read(item(picture(1, name="cover"), Part.text("x"), picture(2)), item(Part.text("y")))
    assert told(first.parts) == [
        ("image", "cover", "", ""),
        ("text", "", "", ""),
        ("image", "", "", ""),
        ("text", "cover#ocr-0", "cover", ""),
        ("text", "part-2#ocr-0", "part-2", ""),
    ]
    assert [one.content for one in first.parts[3:]] == [b"1", b"2"]
    assert second == item(Part.text("y"))


def test_an_item_names_who_read_it_with_every_revision_of_which_they_spoke_meanwhile() -> None:
    editions = itertools.count(1)

    def again(parts: tuple[Part, ...]) -> Any:
        reader.revision = str(next(editions))  # type: ignore[attr-defined]
        return [[Part.text("x")] for _ in parts]

    reader = FakeReader("again", again, reads=BOTH)
    readers = Readers([FakeReader("ocr"), reader], ReaderSettings())
    both, text = item(picture(1)), item(Part.text("y"))
    assert [one.read_by for one in readers.read([both])] == [{("ocr", ""), ("again", "1"), ("again", "2")}]
    assert [one.read_by for one in readers.read([text])] == [{("again", "3")}]
    assert [one.read_by for one in readers.read([item(Part.video(b""))])] == [frozenset()]


def test_a_video_gives_way_to_what_was_derived_from_it() -> None:
    (found,) = read(item(Part.video(b"0.9", name="clip")), readers=[FakeReader("frames", frames, **FRAMES)])
    assert told(found.parts) == [("image", "clip#t=0.0", "clip", ""), ("image", "clip#t=1.0", "clip", "")]


@pytest.mark.parametrize("silent", [False, True], ids=["no reader of pictures", "one that derives none"])
def test_a_video_that_was_only_listened_to_is_an_error_of_who_judges_pictures(silent: bool) -> None:
    """What was heard is judged; pictures, and what would have been read in them, are missing."""
    speech = FakeReader(
        "speech", lambda parts: [[Part.text("said")] for _ in parts], reads=(Modality.VIDEO,), yields=(Modality.TEXT,)
    )
    blind = FakeReader("frames", lambda parts: [[] for _ in parts], **FRAMES)
    (found,) = read(item(Part.video(b"1", name="clip")), readers=[speech, *([blind] if silent else [])])
    assert told(found.parts) == [("image", "clip", "clip", "unsupported_input"), ("text", "clip#speech-0", "clip", "")]
    assert found.parts[0].fault == found.parts[0].unread
    (both,) = read(item(Part.video(b"1", name="clip")), readers=[speech, FakeReader("ocr")])
    assert told(both.parts)[:2] == [
        ("image", "clip", "clip", "unsupported_input"),
        ("text", "clip", "clip", "unsupported_input"),
    ]


def test_what_one_reader_derived_the_others_read_and_never_who_it_came_through() -> None:
    ocr, again = FakeReader("ocr"), FakeReader("again", reads=BOTH, yields=BOTH)
    (found,) = read(item(picture(1)), readers=[ocr, again])
    assert [(one.name, one.source, one.reader) for one in found.parts[1:]] == [
        ("part-0#ocr-0", "part-0", "ocr"),
        ("part-0#ocr-0#again-0", "part-0#ocr-0", "ocr/again"),
        ("part-0#again-0", "part-0", "again"),
    ]
    assert ocr.batches == [(picture(1),)]
    assert again.batches == [(picture(1),), (found.parts[1],)]


def tiles(parts: tuple[Part, ...]) -> Any:
    return [[replace(part, name="", region=(0.0, 0.0, 0.5, 1.0)) for _ in range(2)] for part in parts]


TILES = {"reads": (Modality.IMAGE,), "yields": (Modality.IMAGE,), "crops": True}


def test_frames_are_cut_and_read_but_no_tile_is_read_again() -> None:
    ocr = FakeReader("ocr")
    readers = [FakeReader("tiles", tiles, **TILES), ocr, FakeReader("frames", frames, **FRAMES)]
    (found,) = read(item(Part.video(b"0.9", name="clip")), readers=readers)
    per_frame = ("frames", "frames/ocr", "frames/tiles", "frames/tiles")
    assert [one.reader for one in found.parts] == [*per_frame, *per_frame]
    assert [one.region is None for one in found.parts] == [True, True, False, False] * 2
    assert found.parts[1].name == "clip#t=0.0#ocr-0"
    assert [part.name for batch in ocr.batches for part in batch] == ["clip#t=0.0", "clip#t=1.0"]


def test_a_video_that_cannot_be_read_is_an_error_of_who_judges_what_would_have_been_read_in_its_frames() -> None:
    broken = FakeReader("frames", lambda parts: [Abstention("damaged")] * len(parts), **FRAMES)
    for readers in ([broken, FakeReader("ocr")], [broken, FakeReader("tiles", tiles, **TILES), FakeReader("ocr")]):
        (found,) = read(item(Part.video(b"1", name="clip")), readers=readers)
        assert told(found.parts) == [
            ("image", "clip#frames", "clip", "damaged"),
            ("text", "clip#frames", "clip", "damaged"),
        ]


def test_where_tiles_fail_what_was_read_in_the_whole_picture_stands() -> None:
    tired = FakeReader("tiles", lambda parts: [Abstention("out_of_time")] * len(parts), **TILES)
    (found,) = read(item(picture(1)), readers=[tired, FakeReader("ocr")])
    assert [(one.modality, bool(one.unread)) for one in found.parts] == [
        (Modality.IMAGE, False),
        (Modality.TEXT, False),
        (Modality.IMAGE, True),
    ]


def test_a_frame_that_could_not_be_read_marks_its_text_and_the_others_are_read() -> None:
    def second(parts: tuple[Part, ...]) -> Any:
        return [Abstention("out_of_time") if part.name.endswith("0.0") else [Part.text("t")] for part in parts]

    (found,) = read(
        item(Part.video(b"1", name="clip")), readers=[FakeReader("frames", frames, **FRAMES), FakeReader("ocr", second)]
    )
    assert told(found.parts) == [
        ("image", "clip#t=0.0", "clip", ""),
        ("text", "clip#t=0.0#ocr", "clip#t=0.0", "out_of_time"),
        ("image", "clip#t=1.0", "clip", ""),
        ("text", "clip#t=1.0#ocr-0", "clip#t=1.0", ""),
    ]


@pytest.mark.parametrize(
    ("limits", "cause"), [({"most_together": 5}, "too_many_parts"), ({"most_bytes": 15}, "too_many_bytes")]
)
def test_limits_hold_for_all_that_comes_of_one_part(limits: dict[str, int], cause: str) -> None:
    readers = [FakeReader("frames", frames, **FRAMES), FakeReader("zoom", tiles, **{**TILES, "crops": False})]
    (found,) = read(item(Part.video(b"1.0"), Part.video(b"1.0")), readers=readers, **limits)
    marks = [one for one in found.parts if one.unread]
    assert [(one.source, one.unread and one.unread.cause) for one in marks] == [
        ("part-0#t=1.0", cause),
        ("part-1#t=1.0", cause),
    ]


@pytest.mark.parametrize(("most", "each"), [(2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (100, 2)])
def test_who_only_crops_is_cut_short_on_every_frame_alike_and_nothing_errs(most: int, each: int) -> None:
    readers = [FakeReader("frames", frames, **FRAMES), FakeReader("tiles", tiles, **TILES)]
    found, alone = read(item(Part.video(b"1.0")), item(picture(1)), readers=readers, most_together=most)
    assert [one for one in found.parts if one.unread] == []
    cut = [one.name for one in found.parts if one.reader == "frames/tiles"]
    assert cut == [f"part-0#t={n}.0#tiles-{tile}" for n in (0, 1) for tile in range(each)]
    assert len([one for one in alone.parts if one.reader]) == 2  # another item's, and another bound


@pytest.mark.parametrize("order", list(itertools.permutations(("frames", "tiles", "ocr"))), ids="-".join)
def test_who_only_crops_takes_what_the_others_leave_in_whatever_order_they_stand(order: tuple[str, ...]) -> None:
    """A text policy must not err on each long video since tiles came before the texts."""
    by_name = {
        "frames": FakeReader("frames", frames, **FRAMES),
        "tiles": FakeReader("tiles", tiles, **TILES),
        "ocr": FakeReader("ocr"),
    }
    (found,) = read(item(Part.video(b"1.0")), readers=[by_name[one] for one in order], most_together=5)
    assert [one.reader for one in found.parts if one.unread] == []
    assert sum(one.reader == "frames/ocr" for one in found.parts) == 2


def test_who_crops_and_could_not_read_leaves_its_mark_where_nothing_more_would_fit() -> None:
    blind = FakeReader("tiles", lambda parts: [Abstention("out_of_time") for _ in parts], **TILES)
    (found,) = read(item(Part.video(b"1.0")), readers=[FakeReader("frames", frames, **FRAMES), blind], most_together=2)
    assert [one.unread and one.unread.reason for one in found.parts] == [None, "out_of_time", None, "out_of_time"]


def test_parts_that_are_named_alike_are_told_apart() -> None:
    readers = [FakeReader(id_, frames, **FRAMES) for id_ in ("one", "two")]
    (found,) = read(item(Part.video(b"1", name="clip"), picture(1, name="clip#t=1.0")), readers=readers)
    assert [(one.name, one.reader) for one in found.parts] == [
        ("clip#t=1.0", ""),
        ("clip#t=0.0", "one"),
        ("clip#t=1.0-2", "one"),
        ("clip#t=0.0-2", "two"),
        ("clip#t=1.0-3", "two"),
    ]


def test_a_part_that_holds_nothing_yields_nothing() -> None:
    assert read(item(picture(1)), readers=[FakeReader(answer=lambda parts: [()] * len(parts))]) == [item(picture(1))]


def fault(answer: Any, **settings: Any) -> list[tuple[str, str]]:
    """Reason and cause of what stands for the video that a reader of pictures and texts could not read."""
    reader = FakeReader("frames", answer, reads=(Modality.VIDEO,), yields=BOTH)
    (found,) = read(item(Part.video(b"v")), readers=[reader], **settings)
    assert [(one.modality, one.name, one.source, one.content) for one in found.parts] == [
        (Modality.IMAGE, "part-0#frames", "part-0", b""),
        (Modality.TEXT, "part-0#frames", "part-0", b""),
    ]
    return [(one.unread.reason, one.unread.cause) for one in found.parts if one.unread]


@pytest.mark.parametrize(
    ("answer", "reason", "cause"),
    [
        (lambda _: 1 / 0, "reader_error", "ZeroDivisionError"),
        (lambda _: [], "bad_answer", ""),
        (lambda _: [[Part.video(b"x")]], "bad_answer", ""),
        (lambda _: [Abstention("damaged_file", "canary", "NoMoov")], "damaged_file", "NoMoov"),
        (lambda _: [[Part.text("x")] * 65], "unsupported_input", "too_many_parts"),
        (lambda _: [[Part.image(bytes(200))]], "unsupported_input", "too_many_bytes"),
    ],
)
def test_what_cannot_be_read_leaves_a_mark_of_each_modality(answer: Any, reason: str, cause: str) -> None:
    assert fault(answer, most_bytes=100) == [(reason, cause)] * 2


def test_a_reader_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    try:
        assert fault(lambda _: release.wait(60.0), timeout_seconds=0.01) == [("reader_timeout", "")] * 2
    finally:
        release.set()


def test_repeated_faults_end_in_quarantine_but_long_content_does_not() -> None:
    reader = FakeReader(answer=lambda _: 1 / 0)
    step = Readers([reader], ReaderSettings(faults_before_quarantine=2))
    found = [step.read([item(picture(1))])[0].parts[1].unread for _ in range(3)]
    assert [one.reason for one in found if one] == ["reader_error", "reader_error", "quarantined"]
    counts = step.runner.counts()["ocr"]
    assert (counts.calls, counts.faults, counts.quarantined) == (2, {"reader_error": 2}, True)
    long = Readers(
        [FakeReader(answer=lambda p: [[Part.text("x")] * 65] * len(p))], ReaderSettings(faults_before_quarantine=1)
    )
    for _ in range(3):
        assert long.read([item(picture(1))])[0].parts[1].unread is not None
    assert (long.runner.counts()["ocr"].faults, long.runner.counts()["ocr"].quarantined) == ({}, False)


def test_what_is_known_of_a_reader_outlives_a_build() -> None:
    reader = FakeReader(answer=lambda _: 1 / 0)
    first = Readers([reader], ReaderSettings(faults_before_quarantine=1))
    first.read([item(picture(1))])
    second = Readers([reader], ReaderSettings(faults_before_quarantine=1), earlier=first)
    assert second.read([item(picture(1))])[0].parts[1].unread.reason == "quarantined"  # type: ignore[union-attr]


def test_a_video_of_which_nothing_was_made_stays_and_says_so() -> None:
    (found,) = read(item(Part.video(b"", name="clip")), readers=[FakeReader("frames", frames, **FRAMES)])
    (part,) = found.parts
    assert (part.name, part.fault and (part.fault.reason, part.fault.cause)) == (
        "clip",
        ("unsupported_input", "nothing_read"),
    )


def test_a_text_that_is_none_is_shown_to_no_reader_and_leaves_a_mark_too() -> None:
    reader = FakeReader("speak", reads=(Modality.TEXT,), yields=(Modality.IMAGE,))
    (found,) = read(item(Part(Modality.TEXT, b"\xff")), readers=[reader])
    assert told(found.parts)[1:] == [("image", "part-0#speak", "part-0", "unsupported_input")]
    assert reader.batches == []


parts = st.builds(
    Part, st.sampled_from(Modality), st.sampled_from([b"", b"0.9", b"\xff"]), st.sampled_from(["", "a", "b"])
)
items = st.lists(st.builds(ContentItem, st.just("i"), st.lists(parts, min_size=1, max_size=4).map(tuple)), max_size=4)
sides = st.frozensets(st.sampled_from(Modality), min_size=1)
readings = st.sampled_from(
    [(), None, [Part.text("t")], [Part.image(b"p"), Part.text("t")], Abstention("shy"), [Part.video(b"v")]]
)


@given(items, st.lists(sides, max_size=3), st.data())
def test_no_part_is_lost_or_overlooked_and_the_company_changes_nothing(
    batch: list[ContentItem], reads: list[frozenset[Modality]], data: st.DataObject
) -> None:
    answers = [data.draw(readings) for _ in reads]
    readers = [
        FakeReader(f"r{n}", lambda some, told=told: [told] * len(some), reads=side, yields=BOTH)
        for n, (side, told) in enumerate(zip(reads, answers, strict=True))
    ]
    step = Readers(readers, ReaderSettings(faults_before_quarantine=10_000))
    found = step.read(batch)
    assert found == [step.read([one])[0] for one in batch] or any(part.unread for one in found for part in one.parts)
    for before, after in zip(batch, found, strict=True):
        assert (after.id, after.attributes) == (before.id, before.attributes)
        kept = [part for part in after.parts if not part.source]
        assert [part for part in before.parts if part.modality is not Modality.VIDEO] == [
            part for part in kept if part.modality is not Modality.VIDEO
        ]
        for at, part in enumerate(before.parts):
            source = part.name or f"part-{at}"
            made = [one for one in after.parts if one.source == source]
            for reader, told in zip(readers, answers, strict=True):
                failed = told is None or isinstance(told, Abstention) or told == [Part.video(b"v")]
                if part.modality in reader.reads and (failed or (part.fault and part.modality is not Modality.VIDEO)):
                    marks = {one.modality for one in made if one.unread and one.name == f"{source}#{reader.id}"}
                    assert marks == set(BOTH)
            if part.modality is Modality.VIDEO:
                seen = any(one.modality is Modality.IMAGE for one in made)  # pictures, or the mark of none
                assert seen or any(one.modality is Modality.VIDEO and one.fault for one in kept)


@st.composite
def chains(draw: st.DrawFn) -> list[FakeReader]:
    """Up to four readers, each of which always answers alike."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        yields = draw(st.frozensets(st.sampled_from(BOTH), min_size=1))
        kinds = draw(st.lists(st.sampled_from(sorted(yields)), max_size=3))
        told: Any = [Part(one, b"%d%d" % (number, n)) for n, one in enumerate(kinds)]
        told = draw(st.sampled_from([told, told, Abstention("shy")]))
        reader = FakeReader(
            f"r{number}",
            lambda some, told=told: [told] * len(some),
            reads=draw(sides),
            yields=yields,
            crops=draw(st.booleans()),
        )
        made.append(reader)
    return made


@given(items, chains(), st.integers(1, 30))
def test_every_part_is_read_once_by_each_who_can_or_leaves_its_mark(
    batch: list[ContentItem], readers: list[FakeReader], most: int
) -> None:
    batch = [replace(one, id=f"i{n}") for n, one in enumerate(batch)]
    found = Readers(readers, ReaderSettings(most_together=most)).read(batch)
    by_id = {one.id: one for one in readers}
    for before, after in zip(batch, found, strict=True):
        derived = [one for one in after.parts if one.reader]
        real = [one for one in derived if not one.unread]
        names = [one.name for one in real]
        assert len(set(names)) == len(names)
        assert len(real) <= most * len(before.parts)
        for part in derived:
            through = part.reader.split("/")
            assert len(set(through)) == len(through)
            assert part.modality in by_id[through[-1]].yields or part.unread
        # Whoever could read a part derived something of it, nothing, or left a mark of each modality that it yields.
        for part in [one for one in real if not by_id[one.reader.split("/")[-1]].crops]:
            for reader in readers:
                behind = f"{part.reader}/{reader.id}"
                said = [one for one in derived if one.source == part.name and one.reader == behind]
                if part.modality not in reader.reads or reader.id in part.reader.split("/"):
                    assert not said
                elif isinstance(reader.answer((part,))[0], Abstention):  # type: ignore[misc]
                    assert {one.modality for one in said if one.unread} >= reader.yields
                else:
                    whole = len([one for one in said if not one.unread]) == len(reader.answer((part,))[0])  # type: ignore[misc]
                    assert whole or reader.crops or {one.modality for one in said if one.unread} >= reader.yields
    for reader in readers:
        shown = [part for batch_ in reader.batches for part in batch_]
        assert all(reader.id not in part.reader.split("/") for part in shown)
        assert not any(by_id[part.reader.split("/")[-1]].crops for part in shown if part.reader)
    alone = [Readers(readers, ReaderSettings(most_together=most)).read([one])[0] for one in batch]
    assert [told(one.parts) for one in found] == [told(one.parts) for one in alone]


@given(items, chains())
def test_what_could_not_be_had_of_a_part_no_policy_overlooks(
    batch: list[ContentItem], readers: list[FakeReader]
) -> None:
    """Were a reader that abstains to answer instead, no part would come of a modality that is not marked now."""
    found = Readers(readers, ReaderSettings(faults_before_quarantine=10_000)).read(batch)

    def answers(one: FakeReader) -> FakeReader:
        told: Any = [Part(kind, b"x") for kind in sorted(one.yields)]
        shy = isinstance(one.answer((picture(1),))[0], Abstention)  # type: ignore[misc]
        return FakeReader(
            one.id,
            (lambda some: [told] * len(some)) if shy else one.answer,
            reads=one.reads,
            yields=one.yields,
            crops=one.crops,
        )

    would = Readers([answers(one) for one in readers], ReaderSettings(most_together=10_000)).read(batch)
    for now, then in zip(found, would, strict=True):
        marked = {one.modality for one in now.parts if one.fault}
        video = any(one.modality is Modality.VIDEO and one.fault for one in now.parts)
        have = {(one.modality, one.name) for one in now.parts}
        missing = {one.modality for one in then.parts if (one.modality, one.name) not in have and not one.unread}
        assert video or missing <= marked


def test_who_feeds_whom() -> None:
    video, ocr = FakeReader("frames", **FRAMES), FakeReader("ocr")
    cut, speak = FakeReader("tiles", **TILES), FakeReader("speak", reads=(Modality.TEXT,), yields=(Modality.IMAGE,))
    every = [cut, ocr, video]
    assert downstream(every, {Modality.VIDEO}) == [video, cut, ocr]
    assert downstream(every, {Modality.TEXT}) == []
    assert upstream(every, {Modality.TEXT}) == [ocr, video]  # tiles tell nobody else anything
    assert upstream(every, {Modality.IMAGE}) == [cut, video]
    assert upstream([*every, speak], {Modality.IMAGE}) == [cut, ocr, video, speak]
