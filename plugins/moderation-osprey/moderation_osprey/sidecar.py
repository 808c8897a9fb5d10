"""The process beside Osprey: decisions over HTTP on this machine alone, by the very pipeline that a worker runs.

python -m moderation_osprey.sidecar policies/weapons.lock.json --port 8731
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from moderation import assemble
from moderation.errors import ModerationError
from moderation.item import ContentItem, Part
from moderation.pipeline import Pipeline
from moderation.settings import load_settings

MOST_BYTES = 20_000_000  # of a request
MOST_ITEMS = 64


class Sidecar(ThreadingHTTPServer):
    """Answers `POST /v1/decisions`; port 0 is any that is free. It listens to this machine alone, since it asks nobody who they are."""

    daemon_threads = True

    def __init__(self, pipeline: Pipeline, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.pipeline = pipeline

    def decide(self, asked: Any) -> dict[str, Any]:
        """Decisions on the items asked about, in order. Raises ValueError for what is no such question."""
        if not isinstance(asked, dict) or not isinstance(asked.get("items"), list) or len(asked["items"]) > MOST_ITEMS:
            raise ValueError(f'expected {{"items": […]}}, {MOST_ITEMS} at most')
        items = [_item(one) for one in asked["items"]]
        return {
            "policies": [one.terms.policy for one in self.pipeline.running.policies],
            "decisions": [one.to_dict() for one in self.pipeline.decide(items)],
        }


class _Handler(BaseHTTPRequestHandler):
    server: Sidecar
    timeout = 10.0  # of a client that says nothing

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/v1/decisions":
            self._say(404, {"error": "expected POST /v1/decisions"})
        elif not length.isdecimal() or int(length) > MOST_BYTES:
            self._say(413, {"error": f"expected a Content-Length of {MOST_BYTES} at most"})
        else:
            try:
                self._say(200, self.server.decide(json.loads(self.rfile.read(int(length)))))
            except ValueError as error:
                self._say(400, {"error": "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)})

    def _say(self, status: int, answer: Mapping[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a line a request helps nobody."""


def _item(row: Any) -> ContentItem:
    told = {key: row.get(key, "") for key in ("item", "text", "picture", "surface")} if isinstance(row, dict) else {}
    if not told or not all(isinstance(one, str) for one in told.values()) or not told["item"]:
        raise ValueError("an item is no object with an id (item) and strings (text, picture, surface)")
    try:
        picture = base64.b64decode(told["picture"], validate=True)
        text = told["text"].encode().decode()
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("an item's picture is no base64, or its text no Unicode") from None
    parts = ([Part.text(text)] if text else []) + ([Part.image(picture)] if picture else [])
    if not parts:
        raise ValueError("an item has neither text nor picture")
    return ContentItem(told["item"], tuple(parts), {"surface": told["surface"]} if told["surface"] else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until it is ended; the exit code of the mistake where it cannot start."""
    parser = argparse.ArgumentParser(prog="moderation_osprey.sidecar", description=__doc__.splitlines()[0])
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK", help="the locks of certified policies")
    parser.add_argument("--port", type=int, default=8731)
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        with closing(assemble.plugins(settings)) as known:
            pipeline = assemble.pipeline(settings, given.locks, known=known)
            with Sidecar(pipeline, given.port) as server:
                policies = ", ".join(f"{one.terms.policy} ({one.terms.status})" for one in pipeline.running.policies)
                print(f"listening on 127.0.0.1:{server.server_address[1]}: {policies}", flush=True)
                server.serve_forever()
    except KeyboardInterrupt:
        return 0
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
