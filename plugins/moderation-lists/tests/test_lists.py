"""What every detector promises, what a decision is told, and what the settings may say."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from moderation_lists.detector import Lists
from moderation_lists.sections import Sections

from moderation import Abstention, DetectionBatch, Part, Score, assemble
from moderation.detector.life import set_up
from moderation.errors import DataError
from moderation.plugin import manager
from moderation.settings import load_settings
from moderation.testing import DetectorKit


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lists and what is allowed; the kit, which loads the plugin by its entry point, is told of them too."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "gambling.txt").write_text("casino bonus\nfree spins\n*jackpot*\n/bet ?365/\n", encoding="utf-8")
    (folder / "drugs.csv").write_text(
        "entry,id,score\nкокс,coke-ru,0.9\nweed,weed,0.3\nmeth,meth,0.9\n", encoding="utf-8"
    )
    (folder / "allowed.txt").write_text("jackpot junction\n", encoding="utf-8")
    TestLists.settings = settings(folder)
    return folder


def settings(folder: Path, **more: Any) -> Mapping[str, Any]:
    lists = {
        "gambling": {"path": str(folder / "gambling.txt")},
        "drugs": {"path": str(folder / "drugs.csv"), "score": 0.7},
    }
    return {"lists": lists, "allow": str(folder / "allowed.txt"), "leet": True, **more}


def made(values: Mapping[str, Any]) -> Lists:
    detector = Lists(Sections.model_validate(values))
    set_up(detector)
    return detector


class TestLists(DetectorKit):
    make = staticmethod(lambda: Lists(Sections.model_validate(TestLists.settings)))
    plugin = "lists"
    flagged = {"gambling": ["Claim your CASINO  BONUS", "frее $p1n$!", "Bet365 now"], "drugs": ["m.e.t.h", "KOКC"]}
    passed = ["The free spinster", "Jackpot Junction Casino Hotel", "methane", "weed the garden"]


def test_its_revision_is_that_of_what_the_lists_hold_and_how_texts_are_looked_at(files: Path, tmp_path: Path) -> None:
    before = made(settings(files)).revision
    assert before == made(settings(files)).revision != made(settings(files, leet=False)).revision
    for name in ("gambling.txt", "drugs.csv", "allowed.txt"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    assert made(settings(tmp_path)).revision == before
    with (tmp_path / "gambling.txt").open("a", encoding="utf-8") as file:
        file.write("place your bets\n")
    assert made(settings(tmp_path)).revision != before


def test_a_decision_is_told_the_list_and_the_entry_and_never_what_they_say(files: Path) -> None:
    texts = ["weed and m e t h and jackpots", "free spins", "Jackpot Junction", "bet365", ""]
    answers = made(settings(files)).detect(DetectionBatch(tuple(Part.text(one) for one in texts)))
    assert answers == [
        (Score("gambling", 1.0, concept="gambling line-3"), Score("drugs", 0.9, concept="drugs meth")),
        (Score("gambling", 1.0, concept="gambling line-2"), Score("drugs", 0.0)),
        (Score("gambling", 0.0), Score("drugs", 0.0)),
        (Score("gambling", 1.0, concept="gambling line-4"), Score("drugs", 0.0)),
        (Score("gambling", 0.0), Score("drugs", 0.0)),
    ]


def test_of_entries_of_one_score_the_first_is_told(files: Path) -> None:
    (answer,) = made(settings(files)).detect(DetectionBatch((Part.text("jackpot, free spins, casino bonus"),)))
    assert answer[0].concept == "gambling line-1"


def test_the_problems_of_all_lists_are_told_at_once(tmp_path: Path) -> None:
    for name in ("gambling.txt", "drugs.csv", "allowed.txt"):
        (tmp_path / name).write_text("entry\n/(/\n" if name.endswith("csv") else "/(/\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Lists(Sections.model_validate(settings(tmp_path))).setup()
    assert {(one.path.name, one.code) for one in caught.value.problems} == {
        ("gambling.txt", "L004"), ("drugs.csv", "L004"), ("allowed.txt", "L004"),
    }  # fmt: skip


def test_a_pattern_cannot_be_allowed(tmp_path: Path, files: Path) -> None:
    (tmp_path / "allowed.txt").write_text("fine\n/pattern/\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"allowed.txt:2:0: L010"):
        Lists(Sections.model_validate(settings(files, allow=str(tmp_path / "allowed.txt")))).setup()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "loaded"),
        ({"lists": {"a": {"path": "a.txt"}}}, "loaded"),  # no file is opened until a policy needs it
        (
            {"lists": {"a": {"path": "a.txt", "score": 2}}, "leat": True},
            "lists.a.score: Input should be less than or equal to 1; leat: Extra inputs",
        ),
        ({"lists": {"A list": {"path": "a.txt"}}}, "found list 'A list' in its settings; expected lower-case letters"),
    ],
)
def test_settings_are_checked_before_anything_is_read(values: Mapping[str, Any], expected: str) -> None:
    (found,) = [one for one in manager.load(only=("lists",), settings={"lists": values}).records if one.id == "lists"]
    assert expected in f"{found.state} {found.cause}"
    assert list(found.detectors) == (["lists"] if "lists" in values and expected == "loaded" else [])


def test_files_are_looked_for_beside_the_settings_and_a_message_tells_where(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process is started."""
    monkeypatch.chdir(tmp_path)
    (files / "mine.toml").write_text(
        """
        [plugins]
        only = ["lists"]
        [plugins.settings.lists]
        allow = "allowed.txt"
        [plugins.settings.lists.lists.gambling]
        path = "gambling.txt"
        """,
        encoding="utf-8",
    )
    settings = load_settings(files / "mine.toml", environ={})
    detector = assemble.plugins(settings).detectors["lists"]
    set_up(detector)
    (answer,) = detector.detect(DetectionBatch((Part.text("free spins"),)))
    assert not isinstance(answer, Abstention)
    assert answer[0].value == 1.0
    elsewhere = manager.load(only=("lists",), settings={"lists": {"lists": {"gambling": {"path": "gambling.txt"}}}})
    with pytest.raises(DataError) as caught:
        elsewhere.detectors["lists"].setup()  # type: ignore[attr-defined]
    assert f"{tmp_path / 'gambling.txt'}: L001: cannot be read" in str(caught.value)


# The command, as a user calls it.


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moderation_lists", *arguments], capture_output=True, text=True, check=False, cwd=folder
    )


def test_lists_are_checked_and_counted(files: Path) -> None:
    done = command("check", "gambling.txt", "drugs.csv", folder=files)
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["file", "entries", "patterns", "parts", "of", "words", "spelt", "alike"],
        ["gambling.txt", "4", "1", "1", "0"],
        ["drugs.csv", "3", "0", "0", "0"],
    ]


def test_all_problems_of_all_lists_are_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("/secretword(/\nfine\n***\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("fine\nFÍNE\nfall\nfail\n", encoding="utf-8")
    failed = command("check", "one.txt", "two.txt", "gone.txt", folder=tmp_path)
    assert failed.returncode == 13
    assert [line.split(" ")[:2] for line in failed.stderr.splitlines() if "L0" in line] == [
        ["gone.txt:", "L001:"], ["one.txt:1:0:", "L004:"], ["one.txt:3:0:", "L003:"],
    ]  # fmt: skip
    assert "secretword" not in failed.stderr
    assert "Traceback" not in failed.stderr
    assert command("check", "two.txt", folder=tmp_path).stdout.splitlines()[1].split()[-1] == "1"


HOSTILE = {
    "strokes": "l1|I" * 25_000, "apart": "j " * 50_000, "joined": "a.b-c_" * 16_000, "marks": "e" + "\u0301\u0323" * 50_000, "kana": "か" + "\u3099\u0323" * 50_000,
    "turned": "\u202eabc" * 25_000, "jamo": "\u1100" * 100_000, "indic": "\u0915\u093c\u094d" * 33_000, "found": "free spins " * 9_000, "nearly": "frree spins " * 9_000,
    "pattern": "bet 36" * 16_000, "arabic": "\u064b\u0655" * 50_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_text_takes_a_time_that_grows_with_its_length_alone(files: Path, kind: str) -> None:
    """A hundred thousand characters; what is quadratic in them takes minutes."""
    detector = made(settings(files))
    begun = time.perf_counter()
    detector.detect(DetectionBatch((Part.text(HOSTILE[kind]),)))
    assert time.perf_counter() - begun < 5
