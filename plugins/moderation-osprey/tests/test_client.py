"""Osprey's side without Osprey, on the true server: what a rule is told."""

from __future__ import annotations

import base64
import socket
from dataclasses import replace

import pytest
from conftest import POLICIES
from moderation_osprey.client import SECONDS, URL, Answers, Content, ask


def picture(name: str) -> Content:
    file = (POLICIES / "pictures" / "test" / f"{name}.webp").read_bytes()
    return Content("1", picture=base64.b64encode(file).decode())


def told(content: Content, policy: str = "weapons", *, shadow: bool = True) -> str:
    return ask([content], [policy]).outcome(content, policy, shadow=shadow)


@pytest.mark.usefixtures("served")
def test_rules_are_told_what_policies_say() -> None:
    weapon, cup, text = picture("ak47"), picture("coffee-cup"), Content("1", "a gun")
    broken = Content("1", picture=base64.b64encode(b"no picture").decode())
    asked = [weapon, cup, text, broken, weapon]
    answers = ask(asked, ["weapons"] * 5)
    assert [answers.outcome(one, "weapons", shadow=True) for one in asked] == [
        "review", "no_match", "not_judged", "error", "review",
    ]  # fmt: skip
    assert len(answers.decisions) == 4


@pytest.mark.usefixtures("served")
def test_a_build_that_is_not_live_does_not_speak() -> None:
    assert told(picture("ak47"), shadow=False) == "not_live"


def test_a_live_one_does() -> None:
    content = Content("1", "x")
    verdict = {"policy": "weapons", "outcome": "match", "status": "live"}
    assert Answers({content: {"verdicts": [verdict]}}).outcome(content, "weapons", shadow=False) == "match"


@pytest.mark.usefixtures("served")
def test_a_policy_that_nobody_knows_is_an_error_and_not_one_out_of_scope() -> None:
    assert told(Content("1", "a gun"), "waepons") == "error"
    assert told(Content("1", "a gun"), "weapons") == "not_judged"


@pytest.mark.usefixtures("served")
def test_the_surface_is_in_scope_or_not() -> None:
    weapon = picture("ak47")
    assert told(replace(weapon, surface="sticker")) == "review"
    assert told(replace(weapon, surface="children_sticker")) == "not_judged"


@pytest.mark.usefixtures("served")
def test_what_the_server_would_refuse_takes_nothing_with_it() -> None:
    weapon, wrong, half = picture("ak47"), Content("1", picture="%"), Content("1", "\ud800")
    answers = ask([weapon, wrong, half], ["weapons"])
    outcomes = [answers.outcome(one, "weapons", shadow=True) for one in (weapon, wrong, half)]
    assert outcomes == ["review", "error", "error"]


@pytest.mark.usefixtures("served")
def test_text_and_picture_are_one_item() -> None:
    assert told(replace(picture("ak47"), text="look")) == "review"


def test_nothing_to_judge_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    assert told(Content("1")) == "not_judged"


def test_nobody_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    assert told(picture("ak47")) == "error"


def test_late_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv(URL, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv(SECONDS, "0.2")
        assert told(picture("ak47")) == "error"
