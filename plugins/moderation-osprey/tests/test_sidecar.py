"""Both sides of the wire, without Osprey: what a rule is told, and what is no question."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import POLICIES
from moderation_osprey.client import SECONDS, URL, Answers, Content, ask
from moderation_osprey.sidecar import MOST_BYTES, Sidecar, main

from moderation.errors import LockError


def picture(name: str) -> Content:
    file = (POLICIES / "pictures" / "test" / f"{name}.webp").read_bytes()
    return Content("1", picture=base64.b64encode(file).decode())


def test_rules_are_told_what_policies_say(sidecar: Sidecar) -> None:
    weapon, cup, text = picture("ak47"), picture("coffee-cup"), Content("1", "a gun")
    broken = Content("1", picture=base64.b64encode(b"no picture").decode())
    asked = [weapon, cup, text, broken, weapon]
    answers = ask(asked)
    assert [answers.outcome(one, "weapons", shadow=True) for one in asked] == [
        "review", "no_match", "not_judged", "error", "review",
    ]  # fmt: skip
    assert answers.policies == {"weapons", "gore"}
    assert len(answers.decisions) == 4


def test_a_build_that_is_not_live_does_not_speak(sidecar: Sidecar) -> None:
    weapon = picture("ak47")
    assert ask([weapon]).outcome(weapon, "weapons", shadow=False) == "not_live"


def test_a_live_one_does() -> None:
    content = Content("1", "x")
    verdict = {"policy": "weapons", "outcome": "match", "status": "live"}
    answers = Answers(frozenset({"weapons"}), {content: {"verdicts": [verdict]}})
    assert answers.outcome(content, "weapons", shadow=False) == "match"


def test_a_policy_that_nobody_knows_is_an_error_and_not_a_policy_out_of_scope(sidecar: Sidecar) -> None:
    text = Content("1", "a gun")
    assert ask([text]).outcome(text, "waepons", shadow=True) == "error"


def test_the_surface_is_in_scope_or_not(sidecar: Sidecar) -> None:
    weapon = replace(picture("ak47"), surface="sticker")
    other = replace(weapon, surface="children_sticker")
    answers = ask([weapon, other])
    assert answers.outcome(weapon, "weapons", shadow=True) == "review"
    assert answers.outcome(other, "weapons", shadow=True) == "not_judged"


def test_nothing_to_judge_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    nothing = Content("1")
    assert ask([nothing]).outcome(nothing, "weapons", shadow=False) == "not_judged"


def test_nobody_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    weapon = picture("ak47")
    assert ask([weapon]).outcome(weapon, "weapons", shadow=True) == "error"


def test_late_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv(URL, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv(SECONDS, "0.2")
        weapon = picture("ak47")
        assert ask([weapon]).outcome(weapon, "weapons", shadow=True) == "error"


def post(sidecar: Sidecar, body: bytes, path: str = "/v1/decisions", **headers: str) -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", sidecar.server_address[1], timeout=10)
    line.request("POST", path, body, headers)
    answer = line.getresponse()
    told = answer.status, json.loads(answer.read())["error"]
    line.close()
    return told


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("[]", "expected"),
        ('{"items": 1}', "expected"),
        ('{"items": [1]}', "an item is no object"),
        ('{"items": [{"text": "x"}]}', "an item is no object"),
        ('{"items": [{"item": "1", "text": 3}]}', "an item is no object"),
        ('{"items": [{"item": "1"}]}', "neither text nor picture"),
        ('{"items": [{"item": "1", "picture": "%"}]}', "no base64"),
        (r'{"items": [{"item": "1", "text": "\ud800"}]}', "no Unicode"),
        ("{", "not JSON"),
        (json.dumps({"items": [{"item": "1", "text": "x"}] * 65}), "64 at most"),
    ],
)
def test_what_is_no_question_is_refused(sidecar: Sidecar, asked: str, said: str) -> None:
    status, told = post(sidecar, asked.encode())
    assert status == 400
    assert said in told


def test_a_large_request_is_refused_unread(sidecar: Sidecar) -> None:
    assert post(sidecar, b"", **{"Content-Length": str(MOST_BYTES + 1)})[0] == 413
    assert post(sidecar, b"{}", "/elsewhere")[0] == 404


def test_what_cannot_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.lock.json"]) == LockError.exit_code
    assert "gone.lock.json" in capsys.readouterr().err


def test_it_says_where_it_listens_and_which_policies_act() -> None:
    command = [sys.executable, "-m", "moderation_osprey.sidecar", "--port", "0", str(POLICIES / "weapons.lock.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        line = process.stdout.readline()
        process.terminate()
    assert line.startswith("listening on 127.0.0.1:")
    assert line.endswith(": weapons (draft)\n")
