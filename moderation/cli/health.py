"""What `moderation doctor` looks at: what this installation would run with, and whether each piece of it works."""

from __future__ import annotations

import os
import platform
import shutil
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from moderation.cli import terminal
from moderation.cli.finding import Check, Finding, load
from moderation.compiler.degenerate import degenerate
from moderation.errors import CheckpointError, EncoderError, ExitCode, ModerationError, SettingsError
from moderation.item import Modality, Part

DISTRIBUTIONS = (
    "moderation", "torch", "transformers", "safetensors", "numpy", "scipy", "scikit-learn", "pillow", "pydantic",
    "pluggy", "ruamel.yaml", "typer",
)  # fmt: skip
PATIENCE = 5.0  # seconds that Redis may take to answer a person
_SECRET_WORDS = ("secret", "password", "token", "credential", "api_key")


def report(config: Path | None, *, as_json: bool) -> None:
    """Look at everything and say how it stands, under the settings of this file or of the environment; leaves with the exit code of the first thing that is unusable."""
    from moderation.cli import worker_health
    from moderation.settings import FILE_VARIABLE

    named = os.environ.get(FILE_VARIABLE)
    file = config or (Path(named) if named else None)
    checks = {**_CHECKS, **worker_health.CHECKS}
    findings = [_checked(name, check, file) for name, check in checks.items()]
    if as_json:
        found = {finding.name: _plain(finding) for finding in findings}
        terminal.emit({"schema": "doctor/v1", "usable": all(one.usable for one in findings), **found})
    else:
        for finding in findings:
            _print(finding)
    unusable = next((finding for finding in findings if not finding.usable), None)
    if unusable:
        raise typer.Exit(unusable.exit_code)


def _checked(name: str, check: Check, file: Path | None) -> Finding:
    try:
        return check(file)
    except SettingsError as error:
        own = name == "settings" or _are_sound(file)
        told = str(error) if own else "not looked at: the settings are wrong"
        return Finding(name, False, told, exit_code=int(error.exit_code), looked_at=own)
    except ModerationError as error:
        return Finding(name, False, str(error), exit_code=int(error.exit_code))
    except ImportError as error:
        return Finding(name, False, f"cannot import {error.name}: {error}", exit_code=int(ExitCode.INTERNAL))


def _plain(finding: Finding) -> dict[str, Any]:
    plain = asdict(finding)
    return {"usable": plain["usable"], "summary": plain["summary"], **plain["details"]}


def _print(finding: Finding) -> None:
    word = "ok" if finding.usable else "FAIL" if finding.looked_at else "skip"
    terminal.say(f"{word:<4}  {finding.name}: {finding.summary}")
    for line in _lines(finding.details):
        terminal.say(f"        {line}")


def _lines(details: Mapping[str, Any]) -> Iterator[str]:
    for key, value in details.items():
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(value))
        elif isinstance(value, list):
            yield f"{key}: {', '.join(map(str, value)) or 'none'}"
        else:
            yield f"{key}: {value}"


def _versions() -> Finding:
    versions = {name: _version(name) for name in DISTRIBUTIONS}
    missing = [name for name, version in versions.items() if version is None and name != "moderation"]
    summary = f"Python {platform.python_version()} on {platform.platform()}"
    if missing:
        summary += f"; not installed: {', '.join(missing)}"
    code = ExitCode.INTERNAL if missing else ExitCode.OK
    return Finding("versions", not missing, summary, versions, int(code))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "moderation":
            from moderation import __version__

            return __version__
        return None


def _device() -> Finding:
    from moderation.detector.head import usable_cores
    from moderation.encoder.device import cuda_names

    cores, gpus = usable_cores(), list(cuda_names())
    summary = f"{terminal.counted(cores, 'CPU core')}, {', '.join(gpus) or 'no CUDA GPU'}"
    return Finding("device", True, summary, {"cpu_cores": cores, "cuda": gpus})


def _settings(file: Path | None) -> Finding:
    settings = load(file)
    origins = {
        ".".join(keys): f"{masked(keys, value)}  ({_origin(keys, file)})"
        for keys, value in _leaves(settings.model_dump())
    }
    return Finding("settings", True, f"read from {file}" if file else "no settings file; defaults", origins)


def _are_sound(file: Path | None) -> bool:
    try:
        load(file)
    except SettingsError:
        return False
    return True


def _leaves(value: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, one in value.items():
        if isinstance(one, Mapping):
            yield from _leaves(one, (*above, key))
        else:
            yield (*above, key), one


def masked(keys: tuple[str, ...], value: Any) -> str:
    """A setting's value as it may be shown: secrets and the credentials in addresses are not."""
    if value is not None and any(word in keys[-1].lower() for word in _SECRET_WORDS):
        return "****"
    text = str(list(value) if isinstance(value, tuple) else value)
    scheme, separator, rest = text.partition("://")
    return f"{scheme}://****@{rest.rpartition('@')[2]}" if separator and "@" in rest else text


def _origin(keys: tuple[str, ...], file: Path | None) -> str:
    for depth in range(len(keys), 0, -1):
        variable = "MODERATION_" + "__".join(keys[:depth]).upper()
        if any(name.upper() == variable for name in os.environ):
            return variable
    if file:
        value: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return str(file)
    return "default"


def _compiler() -> Finding:
    named = os.environ.get("CXX")
    found = next((path for path in map(shutil.which, (named or "", "g++", "c++", "clang++")) if path), None)
    if found:
        return Finding("compiler", True, f"C++ compiler at {found}: torch.compile can be used on a CPU")
    return Finding("compiler", True, "no C++ compiler: on a CPU the encoder runs eager, which is slower, never wrong")


def _encoders(file: Path | None) -> Finding:
    from moderation import assemble
    from moderation.settings import USUAL_ENCODERS

    settings = load(file)
    details: dict[str, Any] = {}
    absent: list[str] = []
    for name, wanted in settings.encoders.items():
        started = time.perf_counter()
        try:
            embedder = assemble.embedder(settings, name)
        except CheckpointError:
            if name == "default" or wanted != USUAL_ENCODERS.get(name):
                raise
            absent.append(
                f'; {name}: not installed (pip install "moderation[{name}]"), and needed by no one who does not name it'
            )
            continue
        loaded = time.perf_counter()
        card, fingerprint = embedder.encoder.card, embedder.encoder.fingerprint
        embedded = embedder.embed([_sample(Modality(modality)) for modality in card.modalities])
        for error in embedded.errors.values():
            raise EncoderError(f"encoder {name!r} cannot encode: {error}")
        details[name] = {
            "checkpoint": wanted.checkpoint,
            "card": card.name,
            "modalities": list(card.modalities),
            "width": card.width,
            "fingerprint": str(fingerprint),
            "runs_on": fingerprint.numeric,
            "load_seconds": round(loaded - started, 3),
            "self_check_seconds": round(time.perf_counter() - loaded, 3),
        }
    return Finding(
        "encoders",
        True,
        f"{', '.join(details)}: loaded, and encoded a sample of each modality{''.join(absent)}",
        details,
    )


def _sample(modality: Modality) -> Part:
    return next(degenerate("noise", modality))


def _plugins(file: Path | None) -> Finding:
    from moderation import assemble

    records = assemble.plugins(load(file)).records
    broken = [one.id for one in records if one.state.value in ("broken", "missing")]
    summary = f"{len(records)} found" + (f"; broken: {', '.join(broken)}" if broken else "")
    details = {
        one.id: f"{one.state.value}, {one.distribution} {one.version}: {one.cause or one.kind or 'nothing'}"
        for one in records
    }
    return Finding("plugins", not broken, summary, details, int(ExitCode.PLUGIN if broken else ExitCode.OK))


def _fetch(file: Path | None) -> Finding:
    from moderation import assemble

    settings = load(file)
    if not settings.fetch:
        return Finding("fetch", True, "off: what a record only refers to is set aside")
    assemble.references(settings)
    details = {scheme: ", ".join((*one.hosts, *one.private_hosts)) for scheme, one in settings.fetch.items()}
    return Finding("fetch", True, "references are fetched by these schemes and hosts alone", details)


def _redis(file: Path | None) -> Finding:
    from moderation.embedding.redis_cache import RedisCache, connect

    chosen = load(file).cache.redis
    if chosen is None:
        return Finding("redis", True, "not used: vectors are kept in each process alone")
    client = connect(chosen.url.get_secret_value(), timeout_seconds=max(chosen.timeout_seconds, PATIENCE))
    RedisCache(client, ttl_seconds=chosen.ttl_seconds, timeout_seconds=chosen.timeout_seconds).check()
    return Finding("redis", True, "answers, and is new enough")


_CHECKS: dict[str, Check] = {
    "device": lambda _: _device(),
    "versions": lambda _: _versions(),
    "settings": _settings,
    "compiler": lambda _: _compiler(),
    "encoders": _encoders,
    "plugins": _plugins,
    "redis": _redis,
    "fetch": _fetch,
}
