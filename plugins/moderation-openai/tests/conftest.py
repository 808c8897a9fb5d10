"""A server on this machine that speaks the moderation endpoint as OpenAI documents it, and fails as it is told to.

A text scores 0.9 under every category that it names in brackets, a picture of one colour under the category of that colour. A text that says
`unacceptable` is refused.
"""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from moderation_openai import LABELS, PICTURE_LABELS
from PIL import Image

KEY = "sk-canary-key"
MODEL = "omni-moderation-2024-09-26"
os.environ["OPENAI_API_KEY"] = KEY
COLOURS = {(40 * number, 200 - 30 * number, 90): label for number, label in enumerate(PICTURE_LABELS)}


class Endpoint(ThreadingHTTPServer):
    """`failing` are the status codes of the next answers, `headers` go with those; `slow` is how long every answer takes; `seen` are the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()

    def reset(self) -> None:
        self.failing: list[int] = []
        self.headers: dict[str, str] = {}
        self.slow = 0.0
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.spoil = lambda answer: answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.seen.append(asked)
        server.keys.append(self.headers["Authorization"])
        time.sleep(server.slow)
        if server.failing:
            self._say(server.failing.pop(0), {"error": {"message": "no", "type": "x"}}, server.headers)
        elif "unacceptable" in str(asked["input"]):
            self._say(400, {"error": {"message": "refused", "type": "invalid_request_error"}}, {})
        else:
            told = {"id": "modr-1", "model": MODEL, "results": list(_results(asked["input"]))}
            self._say(200, server.spoil(told), {})

    def _say(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def _results(asked: list[Any]) -> Iterator[dict[str, Any]]:
    """One a text; but objects, whatever their number, are one input."""
    if all(isinstance(one, str) for one in asked):
        yield from (_result([label for label in LABELS if f"[{label}]" in one], "text", LABELS) for one in asked)
    else:
        url = asked[0]["image_url"]["url"]
        kind, _, data = url.partition(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert kind == f"data:image/{picture.format.lower()}"
            shown = COLOURS.get(picture.convert("RGB").getpixel((1, 1)))
        yield _result([shown] if shown else [], "image", PICTURE_LABELS)


def _result(flagged: list[str], kind: str, applied: tuple[str, ...]) -> dict[str, Any]:
    return {
        "flagged": bool(flagged),
        "categories": {label: label in flagged for label in LABELS},
        "category_scores": {label: 0.9 if label in flagged else 1e-5 if label in applied else 0.0 for label in LABELS},
        "category_applied_input_types": {label: [kind] if label in applied else [] for label in LABELS},
    }


ENDPOINT = Endpoint()
threading.Thread(target=ENDPOINT.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    ENDPOINT.reset()
    yield ENDPOINT
    ENDPOINT.reset()
