"""Classify on the command line: the very numbers that the server gives, and a count of what each text is nearest to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderation.cli.pictures import Picture, Pictures, Told
from moderation.errors import ExitCode
from tests.fakes import FakeEncoder
from tests.integration.test_serve import ask
from tests.served import serving
from tests.unit.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name, content in {"a": "0.1", "b": "0.9", "broken": "not a picture"}.items():
        (tmp_path / "pictures" / f"{name}.png").write_text(content)
    return tmp_path / "pictures"


def test_the_numbers_are_the_servers(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    texts = ["1.0", "0.2", "words"]
    code, out, err = run("classify", folder, *(word for text in texts for word in ("--text", text)), "--json")
    contents = [(folder / f"{name}.png").read_bytes() for name in "ab"]
    images = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in contents]
    with serving() as place:
        status, _, answer = ask(place, "/v1/classify", {"texts": texts, "images": images})
    assert (code, status) == (ExitCode.OK, 200)
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["scores"] for one in told] == [one["scores"] for one in answer["data"]]
    assert [Path(one["item"]).stem for one in told] == ["a", "b"]
    assert "2 pictures looked at" in err
    assert "broken.png: unsupported_input" in err


def test_each_picture_is_told_before_the_next_batch_is_read(
    encoder: FakeEncoder, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(_wanted: object, _embedder: object, told: Told) -> Iterator[Pictures]:
        vectors = encoder.encode_images([b"0.1"]).vectors
        for number in range(3):
            assert written.count("\n") == number
            told.pictures += 1
            yield Pictures(vectors, lambda _, name=f"{number}": Picture(name, None, "", bytes))

    written = ""

    def write(text: str) -> None:
        nonlocal written
        written += text

    monkeypatch.setattr("moderation.cli.pictures.pictures", lines)
    monkeypatch.setattr("moderation.cli.terminal.write", write)
    assert run("classify", folder, "--text", "1.0", "--json")[0] == ExitCode.OK
    assert [json.loads(line)["item"] for line in written.splitlines()] == ["0", "1", "2"]


def test_where_not_one_picture_can_be_looked_at_it_did_not_go_well(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    code, out, err = run("classify", folder / "broken.png", "--text", "1.0", "--json")
    assert (code, out, "0 pictures looked at" in err) == (ExitCode.DATA, "", True)


def test_for_people_it_is_the_nearest_text_of_each_and_how_many_each_has(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    Path("texts.txt").write_text("0.0\n\n")
    code, out, _ = run("classify", "pictures", "--text", "1.0", "--texts", "texts.txt")
    assert code == ExitCode.OK
    assert [line.split() for line in out.splitlines()] == [
        ["picture", "nearest", "text", "similarity", "probability"],
        ["pictures/a.png", "0.0", "0.9951", "1.0000"],
        ["pictures/b.png", "1.0", "0.8999", "1.0000"],
        ["text", "nearest", "to"],
        ["1.0", "1"],
        ["0.0", "1"],
        ["2", "pictures", "looked", "at,", "0", "from", "the", "cache"],
        ["not", "looked", "at,", "unsupported_input:", "1", "picture"],
    ]


def test_a_text_that_is_given_twice_counts_once(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    once, twice = (run("classify", "pictures", *["--text", "1.0"] * n, "--text", "0", "--json") for n in (1, 2))
    assert once == twice
    assert once[0] == ExitCode.OK


def test_kept_vectors_are_classified_alike(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    run("policy", "embed", "pictures", "--out", "kept")
    found = [
        [json.loads(line) for line in run("classify", place, "--text", "1.0", "--text", "0", "--json")[1].splitlines()]
        for place in ("pictures", "kept")
    ]
    assert found[0] == found[1] != []


def test_help_says_what_it_is_not(run: Run) -> None:
    assert "nothing is certified" in " ".join(run("classify", "--help")[1].split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], ExitCode.USAGE, "expected at least one --text"),
        (["--text", ""], ExitCode.USAGE, "expected words"),
        (["--texts", "nowhere.txt"], ExitCode.DATA, "nowhere.txt: D000: cannot be read: No such file"),
        (["--texts", "odd.txt"], ExitCode.DATA, "odd.txt: D000: cannot be read: not UTF-8"),
    ],
)
def test_what_cannot_be_asked_is_told(  # noqa: PLR0917
    encoder: FakeEncoder, folder: Path, run: Run, arguments: list[Any], code: ExitCode, message: str
) -> None:
    Path("odd.txt").write_bytes(b"\xff")
    done, out, err = run("classify", "pictures", *arguments)
    assert (done, out) == (code, "")
    assert message in err
