"""Search on the command line: the nearest first, over files and over kept vectors alike; what is bad is named, and ends nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moderation.embedding.cache import MemoryCache
from moderation.errors import ExitCode
from tests.fakes import FakeEncoder
from tests.unit.cli.conftest import Run
from tests.unit.encoder.pictures import encoded, picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of known cosines, a copy, one that is none, a text, and a file of another kind."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures"
    folder.mkdir()
    contents = {"a": "0.1", "b": "0.9", "c": "-0.5", "d": "0.9", "broken": "not a picture"}
    for name, content in contents.items():
        (folder / f"{name}.png").write_text(content)
    (folder / "e.txt").write_text("1.0")
    (folder / "f.doc").write_text("x")
    return folder


def found(out: str) -> dict[str, list[tuple[str, float]]]:
    """By query, the items in order with their similarities."""
    told = json.loads(out)
    assert told["schema"] == "search/v1"
    return {one["query"]: [(hit["item"], hit["similarity"]) for hit in one["hits"]] for one in told["queries"]}


def names(hits: list[tuple[str, float]]) -> list[str]:
    return [Path(item).stem for item, _ in hits]


def test_the_nearest_come_first_and_equal_ones_in_the_order_of_their_names(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    code, out, err = run("search", "1.0", folder, "--json")
    assert code == ExitCode.OK
    assert names(found(out)["1.0"]) == ["b", "d", "a", "c"]
    assert [similarity for _, similarity in found(out)["1.0"]] == pytest.approx([0.9, 0.9, 0.1, -0.5], abs=1e-3)
    told = json.loads(out)
    assert (told["pictures"], told["others"], told["left_alone"]) == (4, 1, [f"{folder}/f.doc"])
    broken = f"{folder}/broken.png"
    assert told["causes"] == [{"error": "unsupported_input", "cause": None, "items": 1, "first": [broken]}]
    assert f"{broken}: unsupported_input: not a picture" in err


def test_for_people_it_is_a_table_with_everything_that_was_not_looked_at(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    code, out, err = run("search", "1.0", "pictures", "--top", 2)
    assert code == ExitCode.OK
    assert out.splitlines() == [
        "  1.0             similarity",
        "  pictures/b.png      0.8999",
        "  pictures/d.png      0.8999",
        "4 pictures looked at, 0 from the cache",
        "not looked at, unsupported_input: 1 picture",
        "not looked at, as no pictures: 1 part",
        "left alone, of another kind: 1 file (pictures/f.doc); read are .gif, .jpeg, .jpg, .jsonl, .parquet, .png, .txt, .webp",
    ]
    # By name once, with what is wrong with it.
    assert (out + err).count("broken.png") == 1
    assert "pictures/broken.png: unsupported_input: not a picture\n" in err


def test_several_searches_and_an_example_are_asked_at_once(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    _, out, _ = run("search", "1.0", folder, "--also", "-1.0", "--json")
    assert {query: names(hits)[0] for query, hits in found(out).items()} == {"1.0": "b", "-1.0": "c"}
    like = folder / "c.png"
    _, out, _ = run("search", folder, "--like", like, "--also", "1.0", "--json")
    assert {query: names(hits)[0] for query, hits in found(out).items()} == {"1.0": "b", str(like): "c"}
    assert [one["kind"] for one in json.loads(out)["queries"]] == ["text", "image"]
    assert encoder.encoded.count("-0.5") == 2  # once in each run, though asked for and looked at


def test_kept_vectors_are_searched_without_encoding_any_picture(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    assert run("policy", "embed", "pictures", "--out", "kept")[0] == ExitCode.OK
    _, fresh, _ = run("search", "1.0", "pictures", "--json")
    encoder.encoded.clear()
    code, out, _ = run("search", "1.0", "kept", "--json")
    assert (code, encoder.encoded) == (ExitCode.OK, ["1.0"])
    assert found(out) == found(fresh)
    assert json.loads(out)["causes"] == [
        {"error": "no vector", "cause": "it has no vector", "items": 1, "first": []},
    ]
    _, both, _ = run("search", "1.0", "kept", "pictures", "--json", "--top", 4)
    assert names(found(both)["1.0"]) == ["b", "d", "b", "d"]


def test_tables_of_items_are_searched_as_any_items_wherever_they_lie(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    pq.write_table(pa.table({"id": ["one", "two"], "image": [b"0.3", b"0.4"]}), folder / "items.parquet")
    (folder / "odd.parquet").write_bytes(b"no table")
    code, out, err = run("search", "1.0", folder, "--json")
    assert (code, names(found(out)["1.0"])) == (ExitCode.OK, ["b", "d", "two", "one", "a", "c"])
    assert f"{folder}/odd.parquet: unreadable" in err
    _, out, _ = run("search", "1.0", folder / "items.parquet", "--json")
    assert names(found(out)["1.0"]) == ["two", "one"]


def test_a_pipe_is_no_table_of_vectors_and_is_not_waited_on(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    Path("odd").mkdir()
    os.mkfifo("odd/pipe.parquet")
    (Path("odd") / "more").mkdir()
    (Path("odd") / "more" / "a.png").write_text("0.1")
    code, out, _ = run("search", "1.0", "odd", "--json")
    assert (code, names(found(out)["1.0"]), json.loads(out)["left_alone"]) == (ExitCode.OK, ["a"], ["odd/pipe.parquet"])


def test_vectors_of_another_encoder_are_refused(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    run("policy", "embed", "pictures", "--out", "kept")
    encoder.fingerprint = FakeEncoder(identity="f" * 16).fingerprint
    code, _, err = run("search", "1.0", "kept")
    assert code == ExitCode.DATA
    assert f"holds vectors of encoder 0123456789abcdef; expected those of {'f' * 16}" in err


def test_a_cache_makes_a_second_search_one_of_the_words_alone(
    encoder: FakeEncoder, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = MemoryCache(10**6)  # as Redis would be
    monkeypatch.setattr("moderation.assemble.embedding_cache", lambda _: kept)
    _, first, _ = run("search", "1.0", folder, "--json")
    encoder.encoded.clear()
    _, second, _ = run("search", "0.9", folder, "--json")
    assert encoder.encoded == ["0.9", "not a picture"]
    assert (json.loads(first)["cache_hits"], json.loads(second)["cache_hits"]) == (0, 4)


def test_parts_of_an_item_are_told_apart(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    rows = [{"id": "shop", "parts": [{"text": "1.0"}, {"path": "pictures/a.png"}, {"path": "pictures/b.png"}]}]
    rows += [{"id": "lost", "path": "nowhere.png"}]
    Path("items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code, out, err = run("search", "1.0", "items.jsonl")
    assert code == ExitCode.OK
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [["shop", "part", "2"], ["shop", "part", "1"]]
    assert "lost: unreadable" in err


def test_a_search_that_finds_nothing_to_look_at_says_so_and_did_not_go_well(
    encoder: FakeEncoder, folder: Path, run: Run
) -> None:
    code, out, _ = run("search", "1.0", folder / "broken.png", "--out", "found.html")
    assert (code, "0 pictures looked at" in out) == (ExitCode.DATA, True)
    assert "There was nothing to look at." in Path("found.html").read_text()
    code, out, _ = run("search", "1.0", folder / "e.txt", "--json")
    assert (code, json.loads(out)["others"]) == (ExitCode.DATA, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["1.0"], ExitCode.USAGE, "at least one PATH"),
        ([" ", "pictures"], ExitCode.USAGE, "expected words"),
        (["1.0", "pictures", "--top", 0], ExitCode.USAGE, "--top"),
        (["1.0", "pictures", "--out", "nowhere/found.html"], ExitCode.USAGE, "there is no folder nowhere"),
        (["1.0", "nowhere"], ExitCode.DATA, "nowhere: D000: no such file or folder"),
        (["pictures", "--like", "pictures/broken.png"], ExitCode.DATA, "broken.png: D000: cannot be searched by"),
        (["pictures", "--like", "pictures/e.txt"], ExitCode.DATA, "expected one picture, found a part of kind text"),
        (["pictures", "--like", "empty.jsonl"], ExitCode.DATA, "empty.jsonl: D000: no item in it"),
        (["pictures", "--like", "two.jsonl"], ExitCode.DATA, "expected one picture, found more than one part"),
        (["pictures", "--like", "lines.jsonl"], ExitCode.DATA, "expected one picture, found more than one part"),
        (["pictures", "--like", "nowhere.png"], ExitCode.DATA, "no such file"),
    ],
)
def test_what_cannot_be_searched_is_told(  # noqa: PLR0917
    encoder: FakeEncoder, folder: Path, run: Run, arguments: list[Any], code: ExitCode, message: str
) -> None:
    a, b = ({"path": f"pictures/{name}.png"} for name in "ab")
    for name, rows in {"empty": [], "two": [{"id": "two", "parts": [a, b]}], "lines": [a, b]}.items():
        Path(f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done, out, err = run("search", *arguments)
    assert (done, out) == (code, "")
    assert message in re.sub(r"[\s│]+", " ", err)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "1.0", "nowhere"], ExitCode.DATA, "nowhere: D000: no such file or folder\n"),
        (
            ["search", "1.0", "picturse"],
            ExitCode.DATA,
            "picturse: D000: no such file or folder; did you mean 'pictures'?",
        ),
        (["search", "pictures", "a car"], ExitCode.USAGE, "did you mean: search 'a car' pictures"),
        (["search", "pictures", "pictures/a.png", "a car"], ExitCode.USAGE, "search 'a car' pictures pictures/a.png"),
        (["search", "picturse", "pictures", "--like", "pictures/a.png"], ExitCode.DATA, "did you mean 'pictures'?"),
        (
            ["search", "a car", "pictures", "--like", "pictures/a.png"],
            ExitCode.USAGE,
            "'a car' is none; did you mean: search pictures --also 'a car' --like pictures/a.png",
        ),
        (["classify", "--text", "1.0", "nowhere"], ExitCode.DATA, "nowhere: D000: no such file or folder\n"),
    ],
)
def test_wrong_paths_and_arguments_turned_round_are_told_before_an_encoder_is_loaded(  # noqa: PLR0917
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: ExitCode, message: str
) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", None)
    done, out, err = run(*arguments)
    assert (done, out) == (code, "")
    assert re.sub(r"[\s│]+", " ", message) in re.sub(r"[\s│]+", " ", err)


def test_an_encoder_without_both_towers_is_refused(encoder: FakeEncoder, folder: Path, run: Run) -> None:
    encoder.card = FakeEncoder(modalities=("text",)).card
    code, _, err = run("search", "1.0", folder)
    assert (code, "has no image tower" in err) == (ExitCode.ENCODER, True)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """True pictures, whose names are as hostile as names can be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawn").mkdir()
    for seed, name in enumerate(('<script>alert("x")<', "b\u202egnp", "c")):
        (tmp_path / "drawn" / f"{name}.png").write_bytes(encoded(picture(900, 600, seed=seed)))
    return tmp_path / "drawn"


def test_the_sheet_shows_what_was_found_and_needs_nothing_else(encoder: FakeEncoder, drawn: Path, run: Run) -> None:
    code, _, _ = run("search", "1.0", "drawn", "--also", "0.0", "--top", 2, "--out", "found.html")
    page = Path("found.html").read_text(encoding="utf-8")
    assert code == ExitCode.OK
    copies = re.findall(
        r'<img src="data:image/jpeg;base64,([^"]+)" alt="(\d of 2): ([^"]+)" width="320" height="213"', page
    )
    assert [place for _, place, _ in copies] == ["1 of 2", "2 of 2"] * 2
    assert "<script>" not in page
    assert "\u202e" not in page
    assert "\\u202e" in page
    assert re.findall(r"(?:src|href)=\"(?!data:image/jpeg;base64,|#)", page) == []
    assert "default-src 'none'" in page
    assert '<label class="blurring"><input type="checkbox" id="blur"> Blur the pictures</label>' in page
    first = page
    run("search", "1.0", "drawn", "--also", "0.0", "--top", 2, "--out", "found.html")
    assert Path("found.html").read_text(encoding="utf-8") == first


def test_the_sheet_of_kept_vectors_shows_only_pictures_that_are_what_they_were(
    encoder: FakeEncoder, drawn: Path, run: Run
) -> None:
    run("policy", "embed", "drawn", "--out", "kept")
    (drawn / "c.png").write_bytes(encoded(picture(seed=9)))
    (drawn / "b\u202egnp.png").unlink()
    assert run("search", "1.0", "kept", "--out", "found.html")[0] == ExitCode.OK
    page = Path("found.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 1
    assert sorted(re.findall(r"no picture: (\w+)", page)) == ["changed", "no_such_file"]
