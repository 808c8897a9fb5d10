"""Both detectors by the contract, through the true client, and what becomes of an endpoint's faults."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator

import openai
import pytest
from conftest import COLOURS, ENDPOINT, KEY, MODEL, Endpoint
from moderation_openai import LABELS, Moderations, Pictures, Settings, Texts
from PIL import Image

from moderation.decision import Abstention
from moderation.detector.base import DetectionBatch
from moderation.detector.runner import Runner
from moderation.item import Part
from moderation.plugin import manager
from moderation.testing import DetectorKit


def picture(colour: tuple[int, int, int], form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, form)
    return file.getvalue()


class TestTexts(DetectorKit):
    make = staticmethod(lambda: Texts(Settings(base_url=ENDPOINT.url)))
    plugin = "openai"
    settings = {"base_url": ENDPOINT.url}
    flagged = {label: [f"a text of [{label}]"] for label in LABELS}
    passed = ["a walk in the park"]


class TestPictures(DetectorKit):
    make = staticmethod(lambda: Pictures(Settings(base_url=ENDPOINT.url)))
    plugin = "openai"
    settings = {"base_url": ENDPOINT.url}
    many = 64  # a request each
    flagged = {label: [picture(colour)] for colour, label in COLOURS.items()}
    passed = [picture((255, 255, 255)), picture((255, 255, 255), "GIF"), picture((255, 255, 255), "WEBP")]


@pytest.fixture
def texts(endpoint: Endpoint) -> Iterator[Texts]:
    yield from made(Texts(Settings(base_url=endpoint.url, timeout_seconds=1.0)))


@pytest.fixture
def pictures(endpoint: Endpoint) -> Iterator[Pictures]:
    yield from made(Pictures(Settings(base_url=endpoint.url, timeout_seconds=1.0)))


def made(detector: Moderations) -> Iterator[Moderations]:
    detector.setup()
    yield detector
    detector.close()


def of(*contents: str) -> DetectionBatch:
    return DetectionBatch(tuple(map(Part.text, contents)))


def test_texts_are_asked_about_together(texts: Texts, endpoint: Endpoint) -> None:
    answers = texts.detect(of(*(f"[hate] {number}" for number in range(70))))
    assert sorted(len(one["input"]) for one in endpoint.seen) == [6, 32, 32]
    assert {one["model"] for one in endpoint.seen} == {"omni-moderation-latest"}
    assert {score.value for answer in answers for score in answer if score.label == "hate"} == {0.9}


def test_a_decision_can_tell_which_edition_of_the_model_it_was(texts: Texts) -> None:
    assert texts.revision == ""
    (scores,) = texts.detect(of("x"))
    assert {score.concept for score in scores} == {MODEL}
    assert texts.revision == MODEL


def test_a_model_of_a_strange_name_is_no_fault(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.spoil = lambda told: {**told, "model": "a model"}
    runner = Runner([texts])
    (scores,) = runner.run({"openai": of("x")})["openai"]
    assert not isinstance(scores, Abstention)
    assert runner.revisions == {"openai": ""}


def test_what_is_no_picture_is_not_sent(pictures: Pictures, endpoint: Endpoint) -> None:
    batch = DetectionBatch((Part.image(b"GIF89a"), Part.image(picture((255, 255, 255)))))
    broken, good = pictures.detect(batch)
    assert broken == Abstention("unsupported_input", cause="truncated")
    assert isinstance(good, tuple)
    assert len(endpoint.seen) == 1


def test_categories_that_are_not_made_for_pictures_are_no_labels_of_theirs(pictures: Pictures) -> None:
    """The endpoint gives them 0 for every picture, as though it had looked."""
    assert not {"hate", "illicit", "harassment", "sexual/minors"} & set(pictures.labels)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes_is_tried_again(texts: Texts, endpoint: Endpoint, status: int) -> None:
    endpoint.failing = [status]
    assert isinstance(texts.detect(of("x"))[0], tuple)
    assert len(endpoint.seen) == 2


def test_a_server_that_asks_for_patience_gets_it_within_the_deadline(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.failing, endpoint.headers = [429], {"retry-after": "0.4"}
    began = time.monotonic()
    assert isinstance(texts.detect(of("x"))[0], tuple)
    assert time.monotonic() - began >= 0.4


def test_a_server_that_asks_for_more_than_that_is_not_waited_for(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.failing, endpoint.headers = [429] * 9, {"retry-after": "60"}
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError):
        texts.detect(of("x"))
    assert time.monotonic() - began < 0.5
    assert len(endpoint.seen) == 1


def test_the_deadline_is_one_for_all_tries(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.slow = 5.0
    began = time.monotonic()
    with pytest.raises(openai.APITimeoutError):
        texts.detect(of(*map(str, range(100))))
    assert time.monotonic() - began < 2.0


def test_a_fault_is_an_error_with_its_name_and_never_a_score(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.failing = [401]
    assert Runner([texts]).run({"openai": of("x")})["openai"] == (
        Abstention("detector_error", cause="AuthenticationError"),
    )


def test_where_some_are_answered_the_others_abstain(pictures: Pictures, endpoint: Endpoint) -> None:
    endpoint.failing = [403]
    answers = pictures.detect(DetectionBatch((Part.image(picture((255, 255, 255))),) * 3))
    missing = [one for one in answers if isinstance(one, Abstention)]
    assert missing == [Abstention("not_answered", cause="PermissionDeniedError")]
    assert len(answers) == 3


def test_one_text_that_is_refused_takes_no_other_with_it(texts: Texts) -> None:
    first, refused, last = texts.detect(of("[hate]", "unacceptable", "x"))
    assert refused == Abstention("refused", cause="BadRequestError")
    assert isinstance(first, tuple)
    assert isinstance(last, tuple)


def test_a_wrong_number_of_results_is_nobodys(texts: Texts, endpoint: Endpoint) -> None:
    endpoint.spoil = lambda answer: answer | {"results": answer["results"][:-1]}
    with pytest.raises(LookupError):
        texts.detect(of("x", "y"))


@pytest.mark.parametrize("key", ["category_scores", "category_applied_input_types"])
def test_a_category_that_is_missing_is_no_score_of_zero(texts: Texts, endpoint: Endpoint, key: str) -> None:
    def without(answer: dict) -> dict:
        del answer["results"][0][key]["violence"]
        return answer

    endpoint.spoil = without
    with pytest.raises(LookupError):
        texts.detect(of("x"))


def test_a_score_that_cannot_be_is_refused(texts: Texts, endpoint: Endpoint) -> None:
    def wrong(answer: dict) -> dict:
        answer["results"][0]["category_scores"]["violence"] = 1.5
        return answer

    endpoint.spoil = wrong
    with pytest.raises(ValueError, match=r"1\.5"):
        texts.detect(of("x"))


def test_neither_key_nor_content_reach_the_log(
    texts: Texts, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.failing = [500]
    texts.detect(of("canary text"))
    assert endpoint.keys == [f"Bearer {KEY}"] * 2
    assert "canary" not in caplog.text
    assert KEY not in repr(vars(texts))


def test_without_a_key_the_policies_that_need_it_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(RuntimeError, match="OPENAI_API_KEY"):
        Texts().setup()


def cause(**settings: object) -> str:
    records = manager.load(only=("openai",), settings={"openai": settings}).records
    (record,) = [one for one in records if one.id == "openai"]
    return record.cause


def test_settings_are_checked() -> None:
    assert cause(model="omni-moderation-2024-09-26", timeout_seconds=3, at_once=8, texts=16) == ""
    assert "expected any of model" in cause(modle="x")
    assert "at_once is 0" in cause(at_once=0)
    assert "at_once is True" in cause(at_once=True)
    assert "timeout_seconds is 'x'; expected float above 0" in cause(timeout_seconds="x")
