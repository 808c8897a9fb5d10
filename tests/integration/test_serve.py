"""The true server, asked by the official openai client and by plain HTTP: shapes, errors, keys, bounds, refusals, callers that go away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import math
import operator
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest

from moderation.errors import OverloadedError
from moderation.item import ContentItem, Part
from moderation.server.watched import STALLED
from tests.fakes import WIDTH, FakeEncoder, FakeReader, Swayed, action, item, lock
from tests.served import BOTH, Place, serving
from tests.unit.server.test_batcher import Device, until

SECRET = "a secret that nobody may repeat"


CLIENTS: list[openai.OpenAI] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def client(place: Place, key: str = "none", **more: Any) -> openai.OpenAI:
    CLIENTS.append(openai.OpenAI(api_key=key, base_url=f"{place.url}/v1", **{"max_retries": 0, **more}))
    return CLIENTS[-1]


def ask(
    place: Place, path: str, body: Any = None, *, key: str = "", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)
    sent = {
        "content-type": "application/json",
        **({"authorization": f"Bearer {key}"} if key else {}),
        **(headers or {}),
    }
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("GET" if body is None else "POST", path, data, sent)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    kind = answer.headers.get_content_type()
    return (
        answer.status,
        {k.lower(): v for k, v in answer.headers.items()},
        json.loads(text) if "json" in kind else text,
    )


def url_of(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving() as one:
        yield one


def test_the_official_client_asks_for_a_text_several_texts_and_parts_of_one_item(place: Place) -> None:
    asked = client(place).moderations
    one = asked.create(input="0.95")
    assert one.id.startswith("modr-")
    assert [(one.model, len(one.results), one.results[0].flagged)] == [("moderation", 1, True)]
    assert one.results[0].categories.model_extra == {"weapons": True, "drugs": True}
    several = asked.create(input=["0.95", "0.1"], model="omni-moderation-latest")
    assert [result.flagged for result in several.results] == [True, False]
    url = url_of(b"0.95")
    mixed = asked.create(input=[{"type": "text", "text": "0.1"}, {"type": "image_url", "image_url": {"url": url}}])
    (result,) = mixed.results
    assert result.flagged
    assert result.category_applied_input_types.model_extra == {key: ["image", "text"] for key in ("weapons", "drugs")}
    rich = result.model_extra or {}
    assert rich["judged"] is True
    assert [verdict["part"] for verdict in rich["decision"]["verdicts"]] == ["1", "1"]


def test_what_no_policy_reads_is_told_to_be_unjudged() -> None:
    with serving(lock("pictures"), lock("drugs", modalities=BOTH)) as place:
        parts = [{"type": "text", "text": "0.1"}, {"type": "image_url", "image_url": {"url": url_of(b"0.95")}}]
        result = client(place).moderations.create(input=parts).results[0]  # type: ignore[arg-type]
        kinds = {"pictures": ["image"], "drugs": ["image", "text"]}
        assert result.category_applied_input_types.model_extra == kinds
    with serving(lock("pictures")) as place:
        result = client(place).moderations.create(input="0.95").results[0]
        assert (result.flagged, result.model_extra["judged"]) == (False, False)  # type: ignore[index]


def test_scores_are_the_policies_own_and_a_policy_that_erred_has_none(place: Place) -> None:
    (decision,) = place.pipeline.decide([item(Part.text("0.7"))])
    found = client(place).moderations.create(input="0.7").results[0]
    assert (found.category_scores.model_extra or {})["weapons"] == decision.verdicts[0].score
    broken = [{"type": "image_url", "image_url": {"url": url_of(b"no picture")}}]
    for more in ([], [{"type": "text", "text": "0.1"}]):  # what a sound part has is not the item's score
        result = client(place).moderations.create(input=[*broken, *more]).results[0]  # type: ignore[list-item]
        assert (result.flagged, result.category_scores.model_extra) == (True, {})  # on_error: review


def test_standard_categories_are_filled_as_the_settings_say() -> None:
    with serving(categories={"weapons": ("illicit/violent", "illicit")}) as place:
        result = client(place).moderations.create(input="0.95").results[0]
    assert (result.categories.illicit, result.categories.illicit_violent) == (True, True)
    assert result.category_scores.illicit == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("policies", [("high", "low"), ("low", "high")])
def test_a_category_of_several_policies_is_true_where_one_asks_and_has_the_largest_score(policies: Any) -> None:
    mild = {**lock().arrays, "numbers": np.array([10.0, 0.6, 0.25, 0.0, 0.0])}
    changes: dict[str, Any] = {"high": {}, "low": {"arrays": mild, "actions": (action("remove", 0.9),)}}
    locks = [lock(one, modalities=BOTH, **changes[one]) for one in policies]
    with serving(*locks, categories=dict.fromkeys(policies, ("illicit",))) as place:
        result = client(place).moderations.create(input="0.95").results[0]
    scores, asks = result.category_scores.model_extra or {}, result.categories.model_extra or {}
    assert asks == {"high": True, "low": False}
    assert scores["high"] > scores["low"]
    assert (result.categories.illicit, result.category_scores.illicit) == (True, scores["high"])


def test_a_policy_that_lets_pass_what_it_cannot_judge_asks_for_nothing_there() -> None:
    with serving(lock(modalities=BOTH, on_error="allow")) as place:
        broken = [{"type": "image_url", "image_url": {"url": url_of(b"no picture")}}]
        result = client(place).moderations.create(input=broken).results[0]  # type: ignore[arg-type]
    assert (result.flagged, result.categories.model_extra) == (False, {"weapons": False})
    (verdict,) = result.model_extra["decision"]["verdicts"]  # type: ignore[index]
    assert (verdict["outcome"], verdict["action"]) == ("error", "allow")


def test_a_build_that_is_not_live_flags_nothing_and_is_told_beside() -> None:
    with serving(live=False) as place:
        result = client(place).moderations.create(input="0.95").results[0]
    assert (result.flagged, result.categories.model_extra) == (False, {"weapons": False, "drugs": False})
    assert (result.model_extra or {})["decision"]["proposed"] == "remove"


def test_the_official_client_gets_vectors_in_base64_as_it_asks_for_them_and_as_numbers(place: Place) -> None:
    embedder = place.service.batcher.embedders["default"]
    expected = embedder.embed([Part.text("0.25"), Part.text("words")]).vectors.astype(np.float32)
    for form in ({}, {"encoding_format": "float"}):
        found = client(place).embeddings.create(input=["0.25", "words"], model="default", **form)  # type: ignore[arg-type]
        assert np.array([one.embedding for one in found.data], np.float32).tobytes() == expected.tobytes()
    assert (found.usage.prompt_tokens, found.model, [one.index for one in found.data]) == (6, "default", [0, 1])


@pytest.mark.parametrize(
    "body",
    [
        {"input": url_of(b"0.5"), "modality": "image"},  # Infinity
        {"input": [url_of(b"0.5")], "modality": "image", "model": "default"},
        {
            "input": [url_of(b"0.5")],
            "modality": "image",
            "model": "default/not-specified",
            "dimensions": 0,
        },  # infinity_client, word for word
        {"input": [{"type": "image_url", "image_url": {"url": url_of(b"0.5")}}]},
        {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url_of(b"0.5")}}]}]
        },  # vLLM
        {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url_of(b"0.5")}}]}],
            "model": "default",
            "encoding_format": "float",
            "continue_final_message": False,
            "add_special_tokens": False,
        },  # vLLM's own example of 2025, which many copied
        {"input": [{"type": "image_url", "image_url": {"url": url_of(b"0.5")}}], "dimensions": WIDTH},
        {"input": [url_of(b"0.5")], "modality": "image", "encoding_format": None, "user": None},  # LiteLLM
    ],
)
def test_pictures_are_embedded_in_the_forms_that_others_clients_send(place: Place, body: dict[str, Any]) -> None:
    status, _, answer = ask(place, "/v1/embeddings", body)
    expected = place.service.batcher.embedders["default"].embed([Part.image(b"0.5")]).vectors[0]
    assert (status, answer["data"][0]["embedding"]) == (200, expected.astype(np.float32).tolist())


def test_pictures_are_classified_by_texts_alone(place: Place) -> None:
    body = {"texts": ["1.0", "0.0"], "images": [url_of(b"0.9"), url_of(b"0.1")]}
    status, _, answer = ask(place, "/v1/classify", body)
    assert status == 200
    best = [max(one["scores"], key=lambda score: score["similarity"])["text"] for one in answer["data"]]
    assert best == ["1.0", "0.0"]
    assert all(
        sum(score["probability"] for score in one["scores"]) == pytest.approx(1, abs=1e-5) for one in answer["data"]
    )


def test_the_numbers_of_classifying_are_cosines_and_the_softmax_of_a_hundred_times_those(place: Place) -> None:
    texts, pictures = ["0.31", "0.3", "some words", "-0.2"], ["0.29", "0.33"]
    _, _, answer = ask(place, "/v1/classify", {"texts": texts, "images": [url_of(one.encode()) for one in pictures]})
    encoder = FakeEncoder()
    words = encoder.encode_text(texts).vectors.tolist()
    rows = encoder.encode_images([one.encode() for one in pictures]).vectors.tolist()
    for row, found in zip(rows, answer["data"], strict=True):
        cosines = [sum(map(operator.mul, row, word)) for word in words]
        powers = [math.exp(100 * one) for one in cosines]
        assert [one["text"] for one in found["scores"]] == texts
        assert [one["similarity"] for one in found["scores"]] == pytest.approx(cosines, abs=1e-6)
        assert [one["probability"] for one in found["scores"]] == pytest.approx(
            [one / sum(powers) for one in powers], abs=1e-6
        )


def test_decisions_are_the_pipelines_own(place: Place) -> None:
    body = {
        "items": [
            {"id": "a", "text": "0.95", "attributes": {"surface": "post"}},
            {"id": "item-1", "parts": [{"text": "0.1", "name": "title"}]},
        ]
    }
    status, _, answer = ask(place, "/v1/decisions", body)
    expected = place.pipeline.decide(
        [item(Part.text("0.95"), id="a", surface="post"), item(Part.text("0.1", name="title"), id="item-1")]
    )
    assert status == 200
    for found, one in zip(answer["decisions"], expected, strict=True):
        assert {**found, "timing": 0, "cache_hit": 0} == {**one.to_dict(), "timing": 0, "cache_hit": 0}


def test_items_without_an_id_are_items_of_their_own(place: Place) -> None:
    made = [
        ask(place, "/v1/decisions", {"items": [{"text": "0.1"}, {"text": "0.2"}]})[2]["decisions"] for _ in range(2)
    ]
    assert len({one["decision_id"] for of_request in made for one in of_request}) == 4


def test_what_readers_derive_is_decided_too() -> None:
    with serving(lock("texts", modalities=(BOTH[1],)), readers=[FakeReader()]) as place:
        parts = [{"type": "image_url", "image_url": {"url": url_of(b"0.95")}}]
        result = client(place).moderations.create(input=parts).results[0]  # type: ignore[arg-type]
        _, _, answer = ask(place, "/v1/decisions", {"items": [{"image": base64.b64encode(b"0.95").decode()}]})
    assert result.flagged
    assert answer["decisions"][0]["timing"]["read"] > 0


def test_an_answer_is_the_same_whatever_the_company() -> None:
    """Alone or among others, a hit or a miss, in one request or in many at once: the same scores to the last bit."""
    chance = random.Random(1)
    values = [f"{chance.uniform(-1, 1):.3f}" for _ in range(400)]
    parts = [Part.text(one) if n % 2 else Part.image(one.encode()) for n, one in enumerate(values)]
    items = [ContentItem(str(n), (part,), {}) for n, part in enumerate(parts)]
    with serving(most_items=10_000) as place:
        alone = [[(v.policy, v.score, v.action) for v in place.pipeline.decide([one])[0].verdicts] for one in items]
        found: dict[int, Any] = {}

        def request(places: list[int]) -> None:
            rows = [
                {"id": str(n), "text": values[n]}
                if n % 2
                else {"id": str(n), "image": base64.b64encode(parts[n].content).decode()}
                for n in places
            ]
            _, _, answer = ask(place, "/v1/decisions", {"items": rows}, headers={"x-deadline-ms": "60000"})
            found.update({int(one["item_id"]): one for one in answer["decisions"]})

        for _ in range(3):
            order = chance.sample(range(len(items)), len(items))
            cuts = sorted(chance.sample(range(1, len(items)), 60))
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(request, [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]))
            assert [
                [(v["policy"], v["score"], v["action"]) for v in found[n]["verdicts"]] for n in range(len(items))
            ] == alone


def test_one_bad_part_costs_its_item_only(place: Place) -> None:
    body = {"items": [{"text": "0.95"}, {"image": base64.b64encode(b"no picture").decode()}, {"text": "0.1"}]}
    _, _, answer = ask(place, "/v1/decisions", body)
    assert [one["verdicts"][0]["outcome"] for one in answer["decisions"]] == ["match", "error", "no_match"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/moderations", b"{nonsense", 400, "invalid_json"),
        ("/v1/moderations", b"", 400, "missing"),
        ("/v1/moderations", {}, 400, "missing"),
        ("/v1/moderations", {"input": 7}, 400, "input_form"),
        ("/v1/moderations", {"input": [None]}, 400, "input_form"),
        ("/v1/moderations", {"input": []}, 400, "too_short"),
        ("/v1/moderations", {"input": [{"type": SECRET}]}, 400, "union_tag_invalid"),
        ("/v1/moderations", {"input": SECRET, "more": SECRET}, 400, "extra_forbidden"),
        ("/v1/moderations", {"input": SECRET, "model": "gpt-9"}, 404, "model_not_found"),
        (
            "/v1/moderations",
            {"input": [{"type": "image_url", "image_url": {"url": f"https://example.com/{SECRET}"}}]},
            400,
            "not_a_data_url",
        ),
        (
            "/v1/moderations",
            {"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,&&&"}}]},
            400,
            "not_base64",
        ),
        ("/v1/moderations", {"input": [{"type": "video_url", "video_url": SECRET}]}, 400, None),
        ("/v1/moderations", {"input": "x" * 1_000_001}, 400, None),
        ("/v1/moderations", {"input": ["x"] * 2049}, 400, "too_many_inputs"),
        ("/v1/moderations", b'{"input": "\\ud800"}', 400, "not_utf8"),
        ("/v1/moderations", b'{"input": "a", "model": "omni-moderation-\\ud800"}', 400, "not_utf8"),
        ("/v1/decisions", b'{"items": [{"text": "0.95", "text": "0.1"}]}', 400, "duplicate_key"),
        ("/v1/moderations", b"[" * 100_000, 400, "invalid_json"),
        ("/v1/moderations", {"input": [1] * 300_000}, 400, None),
        ("/v1/moderations", {"input": "a", SECRET: 1}, 400, "extra_forbidden"),
        ("/v1/moderations", {"input": [{"type": "text", "text": "a"}] * 1001}, 400, None),
        ("/v1/embeddings", {"input": [1, 2, 3]}, 400, "unsupported_tokens"),
        ("/v1/embeddings", {"input": SECRET, "dimensions": 2}, 400, "unsupported_dimensions"),
        ("/v1/embeddings", {"input": SECRET, "dimensions": str(WIDTH)}, 400, "int_type"),
        ("/v1/embeddings", {"input": SECRET, "model": "nope"}, 404, "model_not_found"),
        ("/v1/embeddings", {"input": url_of(b"no picture"), "modality": "image"}, 400, "unsupported_input"),
        ("/v1/decisions", {"items": [{"id": "a"}]}, 400, "no_content"),
        ("/v1/decisions", {"items": [{"text": SECRET, "image": "aaaa"}]}, 400, "two_contents"),
        ("/v1/decisions", {"items": [{"text": SECRET, "more": 1}]}, 400, "unknown_key"),
        ("/v1/decisions", {"items": [{"reference": "https://example.com/x"}]}, 400, "no_fetcher"),
        ("/v1/decisions", {"items": [{"parts": [{"text": "x"}] * 1001}]}, 400, "too_many_parts"),
        ("/v1/decisions", {"items": [{"parts": [{"text": "x"}] * 1000}] * 3}, 400, "too_many_inputs"),
        ("/v1/moderations", b'{"input":"a","x":[' + b"{}," * 100_000 + b"{}]}", 400, "too_many_values"),
        ("/v1/decisions", {"items": []}, 400, None),
        ("/v1/classify", {"texts": [], "images": []}, 400, None),
        ("/v1/classify", {"texts": ["a"] * 2048, "images": [url_of(b"0.1")]}, 400, "too_many_inputs"),
        ("/v1/nothing", {}, 404, "not_found"),
    ],
)
def test_bad_input_is_told_in_openais_shape_and_nothing_is_queued_or_leaked(
    place: Place, caplog: pytest.LogCaptureFixture, *, path: str, body: Any, status: int, code: str | None
) -> None:
    encoded = place.service.batcher.encoded
    found, headers, answer = ask(place, path, body)
    assert found == status, answer
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["code"], str)
    assert code is None or error["code"] == code
    assert SECRET not in json.dumps(answer)
    assert SECRET not in caplog.text
    assert headers["x-content-type-options"] == "nosniff"
    assert place.service.batcher.encoded - encoded <= (1 if code == "unsupported_input" else 0)


def test_the_official_client_reads_an_error_as_its_own(place: Place) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client(place).embeddings.create(input="x", model="nope")
    assert refused.value.code == "model_not_found"


KEYS = {"shop": "mod-shop", "chat": "mod-chat"}


def keyed(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), **more.get(name, {})} for name, key in KEYS.items()
    }


def test_who_has_no_key_or_an_unknown_one_gets_nothing_but_health() -> None:
    with serving(keys=keyed()) as place:
        for key, code in (("", "missing_api_key"), ("mod-other", "invalid_api_key")):
            status, headers, answer = ask(place, "/v1/moderations", {"input": "0.9"}, key=key)
            assert (status, answer["error"]["code"], headers["www-authenticate"]) == (401, code, "Bearer")
        assert ask(place, "/openapi.json")[0] == 401
        assert [ask(place, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
        assert client(place, KEYS["shop"]).moderations.create(input="0.95").results[0].flagged
        with pytest.raises(openai.AuthenticationError):
            client(place, "wrong").moderations.create(input="0.95")


def test_a_thread_that_hangs_is_named_to_who_would_start_it_again_and_in_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    read, *deciders = place.service._threads
    for one in (read, *deciders):
        one.begins(-STALLED - 1)  # as if it had been at one thing for so long
    status, _, answer = ask(place, "/healthz")
    told = ask(place, "/metrics")[2].decode()
    for one in (read, *deciders):
        one.rests()
    assert (status, answer) == (503, {"state": "stalled: decide, read"})
    assert f"moderation_stuck_threads {1 + len(deciders)}.0" in told
    assert "stalled: decide, read" in caplog.text
    assert ask(place, "/healthz")[0] == 200


def test_whose_vectors_wait_behind_a_device_that_hangs_waits_no_more_once_it_is_told_so() -> None:
    device = Device()
    with serving(encoder=device) as place, ThreadPoolExecutor(1) as pool:
        try:
            device.go.clear()
            first = pool.submit(ask, place, "/v1/embeddings", {"input": "0.1"}, headers={"x-deadline-ms": "20000"})
            until(lambda: len(device.batches) > 0)
            status, _, answer = ask(place, "/v1/embeddings", {"input": "0.2"}, headers={"x-deadline-ms": "1000"})
            assert (status, "longer than was thought" in answer["error"]["message"]) == (429, True)
            until(lambda: place.service.batcher.waiting == (0, 0))
        finally:
            device.go.set()
        assert first.result()[0] == 200


def test_a_key_is_no_password_of_another_scheme() -> None:
    with serving(keys={"shop": {"sha256": hashlib.sha256(b"k").hexdigest()}}) as place:
        assert ask(place, "/v1/policies", headers={"authorization": "Basic k"})[0] == 401
        assert ask(place, "/v1/policies", headers={"authorization": "Bearer k"})[0] == 200
        text = ask(place, "/metrics")[2].decode()
    assert 'moderation_requests_total{route="/v1/policies",status="401"} 1.0' in text


def test_a_key_is_bound_to_its_policies() -> None:
    with serving(keys=keyed(shop={"policies": ("drugs",)})) as place:
        for key, policies in ((KEYS["shop"], {"drugs"}), (KEYS["chat"], {"drugs", "weapons"})):
            result = client(place, key).moderations.create(input="0.95").results[0]
            assert set(result.categories.model_extra or {}) == policies
            assert {one["id"] for one in ask(place, "/v1/policies", key=key)[2]["data"]} == policies


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() -> None:
    with serving(body_bytes=1000) as place:
        assert ask(place, "/v1/moderations", {"input": "x" * 2000})[2]["error"]["code"] == "body_too_large"
        connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)
        connection.putrequest("POST", "/v1/moderations")
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        for _ in range(3):
            connection.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "body_too_large")
        connection.close()


def test_what_load_balancers_and_proxies_ask(place: Place) -> None:
    connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)
    connection.request("HEAD", "/readyz")
    assert connection.getresponse().status == 200
    connection.close()
    assert client(place).models.retrieve("default").id == "default"
    assert ask(place, "/v1/models/nope")[0] == 404
    assert (
        ask(place, "/v1/moderations/", {"input": "0.1"})[0] == 404
    )  # no redirect, whose address would be the caller's


def test_under_a_prefix_routes_are_the_same_and_a_websocket_is_none(place: Place) -> None:
    app, sent = place.app, list[Any]()

    asked = iter([{"type": "http.request", "body": b'{"input": "0.1"}', "more_body": False}])

    async def receive() -> Any:
        return next(asked, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "root_path": "/mod", "path": "/mod/v1/moderations", "query_string": b""}
    asyncio.run(app({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send))
    assert sent[0]["status"] == 200
    sent.clear()
    asyncio.run(app({"type": "websocket", "path": "/v1/moderations", "headers": []}, receive, send))
    assert [one["type"] for one in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/moderations", "did you mean /v1/moderations? a client's base_url ends in /v1, once"),
        ("/v1/v1/embeddings", "did you mean /v1/embeddings? a client's base_url ends in /v1, once"),
        ("/v1/moderations/", "did you mean /v1/moderations? a client's base_url ends in /v1, once"),
        (f"/v1/{SECRET.replace(' ', '-')}", "/openapi.json tells them all"),
    ],
)
def test_who_asks_where_nothing_is_is_told_where_it_is(place: Place, path: str, told: str) -> None:
    status, _, answer = ask(place, path, {"input": "0.1"})
    assert (status, answer["error"]["code"]) == (404, "not_found")
    routes = "/v1/classify, /v1/decisions, /v1/embeddings, /v1/models, /v1/models/{name}, /v1/moderations, /v1/policies"
    assert answer["error"]["message"] == f"there is no such route; expected one of {routes}; {told}"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/moderations", b'{"input": "a",\n}', "line 2, column 1: Expecting property name"),
        ("/v1/decisions", {"items": [{"txet": SECRET}]}, "'txet': did you mean 'text'?"),
        ("/v1/decisions", {"items": [{"path": SECRET}]}, "path is for files of a scan"),
        ("/v1/decisions", {"items": [{"reference": SECRET}]}, "nothing is fetched here: send the picture itself"),
    ],
)
def test_what_is_wrong_is_told_so_that_it_can_be_mended(place: Place, path: str, body: Any, said: str) -> None:
    status, _, answer = ask(place, path, body)
    assert (status, said in answer["error"]["message"]) == (400, True), answer
    assert SECRET not in json.dumps(answer)
    assert "fetch.https" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/classify", {"texts": ["a"], "images": [url_of(b"0.5"), url_of(b"no picture")]}, "images.1"),
        (
            "/v1/embeddings",
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url_of(b"no picture")}}]}]},
            "messages.0.content.0",
        ),
        ("/v1/embeddings", {"messages": [{"content": "0.5"}, {"content": "0.7"}]}, "messages"),
        ("/v1/embeddings", {"messages": [{"content": "0.5"}], "dimension": 8}, None),
        ("/v1/embeddings", {"model": "default"}, "input"),
        ("/v1/moderations", {"input": [{"type": "text", "text": "a"}, {"type": "text", "text": 1}]}, "input.1.text"),
        ("/v1/moderations", {"input": [{"type": "text", "text": "a", "more": 1}]}, "input.0"),
        ("/v1/embeddings", {"input": [url_of(b"0.5"), "data:image/png;base64,%"], "modality": "image"}, "input.1"),
        ("/v1/classify", {"texts": ["a"], "images": [url_of(b"0.5"), "https://example.com/x"]}, "images.1"),
        (
            "/v1/embeddings",
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://example.com/x"}}]}]},
            "messages.0.content.0",
        ),
        ("/v1/embeddings", {"input": [{"type": "image_url", "image_url": url_of(b"0.5")}]}, "input.0.image_url"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(place: Place, path: str, body: Any, param: str | None) -> None:
    assert ask(place, path, body)[2]["error"]["param"] == param


def test_a_message_has_no_more_parts_than_a_request_inputs() -> None:
    with serving(most_items=4) as place:
        content = [{"type": "text", "text": f"0.{n}"} for n in range(1, 6)]
        assert ask(place, "/v1/embeddings", {"messages": [{"content": content}]})[0] == 400


def test_what_is_near_to_a_threshold_waits_for_the_device_like_all_else() -> None:
    class Where(Swayed):
        def _encode(self, contents: Any, *, pictures: bool) -> Any:
            threads.add(threading.current_thread().name)
            return super()._encode(contents, pictures=pictures)

    threads, encoder = set[str](), Where()
    with serving(encoder=encoder) as place:
        near = [f"{0.7030 + n / 10_000:.4f}" for n in range(40)]
        ask(place, "/v1/moderations", {"input": "0.1"})
        threads.clear()
        encoder.sizes.clear()
        assert ask(place, "/v1/moderations", {"input": near}, headers={"x-deadline-ms": "20000"})[0] == 200
    assert encoder.sizes.count(1) > 20
    assert threads == {"device"}


def test_a_text_may_hold_what_looks_like_many_values(place: Place) -> None:
    assert ask(place, "/v1/moderations", {"input": ',[{"\\' * 60_000})[0] == 200


def test_who_has_no_key_holds_nothing_of_what_others_may_send() -> None:
    with serving(bodies_bytes=1500) as place:
        host, port = urlsplit(place.url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n" + b"x" * 1400)
            assert ask(place, "/v1/moderations", {"input": "0." + "1" * 300})[0] == 200


def test_a_video_that_nobody_reads_is_an_error_of_its_item_and_of_no_other() -> None:
    with serving() as place:
        for _ in range(2):
            status, _, answer = ask(place, "/v1/decisions", {"items": [{"video": "AAAA"}, {"text": "0.95"}]})
            assert (status, [one["verdicts"][0]["outcome"] for one in answer["decisions"]]) == (200, ["error", "match"])


def test_a_language_that_is_a_book_is_no_language(place: Place) -> None:
    body = {"items": [{"text": "0.95", "attributes": {"language": "en-" + "abcde-" * 100_000}}]}
    assert ask(place, "/v1/decisions", body)[2]["decisions"][0]["action"] == "remove"


def test_callers_who_left_are_not_read_for() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(parts: tuple[Part, ...]) -> Any:
        begun.set()
        assert go.wait(20)
        return [()] * len(parts)

    with serving(readers=[FakeReader(answer=slow)]) as place, ThreadPoolExecutor(1) as pool:
        parts = [{"type": "image_url", "image_url": {"url": url_of(b"0.9")}}]
        held = pool.submit(ask, place, "/v1/moderations", {"input": parts}, headers={"x-deadline-ms": "60000"})
        assert begun.wait(20)
        jobs = [place.service.decide([item(Part.image(b"0.8"))], seconds=60) for _ in range(5)]
        for job in jobs:
            place.service.leave(job)
        late = place.service.decide([item(Part.image(b"0.7"))], seconds=0.05)
        time.sleep(0.1)
        go.set()
        assert held.result()[0] == 200
        with pytest.raises(OverloadedError):
            late.answer.result(20)


def test_a_body_that_never_ends_has_its_time() -> None:
    with serving(read_seconds=0.3) as place:
        host, port = urlsplit(place.url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{")
            assert b"408" in raw.recv(4096).split(b"\r\n", 1)[0]


def test_bytes_of_all_bodies_together_are_bounded() -> None:
    device = Device()
    with serving(encoder=device, bodies_bytes=1500) as place:
        device.go.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, place, "/v1/moderations", {"input": "x" * 1000})
            until(lambda: len(device.batches) > 0)
            status, headers, _ = ask(place, "/v1/moderations", {"input": "y" * 1000})
            assert (status, headers["retry-after"]) == (429, "1")
            device.go.set()
            assert first.result()[0] == 200
        assert b'route="/v1/moderations",status="429"} 1.0' in ask(place, "/metrics")[2]
        assert ask(place, "/v1/moderations", {"input": "y" * 1000})[0] == 200


def test_who_holds_all_the_bodies_that_it_may_leaves_room_for_another_key() -> None:
    device, keys = Device(), {name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("bulk", "shop")}

    def send(n: int, key: str) -> tuple[int, Any, Any]:
        return ask(place, "/v1/moderations", {"input": f"{n}" * 500}, key=key, headers={"x-deadline-ms": "60000"})

    with (
        serving(encoder=device, keys=keys, body_bytes=1100, bodies_bytes=20_000) as place,
        ThreadPoolExecutor(21) as pool,
    ):
        device.go.clear()
        first = pool.submit(send, 10, "bulk")
        until(lambda: len(device.batches) > 0)
        more = [pool.submit(send, n, "bulk") for n in range(20, 39)]
        until(lambda: sum(one.done() for one in more) >= 4)
        refused = [one.result() for one in more if one.done()]
        assert {(one[0], one[2]["error"]["code"]) for one in refused} == {(429, "overloaded")}
        other = pool.submit(send, 11, "shop")
        until(lambda: place.service.batcher.waiting[0] == 16)
        device.go.set()
        assert (first.result()[0], other.result()[0]) == (200, 200)
        assert sorted(one.result()[0] for one in more) == [200] * 15 + [429] * 4


def test_what_could_not_be_answered_in_time_is_refused_at_once_with_the_time_to_come_again() -> None:
    device = Device()
    with serving(encoder=device, seconds=0.2) as place:
        device.go.clear()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(ask, place, "/v1/moderations", {"input": "0.9"}, headers={"x-deadline-ms": "60000"})
            until(lambda: len(device.batches) == 1)
            more = [pool.submit(ask, place, "/v1/moderations", {"input": "0.8"})]
            status, headers, answer = ask(place, "/v1/moderations", {"input": "0.3"}, headers={"x-deadline-ms": "240"})
            device.go.set()
            assert [one.result()[0] for one in (held, *more)] == [200, 200]
    assert (status, answer["error"]["code"], answer["error"]["type"]) == (429, "overloaded", "rate_limit_error")
    assert 0 < int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"])
    assert int(headers["retry-after"]) <= 120


def test_what_never_could_be_in_time_is_no_matter_of_coming_again() -> None:
    with serving(seconds=1.0) as place:
        status, headers, answer = ask(place, "/v1/moderations", {"input": "0.3"}, headers={"x-deadline-ms": "100"})
        assert (status, answer["error"]["code"]) == (400, "too_much")
        assert "retry-after" not in headers
        assert ask(place, "/v1/moderations", {"input": "0.3"})[0] == 200


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/embeddings"])
def test_what_a_slow_body_leaves_too_little_time_for_may_come_again(path: str) -> None:
    """It would be in time if it came at once: not the request is wrong, only this moment."""
    with serving(seconds=0.5) as place:
        connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)
        sent = {"content-type": "application/json", "content-length": "15", "x-deadline-ms": "1000"}

        def slowly() -> Iterator[bytes]:
            yield b'{"input"'
            time.sleep(0.8)
            yield b':"0.3"}'

        connection.request("POST", path, body=slowly(), headers=sent)
        answer = connection.getresponse()
        answer.read()
        connection.close()
    assert (answer.status, answer.headers["retry-after-ms"].isdigit()) == (429, True)


def test_the_official_client_comes_again_as_it_is_told_and_gets_in() -> None:
    device = Device()
    with serving(encoder=device, batcher={"most_parts": 1}) as place:
        device.go.clear()
        with ThreadPoolExecutor(3) as pool:
            held = pool.submit(client(place).moderations.create, input="0.1")
            until(lambda: len(device.batches) == 1)
            waits = pool.submit(client(place).moderations.create, input="0.2")
            until(lambda: place.service.batcher.waiting[0] == 1)
            refused = pool.submit(client(place, max_retries=5).moderations.create, input="0.3")
            until(lambda: b'route="/v1/moderations",status="429"}' in ask(place, "/metrics")[2])
            device.go.set()
            assert [one.result().results[0].flagged for one in (held, waits, refused)] == [False] * 3


def test_remembered_content_is_answered_while_the_device_is_busy() -> None:
    device = Device()
    with serving(encoder=device) as place:
        ask(place, "/v1/moderations", {"input": "0.1"})
        device.go.clear()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(ask, place, "/v1/moderations", {"input": "0.9"})
            until(lambda: len(device.batches) == 2)
            assert ask(place, "/v1/moderations", {"input": "0.1"})[0] == 200
            device.go.set()
            assert held.result()[0] == 200


@pytest.mark.parametrize("route", ["moderations", "embeddings"])
@pytest.mark.parametrize("times", [1, 2], ids=["asked once", "asked on meanwhile"])
def test_a_caller_who_goes_away_frees_its_place(times: int, route: str) -> None:
    device = Device()
    with serving(encoder=device) as place:
        device.go.clear()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(ask, place, "/v1/moderations", {"input": "0.9"})
            until(lambda: len(device.batches) == 1)
            host, port = urlsplit(place.url).netloc.split(":")
            with socket.create_connection((host, int(port))) as raw:
                body = json.dumps({"input": "0.4"}).encode()
                raw.sendall(
                    b"POST /v1/%s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (route.encode(), len(body), body)
                )
                until(lambda: place.service.batcher.waiting[0] == 1)
                if times > 1:
                    raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
                    time.sleep(0.1)
            until(lambda: place.service.batcher.waiting[0] == 0)
            device.go.set()
            assert held.result()[0] == 200
        assert device.batches == [("0.9",)]
        until(lambda: b'route="/v1/%s",status="499"} 1.0' % route.encode() in ask(place, "/metrics")[2])


def test_a_server_that_is_told_to_stop_loses_no_answer() -> None:
    device = Device()
    with ThreadPoolExecutor(4) as pool:
        with serving(encoder=device) as place:
            device.go.clear()
            waiting = [pool.submit(ask, place, "/v1/moderations", {"input": f"0.{n}"}) for n in range(3)]
            until(lambda: len(place.service.batcher._waiting) == 3)
            threading.Timer(0.3, device.go.set).start()
        assert [one.result()[0] for one in waiting] == [200] * 3


def test_metrics_count_answers_by_route_and_never_by_what_a_caller_wrote(place: Place) -> None:
    ask(place, "/v1/moderations", {"input": "0.1"})
    ask(place, f"/v1/{SECRET.replace(' ', '-')}", {})
    text = ask(place, "/metrics")[2].decode()
    assert 'moderation_requests_total{route="/v1/moderations",status="200"}' in text
    assert 'route="other",status="404"' in text
    assert "secret" not in text
    assert 'moderation_verdicts_total{action="none",outcome="no_match",policy="weapons",status="live"}' in text


def test_a_body_that_is_not_said_to_be_json_is_refused_with_what_to_say(place: Place) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}  # as curl has it
    status, _, answer = ask(place, "/v1/moderations", {"input": "0.1"}, headers=headers)
    assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")
    assert "content-type: application/json" in answer["error"]["message"]


def test_the_device_that_fails_on_everything_makes_it_not_ready() -> None:
    class Dead(Device):
        dead = False

        def encode_text(self, texts: Any) -> Any:
            if self.dead:
                raise RuntimeError(SECRET)
            return super().encode_text(texts)

    device = Dead()
    with serving(encoder=device) as place:
        device.dead = True
        status, _, answer = ask(place, "/v1/moderations", {"input": "0.9"})
        assert (status, answer["error"]["code"]) == (503, "encoder_failed")
        assert SECRET not in json.dumps(answer)
        assert ask(place, "/readyz")[0] == 503
        device.dead = False
        assert ask(place, "/v1/moderations", {"input": "0.9"})[0] == 200
        assert ask(place, "/readyz")[0] == 200


def test_models_and_policies_are_told(place: Place) -> None:
    assert [one.id for one in client(place).models.list()] == ["default", "moderation"]
    (drugs, weapons) = ask(place, "/v1/policies")[2]["data"]
    assert (drugs["id"], weapons["id"], weapons["status"], weapons["actions"]) == (
        "drugs",
        "weapons",
        "live",
        ["remove", "review"],
    )


def test_a_route_that_is_asked_in_the_wrong_way_says_how(place: Place) -> None:
    status, headers, body = ask(place, "/v1/moderations")
    assert (status, headers["allow"]) == (405, "POST")
    assert body["error"]["code"] == "method_not_allowed"
    assert body["error"]["message"] == "Method Not Allowed; expected POST"
