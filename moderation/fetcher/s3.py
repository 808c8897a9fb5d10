"""`s3://BUCKET/KEY` from a store that speaks S3: a path-style GET through the guarded client, signed where there are credentials.

The signature is AWS's version 4 for requests without a body, docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from moderation.errors import ItemError, SettingsError
from moderation.fetcher.http import HttpFetcher, trust
from moderation.fetcher.url import Url, named, read_url
from moderation.item import unfetchable
from moderation.sections import CredentialSettings, FetchSettings

EMPTY = hashlib.sha256(b"").hexdigest()


class S3Fetcher:
    """Gets objects of the buckets that the settings name, from `endpoint` alone."""

    def __init__(self, settings: FetchSettings, client: HttpFetcher, endpoint: Url) -> None:
        self._buckets, self._client, self._endpoint = settings.hosts, client, endpoint
        self._headers = partial(signed, settings.credentials) if settings.credentials else _unsigned

    def fetch(self, reference: str) -> bytes:
        """The object. Raises ItemError, `unfetchable`."""
        bucket, _, key = reference.partition("://")[2].partition("/")
        if not key or {".", ".."} & set(key.split("/")):  # a proxy may take such steps, into another bucket
            raise unfetchable("wrong_reference", "expected s3://BUCKET/KEY, the key without steps such as '..'")
        if not named(bucket, self._buckets):
            raise unfetchable("host_not_allowed", "the settings do not allow this bucket")
        origin = f"{self._endpoint}/{quote(bucket, safe='')}"
        return self._client.get(read_url(f"{origin}/{quote(key, safe='/~')}"), self._headers)


def open_s3(settings: FetchSettings) -> S3Fetcher:
    """The fetcher of objects. Raises SettingsError where the endpoint is missing or none, and for settings that mean nothing here."""
    try:
        endpoint = read_url(settings.endpoint or "")
    except ItemError as error:
        raise SettingsError(f"settings: fetch.s3.endpoint: found {settings.endpoint!r}; {error}") from None
    if endpoint.target != "/":
        raise SettingsError("settings: fetch.s3.endpoint: expected no path after the host; buckets stand in references")
    if not settings.hosts or settings.redirects:
        raise SettingsError("settings: fetch.s3: expected buckets under hosts, and no redirects")
    host = f"{endpoint.host}:{endpoint.port}"
    client = HttpFetcher(settings, scheme=endpoint.scheme, hosts=(host,), tls=trust("s3", settings))
    return S3Fetcher(settings, client, endpoint)


def signed(credentials: CredentialSettings, url: Url, *, now: dt.datetime | None = None) -> dict[str, str]:
    """The headers that sign a GET of this address; `now` is in UTC."""
    stamp = (now or dt.datetime.now(dt.UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    sent = {"x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    if credentials.session_token:
        sent["x-amz-security-token"] = credentials.session_token.get_secret_value()
    headers = {"host": url.authority, **sent}
    names = ";".join(headers)
    path, _, query = url.target.partition("?")
    told = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = hashlib.sha256(f"GET\n{path}\n{query}\n{told}\n{names}\n{EMPTY}".encode()).hexdigest()
    key = f"AWS4{credentials.secret_key.get_secret_value()}".encode()
    for word in scope.split("/"):
        key = _mac(key, word)
    signature = _mac(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request}").hex()
    who = f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return {**sent, "Authorization": who}


def _unsigned(_: Url) -> Mapping[str, str]:
    return {}


def _mac(key: bytes, word: str) -> bytes:
    return hmac.digest(key, word.encode(), "sha256")
