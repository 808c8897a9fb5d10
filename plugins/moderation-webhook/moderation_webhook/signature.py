"""Signatures of Standard Webhooks, version 1 of its symmetric scheme: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from moderation.errors import PluginError

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a secret, as the specification has it


class Signer:
    """Signs with one secret or, while they are changed, several: a receiver takes what one of its own made. `repr` holds none."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def __repr__(self) -> str:
        return f"Signer({len(self._secrets)} secrets)"

    def headers(self, id_: str, body: bytes, *, now: float) -> dict[str, str]:
        """The three headers of a message under this id; `now` is in seconds since 1970, and a receiver refuses what is five minutes away from it."""
        stamp = str(int(now))
        signed = f"{id_}.{stamp}.".encode() + body
        made = [base64.b64encode(hmac.digest(one, signed, "sha256")).decode() for one in self._secrets]
        return {
            "webhook-id": id_,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(f"v1,{one}" for one in made),
        }


def read_secrets(plugin: str, *, env: str, file: str, environ: Mapping[str, str] = os.environ) -> list[bytes]:
    """Secrets as `whsec_…`, with space or line ends between, of a variable or a file. Raises PluginError that quotes none of them."""
    where = f"the variable {env}" if env else f"the file {file}"
    try:
        text = environ[env] if env else Path(file).read_text(encoding="ascii")
    except KeyError:
        raise PluginError(plugin, f"{where} is not set; expected secrets as {PREFIX}...") from None
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no ASCII"
        raise PluginError(plugin, f"{where} cannot be read: {told}") from None
    words = text.split()
    if not words:
        raise PluginError(plugin, f"{where} is empty; expected secrets as {PREFIX}...")
    return [_secret(plugin, word, f"secret {number} of {where}") for number, word in enumerate(words, 1)]


def _secret(plugin: str, word: str, which: str) -> bytes:
    encoded = word.removeprefix(PREFIX)
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if encoded == word or not SHORTEST <= len(secret) <= LONGEST:
        raise PluginError(plugin, f"{which}: expected {PREFIX} and the base64 of {SHORTEST} to {LONGEST} bytes")
    return secret
