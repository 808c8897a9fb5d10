"""Lint: every rule fires on what it is for, at the phrase, and is silent on its look-alikes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from moderation.policy.lint import Finding, lint
from tests.policy_text import POLICY, TESTS, load, with_line

TODAY = dt.date(2026, 11, 23)


def findings(folder: Path, text: str = POLICY, *, tests: str = TESTS, **options: Any) -> list[Finding]:
    policy = load(folder, text)
    (folder / "tests" / "weapons.yaml").write_text(tests, encoding="utf-8")
    return lint(policy, **{"today": TODAY, **options})


def codes(folder: Path, text: str = POLICY, **options: Any) -> list[str]:
    return [finding.code for finding in findings(folder, text, **options)]


def with_phrase(phrase: str, *, contrast: str = "a water pistol") -> str:
    """The policy with one violating and one contrast phrase."""
    assert '"' not in phrase
    text = POLICY.replace("[a handgun, a rifle]", f'["{phrase}"]')
    return text.replace("[a water pistol, a plastic toy gun]", f'["{contrast}"]')


def test_a_good_policy_has_no_findings(tmp_path: Path) -> None:
    assert findings(tmp_path, languages=["en"], context_length=77, count_tokens=lambda text: len(text) // 3 + 2) == []


FIRES = {
    "L001": [
        "a hand with no glove", "a street without cars", "a dog not on a leash", "a person who isn't smiling",
        "a person who cannot swim", "everything except a knife", "a face lacking a nose", "a table free of bottles",
        "a man who never smiles", "neither knife nor gun",
    ],
    "L002": [
        "two knives", "a row of three rifles", "several handguns", "12 bottles", "5 empty bottles", "many bullets",
        "at least one gun", "dozens of cigarettes", "every kind of pill", "a lot of cash",
    ],
    "L003": [
        "a gun to the left of a cup", "a knife on the right", "a rifle under a bed", "a gun behind a curtain",
        "a pistol next to a phone", "a knife in front of a plate", "a bottle between cups", "a sign above a door",
    ],
    "L004": [
        "a man hitting a woman", "a dog biting a child", "a woman being kicked by a crowd", "a man pushing someone",
    ],
    "L006": [
        "a stolen bicycle", "an illegal weapon", "an unlicensed vendor", "a person intending to steal",
        "a non-consensual photo", "a counterfeit bag", "a celebrity", "misinformation about a vaccine",
        "a handgun without a licence",
    ],
    "L013": ["a shot", "a crack", "pots", "a picture of a crane", "an old bat", "weed"],
    "L018": ["or vegetables", "And a knife", "such as a rifle"],
}  # fmt: skip

SILENT = {
    "L001": [
        "a big nose", "a notebook", "a knot", "cannoli on a plate", "a nonstick pan", "a no smoking sign",
        "a no-entry sign", "a person named Noel", "a can of paint", "nobility in robes",
    ],
    "L002": [
        "a tattoo", "a two-handed sword", "an AK-47 rifle", "an ak 47 rifle", "a 9mm pistol", "a 3D printer",
        "a four-leaf clover", "a 50 euro note", "tennis", "manyplies", "a six-pack of beer", "an eight ball",
        "a ten dollar bill", "the five of hearts",
    ],
    "L003": [
        "a left hand", "left-handed scissors", "underwear", "a thunderstorm", "a prisoner behind bars",
        "an old pistol behind museum glass", "a car under construction", "a gun on a table", "the bill of rights",
    ],
    "L004": [
        "a man holding a gun", "a dog biting a bone", "a crowd of people", "a punching bag", "a shooting range",
        "a man and a woman",
    ],
    "L006": [
        "a tent", "an intense light", "a yellow legal pad", "a licence plate", "a driver's license",
        "a paralegal", "a cookie consent banner", "a regal crown",
    ],
    "L013": ["a shot glass", "a pot of soup", "a baseball bat", "a construction crane", "a crack in a wall"],
    "L018": ["fruit or vegetables", "an android phone", "oranges", "or-gate symbol"],
}  # fmt: skip


@pytest.mark.parametrize(("code", "phrase"), [(code, one) for code, phrases in FIRES.items() for one in phrases])
def test_a_word_rule_fires_at_the_phrase(tmp_path: Path, code: str, phrase: str) -> None:
    found = [one for one in findings(tmp_path, with_phrase(phrase)) if one.code == code]
    assert [(one.path.name, one.line, one.column) for one in found] == [("weapons.yaml", 13, 53)]
    assert found[0].severity == ("warning" if code in ("L004", "L013", "L018") else "error")
    assert found[0].fix


@pytest.mark.parametrize(("code", "phrase"), [(code, one) for code, phrases in SILENT.items() for one in phrases])
def test_a_word_rule_is_silent_on_look_alikes(tmp_path: Path, code: str, phrase: str) -> None:
    assert code not in codes(tmp_path, with_phrase(phrase))


@pytest.mark.parametrize("code", ["L001", "L002", "L003", "L006"])
def test_contrast_phrases_are_held_to_the_same_words(tmp_path: Path, code: str) -> None:
    found = findings(tmp_path, with_phrase("a handgun", contrast=FIRES[code][0]))
    assert (14, code) in [(one.line, one.code) for one in found]


WORDS_21 = " ".join(["bright"] * 21)


@pytest.mark.parametrize(
    ("options", "severity"),
    [
        ({}, "warning"),
        ({"count_tokens": lambda text: len(text.split()) + 2}, "warning"),
        ({"count_tokens": lambda text: len(text.split()) + 2, "context_length": 23}, "warning"),
        ({"count_tokens": lambda text: len(text.split()) + 2, "context_length": 22}, "error"),
        ({"count_tokens": lambda text: 4 * len(text.split()) + 2}, "error"),
    ],
)
def test_long_phrases_are_found(tmp_path: Path, options: dict[str, Any], severity: str) -> None:
    (finding,) = findings(tmp_path, with_phrase(WORDS_21), **options)
    assert (finding.code, finding.severity, finding.line) == ("L005", severity, 13)


def test_phrases_within_twenty_tokens_are_not_long(tmp_path: Path) -> None:
    text = with_phrase(" ".join(["bright"] * 20))
    assert codes(tmp_path, text, count_tokens=lambda one: len(one.split()) + 2, context_length=77) == []


@pytest.mark.parametrize(
    ("violating", "contrast"),
    [
        ("a man with a gun", "a person with a camera"),
        ("a young woman smoking", "a woman drinking tea"),
        ("a black man with a knife", "a man with a book"),
        ("muslim clothing", "church clothing"),
        ("an old lady with a gun", "a lady with a gun"),
        ("a man's tattooed face", "a face"),
    ],
)
def test_an_identity_needs_a_contrast_of_the_same(tmp_path: Path, violating: str, contrast: str) -> None:
    found = findings(tmp_path, with_phrase(violating, contrast=contrast))
    assert [(one.code, one.line) for one in found] == [("L007", 13)]


@pytest.mark.parametrize(
    ("violating", "contrast"),
    [
        ("a man with a gun", "men with cameras"),
        ("a black man with a knife", "a black man with a book"),
        ("a mannequin", "a chair"),
        ("a black pistol", "a chair"),
        ("a white powder", "a chair"),
        ("a snowman", "a chair"),
        ("a ladybug", "a chair"),
        ("indian food", "a chair"),
        ("a chair", "a woman with a cup"),
        ("a window blind", "a chair"),
        ("a person with a gun", "a chair"),
    ],
)
def test_identities_on_both_sides_and_look_alikes_are_fine(tmp_path: Path, violating: str, contrast: str) -> None:
    assert "L007" not in codes(tmp_path, with_phrase(violating, contrast=contrast))


def test_a_policy_without_contrast_is_found(tmp_path: Path) -> None:
    lines = [line for line in POLICY.splitlines() if "contrast:" not in line and "allowed:" not in line]
    (finding,) = findings(tmp_path, "\n".join(lines) + "\n")
    assert (finding.code, finding.severity, finding.line) == ("L008", "error", 12)


@pytest.mark.parametrize(
    ("phrase", "languages", "fires"),
    [
        ("пистолет", ["en"], True),
        ("пистолет", ["ru"], False),
        ("пистолет", ["en", "uk"], False),
        ("手枪", ["en"], True),
        ("手枪", ["zh"], False),
        ("ピストル", ["ja"], False),
        ("مسدس", ["en", "de"], True),
        ("ein gewehr", ["en"], False),  # one script, two languages: not told apart
        ("a café counter, 50 % off ♥", ["en"], False),
        ("a handgun 🔫", ["en"], False),
    ],
)
def test_a_script_the_encoder_does_not_read_is_found(
    tmp_path: Path, phrase: str, languages: list[str], *, fires: bool
) -> None:
    found = findings(tmp_path, with_phrase(phrase, contrast="123"), languages=languages)
    here = [one.line for one in found if one.code == "L014" and one.line == 13]
    assert here == ([13] if fires else [])


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("{modalities: [image], languages: [en]}", []),
        ("{modalities: [image], languages: [en, de]}", []),  # its phrases may be the English ones
        ("{modalities: [image], languages: [de]}", [(8, "L014")]),
        ("{modalities: [text], languages: [en, de]}", [(8, "L014")]),
        ("{modalities: [text], languages: [en-GB]}", []),
        ("{modalities: [text]}", []),
    ],
)
def test_languages_of_the_scope_are_those_of_the_encoder(tmp_path: Path, scope: str, found: list[object]) -> None:
    text = with_line("scope", f"scope: {scope}")
    assert [(one.line, one.code) for one in findings(tmp_path, text, languages=["en"])] == found
    assert codes(tmp_path, text) == []


# Kept to what shows that the rule works.
@pytest.mark.parametrize(
    "text",
    [
        with_line("title", "title: Sexual content involving minors"),
        POLICY.replace("A working firearm is offered for sale.", "CSAM of any kind."),
        with_phrase("a handgun", contrast="nudity of a child"),
        with_phrase("nudity of a child", contrast="a child with a ball"),
    ],
)
def test_sexual_content_with_minors_is_not_classified(tmp_path: Path, text: str) -> None:
    (finding,) = [one for one in findings(tmp_path, text) if one.code == "S001"]
    assert finding.severity == "error"
    assert "cannot be overridden" in finding.message
    assert "hash matching" in finding.fix
    assert "reporting" in finding.fix


@pytest.mark.parametrize(
    "text",
    [
        with_line("title", "title: Adult nudity"),
        with_line("title", "title: Sexual health lessons for teenagers"),
        with_phrase("a same-sex couple with a child", contrast="a child with a ball"),
        POLICY.replace(
            '{id: v1, text: "A working firearm is offered for sale."}]',
            "{id: v1, text: Adult nudity.}]\n  out_of_reach: "
            "[{claim: sexual content involving minors, handled_by: hash matching and the reporting desk}]",
        ),
    ],
)
def test_other_policies_are(tmp_path: Path, text: str) -> None:
    assert "S001" not in codes(tmp_path, text)


def test_a_clause_that_no_concept_covers_is_found(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, POLICY.replace("covers: [a1], ", ""))
    assert (finding.code, finding.severity, finding.line) == ("P112", "warning", 11)


def test_a_policy_past_its_review_is_found(tmp_path: Path) -> None:
    assert codes(tmp_path, today=dt.date(2027, 3, 1)) == []
    (finding,) = findings(tmp_path, today=dt.date(2027, 3, 2))
    assert (finding.code, finding.severity, finding.line, finding.column) == ("P107", "error", 6, 12)


def test_a_policy_that_lets_pass_what_it_cannot_judge_is_found(tmp_path: Path) -> None:
    lets = POLICY.replace("on_error: review", "on_error: allow")
    (finding,) = findings(tmp_path, lets, weakest="allow")
    line = lets.splitlines().index("on_error: allow") + 1
    assert (finding.code, finding.severity, finding.line) == ("P113", "warning", line)
    assert findings(tmp_path, lets, weakest="nothing") == findings(tmp_path, lets) == []
    assert findings(tmp_path, weakest="allow") == []


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        (TESTS, None),
        (TESTS.split("cases:")[0], "P108"),
        (TESTS.replace("no_match", "match"), "P110"),
        (TESTS.replace("at_least review", "no_match"), "P110"),
        (TESTS.replace("cases:", "todo:"), "P108"),
        (
            TESTS.replace("no_match", "nomatch"),
            None,
        ),  # which is told where it stands, and says nothing of the tests' ways
        (TESTS.replace("no_match", "error"), "P110"),
        ("[", "P109"),
        (
            "schema: policy-tests/v1\npairs:\n  - {id: p, a: x.png, b: z.png, a_expect: match, b_expect: no_match}\n",
            None,
        ),
    ],
)
def test_tests_must_be_there_and_go_both_ways(tmp_path: Path, tests: str, code: str | None) -> None:
    found = [(one.code, one.severity, one.line) for one in findings(tmp_path, tests=tests)]
    assert found == ([(code, "error", 20)] if code else [])


def test_a_test_file_that_is_not_there_is_found_at_its_name(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, with_line("tests", "tests: [tests/weapons.yaml, tests/more.yaml]"))
    assert (finding.code, finding.line, finding.column) == ("P109", 20, 29)


def test_findings_come_in_the_order_of_the_file_and_once(tmp_path: Path) -> None:
    found = findings(tmp_path, with_phrase("two guns and no glove", contrast="a shot"), today=dt.date(2028, 1, 1))
    assert [(one.line, one.code) for one in found] == [(6, "P107"), (13, "L001"), (13, "L002"), (14, "L013")]
    assert str(found[0]).startswith(f"{tmp_path / 'weapons.yaml'}:6:12: P107 error: review_by was 2027-03-01")
