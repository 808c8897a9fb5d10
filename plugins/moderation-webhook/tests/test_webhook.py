"""The sink against true servers: what every sink promises, what is sent, and what each way to fail means for a decision."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from moderation_webhook.config import read_config
from moderation_webhook.signature import Signer, read_secrets
from moderation_webhook.sink import Webhook
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from moderation.decision import Again, Delivered, Delivery, Gone, Refused
from moderation.detector.life import set_up, take
from moderation.errors import PluginError
from moderation.plugin import manager
from moderation.plugin.brought import PluginState
from moderation.testing import SinkKit
from moderation.testing.sink import made
from tests.fetcher.origin import CA
from tests.stream.receiver import Receiver, babbles, closes, drips, floods, hangs, receiver, resets, status

OLD, NEW = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRETS", f"{NEW} {OLD}")


@pytest.fixture
def web() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def webhook(web: Receiver, **more: Any) -> Webhook:
    """A sink, set up, that sends to this receiver."""
    section = {
        "url": f"http://127.0.0.1:{web.port}/in?token=canary",
        "secrets_env": "HOOK_SECRETS",
        "private": True,
        **more,
    }
    made = Webhook(read_config("webhook", section))
    made.setup()
    return made


class TestWebhook(SinkKit):
    plugin = "webhook"
    secrets = (OLD, NEW, OLD.removeprefix("whsec_"))

    @staticmethod
    def make() -> Webhook:
        section = {"url": f"http://127.0.0.1:{TestWebhook.port}/in", "secrets_env": "HOOK_SECRETS", "private": True}
        return Webhook(read_config("webhook", section))

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with receiver() as web:
            TestWebhook.port = web.port
            yield

    port = 0


class TestWebhookInBatches(TestWebhook):
    @staticmethod
    def make() -> Webhook:
        section = {
            "url": f"http://127.0.0.1:{TestWebhook.port}/in",
            "secrets_env": "HOOK_SECRETS",
            "private": True,
            "batch": True,
        }
        return Webhook(read_config("webhook", section))


def test_a_receiver_with_any_of_the_secrets_takes_what_is_sent_and_one_with_another_does_not(web: Receiver) -> None:
    webhook(web).deliver(made(3), 10.0)
    assert len(web.arrived) == 3
    for one in web.arrived:
        for secret in (OLD, NEW):
            assert Reference(secret).verify(one.body, dict(one.headers)) == one.told
        with pytest.raises(WebhookVerificationError):
            Reference(f"whsec_{base64.b64encode(bytes(32)).decode()}").verify(one.body, dict(one.headers))
        with pytest.raises(WebhookVerificationError):
            Reference(NEW).verify(one.body + b" ", dict(one.headers))


def test_a_signature_is_the_one_of_the_published_test_vector() -> None:
    headers = Signer([base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', now=1614265330.9
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_one_decision_a_request_in_order_over_one_connection_under_its_own_id(web: Receiver) -> None:
    deliveries = made(6)
    assert webhook(web).deliver(deliveries, 10.0) == [Delivered()] * 6
    assert [one.headers["webhook-id"] for one in web.arrived] == [one.id for one in deliveries]
    assert [one.told["data"] for one in web.arrived] == [one.decision for one in deliveries]
    (first, *_) = web.arrived
    assert (first.told["type"], first.told["timestamp"]) == ("moderation.decision.v1", "1970-01-01T00:00:01.000Z")
    assert (first.path, first.headers["Content-Type"], first.headers["Host"]) == (
        "/in?token=canary", "application/json", f"127.0.0.1:{web.port}",
    )  # fmt: skip
    assert len({one.connection for one in web.arrived}) == 1


def test_a_batch_is_one_request_with_an_id_that_follows_from_those_in_it(web: Receiver) -> None:
    sink = webhook(web, batch=True)
    for _ in range(2):
        assert sink.deliver(made(6), 10.0) == [Delivered()] * 6
    one, other = web.arrived
    assert one.told == {
        "type": "moderation.decisions.v1", "timestamp": "1970-01-01T00:00:01.005Z", "data": [one.decision for one in made(6)],
    }  # fmt: skip
    assert one.headers["webhook-id"] == other.headers["webhook-id"]
    assert one.body == other.body
    Reference(NEW).verify(one.body, dict(one.headers))


@pytest.mark.parametrize(
    ("code", "receipt"),
    [
        *((code, Delivered()) for code in (200, 201, 202, 204, 299)),
        *((code, Refused(f"status_{code}")) for code in (400, 406, 409, 413, 415, 422, 451, 499)),
        *((code, Again(f"status_{code}")) for code in (301, 302, 307, 308, 401, 403, 404, 405, 408, 425, 500, 501, 502, 503, 504, 599)),
        (429, Again("status_429", busy=True)),
        (410, Gone("status_410")),
    ],
)  # fmt: skip
def test_what_a_status_means(web: Receiver, code: int, receipt: Any) -> None:
    web.answers = lambda _: status(code, b"said", Location=f"http://127.0.0.1:{web.port}/elsewhere")
    assert webhook(web).deliver(made(1), 10.0) == [receipt]
    assert [one.path for one in web.arrived] == ["/in?token=canary"]


def test_retry_after_is_kept_in_seconds_or_as_a_date_and_nobody_waits_for_ever(web: Receiver) -> None:
    date = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90), usegmt=True)
    for text, least, most in (("7", 7, 7), (date, 80, 91), ("soon", 0, 0), ("9" * 400, 1000, 86_400)):
        web.answers = lambda _, text=text: status(429, Retry_After=text)  # type: ignore[misc]
        first, *others = webhook(web).deliver(made(4), 10.0)
        assert least <= first.seconds <= most
        if least:  # who asks for patience gets nothing more at all
            assert {(one.reason, one.tried) for one in others} == {("status_429", False)}
            assert {one.seconds for one in others} == {first.seconds}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(hangs(5), "too_slow"), (drips, "too_slow"), (resets, "broken_answer"), (babbles, "broken_answer")],
)
def test_what_gives_no_answer_is_tried_again_and_costs_the_others_no_time(
    web: Receiver, reply: Any, reason: str
) -> None:
    web.answers = lambda _: reply
    began = time.monotonic()
    receipts = webhook(web, timeout_seconds=0.3).deliver(made(20), 10.0)
    assert time.monotonic() - began < 1.5
    assert receipts == [Again(reason)] + [Again(reason, tried=False)] * 19
    assert len(web.arrived) == 1


def test_nobody_there_is_told_at_once() -> None:
    with receiver() as web:
        sink = webhook(web)
    assert sink.deliver(made(2), 10.0) == [Again("unreachable"), Again("unreachable", tried=False)]


def test_an_answer_without_end_is_not_read_and_one_that_closes_is_no_failure(web: Receiver) -> None:
    began = time.monotonic()
    for reply in (floods, closes):
        web.answers = lambda _, reply=reply: reply  # type: ignore[misc]
        assert webhook(web).deliver(made(3), 10.0) == [Delivered()] * 3
    assert time.monotonic() - began < 5


def test_one_that_fails_holds_back_its_own_partition_alone(web: Receiver) -> None:
    deliveries = made(8)
    web.answers = lambda one: status(500 if one.headers["webhook-id"] == deliveries[2].id else 204)
    receipts = webhook(web).deliver(deliveries, 10.0)
    assert receipts[:4] == [Delivered(), Delivered(), Again("status_500"), Delivered()]
    assert receipts[4:] == [Again("status_500", tried=False), Delivered()] * 2
    assert len(web.arrived) == 6


def test_no_request_is_begun_once_the_time_is_over(web: Receiver) -> None:
    web.answers = lambda _: hangs(0.15)
    began = time.monotonic()
    receipts = webhook(web).deliver(made(40), 2.0)
    assert time.monotonic() - began < 2.0
    assert receipts[0] == Delivered()
    assert isinstance(receipts[-1], Again)
    assert not receipts[-1].tried
    assert sum(one == Delivered() for one in receipts) == len(web.arrived) - 1 or receipts.count(Delivered()) == len(
        web.arrived
    )


def test_a_batch_that_is_refused_is_nobodys_fault_until_one_is_alone(web: Receiver) -> None:
    web.answers = lambda _: status(422)
    sink = webhook(web, batch=True)
    assert sink.deliver(made(3), 10.0) == [Again("status_422")] * 3
    assert sink.deliver(made(1), 10.0) == [Refused("status_422")]


def test_who_is_gone_is_sent_nothing_more(web: Receiver) -> None:
    web.answers = lambda _: status(410)
    assert webhook(web).deliver(made(3), 10.0) == [Gone("status_410"), *[Again("status_410", tried=False)] * 2]
    assert len(web.arrived) == 1


def test_tls_is_verified_and_without_private_no_inner_address_is_connected_to() -> None:
    with receiver(tls=True) as web:
        section = {"url": f"https://localhost:{web.port}/in", "secrets_env": "HOOK_SECRETS", "ca_file": CA}
        for more, receipt in (
            ({"private": True}, Delivered()),
            ({"private": True, "ca_file": None}, Again("tls")),
            ({}, Again("address_not_allowed")),
        ):
            given = {name: value for name, value in {**section, **more}.items() if value is not None}
            sink = Webhook(read_config("webhook", given))
            sink.setup()
            assert sink.deliver(made(1), 10.0) == [receipt]
        assert len(web.arrived) == 1


GOOD = {"url": "https://hooks.example.com/in", "secrets_env": "HOOK_SECRETS"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "ftp://a/b"}, "url: expected https://HOST"),
        ({"url": "https://user:canary@a/b"}, "url: expected https://HOST"),
        ({"url": "http://a/b"}, "url: expected https; http is for"),
        ({"url": 7}, "url: expected a text"),
        ({"secrets_env": ""}, "expected secrets_env"),
        ({"secrets_file": "f"}, "and not both"),
        ({"timeout_seconds": 0}, "timeout_seconds: expected more than 0"),
        ({"timeout_seconds": True}, "timeout_seconds: expected a number"),
        ({"private": 1}, "private: expected true or false"),
        ({"secret": "canary"}, "unknown key 'secret'; expected url, secrets_env, secrets_file"),
    ],
)
def test_settings_that_are_wrong_say_so_and_quote_nothing(changes: Mapping[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told) as caught:
        read_config("webhook", {**GOOD, **changes})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("word", ["canary", "whsec_canary!", f"whsec_{base64.b64encode(bytes(23)).decode()}", f"whsec_{base64.b64encode(bytes(65)).decode()}", "whsec_"])  # fmt: skip
def test_secrets_that_are_none_are_refused_and_not_quoted(word: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{NEW}\n{word}\n")
    with pytest.raises(PluginError, match=r"secret 2 of the file .*: expected whsec_") as caught:
        read_secrets("webhook", env="", file=str(file))
    assert word not in str(caught.value).replace("whsec_ and", "") or word == "whsec_"


def test_secrets_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for env, file, told in (
        ("NO_SUCH", "", "the variable NO_SUCH is not set"),
        ("", str(tmp_path / "none"), "cannot be read"),
        ("EMPTY", "", "is empty"),
    ):
        monkeypatch.setenv("EMPTY", " ")
        with pytest.raises(PluginError, match=told):
            read_secrets("webhook", env=env, file=file)
    file = tmp_path / "secrets"
    file.write_text(f"{NEW}\n{OLD.rstrip('=')}\n")
    assert read_secrets("webhook", env="", file=str(file)) == [base64.b64decode(one[6:]) for one in (NEW, OLD)]


def test_without_settings_it_is_there_and_cannot_be_set_up() -> None:
    found = manager.load(only=("webhook",))
    (record,) = (one for one in found.records if one.id == "webhook")
    assert (record.state, record.sinks) == (PluginState.LOADED, ("webhook",))
    with pytest.raises(Exception, match="it has no settings; expected a section"):
        set_up(found.sinks["webhook"])
    take(found.sinks["webhook"], "close")
    (broken,) = (
        one
        for one in manager.load(only=("webhook",), settings={"webhook": {"uri": "x"}}).records
        if one.id == "webhook"
    )
    assert (broken.state, "unknown key 'uri'" in broken.cause) == (PluginState.BROKEN, True)


def test_a_decision_with_anything_in_it_is_sent_as_it_is(web: Receiver) -> None:
    decision = {
        "decision_id": "a",
        "action": "remove",
        "item_id": "Grüße \u202e 🏴\n",
        "score": 0.1 + 0.2,
        "none": None,
    }
    assert webhook(web).deliver([Delivery("a", decision, "p", -1)], 5.0) == [Delivered()]
    assert web.arrived[0].told == {
        "type": "moderation.decision.v1",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "data": decision,
    }


README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_what_the_readme_shows_is_what_is_sent_and_its_receiver_takes_it_once(web: Receiver) -> None:
    (shown,) = re.findall(r"^```http\n(.*?)\n```", README, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (secret,) = re.findall(r"whsec_[\w+/]{30,}", README)
    head, _, body = shown.partition("\n\n")
    named = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    signer = Signer(read_secrets("webhook", env="S", file="", environ={"S": secret}))
    assert (
        signer.headers(named["webhook-id"], body.encode(), now=float(named["webhook-timestamp"])).items()
        <= named.items()
    )
    assert int(named["Content-Length"]) == len(body)
    event = json.loads(body)
    time_ms = round(1000 * dt.datetime.fromisoformat(event["timestamp"]).timestamp())
    webhook(web).deliver([Delivery(named["webhook-id"], event["data"], "p", time_ms)], 5.0)
    (sent,) = web.arrived
    assert sent.body.decode() == body
    assert sent.headers.keys() == named.keys()
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102 - our own documentation
    assert [space["take"](sent.body, dict(sent.headers), NEW) for _ in range(2)] == [True, False]
