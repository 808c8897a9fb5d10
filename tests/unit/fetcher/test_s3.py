"""Objects of a store: signed as AWS's own examples are, from the named buckets alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from moderation.errors import ItemError, SettingsError
from moderation.fetcher.s3 import open_s3, signed
from moderation.fetcher.url import read_url
from moderation.sections import CredentialSettings, FetchSettings
from tests.fetcher.origin import CA, PNG, Origin, origin, redirects

# docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html: the examples without further headers.
CREDENTIALS = CredentialSettings(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
EXAMPLES = {
    "/?lifecycle=": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    "/?max-keys=2&prefix=J": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
}


@pytest.mark.parametrize(("target", "signature"), EXAMPLES.items())
def test_the_published_examples_are_signed_as_published(target: str, signature: str) -> None:
    url = read_url(f"https://examplebucket.s3.amazonaws.com{target}")
    headers = signed(CREDENTIALS, url, now=dt.datetime(2013, 5, 24, tzinfo=dt.UTC))
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"
    )


# What botocore 1.44.8 (S3SigV4Auth) makes of the same requests with this token; without one it makes the published signatures.
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJ+token=="
WITH_TOKEN = {
    "/?lifecycle=": "eebb3d1da055d2ae0c5a63b439c79898dfcb9124f39750971c33bf39d8e5c406",
    "/?max-keys=2&prefix=J": "43d3206085dc22f12e10d3b852548960c0e271e00e015334f7d6f8740a7d75d5",
    "/photos/a%20b%3F%C3%BC%25.png": "255eee1f3c2ee810b887763b9e7e0ff7cfed4fec2da8e82c8cc5565815b9c418",
}


@pytest.mark.parametrize(("target", "signature"), WITH_TOKEN.items())
def test_the_token_of_a_session_is_sent_and_signed(target: str, signature: str) -> None:
    session = CREDENTIALS.model_copy(update={"session_token": SecretStr(TOKEN)})
    assert TOKEN not in repr(session)
    headers = signed(
        session,
        read_url(f"https://examplebucket.s3.amazonaws.com{target}"),
        now=dt.datetime(2013, 5, 24, tzinfo=dt.UTC),
    )
    assert headers["x-amz-security-token"] == TOKEN
    assert headers["Authorization"].endswith(
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,Signature={signature}"
    )


@pytest.fixture
def store() -> Iterator[Origin]:
    with origin(tls=True) as found:
        yield found


def settings(store: Origin, **changes: Any) -> FetchSettings:
    place = f"localhost:{store.port}"
    values = {"hosts": ("photos",), "private_hosts": (place,), "endpoint": f"https://{place}", "ca_file": CA}
    return FetchSettings(**{**values, **changes})


def test_an_object_is_asked_for_by_its_path(store: Origin) -> None:
    got = open_s3(settings(store))
    assert got.fetch("s3://photos/2026/a b?ü%.png") == PNG
    ((path, headers),) = store.asked
    assert path == "/photos/2026/a%20b%3F%C3%BC%25.png"
    assert "Authorization" not in headers


def test_with_credentials_it_is_signed_and_the_secret_is_not_sent(store: Origin) -> None:
    assert open_s3(settings(store, credentials=CREDENTIALS)).fetch("s3://photos/a.png") == PNG
    ((_, headers),) = store.asked
    again = signed(
        CREDENTIALS, read_url(f"https://localhost:{store.port}/photos/a.png"),
        now=dt.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC),
    )  # fmt: skip
    assert again.items() <= headers.items()
    assert CREDENTIALS.secret_key.get_secret_value() not in str(headers) + repr(
        settings(store, credentials=CREDENTIALS)
    )


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        ("s3://secrets/a.png", "host_not_allowed"),
        ("s3://photos.evil/a.png", "host_not_allowed"),
        ("s3:///a.png", "host_not_allowed"),
        ("s3://photos/../secrets/a.png", "wrong_reference"),
        ("s3://photos/./a.png", "wrong_reference"),
        ("s3://photos/", "wrong_reference"),
        ("s3://photos", "wrong_reference"),
        ("s3:photos/a.png", "wrong_reference"),
        ("s3://photos/" + "a" * 9000, "wrong_reference"),
    ],
)
def test_no_way_out_of_the_bucket(store: Origin, reference: str, cause: str) -> None:
    with pytest.raises(ItemError) as caught:
        open_s3(settings(store)).fetch(reference)
    assert (caught.value.cause, store.asked) == (cause, [])


def test_a_store_that_sends_elsewhere_is_not_followed(store: Origin) -> None:
    store.answers["/photos/a.png"] = redirects(f"https://localhost:{store.port}/photos/b.png")
    with pytest.raises(ItemError) as caught:
        open_s3(settings(store)).fetch("s3://photos/a.png")
    assert (caught.value.cause, len(store.asked)) == ("redirected", 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": None}, {"endpoint": "s3.test"}, {"endpoint": "https://s3.test/path"}, {"redirects": 1}, {"hosts": ()},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(store: Origin, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"fetch\.s3"):
        open_s3(settings(store, **changes))
