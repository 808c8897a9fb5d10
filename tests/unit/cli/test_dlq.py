"""What `moderation dlq` refuses before it asks any broker, and what a replay would do with letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from moderation.errors import ExitCode
from moderation.stream.batch import Output, Partition, Record
from moderation.stream.dead_letter import PREFIX, DeadLetter, Stage
from moderation.stream.letters import Choice, Found, Letter, Place, marker
from moderation.stream.replay import Obstacle, plan, replayed
from tests.unit.cli.conftest import Run

TOLD = DeadLetter(Partition("in", 5), 9, 1000, Stage.DECODE, "not_json", "", 2, "w=1", "a", 2000, replays=1)
LETTER = Letter(Place(0, 17), TOLD, 5000, 80, whole=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "--stage", "decoding"], "decode, fetch, publish, crash"),
        (["list", "--since", "yesterday"], "a time with its zone"),
        (["list", "--until", "2026-08-31T12:00:00"], "a time with its zone"),
        (["show", "17"], "Invalid value for PARTITION:OFFSET: found"),
        (["replay", "0:17", "0:-1"], "Invalid value for PARTITION:OFFSET: found"),
        (["list"], "[stream]"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, tmp_path: Path, words: list[str], told: str) -> None:
    config = tmp_path / "worker.toml"
    config.write_text("")
    code, _, err = run("dlq", words[0], config, *words[1:])
    assert code == ExitCode.USAGE
    assert told in " ".join(err.replace("\u2502", " ").split())


@pytest.mark.parametrize("command", ["list", "replay"])
def test_the_help_names_every_stage(run: Run, command: str) -> None:
    told = " ".join(run("dlq", command, "--help")[1].replace("\u2502", " ").split())
    assert f"Only of this stage: {', '.join(Stage)};" in told


def record_of(told: DeadLetter, offset: int) -> Record:
    """A dead letter where it lies."""
    return lying(told.to_output(Record(told.origin, told.offset, 1000, b"k", b"v", (), 9), "in.dlq"), offset)


def lying(output: Output, offset: int) -> Record:
    """An output where it lies."""
    return Record(Partition("in.dlq", 0), offset, 5000, output.key, output.value, output.headers, 9)


def test_a_topic_is_read_once_from_its_end_and_nothing_is_held_of_what_was_read() -> None:
    read = list[int]()

    def windows() -> Iterator[list[Record]]:
        kinds = {3: marker(Place(0, 1), "in.dlq"), 4: Output("in.dlq", b"v"), 5: marker(Place(0, 2), "in.dlq")}
        for window in ((4, 5), (2, 3), (0, 1)):
            read.extend(window)
            yield [lying(kinds[one], one) if one in kinds else record_of(TOLD, one) for one in window]

    found = Found(windows())
    letters = iter(found)
    first = next(letters)
    assert (first.place.offset, first.replayed, read) == (2, True, [4, 5, 2, 3])
    assert [(one.place.offset, one.replayed) for one in letters] == [(0, False), (1, True)]
    assert (found.foreign, read) == (1, [4, 5, 2, 3, 0, 1])


@pytest.mark.parametrize(("words", "told"), [([], True), (["--limit", "26"], False), (["--limit", "0"], True)])
def test_letters_that_are_not_shown_are_counted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: bool
) -> None:
    found = Found([[record_of(TOLD, number) for number in range(26)]])
    topic = SimpleNamespace(name="in.dlq", find=lambda _choice: found)
    monkeypatch.setattr("moderation.assemble.dead_letters", lambda _settings: nullcontext(topic))
    config = tmp_path / "worker.toml"
    config.write_text("")
    code, out, _ = run("dlq", "list", config, *words)
    assert (code, "of 26; --limit shows more" in out) == (0, told)


def test_a_choice_takes_what_fits_all_of_it() -> None:
    assert Choice().takes(LETTER)
    assert Choice({Place(0, 17)}, {"decode"}, {"not_json"}, 5000, 5001).takes(LETTER)
    others = [
        Choice({Place(0, 18)}),
        Choice(stages={"crash"}),
        Choice(causes={"x"}),
        Choice(since_ms=5001),
        Choice(until_ms=5000),
    ]
    assert not any(one.takes(LETTER) for one in others)


def test_what_keeps_a_letter() -> None:
    cases = {
        None: LETTER,
        Obstacle.REPLAYED: replace(LETTER, replayed=True),
        Obstacle.POINTER: replace(LETTER, whole=False),
        Obstacle.TOO_OFTEN: replace(LETTER, told=replace(TOLD, replays=3)),
        Obstacle.FOREIGN: replace(LETTER, told=replace(TOLD, origin=Partition("elsewhere", 0))),
    }
    made = plan(cases.values(), inputs=("in",), most_replays=3)
    assert made.letters == (LETTER,)
    assert dict(made.obstacles) == {letter: why for why, letter in cases.items() if why}


def test_a_record_goes_to_its_old_partition_while_that_is_there() -> None:
    record = Record(Partition("in", 5), 9, 1000, b"k", b"v", (("a", b"1"), ("a", b"2")), 9)
    output = TOLD.to_output(record, "in.dlq")
    letter = Record(Partition("in.dlq", 0), 17, 5000, output.key, output.value, output.headers, 9)
    back = replayed(letter, partitions=lambda _: 6)
    assert (back.topic, back.partition, back.key, back.value) == ("in", 5, b"k", b"v")
    assert back.headers[:2] == record.headers
    told = {name.removeprefix(PREFIX): value for name, value in back.headers[2:]}
    assert told == {"attempts": b"2", "replays": b"2", "first_failed": b"2000"}
    assert replayed(letter, partitions=lambda _: 5).partition is None
    with pytest.raises(ValueError, match="no dead letter"):
        replayed(record, partitions=lambda _: 6)


def test_a_place_is_read_as_it_is_printed() -> None:
    assert Place.parse(str(Place(3, 12))) == Place(3, 12)
