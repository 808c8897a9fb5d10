"""The guarded client against true servers: what is allowed comes, and every way around the guards ends in a refusal with its cause."""

from __future__ import annotations

import datetime as dt
import gzip
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.breaker import Breaker, Breakers
from moderation.errors import ItemError, SettingsError
from moderation.fetcher.dial import connect, retry_after
from moderation.fetcher.dial import resolve as system_resolve
from moderation.fetcher.http import FAILURES, HttpFetcher, open_http, trust
from moderation.sections import FetchSettings
from tests.fetcher.origin import CA, PNG, Answer, Origin, in_turn, origin, redirects, sends


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as found:
        yield found


@pytest.fixture
def secure() -> Iterator[Origin]:
    with origin(tls=True) as found:
        yield found


def local(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def fetcher(web: Origin, *, scheme: str = "http", host: str = "cdn.test", **changes: Any) -> HttpFetcher:
    """One that takes cdn.test for this machine, as its own network's resolver might."""
    doors = {name: changes.pop(name) for name in ("resolve", "connect", "breakers") if name in changes}
    values = {"private_hosts": (f"{host}:{web.port}",), "ca_file": CA, **changes}
    settings = FetchSettings(**values)
    return HttpFetcher(
        settings, scheme=scheme, hosts=settings.hosts, tls=trust(scheme, settings), **{"resolve": local, **doors}
    )


def refused(fetch: Callable[[str], bytes], reference: str) -> ItemError:
    with pytest.raises(ItemError) as caught:
        fetch(reference)
    assert caught.value.reason == "unfetchable"
    for secret in ("127.0.0.1", "token", "::1", "169.254"):
        assert secret not in str(caught.value)
    return caught.value


def test_content_comes_as_it_is_and_only_what_is_needed_is_sent(web: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetcher(web).fetch(f"HTTP://CDN.test:{web.port}/a/b.png?token=1#part") == PNG
    ((path, headers),) = web.asked
    assert path == "/a/b.png?token=1"
    assert headers == {
        "Host": f"cdn.test:{web.port}", "User-Agent": "moderation", "Accept": "*/*",
        "Accept-Encoding": "identity", "Connection": "close",
    }  # fmt: skip


def test_tls_is_held_to_the_name_that_was_asked_for(secure: Origin) -> None:
    assert fetcher(secure, scheme="https").fetch(f"https://cdn.test:{secure.port}/") == PNG
    wildcard = fetcher(secure, scheme="https", private_hosts=(f"*.cdn.test:{secure.port}",))
    assert wildcard.fetch(f"https://eu.cdn.test:{secure.port}/") == PNG
    assert [headers["Host"] for _, headers in secure.asked] == [
        f"{name}:{secure.port}" for name in ("cdn.test", "eu.cdn.test")
    ]


def test_a_wrong_certificate_is_refused_and_not_tried_again(secure: Origin) -> None:
    of_another = fetcher(secure, scheme="https", host="other.example")
    assert refused(of_another.fetch, f"https://other.example:{secure.port}/").cause == "tls"
    of_nobody = fetcher(secure, scheme="https", ca_file=None)
    assert refused(of_nobody.fetch, f"https://cdn.test:{secure.port}/?token=1").cause == "tls"
    assert secure.asked == []


def test_no_tls_where_tls_was_asked_for(web: Origin) -> None:
    assert refused(fetcher(web, scheme="https").fetch, f"https://cdn.test:{web.port}/").cause in {
        "tls",
        "broken_answer",
    }
    assert web.asked == []


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        ("http://other.test:{port}/", "host_not_allowed"),
        ("http://cdn.test.evil.test:{port}/", "host_not_allowed"),
        ("http://eu.cdn.test:{port}/", "host_not_allowed"),
        ("http://cdn.test/", "host_not_allowed"),
        ("http://cdn.test:22/", "host_not_allowed"),
        ("http://127.0.0.1:{port}/", "host_not_allowed"),
        ("http://2130706433:{port}/", "host_not_allowed"),
        ("http://0x7f000001:{port}/", "host_not_allowed"),
        ("http://0177.0.0.1:{port}/", "host_not_allowed"),
        ("http://127.1:{port}/", "host_not_allowed"),
        ("http://localhost:{port}/", "host_not_allowed"),
        ("https://cdn.test:{port}/", "scheme_not_allowed"),
        ("http://user@cdn.test:{port}/", "wrong_reference"),
        ("http://cdn.test@127.0.0.1:{port}/", "wrong_reference"),
        ("http://user:token@cdn.test:{port}/", "wrong_reference"),
        ("http://cdn.test:{port}@evil.test/", "wrong_reference"),
        ("http://[::1]:{port}/", "wrong_reference"),
        ("http://[::ffff:127.0.0.1]:{port}/", "wrong_reference"),
        ("http://[64:ff9b::7f00:1]:{port}/", "wrong_reference"),
        ("http://[fe80::1%25eth0]:{port}/", "wrong_reference"),
        ("http://cdn.test\\@127.0.0.1:{port}/", "wrong_reference"),
        ("http://cdn.test:{port}\\.evil.test/", "wrong_reference"),
        ("http://cdn.test%2f:{port}/", "wrong_reference"),
        ("http://cdn.test.:{port}/", "wrong_reference"),
        ("http://cdn..test:{port}/", "wrong_reference"),
        ("http://cdn.test:99999/", "wrong_reference"),
        ("http://cdn.test:0/", "wrong_reference"),
        ("http://cdn.test:{port}/a b", "wrong_reference"),
        ("http://cdn.test:{port}/\r\nX: y", "wrong_reference"),
        ("http://cdn.test:{port}/\n", "wrong_reference"),
        ("http://cdn。test:{port}/", "wrong_reference"),
        ("http://ⓒdn.test:{port}/", "wrong_reference"),
        ("http:///etc/passwd", "wrong_reference"),
        ("http:cdn.test:{port}/", "wrong_reference"),
        ("//cdn.test:{port}/", "wrong_reference"),
        ("file:///etc/passwd", "wrong_reference"),
        ("gopher://cdn.test:{port}/", "wrong_reference"),
        ("", "wrong_reference"),
        ("http://cdn.test:{port}/" + "a" * 8000, "wrong_reference"),
    ],
)
def test_what_is_not_exactly_allowed_is_refused_before_anybody_is_asked(
    web: Origin, reference: str, cause: str
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("somebody was asked")

    got = fetcher(web, resolve=never, connect=never)
    assert refused(got.fetch, reference.format(port=web.port)).cause == cause
    assert web.asked == []


def test_the_usual_ports_need_no_mention_and_others_do() -> None:
    asked: list[tuple[str, int]] = []

    def nobody(address: str, port: int, _seconds: float) -> socket.socket:
        asked.append((address, port))
        raise ConnectionRefusedError

    settings = FetchSettings(hosts=("cdn.test", "*.img.test:8443"), tries=1)
    got = HttpFetcher(
        settings, scheme="http", hosts=settings.hosts, tls=trust("http", settings), resolve=lambda *_: ["8.8.8.8"],
        connect=nobody,
    )  # fmt: skip
    outcomes = {
        reference: refused(got.fetch, f"http://{reference}/").cause
        for reference in (
            "cdn.test",
            "cdn.test:443",
            "cdn.test:8443",
            "a.b.img.test:8443",
            "a.img.test",
            "img.test:8443",
        )
    }
    assert outcomes == {
        "cdn.test": "unreachable", "cdn.test:443": "unreachable", "cdn.test:8443": "host_not_allowed",
        "a.b.img.test:8443": "unreachable", "a.img.test": "host_not_allowed", "img.test:8443": "host_not_allowed",
    }  # fmt: skip
    assert asked == [("8.8.8.8", 80), ("8.8.8.8", 443), ("8.8.8.8", 8443)]


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["169.254.169.254"],
    ],
)
def test_a_name_with_an_inner_address_is_refused_whole(web: Origin, answers: list[str]) -> None:
    got = fetcher(
        web, private_hosts=(), hosts=(f"cdn.test:{web.port}",), resolve=lambda *_: answers, connect=lambda *_: 1 / 0
    )
    assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "address_not_allowed"


def test_a_private_host_may_not_hand_out_credentials_either(web: Origin) -> None:
    for address in ("169.254.169.254", "fe80::1", "100.100.100.200", "fd00:ec2::254", "::", "224.0.0.1"):
        got = fetcher(web, resolve=lambda *_, one=address: [one], connect=lambda *_: 1 / 0)
        assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "address_not_allowed"


def test_a_resolver_that_changes_its_mind_is_asked_once_and_held_to_its_answer(web: Origin) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    reached: list[str] = []

    def recording(address: str, port: int, seconds: float) -> socket.socket:
        reached.append(address)
        return connect("127.0.0.1", port, seconds)  # whatever is there: it is the address that counts

    got = fetcher(
        web, private_hosts=(), hosts=(f"cdn.test:{web.port}",), resolve=lambda *_: answers.pop(0), connect=recording
    )
    assert got.fetch(f"http://cdn.test:{web.port}/") == PNG
    assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "address_not_allowed"
    assert reached == ["93.184.216.34"]


def test_the_next_address_is_tried_where_one_does_not_answer(web: Origin) -> None:
    def picky(address: str, port: int, seconds: float) -> socket.socket:
        if address == "::1":
            raise OSError("no route")
        return connect(address, port, seconds)

    assert (
        fetcher(web, resolve=lambda *_: ["::1", "127.0.0.1"], connect=picky).fetch(f"http://cdn.test:{web.port}/")
        == PNG
    )


@pytest.mark.parametrize(
    ("location", "cause", "asked"),
    [
        ("/other", "", 2),
        ("other?x=1", "", 2),
        ("http://CDN.test:{port}/other", "", 2),
        ("http://127.0.0.1:{port}/", "host_not_allowed", 1),
        ("http://localhost:{port}/", "host_not_allowed", 1),
        ("//127.0.0.1:{port}/", "host_not_allowed", 1),
        ("http://cdn.test:22/", "host_not_allowed", 1),
        ("https://cdn.test:{port}/", "scheme_not_allowed", 1),
        ("file:///etc/passwd", "wrong_reference", 1),
        ("http://user@cdn.test:{port}/", "wrong_reference", 1),
        ("http://[::1]:{port}/", "wrong_reference", 1),
        ("ht\ttp://cdn.test:{port}/", "wrong_redirect", 1),
        ("http://cdn.test:{port}/\xe9", "wrong_redirect", 1),
        ("", "wrong_redirect", 1),
    ],
)
def test_a_redirect_is_looked_at_like_a_reference(web: Origin, location: str, cause: str, asked: int) -> None:
    web.answers["/"] = redirects(location.format(port=web.port))
    got = fetcher(web, redirects=3)
    if cause:
        assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == cause
    else:
        assert got.fetch(f"http://cdn.test:{web.port}/") == PNG
    assert len(web.asked) == asked


def test_a_redirect_goes_on_from_where_it_was_met(web: Origin) -> None:
    web.answers["/a/b.png?x=1"] = redirects("c.png?y=2")
    assert fetcher(web, redirects=1).fetch(f"http://cdn.test:{web.port}/a/b.png?x=1") == PNG
    assert [path for path, _ in web.asked] == ["/a/b.png?x=1", "/a/c.png?y=2"]


def test_a_redirect_to_a_name_of_this_machine_is_refused_by_its_address(web: Origin) -> None:
    web.answers["/"] = redirects(f"http://inner.test:{web.port}/")
    names = {"cdn.test": ["127.0.0.1"], "inner.test": ["127.0.0.1"]}
    got = fetcher(web, hosts=(f"inner.test:{web.port}",), redirects=1, resolve=lambda host, _: names[host])
    assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "address_not_allowed"
    assert len(web.asked) == 1


@pytest.mark.parametrize(("most", "asked"), [(0, 1), (1, 2), (3, 4)])
def test_redirects_are_off_and_counted_where_they_are_on(web: Origin, most: int, asked: int) -> None:
    web.answers["/"] = redirects("/", 307)
    assert refused(fetcher(web, redirects=most).fetch, f"http://cdn.test:{web.port}/").cause == "redirected"
    assert len(web.asked) == asked


def test_no_more_than_three_redirects_can_be_set() -> None:
    with pytest.raises(ValueError, match="less than or equal to 3"):
        FetchSettings(hosts=("cdn.test",), redirects=4)


def chunked(size: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(size // 1000):
            handler.wfile.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (sends(b"x" * 5000), True),
        (sends(b"x" * 5000, length=None), True),
        (chunked(5000), True),
        (sends(b""), True),
        (sends(b"x" * 5001), False),
        (sends(b"x" * 5001, length=None), False),
        (sends(b"x", length=10**12), False),
        (chunked(6000), False),
    ],
)
def test_content_has_a_largest_size_whatever_is_said_of_it(web: Origin, answer: Answer, fits: bool) -> None:
    web.answers["/"] = answer
    got = fetcher(web, max_bytes=5000)
    if fits:
        assert len(got.fetch(f"http://cdn.test:{web.port}/")) in {0, 5000}
    else:
        assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "too_many_bytes"
    assert len(web.asked) == 1


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(bytes(65536))


def test_content_without_end_is_left_at_its_largest_size(web: Origin) -> None:
    web.answers["/"] = endless
    began = time.monotonic()
    assert refused(fetcher(web).fetch, f"http://cdn.test:{web.port}/").cause == "too_many_bytes"
    assert time.monotonic() - began < 4.0


@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "gzip"}, {"Content-Encoding": "br, gzip"}, {"Transfer-Encoding": "gzip, chunked"}],
)
def test_a_bomb_is_not_unpacked(web: Origin, headers: dict[str, str]) -> None:
    web.answers["/"] = sends(gzip.compress(bytes(50_000_000)), headers=headers)
    assert refused(fetcher(web).fetch, f"http://cdn.test:{web.port}/").cause == "packed"


def drips(first: bytes, pause: float = 0.05) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(first)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            handler.wfile.write(b"x")
            time.sleep(pause)

    return answer


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_drip_gains_nothing(tls: bool, first: bytes) -> None:
    scheme = "https" if tls else "http"
    with origin(tls=tls) as found:
        found.answers["/"] = drips(first)
        began = time.monotonic()
        got = fetcher(found, scheme=scheme, timeout_seconds=0.6)
        assert refused(got.fetch, f"{scheme}://cdn.test:{found.port}/").cause == "too_slow"
        assert 0.5 < time.monotonic() - began < 4.0  # a drip lasts five seconds


def test_a_server_that_never_speaks_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "https"):
            got = fetcher(Origin(silent.getsockname()[1]), scheme=scheme, timeout_seconds=0.3)
            began = time.monotonic()
            assert refused(got.fetch, f"{scheme}://cdn.test:{silent.getsockname()[1]}/").cause == "too_slow"
            assert time.monotonic() - began < 4.0


@pytest.mark.parametrize(
    ("status", "cause", "asked"),
    [
        (404, "not_found", 1), (410, "not_found", 1), (401, "denied", 1), (403, "denied", 1), (400, "wrong_status", 1),
        (204, "wrong_status", 1), (206, "wrong_status", 1), (304, "wrong_status", 1),
        (429, "server_fault", 3), (500, "server_fault", 3), (503, "server_fault", 3),
    ],
)  # fmt: skip
def test_what_is_no_content_is_told_by_its_status(web: Origin, status: int, cause: str, asked: int) -> None:
    web.answers["/?token=1"] = sends(
        b"the content of an error page" if status not in {204, 304} else b"", status=status
    )
    error = refused(fetcher(web, tries=3).fetch, f"http://cdn.test:{web.port}/?token=1")
    assert (error.cause, len(web.asked)) == (cause, asked)
    assert str(error) == f"unfetchable: http://cdn.test:{web.port}: status {status}"


def breaks_off(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("fault", [sends(b"", status=503), sends(b"", status=429), breaks_off, no_http, lambda _: None])
def test_a_fault_that_passes_is_waited_for(tls: bool, fault: Answer) -> None:
    with origin(tls=tls) as found:
        scheme = "https" if tls else "http"
        found.answers["/"] = in_turn(fault, sends())
        got = fetcher(found, scheme=scheme)
        assert got.fetch(f"{scheme}://cdn.test:{found.port}/") == PNG
        assert len(found.asked) == 2


def test_content_without_a_length_that_breaks_off_is_not_taken_for_whole(secure: Origin) -> None:
    secure.answers["/"] = sends(PNG, length=None)  # the server closes without TLS's own farewell
    got = fetcher(secure, scheme="https", tries=1)
    assert refused(got.fetch, f"https://cdn.test:{secure.port}/").cause == "broken_answer"


def test_no_try_begins_that_cannot_end_in_time(web: Origin) -> None:
    web.answers["/"] = sends(b"", status=503)
    began = time.monotonic()
    got = fetcher(web, tries=10, timeout_seconds=1.0)
    assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause in {"server_fault", "too_slow"}
    assert time.monotonic() - began < 3.0
    assert 1 < len(web.asked) < 6


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_host_is_asked_again_when_it_says(web: Origin, status: int) -> None:
    web.answers["/"] = in_turn(sends(b"", status=status, headers={"Retry-After": "1"}), sends())
    began = time.monotonic()
    assert fetcher(web).fetch(f"http://cdn.test:{web.port}/") == PNG
    assert 1.0 <= time.monotonic() - began < 3.0


@pytest.mark.parametrize("told", ["6", "9" * 5000, "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_one_that_wants_to_be_asked_later_than_there_is_time_for_holds_nobody_up(web: Origin, told: str) -> None:
    web.answers["/"] = sends(b"", status=503, headers={"Retry-After": told})
    began = time.monotonic()
    assert refused(fetcher(web, tries=5).fetch, f"http://cdn.test:{web.port}/").cause == "retry_later"
    assert time.monotonic() - began < 1.0
    assert len(web.asked) == 1


def test_only_a_busy_host_is_waited_for(web: Origin) -> None:
    web.answers["/"] = in_turn(sends(b"", status=500, headers={"Retry-After": "600"}), sends())
    assert fetcher(web).fetch(f"http://cdn.test:{web.port}/") == PNG


NOW = dt.datetime(2026, 11, 28, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0), ("0", 0.0), ("Sat, 28 Nov 2026 12:01:30 GMT", 90.0), ("Sat, 28 Nov 2026 11:59:00 GMT", 0.0),
        ("Saturday, 28-Nov-26 12:00:30 GMT", 30.0), ("Sat Nov 28 12:00:05 2026", 5.0),
        ("", 0.0), ("soon", 0.0), ("-5", 0.0), ("1.5", 0.0), ("\u0663", 0.0), ("Sat, 99 Nov 2026 12:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_a_time_to_wait_is_seconds_or_a_date_and_else_nothing(text: str, seconds: float) -> None:
    assert retry_after(text, now=NOW) == seconds


@given(
    st.text(max_size=40)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,10} [A-Z+-]{1,5}[0-9]{0,6}")
)
def test_no_time_to_wait_is_a_fault_of_ours(text: str) -> None:
    assert retry_after(text, now=NOW) >= 0.0


def test_a_host_that_fails_again_and_again_is_left_alone_and_no_other(web: Origin) -> None:
    web.answers["/"] = sends(b"", status=503)
    with origin() as other:
        hosts = tuple(f"cdn.test:{one.port}" for one in (web, other))
        got = fetcher(
            web, tries=1, private_hosts=hosts, breakers=Breakers(partial(Breaker, failures=FAILURES, first_delay=60.0))
        )
        for _ in range(FAILURES):
            assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "server_fault"
        began = time.monotonic()
        assert refused(got.fetch, f"http://cdn.test:{web.port}/").cause == "host_resting"
        assert time.monotonic() - began < 1.0
        assert len(web.asked) == FAILURES
        assert got.fetch(f"http://cdn.test:{other.port}/") == PNG


def test_a_host_that_is_left_alone_for_less_than_there_is_time_for_is_waited_for(web: Origin) -> None:
    web.answers["/"] = in_turn(*[sends(b"", status=503)] * FAILURES, sends())
    got = fetcher(web, tries=1)
    for _ in range(FAILURES):
        refused(got.fetch, f"http://cdn.test:{web.port}/")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(got.fetch, [f"http://cdn.test:{web.port}/"] * 8)) == {PNG}


@pytest.mark.parametrize(("status", "length"), [(404, -1), (500, -1), (502, -1), (200, 10**9)])
def test_what_one_path_does_keeps_nobody_from_the_others(web: Origin, status: int, length: int) -> None:
    web.answers["/bad"] = sends(b"", status=status, length=length)
    got = fetcher(web, tries=1)
    for _ in range(FAILURES + 1):
        refused(got.fetch, f"http://cdn.test:{web.port}/bad")
    assert got.fetch(f"http://cdn.test:{web.port}/good") == PNG
    assert len(web.asked) == FAILURES + 2


def test_nobody_listens_and_nobody_is_known(web: Origin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert refused(fetcher(Origin(port)).fetch, f"http://cdn.test:{port}/").cause == "unreachable"
    for name in ("no-such-name.invalid", "a" * 70 + ".test"):
        unknown = fetcher(web, host=name, resolve=system_resolve)
        assert refused(unknown.fetch, f"http://{name}:{web.port}/").cause == "unreachable"
    assert refused(fetcher(web, resolve=lambda *_: []).fetch, f"http://cdn.test:{web.port}/").cause == "unreachable"


def test_the_systems_own_resolver_and_connections_work(web: Origin) -> None:
    settings = FetchSettings(private_hosts=(f"localhost:{web.port}",))
    assert open_http("http", settings).fetch(f"http://localhost:{web.port}/") == PNG


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"endpoint": "https://s3.test"}, "fetch.https.endpoint"),
        ({"credentials": {"access_key": "a", "secret_key": "b"}}, "fetch.https.credentials"),
        ({"ca_file": "nowhere.pem"}, "fetch.https.ca_file: cannot read 'nowhere.pem'"),
        ({"ca_file": __file__}, "fetch.https.ca_file: cannot read"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_http("https", FetchSettings(hosts=("cdn.test",), **changes))


@pytest.mark.parametrize(
    "host", ["*", "*.com", "CDN.test", "https://cdn.test", "cdn.test/", "[::1]", "cdn.*", "a:0", ""]
)
def test_a_host_that_is_none_cannot_be_allowed(host: str) -> None:
    with pytest.raises(ValueError, match="hosts"):
        FetchSettings(hosts=(host,))
    with pytest.raises(ValueError, match="expected at least one name"):
        FetchSettings()
