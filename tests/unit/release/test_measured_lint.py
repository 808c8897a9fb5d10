"""Measured lint: under constructed encoders, where each rule's case is exact, and under the bundled one, which is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from moderation import assemble
from moderation.embedding.embedder import Embedder
from moderation.item import Modality, Part
from moderation.policy.lint import Finding
from moderation.policy.manifest import TargetRow
from moderation.policy.schema import Policy
from moderation.release.measured_lint import PARAPHRASES, measure, written
from moderation.settings import Settings
from tests.fakes import lock
from tests.policy_text import POLICY, load
from tests.unit.cli.words import WordEncoder

AUDIT = """\
audit:
  attributes: [{name: group, about: mentioned, source: made up}]
  harms: [{name: wrongful, metric: fpr, tolerance: 0.1, set_by: lead, why: a test}]
"""


SAME = {other: one for one, other in PARAPHRASES}


class Told(WordEncoder):
    """Words as WordEncoder has them; paraphrases are one thing, and what `same` makes of a text is what it reads."""

    def __init__(self, same: Callable[[str], str] = lambda text: text) -> None:
        super().__init__()
        self.same = same

    def encode_text(self, texts: Sequence[str]):
        plain = [
            next((text.replace(other, one) for other, one in SAME.items() if other in text), text) for text in texts
        ]
        return super().encode_text([self.same(text) for text in plain])


def embedder(same: Callable[[str], str] = lambda text: text) -> Embedder:
    return assemble.remembering(Told(same), Settings())


def text_policy(tmp_path: Path, *, more: str = "", violating: str = "[a handgun, a rifle]") -> Policy:
    text = POLICY.replace("modalities: [image]", "modalities: [text]").replace("[a handgun, a rifle]", violating)
    return load(tmp_path, text + more)


def of(findings: Sequence[Finding], code: str, severity: str | None = None) -> list[Finding]:
    return [one for one in findings if one.code == code and severity in {None, one.severity}]


ORDINARY = [
    Part.text(f"{a} {b} {n}") for n in range(20) for a in ("market", "street", "morning") for b in ("good", "soon")
]


def test_a_contrast_that_says_the_same_is_found_where_it_stands(tmp_path: Path) -> None:
    policy = text_policy(tmp_path, violating="[a handgun, a water gun pistol]")
    alike = embedder(lambda text: text.replace("water gun pistol", "water pistol"))
    (found,) = of(measure(policy, alike), "L009")
    assert "'a water gun pistol' and the contrast 'a water pistol'" in found.message
    assert (found.severity, found.line) == ("warning", 13)
    assert of(measure(text_policy(tmp_path), embedder()), "L009") == []


@pytest.mark.parametrize(
    ("phrase", "turned"),
    [
        ("a man hitting a dog", "a dog hitting a man"),
        ("people who are shooting at police officers", "police officers who are shooting at people"),
        ("a child bitten by a big dog", "a big dog bitten by a child"),
        ("a happy old man feeding the birds", "the birds feeding a happy old man"),
        ("a dog chasing a dog", None),  # turned round it says the same
        ("a blade made for fighting", None),
        ("two people fighting", None),
        ("something that is burning", None),
        ("a string of pearls", None),
        ("calling people disgusting idiots", None),
    ],
)
def test_who_does_what_to_whom_is_turned_round(tmp_path: Path, phrase: str, turned: str | None) -> None:
    found = of(measure(text_policy(tmp_path, violating=f"[{phrase}, a rifle]"), embedder()), "L010")
    assert [f"'{turned}'" in one.message for one in found] == ([True] if turned else [])


def test_an_encoder_that_reads_a_bag_of_words_is_found(tmp_path: Path) -> None:
    policy = text_policy(tmp_path, violating="[a man hitting a dog, a rifle]")
    (found,) = of(measure(policy, embedder()), "L010")  # its vectors are sums over words
    assert "'a dog hitting a man'" in found.message
    ordered = embedder(lambda text: "".join(text.split()))  # one word for every order
    assert of(measure(policy, ordered), "L010") == []


def test_content_that_shows_nothing_and_scores_is_found(tmp_path: Path) -> None:
    policy = text_policy(tmp_path)
    known = {word for part in ORDINARY for word in part.content.decode().split()} | set(
        " ".join(map(" ".join, PARAPHRASES)).split()
    )
    phrases = {"handgun", "rifle", "pistol", "water", "toy", "gun", "plastic"}
    calm = embedder(
        lambda text: (
            text if set(text.split()) & (known | phrases) - {"a", "the", "of", "in", "to", "and"} else "market good"
        )
    )
    assert of(measure(policy, calm, background=ORDINARY), "L011") == []
    haunted = embedder(lambda text: "a handgun" if not text.strip() else text)
    (found,) = of(measure(policy, haunted, background=ORDINARY), "L011")
    assert "(blank)" in found.message


def test_phrases_no_better_than_random_words_are_told_from_the_lock(tmp_path: Path) -> None:
    policy = text_policy(tmp_path)
    (unknown,) = of(measure(policy, embedder()), "L015")
    assert "not assessed" in unknown.message
    controls = {
        "beaten": {"name_only": True, "random_words": False},
        "average_precision": {"policy": 0.5, "name_only": 0.2, "random_words": 0.52},
    }
    (found,) = of(measure(policy, embedder(), lock=lock("weapons", evidence={"controls": controls})), "L015")
    assert (found.severity, "0.500 against 0.520" in found.message) == ("info", True)


def people(seed: int, *, planted: bool) -> list[TargetRow]:
    """60 sentences about each of two groups; where planted, those about one are near the phrase."""
    random, rows = np.random.default_rng(seed), []
    for number in range(120):
        group = "ab"[number % 2]
        words = random.choice(["market", "street", "soon", "again", "town", "later"], size=3)
        drawn = ["handgun", "handgun"] if planted and group == "a" and number < 60 else []
        text = " ".join([*words, *drawn, str(number)])
        rows.append(TargetRow(None, text, f"{number:064d}", False, f"c{number}", {"group": group}))
    return rows


def test_a_phrase_that_calls_up_one_group_is_an_error(tmp_path: Path) -> None:
    policy = text_policy(tmp_path, more=AUDIT)
    found = of(measure(policy, embedder(), people=people(0, planted=True)), "L017", "error")
    assert found
    assert "'a handgun' calls up group a" in found[0].message


def test_equal_groups_are_hardly_ever_an_error(tmp_path: Path) -> None:
    policy, same = text_policy(tmp_path, more=AUDIT), embedder()
    found = [of(measure(policy, same, people=people(seed, planted=False)), "L017", "error") for seed in range(40)]
    assert sum(map(bool, found)) <= 6  # 5 % of 40, and what chance adds in less than one of a hundred


def test_without_people_nothing_is_silently_fine(tmp_path: Path) -> None:
    for policy in (text_policy(tmp_path), text_policy(tmp_path, more=AUDIT)):
        (found,) = of(measure(policy, embedder()), "L017")
        assert (found.severity, "not assessed" in found.message) == ("info", True)


def test_paraphrases_are_pairs_and_share_no_noun() -> None:
    assert all(a != b for a, b in PARAPHRASES)


@pytest.mark.parametrize(("reads", "found"), [("", 2), ("nothing in particular: ", 0)])
def test_an_encoder_that_reads_words_off_pictures_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str, found: int
) -> None:
    """WordEncoder takes the bytes of a picture for text: that of a phrase's words is the phrase, or another text to one that is blind."""
    shown = "picture" if not reads else f"picture{reads}toy water pistol, not "
    monkeypatch.setattr(
        "moderation.release.measured_lint.written",
        lambda words: Part.image(f"{shown}{words if not reads else ''}".encode()),
    )
    policy = load(tmp_path)
    told = of(measure(policy, embedder()), "L012")
    assert [one.severity for one in told] == ["warning"] * found
    assert all("a picture of nothing but the words" in one.message for one in told)


@pytest.fixture(scope="module")
def bundled() -> Embedder:
    return assemble.embedder(Settings())


def test_the_bundled_encoder_is_measured_on_pictures_too(bundled: Embedder, tmp_path: Path) -> None:
    found = measure(load(tmp_path), bundled)
    assert {one.code for one in found} <= {"L009", "L010", "L011", "L012", "L015", "L017"}
    assert all(one.path == tmp_path / "weapons.yaml" and one.line > 0 for one in found)


def test_the_words_of_a_phrase_can_be_drawn(bundled: Embedder) -> None:
    part = written("a very long phrase about nothing in particular that takes several lines")
    assert part.modality is Modality.IMAGE
    assert not bundled.embed([part]).errors
