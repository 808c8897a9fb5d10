"""Whoever fetches, and however badly: an answer in time, or a refusal with a stable cause and nobody's content in it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from moderation.errors import ItemError
from moderation.fetcher.references import References, Source
from moderation.sections import FetchSettings

SETTINGS = FetchSettings(hosts=("any",), max_bytes=10, timeout_seconds=0.1)


class Fake:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def fetch(self, reference: str) -> bytes:
        found: bytes = self.answer(reference)
        return found


def references(answer: Any, **options: Any) -> References:
    return References({"fake": Source(Fake(answer), SETTINGS)}, **options)


def raises(error: BaseException) -> Any:
    def answer(_: str) -> bytes:
        raise error

    return answer


def refused(found: References, reference: str = "fake://place") -> ItemError:
    with pytest.raises(ItemError) as caught:
        found.fetch(reference)
    assert caught.value.reason == "unfetchable"
    assert "secret" not in str(caught.value)
    return caught.value


def test_a_reference_goes_to_the_fetcher_of_its_scheme_and_counts_as_answered() -> None:
    answered: list[int] = []
    found = references(lambda reference: reference[7:].encode(), answered=lambda: answered.append(1))
    assert (found.fetch("fake://place"), found.fetch("FAKE://other")) == (b"place", b"other")
    assert len(answered) == 2


@pytest.mark.parametrize("reference", ["secret://place", "place", "", "fakes://x", "://"])
def test_a_scheme_without_a_section_is_refused(reference: str) -> None:
    error = refused(references(len), reference)
    assert (error.cause, "known: fake" in str(error)) == ("no_fetcher", True)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (raises(ItemError("unfetchable", "gone", cause="not_found")), "not_found"),
        (raises(ItemError("odd", "gone", cause="not_found")), "not_found"),
        (raises(ItemError("odd", "gone")), "fetcher_error"),
        (raises(ItemError("odd", "gone", cause="no stable word")), "fetcher_error"),
        (raises(ValueError("secret")), "fetcher_error"),
        (raises(SystemExit("secret")), "fetcher_error"),
        (raises(TimeoutError("secret")), "too_slow"),
        (lambda _: None, "fetcher_error"),
        (lambda _: "text", "fetcher_error"),
        (lambda _: b"x" * 11, "too_many_bytes"),
    ],
)
def test_a_fetchers_faults_are_its_own(answer: Any, cause: str) -> None:
    answered: list[int] = []
    assert refused(references(answer, answered=lambda: answered.append(1))).cause == cause
    assert len(answered) == 1


def test_one_that_hangs_is_left_behind_and_so_many_are_enough() -> None:
    free = threading.Event()
    found = references(lambda _: free.wait(20) and b"late", most=2)
    began = time.monotonic()
    assert [refused(found).cause for _ in range(2)] == ["too_slow"] * 2
    assert 1.0 < time.monotonic() - began < 10.0
    assert "still at work" in str(refused(found))
    free.set()
    time.sleep(0.1)
    assert found.fetch("fake://place") == b"late"


def test_without_a_thread_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    found = references(lambda _: b"here", most=1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no thread")))
        assert refused(found).cause == "too_slow"
    assert found.fetch("fake://place") == b"here"
