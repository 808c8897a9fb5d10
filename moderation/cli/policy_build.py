"""What `moderation policy compile` and `certify` do: a policy into its lock, and the lock into promises kept."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from moderation import assemble
from moderation.cli import band_words, lock_words, policy_lint, terminal
from moderation.cli.locks import command, current_lock, lock_file
from moderation.compiler.compile import compile_policy
from moderation.decision import LIVE
from moderation.embedding.embedder import Embedder
from moderation.errors import DataError, ExitCode, LockError, PolicyError, Problem
from moderation.item import Part
from moderation.policy.bands import bands
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock, arrays_path, read_lock, write_lock
from moderation.policy.manifest import TargetRow, load_exemplars, load_manifest, shared
from moderation.policy.paths import background_of
from moderation.policy.schema import Policy
from moderation.release import certification
from moderation.release.record import status_beside
from moderation.release.splits import NOT_ORDINARY, counted_once, hold_apart
from moderation.settings import ImageLimits, load_settings

BATCH = 64
NAMED = 5  # of the rows that are left out, or count as another one's object
LIMITS = ImageLimits()


def compile_lock(path: Path, *, out: Path | None, background: Path | None, as_json: bool) -> None:
    """Compile one policy and write its lock."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    bank = background_rows(policy, background)
    if not bank:  # the classifier is not normalised, and stays at the lowest level
        path = background_of(policy.path, policy.id)
        terminal.note(f"no background manifest at {path}: phrases are not compared with ordinary content")
    _evidence(policy)  # a manifest that is not there is found before the encoder is loaded
    known = assemble.plugins(settings)
    policy_lint.refuse(policy_lint.check_named(policy, known, here=True))
    with terminal.working("loading the encoder"):
        embedder = assemble.embedder(settings, policy.encoder, known=known)
    detectors = [name.partition("/")[0] for name in policy.detectors]
    used = known.versions([*detectors, settings.encoders[policy.encoder].loader])
    lock = build(policy, embedder, bank, versions=used, limits=settings.images)
    target = lock_file(policy, out)
    _put(remembering(lock, target), target)
    if as_json:
        terminal.emit(lock_words.as_plain(lock, target, order=settings.actions))
    else:
        _tell_compiled(lock, target, policy, next_=command("certify", policy.path, out=out, background=background))


def _put(lock: Lock, target: Path) -> None:
    """Write a lock in its place, with a warning where that takes the live build away from whoever reads it there."""
    before = _live(target)
    write_lock(lock, target)
    if before not in (None, lock.revision):
        terminal.note(
            f"WARNING: the build that was live here, revision {before}, is replaced: whoever reads {target} acts on nothing of this "
            "policy until one is released again; --out FOLDER builds elsewhere"
        )


def _live(path: Path) -> str | None:
    """The revision of the lock at this path where it is live; None where it is not, or where none can be read."""
    try:
        lock = read_lock(path)
        return lock.revision if status_beside(lock, path) == LIVE else None
    except LockError:
        return None


def remembering(lock: Lock, target: Path) -> Lock:
    """`lock` with what the one in its place was certified on."""
    if not target.exists():
        return lock
    try:
        return certification.remember(lock, read_lock(target))
    except LockError as error:
        terminal.note(f"replaced, and what was certified with it is no longer counted: {error}")
        return lock


def build(
    policy: Policy,
    embedder: Embedder,
    background: Sequence[TargetRow],
    *,
    versions: Mapping[str, str] | None = None,
    limits: ImageLimits = LIMITS,
) -> Lock:
    """A policy's phrases, and its fit targets where it has some, into a lock without thresholds, with a bar and notes.

    A policy that lint calls wrong is not compiled: with the encoder at hand, its limits are checked as well. Raises
    DataError where its manifests, or the background, share content or a cluster: no certificate could follow; or where the background
    holds a copy of what the classifier is fitted on. Pictures over the `limits` are compared with nothing.
    """
    policy_lint.refuse(policy_lint.check(policy, card=embedder.encoder.card, encoder=embedder.encoder))
    fit, exemplars = _evidence(policy)
    _refuse_shared(exemplars, fit, background, policy)
    known = [*fit, *exemplars]
    ordinary, parts = _read(background), _read(known)
    hold_apart(background, known, why=NOT_ORDINARY, limits=limits, progress=terminal.progress)
    _warm(embedder, [*background, *known], [*ordinary, *parts], policy)
    with terminal.working(f"{policy.id}: compiling"):
        return compile_policy(policy, embedder, fit=fit, exemplars=exemplars, background=background, versions=versions)


def _evidence(policy: Policy) -> tuple[tuple[TargetRow, ...], tuple[TargetRow, ...]]:
    """What the classifier is fitted on: judged examples, and exemplars."""
    fit = load_manifest(policy.data.fit) if policy.data.fit else ()
    return fit, load_exemplars(policy.exemplars.violating, policy.exemplars.contrast)


def _refuse_shared(
    exemplars: Sequence[TargetRow], fit: Sequence[TargetRow], background: Sequence[TargetRow], policy: Policy
) -> None:
    """The rule that lint has too. A manifest that is not there yet comes later; only its lines are read, not its pictures."""
    paths = (path for path in (policy.data.certify, policy.data.audit) if path and os.path.lexists(path))
    later = (load_manifest(path, check_files=False) for path in paths)
    if problems := shared([exemplars, fit, *later, background]):
        raise DataError(problems)


def certify_lock(path: Path, *, out: Path | None, background: Path | None, as_json: bool) -> None:
    """Certify one policy's lock and write the thresholds into it; leaves with exit code 5 when one is missing."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    if policy.data.certify is None:
        message = "data.certify: is missing: the manifest of targets, never fitted on, that thresholds are certified on"
        raise PolicyError([policy.locate("data").problem("P102", message)])
    rows = load_manifest(policy.data.certify)
    lock, target = current_lock(policy, out), lock_file(policy, out)
    bank = background_rows(policy, background)
    with terminal.working("loading the encoder"):
        # Whatever readers it was certified with before: now it is with those in force.
        pipeline = assemble.pipeline(settings, [replace(lock, readers=())])
    certified = certification.certify_lock(
        lock, policy, rows, pipeline, background=bank, limits=settings.images, progress=terminal.progress
    )
    _note_merged(certified, rows)
    _put(certified, target)
    if as_json:
        terminal.emit(lock_words.as_plain(certified, target, order=settings.actions))
    else:
        _tell_certified(certified, target, order=settings.actions)
    if any(action.threshold is None for action in certified.actions):
        raise typer.Exit(ExitCode.NOT_CERTIFIED)
    if not as_json:
        terminal.say(f"next: {command('test', policy.path, out=out)}")


def _note_merged(lock: Lock, rows: Sequence[TargetRow]) -> None:
    problems = counted_once(certification.merged_pairs(lock, rows))
    _note(problems, f"that are nearly another row of another cluster, {len(problems)} in all")


def background_rows(policy: Policy, given: Path | None) -> tuple[TargetRow, ...]:
    """Ordinary content: the manifest that is given, or the one beside the policy, where there is one."""
    path = given or background_of(policy.path, policy.id)
    return load_manifest(path) if given or path.exists() else ()


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


def _warm(embedder: Embedder, rows: Sequence[TargetRow], parts: Sequence[Part], policy: Policy) -> None:
    """Encode everything once into the cache, with a bar: the compiler then finds it there, and leaves out what is told here."""
    left_out = []
    with terminal.progress(f"{policy.id}: encoding", len(parts)) as advance:
        for start in range(0, len(parts), BATCH):
            batch = parts[start : start + BATCH]
            errors = embedder.embed(batch).errors
            for place, row in enumerate(rows[start : start + BATCH]):
                if place in errors:
                    left_out.append(_left_out(row, str(errors[place])))
                elif row.modality not in policy.scope.modalities:
                    left_out.append(_left_out(row, f"the policy judges no {row.modality}"))
            advance(len(batch))
    _note(left_out, f"are left out, {len(left_out)} of {len(rows)} rows in all")


def _note(problems: Sequence[Problem], rest: str) -> None:
    """The first few, and how many more there are; `rest` says of what."""
    for problem in problems[:NAMED]:
        terminal.note(str(problem))
    if len(problems) > NAMED:
        terminal.note(f"and {len(problems) - NAMED} more {rest}")


def _left_out(row: TargetRow, why: str) -> Problem:
    return row.problem("D200", f"{row.what} is left out: {why}")


def _tell_compiled(lock: Lock, path: Path, policy: Policy, *, next_: str) -> None:
    terminal.say(f"compiled {lock.policy} {lock.version} at level {lock.level}: {path}")
    for line in lock_words.compiled(lock.evidence):
        terminal.say(f"  {line}")
    terminal.say(f"a lock is two files, of no use apart: {path.name} and {arrays_path(path).name}")
    if policy.data.certify:
        terminal.say(f"next: {next_}")
    else:
        terminal.say(f"next: name a manifest of targets under data.certify, then: {next_}")


def _tell_certified(lock: Lock, path: Path, *, order: Sequence[str]) -> None:
    terminal.say(f"{lock.policy} {lock.version}, revision {lock.revision}: {path}")
    for action in lock.actions:
        terminal.say(f"  {lock_words.promise(action)}")
        for line in band_words.trade_off(action):
            terminal.say(f"    {line}")
    if all(action.threshold is None for action in lock.actions):
        terminal.say(f"  {lock_words.UNCERTIFIED}")
    told = (lock_words.readers(lock), band_words.bands(bands(lock.actions, order)), band_words.calibration(lock))
    for line in itertools.chain(*told, lock_words.merged(lock.evidence), lock_words.asked(lock.evidence)):
        terminal.say(f"  {line}")
