"""What `moderation policy compile` and `certify` do: a policy into its lock, and the lock into promises kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moderation.cli import terminal
from moderation.errors import DataError, ExitCode, PolicyError, Problem

if TYPE_CHECKING:
    from moderation.embedding.embedder import Embedder
    from moderation.item import Part
    from moderation.policy.lock import Lock, LockedAction
    from moderation.policy.manifest import TargetRow
    from moderation.policy.schema import Policy

BACKGROUND = Path("data") / "background.jsonl"
BATCH = 64


def compile_lock(path: Path, *, out: Path | None, background: Path | None, as_json: bool) -> None:
    """Compile one policy and write its lock."""
    from moderation import assemble
    from moderation.cli.locks import lock_file
    from moderation.compiler.compile import compile_policy
    from moderation.policy.loader import load_policy
    from moderation.policy.lock import write_lock
    from moderation.policy.manifest import load_manifest
    from moderation.settings import load_settings

    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    fit = load_manifest(policy.data.fit) if policy.data.fit else ()
    bank = _background(policy, background)
    with terminal.working("loading the encoder"):
        embedder = assemble.embedder(settings, policy.encoder)
    _refuse_findings(policy, embedder)
    ordinary = _read(bank)
    _warm(embedder, [*ordinary, *_read(fit)])
    with terminal.working("compiling"):
        lock = compile_policy(policy, embedder, fit=fit, background=ordinary)
    target = lock_file(policy, out)
    write_lock(lock, target)
    if as_json:
        terminal.emit(as_plain(lock, target))
    else:
        _tell_compiled(lock, target, policy)


def certify_lock(path: Path, *, out: Path | None, as_json: bool) -> None:
    """Certify one policy's lock and write the thresholds into it; leaves with exit code 5 when one is missing."""
    from moderation import assemble
    from moderation.cli.locks import current_lock, lock_file
    from moderation.policy.loader import load_policy
    from moderation.policy.lock import write_lock
    from moderation.policy.manifest import disjoint, load_manifest
    from moderation.release import certification
    from moderation.settings import load_settings

    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    if policy.data.certify is None:
        message = "data.certify is missing; thresholds are certified on targets that were never fitted on"
        raise PolicyError([Problem(policy.path, 0, 0, "P110", message)])
    rows = load_manifest(policy.data.certify)
    overlap = disjoint(load_manifest(policy.data.fit), rows) if policy.data.fit else []
    if overlap:
        raise DataError(overlap)
    lock, target = current_lock(policy, out), lock_file(policy, out)
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, [target])
    with terminal.progress("scoring targets", len(rows)) as advance:
        certified = certification.certify_lock(lock, policy, rows, pipeline, advance=advance)
    write_lock(certified, target)
    if as_json:
        terminal.emit(as_plain(certified, target))
    else:
        _tell_certified(certified, target)
    if any(action.threshold is None for action in certified.actions):
        raise typer.Exit(ExitCode.NOT_CERTIFIED)


def as_plain(lock: Lock, path: Path) -> dict[str, Any]:
    """A lock as plain values for machines; its arrays stay in its file."""
    return {
        "schema": "lock-summary/v1",
        "policy": lock.policy,
        "version": lock.version,
        "revision": lock.revision,
        "lock": str(path),
        "level": lock.level,
        "encoder": f"{lock.encoder_identity}/{lock.encoder_numeric}",
        "actions": [action_as_plain(action) for action in lock.actions],
        "evidence": dict(lock.evidence),
    }


def action_as_plain(action: LockedAction) -> dict[str, Any]:
    """One promise as plain values."""
    return {
        "action": action.action,
        "metric": action.metric,
        "at_least": action.at_least,
        "confidence": action.confidence,
        "certified": action.threshold is not None,
        "threshold": action.threshold,
        "certificate": None if action.certificate is None else dict(action.certificate),
        "shortfall": None if action.shortfall is None else dict(action.shortfall),
    }


def in_words(action: LockedAction) -> str:
    """What became of one promise, for people."""
    promise = f"{action.action}: {action.metric} at least {action.at_least:g}, confidence {action.confidence:g}"
    if action.threshold is not None:
        return f"{promise}: certified at threshold {action.threshold:.6f}{_bounds(action.certificate or {})}"
    if action.shortfall is None:
        return f"{promise}: not certified yet"
    return f"{promise}: cannot certify: {_lacking(action.shortfall)}"


def _bounds(shown: Mapping[str, Any]) -> str:
    """What the certificate bounds, and on what evidence; a certificate of another make is told as it stands."""
    try:
        promised = (
            f"precision at least {shown['precision_low']:.3f} at the low end of the prevalence, "
            f"recall at least {shown['tpr_lower']:.3f}"
            if shown["metric"] == "precision"
            else f"recall at least {shown['tpr_lower']:.3f}"
        )
        seen = (
            f"flagged {shown['flagged_violating']} of {shown['violating']} violating and "
            f"{shown['flagged_benign']} of {shown['benign']} benign objects"
        )
        return f": {promised}, at most {shown['share_upper']:.2%} of traffic ({seen})"
    except KeyError:
        return f": {json.dumps(dict(shown))}"


def _lacking(shortfall: Mapping[str, Any]) -> str:
    wanted = [
        f"{shortfall[key]} more {word} targets"
        for key, word in (("more_violating", "violating"), ("more_benign", "benign"))
        if shortfall.get(key)
    ]
    reason = shortfall.get("reason", "")
    return " and ".join(wanted) + (" needed" if wanted else "") + (f" ({reason})" if reason and wanted else reason)


def _background(policy: Policy, given: Path | None) -> tuple[TargetRow, ...]:
    """Ordinary content; without any, the classifier is not normalised against it and stays at the lowest level."""
    from moderation.policy.manifest import load_manifest

    path = given or policy.path.parent / BACKGROUND
    if given or path.exists():
        return load_manifest(path)
    terminal.note(f"no background manifest at {path}: phrases are not compared with ordinary content")
    return ()


def _refuse_findings(policy: Policy, embedder: Embedder) -> None:
    """A policy that lint calls wrong is not compiled: with the encoder at hand, its limits are checked as well."""
    from moderation.cli import policy_lint

    policy_lint.refuse(policy_lint.check(policy, card=embedder.encoder.card, encoder=embedder.encoder))


def _read(rows: Sequence[TargetRow]) -> list[Part]:
    """The content of every row. Raises DataError with all rows whose file is not what the manifest says."""
    parts: list[Part] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            parts.append(row.read())
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return parts


def _warm(embedder: Embedder, parts: Sequence[Part]) -> None:
    """Encode everything once into the cache, with a bar: the compiler then finds it there."""
    with terminal.progress("encoding", len(parts)) as advance:
        for start in range(0, len(parts), BATCH):
            batch = parts[start : start + BATCH]
            embedder.embed(batch)
            advance(len(batch))


def _tell_compiled(lock: Lock, path: Path, policy: Policy) -> None:
    terminal.say(f"compiled {lock.policy} {lock.version} at level {lock.level}: {path}")
    for line in evidence_lines(lock.evidence):
        terminal.say(f"  {line}")
    if policy.data.certify:
        terminal.say(f"next: moderation policy certify {policy.path}")
    else:
        terminal.say("next: name a manifest of targets under data.certify, then certify")


def _tell_certified(lock: Lock, path: Path) -> None:
    terminal.say(f"{lock.policy} {lock.version}, revision {lock.revision}: {path}")
    for action in lock.actions:
        terminal.say(f"  {in_words(action)}")


def evidence_lines(evidence: Mapping[str, Any], *, depth: int = 0) -> list[str]:
    """The lock's evidence, one figure a line."""
    lines = []
    for key, value in evidence.items():
        name = "  " * depth + str(key).replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{name}:", *evidence_lines(value, depth=depth + 1)]
        elif isinstance(value, float):
            lines.append(f"{name}: {value:.4g}")
        elif not isinstance(value, list | tuple):
            lines.append(f"{name}: {value}")
    return lines
