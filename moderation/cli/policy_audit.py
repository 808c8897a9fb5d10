"""What `moderation policy audit` does: the audit manifest through the pipeline, and what it says of groups."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from moderation import assemble
from moderation.audit.assess import Request, assess
from moderation.audit.design import Design
from moderation.audit.earlier import Past, recall
from moderation.audit.page import render_html, render_markdown
from moderation.audit.result import Audit
from moderation.audit.sample import BATCH, Judged, judge_rows, make_sample, refuse_reviews
from moderation.cli import terminal
from moderation.cli.locks import AUDIT_SUFFIX, TESTS_SUFFIX, beside, current_lock, lock_file
from moderation.cli.policy_build import background_rows
from moderation.cli.policy_release import next_step
from moderation.compiler.phrases import ensemble, templates
from moderation.detector.head import Head
from moderation.embedding.embedder import Embedder
from moderation.errors import DataError, ExitCode, PolicyError, Problem
from moderation.policy.audit_block import Audit as Block
from moderation.policy.inputs import digest_inputs
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.release.certification import refuse_audited
from moderation.settings import load_settings

_MARKS = {"pass": "pass", "fail": "FAIL", "insufficient evidence": "open", "not assessed": "none"}


def audit(
    path: Path,
    *,
    out: Path | None,
    html: Path | None,
    markdown: Path | None,
    against: Path | None,
    propose: Sequence[str],
    by: str,
    as_json: bool,
) -> None:
    """Audit one policy; leaves with exit code 10 when a harm fails, or a required one does not pass."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    manifest = _declared(policy)
    rows = load_manifest(manifest)
    refuse_reviews(rows, _block(policy).review)
    lock, file = current_lock(policy, out), lock_file(policy, out)
    ordinary = background_rows(policy, None)
    refuse_audited(lock, policy, rows, background=ordinary, limits=settings.images, progress=terminal.progress)
    earlier = _earlier(against, policy) if against else None
    embedders: dict[str, Embedder] = {}
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, [file], embedders=embedders)
    with terminal.progress("judging", len(rows)) as advance:
        judged = judge_rows(policy.id, rows, pipeline, actions=settings.actions, advance=advance)
    embedder = embedders[lock.encoder]
    asked = ask(policy, file, order=settings.actions)
    asked = replace(asked, by=by, command=_command(path, against, propose), earlier=earlier)
    with terminal.working("comparing groups"):
        found = compare(policy, lock, judged, embedder, replace(asked, proposed=_proposed(policy, embedder, propose)))
    written = beside(file, AUDIT_SUFFIX)
    write_audit(found, written, html=html, markdown=markdown, lock=lock)
    if as_json:
        terminal.emit(found.to_dict())
    else:
        _tell(found, written)
    if found.refuses:
        raise typer.Exit(ExitCode.AUDIT_FAILED)
    if not as_json:
        terminal.say(f"next: {next_step(policy, lock, path, out, to='shadow')}")


def ask(policy: Policy, lock: Path, *, order: Sequence[str]) -> Request:
    """What an audit is asked of the build whose lock is at this path, with what lies beside it: its tests, the audit that this replaces."""
    return Request(
        order=order,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        command=_command(policy.path, None, ()),
        tests=_tests(beside(lock, TESTS_SUFFIX)),
        before=_before(beside(lock, AUDIT_SUFFIX)),
        inputs=digest_inputs([policy.data.audit] if policy.data.audit else [], policy.path.parent),
    )


def compare(policy: Policy, lock: Lock, judged: Sequence[Judged], embedder: Embedder, asked: Request) -> Audit:
    """The audit that the policy declares, of items that its pipeline judged; `embedder` still holds their vectors."""
    block = _block(policy)
    sample = make_sample(judged, [one.name for one in block.attributes], clusters=block.clusters, review=block.review)
    return assess(policy, block, lock, sample, replace(asked, design=_design(judged, sample.ids, lock, embedder)))


def _block(policy: Policy) -> Block:
    if policy.audit is None:
        message = "audit: is missing: the attributes, harms and tolerances, fixed before the data is opened"
        raise PolicyError([policy.locate("audit").problem("P102", message)])
    return policy.audit


def _declared(policy: Policy) -> Path:
    _block(policy)
    if policy.data.audit is None:
        message = "data.audit: is missing: the manifest of items, with their attributes, that groups are compared on"
        raise PolicyError([policy.locate("data").problem("P102", message)])
    return policy.data.audit


def _command(path: Path, against: Path | None, propose: Sequence[str]) -> str:
    """What repeats the audit in the policy's folder; where files are to be written does not change it."""
    options = [
        *(["--against", against.name] if against else []),
        *(word for one in propose for word in ("--propose", one)),
    ]
    return shlex.join(["moderation", "policy", "audit", path.name, *options])


def _earlier(path: Path, policy: Policy) -> Past:
    """The audit at a path. Raises DataError where it is none, or another policy's."""
    try:
        found = recall(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError([Problem(path, 0, 0, "D001", f"no audit: {error}")]) from None
    if found.policy != policy.id:
        message = f"an audit of policy {found.policy!r}; expected one of {policy.id!r}"
        raise DataError([Problem(path, 0, 0, "D003", message)])
    return found


def _before(path: Path) -> Past | None:
    """The audit whose place the new one takes: it knows under which harms these items were audited before."""
    try:
        return recall(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        terminal.note(f"{path} is no audit and is replaced; under which harms its items were audited is not known")
        return None


def _tests(path: Path) -> Mapping[str, Any] | None:
    """The report of the policy's tests; none where it is not there or cannot be read: then they were not assessed."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _design(judged: Sequence[Judged], ids: Sequence[str], lock: Lock, embedder: Embedder) -> Design | None:
    """The vectors behind the sample, from the cache; none where other detectors, or several parts, have a say in the score."""
    if lock.detectors or any(one.row.parts for one in judged):
        return None
    rows = {one.row.sha256: one.row for one in judged}
    vectors = np.zeros((len(ids), lock.width), np.float16)
    with terminal.progress("looking at vectors", len(ids)) as advance:
        for start in range(0, len(ids), BATCH):  # never all content at once: an audit may be larger than memory
            batch = ids[start : start + BATCH]
            vectors[start : start + BATCH] = embedder.embed([rows[one].read() for one in batch]).vectors
            advance(len(batch))
    cuts = {one.action: one.threshold for one in lock.actions if one.threshold is not None}
    return Design(Head.from_arrays(lock.level, lock.arrays), vectors, cuts)


def _proposed(policy: Policy, embedder: Embedder, phrases: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    if not phrases:
        return {}
    vectors = ensemble(policy, embedder, templates(policy.scope.modalities), list(phrases))
    return dict(zip(phrases, vectors, strict=True))


def write_audit(found: Audit, path: Path, *, html: Path | None, markdown: Path | None, lock: Lock) -> None:
    """The audit as JSON, and as pages for people where they are wanted."""
    cuts = {one.action: one.threshold for one in lock.actions if one.threshold is not None}
    pages = [(path, json.dumps(found.to_dict(), indent=1) + "\n")]
    pages += [(html, render_html(found, cuts=cuts))] if html else []
    pages += [(markdown, render_markdown(found))] if markdown else []
    for target, text in pages:
        with terminal.replacing(target) as stream:
            stream.write(text)


def _tell(found: Audit, written: Path) -> None:
    terminal.say(
        f"audited {found.policy} {found.version}, revision {found.revision}: {found.verdict.value} ({written})"
    )
    for one in found.harms:
        if one.plain:
            terminal.say(f"  {one.name} by {one.attribute}: {one.plain}")
    excluded = sum(found.excluded.values())
    left_out = f", {excluded:,} more could not be judged" if excluded else ""
    terminal.say(
        f"  {terminal.counted(found.items, 'item')}, {found.violating:,} violating, in {terminal.counted(found.clusters, 'cluster')}{left_out}"
    )
    for one in found.harms:
        terminal.say(
            f"  {_MARKS[one.verdict.value]:<5}{one.name} by {one.attribute}: {one.verdict.value}: {one.reason}"
        )
    for pairs in found.counterfactuals:
        if pairs.pairs:
            what = (
                "pair that differs in nothing else is" if pairs.pairs == 1 else "pairs that differ in nothing else are"
            )
            terminal.say(f"  {pairs.attribute}: {pairs.flips:,} of {pairs.pairs:,} {what} treated differently")
    terminal.say(
        f"  not assessed: {terminal.counted(len(found.not_assessed), 'point')}, listed in the report (--html, --markdown)"
    )
