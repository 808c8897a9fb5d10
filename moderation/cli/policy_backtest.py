"""What `moderation policy backtest` does: builds tried on kept vectors or decisions, and told as text, JSON, Markdown and a page."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import typer

from moderation import assemble
from moderation.cli import terminal
from moderation.cli.facts import read_facts
from moderation.cli.policy_diff import tell_changes
from moderation.cli.policy_history import keep_decisions
from moderation.errors import ExitCode
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock, read_lock
from moderation.policy.schema import Policy
from moderation.release.backtest import SOURCES, Backtest, Build, Source, check_trial
from moderation.release.backtest import backtest as run
from moderation.release.backtest_page import rate_in_words, render_html, render_markdown, share_in_words
from moderation.release.diff import SAME_BUILD
from moderation.release.record import status_beside
from moderation.release.replay import Chunk, Trial, replay_vectors, same_epsilon
from moderation.release.replay_log import replay_log, source_of
from moderation.rollout.selftest import measure_epsilon
from moderation.settings import Settings, load_settings

Locks = tuple[Path | None, Path]


def backtest(
    path: Path,
    *,
    vectors: Sequence[Path],
    decisions: Sequence[Path],
    items: Path | None,
    locks: Locks,
    pages: tuple[Path | None, Path | None],
    as_json: bool,
) -> None:
    """Try a lock on what was kept; leaves with exit code 8 where an action surely takes more than its budget. `pages` are HTML and Markdown."""
    if bool(vectors) == bool(decisions):
        raise typer.BadParameter("expected either --vectors or --decisions")
    if items and not any(_is_lines(place) for place in decisions):
        raise typer.BadParameter(
            "--items goes with decisions as JSON lines; kept files hold what is known of their items"
        )
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    before, after = locks
    trial = Trial(read_lock(before) if before else None, read_lock(after), settings.actions, measure=_measure(settings))
    check_trial(trial, policy)
    statuses = (
        status_beside(trial.before, before) if trial.before and before else "",
        status_beside(trial.after, after),
    )
    command = _command(path, vectors=vectors, decisions=decisions, items=items, before=before, lock=after)
    with ExitStack() as stack:
        source, chunks = _chunks(trial, policy, stack, vectors=vectors, decisions=decisions, items=items)
        advance = stack.enter_context(terminal.progress("deciding", None))
        found = run(chunks, trial, policy, source=source, statuses=statuses, command=command, advance=advance)
    for target, render in zip(pages, (render_html, render_markdown), strict=True):
        if target:
            with terminal.replacing(target) as stream:
                stream.write(render(found))
    if as_json:
        terminal.emit(found.to_dict())
    else:
        _tell(found)
    if found.over_budget:
        raise typer.Exit(ExitCode.OVER_BUDGET)


def _chunks(
    trial: Trial,
    policy: Policy,
    stack: ExitStack,
    *,
    vectors: Sequence[Path],
    decisions: Sequence[Path],
    items: Path | None,
) -> tuple[Source, Iterator[Chunk]]:
    """What the builds say, and where from; decisions as JSON lines are kept as Parquet first, for as long as `stack` lives."""
    if vectors:
        return "vectors", replay_vectors(vectors, trial)
    places = [place for place in decisions if not _is_lines(place)]
    lines = [place for place in decisions if _is_lines(place)]
    if lines:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moderation-")))
        facts = read_facts(items, policy.id, max_bytes=load_settings().images.max_bytes) if items else {}
        keep_decisions(lines, folder, facts, items=items)
        places.append(folder)
    source = source_of(places, trial)
    return source, replay_log(places, trial, source)


def _is_lines(place: Path) -> bool:
    return not place.is_dir() and place.suffix != ".parquet"


def _measure(settings: Settings) -> Callable[[Lock, str], float]:
    """ε on another numeric class than a lock's own, where the encoder of these settings runs so."""

    def measure(lock: Lock, numeric: str) -> float:
        if numeric != lock.encoder_numeric and lock.encoder in settings.encoders:
            with terminal.working("measuring how far this machine's scores lie from the lock's"):
                encoder = assemble.encoder(settings, lock.encoder)
            if (encoder.fingerprint.identity, encoder.fingerprint.numeric) == (lock.encoder_identity, numeric):
                return measure_epsilon(lock, encoder)
        return same_epsilon(lock, numeric)

    return measure


def _command(path: Path, *, vectors: Sequence[Path], decisions: Sequence[Path], **named: Path | None) -> str:
    words: list[object] = ["moderation", "policy", "backtest", path]
    for name, places in (("vectors", vectors), ("decisions", decisions)):
        words += [word for place in places for word in (f"--{name}", place)]
    words += [word for name, place in named.items() if place for word in (f"--{name}", place)]
    return shlex.join(map(str, words))


def _tell(found: Backtest) -> None:
    beside = "no build" if found.before is None else f"revision {found.before.revision}"
    terminal.say(
        f"policy {found.policy!r}: revision {found.after.revision} beside {beside}, {terminal.counted(found.compared.items, 'item')} from {SOURCES[found.source]}"
    )
    if found.same_build:
        terminal.say(SAME_BUILD)
    for reason, count in found.skipped.items():
        terminal.say(f"  {count:,} left out: {reason}")
    for reason, count in found.capped.items():
        terminal.say(f"  {count:,} get less since they are {reason}")
    for when, build in (("before", found.before), ("after", found.after)):
        if build:
            _tell_build(when, build)
    terminal.say(f"violating share {share_in_words(found)}")
    for reason, count in found.after.rates.unrated.items():
        terminal.say(f"  {count:,} {reason}")
    tell_changes(found.compared)
    if found.why:
        terminal.say(f"between the builds: a {found.bump} change: {'; '.join(found.why)}")
    _warn(found)


def _warn(found: Backtest) -> None:
    if found.warning:
        terminal.say(f"WARNING: {found.warning}")
    for name in found.over_budget:
        terminal.say(f"OVER BUDGET: {name}")
    for name in found.may_be_over_budget:
        terminal.say(f"WARNING: may be over budget: {name}")


def _tell_build(when: str, build: Build) -> None:
    terminal.say(f"{when}, revision {build.revision}{f' ({build.status})' if build.status else ''}:")
    rates = {one.action: one for one in build.rates.actions}
    for one in build.loads.loads:
        over = " EXCEEDED" if one.over else " may be exceeded" if one.may_be_over else ""
        budget = "" if one.budget is None else f", budget {one.budget:g}{over}"
        share = f"{one.taken.value or 0.0:.4f} of {one.taken.trials:,} ({one.taken.low:.4f} to {one.taken.high:.4f})"
        terminal.say(f"  {one.action} or more: {terminal.counted(one.taken.hits, 'item')}, {share}{budget}")
        day = f", {one.a_day[1]:,.0f} a day ({one.a_day[0]:,} to {one.a_day[2]:,})" if one.a_day else ""
        errors = f", {one.errors:,} of them not judged" if one.errors else ""
        terminal.say(f"    exactly this: {one.items:,}{errors}, {one.per_thousand:.1f} per 1,000{day}")
        if one.action in rates:
            terminal.say(f"    precision {rate_in_words(rates[one.action].precision)}")
            terminal.say(f"    recall {rate_in_words(rates[one.action].recall)}")
