"""What a worker's probe answers."""

from __future__ import annotations

import urllib.error
import urllib.request


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body. Raises OSError where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
