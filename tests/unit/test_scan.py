"""Entries to decisions: one for each, in order, whatever cannot be read, and with no more content in memory than is said."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import ref

import pytest

from moderation import assemble
from moderation.errors import ItemError
from moderation.item import ContentItem, Modality, Part
from moderation.pipeline import Pipeline
from moderation.policy.lock import lock_path, write_lock
from moderation.scan import decide_entries
from moderation.settings import Settings
from moderation.source import together
from moderation.source.entry import Entry, failing
from tests.fakes import FakeEncoder, FakeReader, lock, plugins_with


class Watched(ContentItem):
    """An item of which one can tell whether it is still there: a plain one has slots."""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: FakeEncoder())
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(), path)
    return assemble.pipeline(Settings(), [path])


@pytest.mark.parametrize("bound", [1, 8, 20, 10**6])
def test_each_entry_has_its_decision_whatever_the_bound(
    pipeline: Pipeline, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "BYTES", bound)
    values = ["1.000", "0.000", "lost", "0.800", "-0.50", "lost", "0.990"]
    entries = [
        failing(f"{at}", ItemError("unreadable", "gone"))
        if value == "lost"
        else Entry(f"{at}", partial(ContentItem, f"{at}", (Part.image(value.encode()),)))
        for at, value in enumerate(values)
    ]
    unread: list[str] = []
    told = list(decide_entries(pipeline, entries, unread=lambda one, _: unread.append(one.id)))
    assert [entry for entry, _ in told] == entries
    made = [one for _, one in told]
    assert [one.item_id for one in made] == [one.id for one in entries]
    assert [one.verdicts[0].outcome for one in made] == [
        "match", "no_match", "error", "review", "no_match", "error", "match",
    ]  # fmt: skip
    assert unread == ["2", "5"]


@pytest.mark.parametrize(("size", "most"), [(10, 3), (25, 1), (1, 12)])
def test_no_more_content_is_in_memory_than_the_bound_and_one_item(
    pipeline: Pipeline, size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos of 100 MB each would otherwise stand beside one another, as many as a batch has."""
    monkeypatch.setattr(together, "BYTES", 25)
    there: list[ref[Watched]] = []
    counts: list[int] = []

    def read(name: str) -> ContentItem:
        item = Watched(name, (Part.image(b"1" + b"0" * (size - 1)),))
        there.append(ref(item))
        counts.append(sum(one() is not None for one in there))
        return item

    def row(name: str) -> Entry:
        item = read(name)
        return Entry(name, lambda: item)

    for make in (lambda name: Entry(name, partial(read, name)), row):  # a row of a table holds its content
        there.clear()
        counts.clear()
        for entry, _ in decide_entries(pipeline, (make(f"{at}") for at in range(12))):
            del entry
        assert (len(counts), max(counts)) == (12, most)


def test_what_cannot_be_read_is_held_to_the_limits_as_what_cannot_be_decoded_is(pipeline: Pipeline) -> None:
    (one,) = pipeline.running.policies
    live = replace(one, terms=replace(one.terms, status="live", share=0.0))
    pipeline.running = replace(pipeline.running, policies=(live,))
    entries = [
        Entry("bad", partial(ContentItem, "bad", (Part.image(b"no picture"),))),
        failing("gone", ItemError("unreadable", "gone", cause="no_such_file")),
    ]
    made = [one for _, one in decide_entries(pipeline, entries)]
    assert [(one.action, one.proposed, one.verdicts[0].limit) for one in made] == [("allow", "review", "rollout")] * 2
    assert [(one.verdicts[0].error, one.verdicts[0].cause) for one in made] == [
        ("unsupported_input", None),
        ("unreadable", "no_such_file"),
    ]


def test_no_reader_is_shown_what_could_not_be_read_and_every_policy_errs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of videos leaves pictures in place of one that it cannot read, which a policy on texts would not judge."""
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: FakeEncoder())
    paths = [lock_path(tmp_path, name) for name in ("pictures", "texts")]
    for path, modality in zip(paths, (Modality.IMAGE, Modality.TEXT), strict=True):
        write_lock(lock(path.name.partition(".")[0], modalities=(modality,)), path)
    reader = FakeReader("video", reads=[Modality.VIDEO], yields=[Modality.IMAGE])
    settings = Settings.model_validate({"readers": {"use": ("video",)}})
    made = assemble.pipeline(settings, paths, known=plugins_with(readers=(reader,)))
    ((_, found),) = decide_entries(made, [failing("gone", ItemError("unreadable", "gone", cause="no_such_file"))])
    assert [(one.policy, one.error, one.cause) for one in found.verdicts] == [
        ("pictures", "unreadable", "no_such_file"),
        ("texts", "unreadable", "no_such_file"),
    ]
    assert (dict(found.encoders), found.cache_hit) == ({}, False)
