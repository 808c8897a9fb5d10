"""The plugin's own section of the settings, `[plugins.settings.webhook]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from moderation.errors import ItemError, PluginError
from moderation.fetcher.url import Url, read_url


@dataclass(frozen=True, slots=True)
class Config:
    """Where decisions are sent. Secrets are not here, but where they are: a variable's name, a file.

    With `private` the host may have addresses of a network of one's own, and may be spoken to by http. `batch` sends all decisions of a call in one
    request; `timeout_seconds` are for one request.
    """

    url: Url
    secrets_env: str = ""
    secrets_file: str = ""
    ca_file: str | None = None
    private: bool = False
    batch: bool = False
    timeout_seconds: float = 10.0


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "url": str, "secrets_env": str, "secrets_file": str, "ca_file": str, "private": bool, "batch": bool, "timeout_seconds": (int, float),
}  # fmt: skip


def read_config(plugin: str, section: Mapping[str, Any]) -> Config:
    """The section, checked. Raises PluginError that names the key and what was expected; it quotes no value, which may be a token in an address."""
    known = [one.name for one in fields(Config)]
    for name, value in section.items():
        if name not in known:
            raise PluginError(plugin, f"settings: unknown key {name!r}; expected {', '.join(known)}")
        kind = _KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise PluginError(plugin, f"settings: {name}: expected {_WORDS[name]}")
    config = Config(**{**section, "url": _url(plugin, section.get("url", ""))})
    if config.url.scheme != "https" and not config.private:
        raise PluginError(
            plugin, "settings: url: expected https; http is for a network of your own alone (private = true)"
        )
    if bool(config.secrets_env) == bool(config.secrets_file):
        raise PluginError(
            plugin, "settings: expected secrets_env, the name of a variable, or secrets_file, and not both"
        )
    if not 0 < config.timeout_seconds <= 300:
        raise PluginError(plugin, "settings: timeout_seconds: expected more than 0 and at most 300")
    return config


_WORDS = dict.fromkeys(("url", "secrets_env", "secrets_file", "ca_file"), "a text") | {
    "private": "true or false",
    "batch": "true or false",
    "timeout_seconds": "a number of seconds",
}


def _url(plugin: str, text: str) -> Url:
    try:
        return read_url(text)
    except ItemError:
        raise PluginError(
            plugin, "settings: url: expected https://HOST[:PORT]/PATH in ASCII, percent-encoded, without a user"
        ) from None
