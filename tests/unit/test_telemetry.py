"""One line for each event, whatever it holds, and nothing of an exception but its type and where it passed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from moderation.telemetry import SILENCE, Calm, JsonLines, TextLines

SECRET = "what an item said"


def record(message: str = "hello %s", *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("moderation.x", logging.WARNING, "x.py", 1, message, args or ("you",), None)
    made.__dict__.update(more)
    return made


def fall() -> None:
    raise ValueError(SECRET)


def failed() -> logging.LogRecord:
    try:
        fall()
    except ValueError:
        return record(exc_info=sys.exc_info())


def test_a_line_of_json() -> None:
    row = json.loads(JsonLines().format(record(told={"a.b": 1}, other=SECRET)))
    assert row.pop("timestamp").endswith("Z")
    assert row == {"severity": "WARNING", "logger": "moderation.x", "message": "hello you", "a.b": 1}


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
@pytest.mark.parametrize("message", ["two\nlines %s", "\x1b[31m\u2028 %s"])
def test_it_is_one_line(form: logging.Formatter, message: str) -> None:
    assert len(form.format(record(message)).split("\n")) == 1


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_an_exception_tells_its_type_and_place(form: logging.Formatter) -> None:
    line = form.format(failed())
    assert "ValueError" in line
    assert "failed" in line
    assert SECRET not in line


def foreign(message: str, name: str = "kafka.cluster") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "x.py", 1, message, (), None)


def test_what_others_say_again_is_dropped_and_counted() -> None:
    now = [0.0]
    calm = Calm(clock=lambda: now[0])
    assert [calm.filter(foreign("no topic")) for _ in range(3)] == [True, False, False]
    assert calm.filter(foreign("no topic", "kafka.other"))
    other = foreign("something else")
    assert (calm.filter(other), other.__dict__["told"]) == (True, {"dropped": 2})
    assert "dropped=2" in TextLines().format(other)
    assert not calm.filter(foreign("no topic"))
    last = foreign("something else")
    now[0] = SILENCE
    assert (calm.filter(last), last.__dict__["told"]) == (True, {"dropped": 1})
    plain = foreign("a third")
    assert (calm.filter(plain), hasattr(plain, "told")) == (True, False)


def test_what_we_say_is_always_told() -> None:
    calm = Calm()
    assert all(calm.filter(record()) for _ in range(3))


THREADS = f"""
import threading, warnings
from moderation import telemetry
telemetry.start("json")
def fall(): raise ValueError("{SECRET}")
thread = threading.Thread(target=fall); thread.start(); thread.join()
warnings.warn("a warning")
fall()
"""


def test_what_nobody_catches_is_told_in_the_same_way() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [row.get("error.type") for row in rows] == ["ValueError", None, "ValueError"]
    assert SECRET not in done.stderr
