"""What `moderation policy audit` does: the audit manifest through the pipeline, and what it says of groups."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from moderation import assemble
from moderation.audit.assess import Request, assess
from moderation.audit.design import Design
from moderation.audit.page import render_html, render_markdown
from moderation.audit.result import SCHEMA, Audit
from moderation.audit.sample import Judged, judge_rows, make_sample
from moderation.cli import terminal
from moderation.cli.locks import beside, current_lock, lock_file
from moderation.compiler.phrases import ensemble, templates
from moderation.detector.head import Head
from moderation.embedding.embedder import Embedder
from moderation.errors import DataError, ExitCode, PolicyError, Problem
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Audit as Block
from moderation.policy.schema import Policy
from moderation.release.certification import refuse_used
from moderation.settings import load_settings

AUDIT_SUFFIX = ".audit.json"
_MARKS = {"pass": "pass", "fail": "FAIL", "insufficient evidence": "open", "not assessed": "none"}


def audit(
    path: Path,
    *,
    out: Path | None,
    html: Path | None,
    markdown: Path | None,
    against: Path | None,
    propose: Sequence[str],
    as_json: bool,
) -> None:
    """Audit one policy; leaves with exit code 10 when a harm fails, or a required one does not pass."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    manifest = _declared(policy)
    rows = load_manifest(manifest)
    lock, file = current_lock(policy, out), lock_file(policy, out)
    refuse_used(lock, rows, what="audit")
    earlier = _earlier(against) if against else None
    embedders: dict[str, Embedder] = {}
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, [file], embedders=embedders)
    with terminal.progress("judging", len(rows)) as advance:
        judged = judge_rows(policy.id, rows, pipeline, actions=settings.actions, advance=advance)
    with terminal.working("comparing groups"):
        proposed = _proposed(policy, embedders[lock.encoder], propose)
        found = compare(
            policy, lock, judged, embedders[lock.encoder], order=settings.actions, proposed=proposed, earlier=earlier
        )
    written = beside(file, AUDIT_SUFFIX)
    write_audit(found, written, html=html, markdown=markdown, lock=lock)
    if as_json:
        terminal.emit(found.to_dict())
    else:
        _tell(found, written)
    if found.refuses:
        raise typer.Exit(ExitCode.AUDIT_FAILED)


def compare(
    policy: Policy,
    lock: Lock,
    judged: Sequence[Judged],
    embedder: Embedder,
    *,
    order: Sequence[str],
    proposed: Mapping[str, NDArray[np.float32]] | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Audit:
    """The audit that the policy declares, of items that its pipeline judged; `embedder` still holds their vectors."""
    block = _block(policy)
    sample = make_sample(judged, [one.name for one in block.attributes], clusters=block.clusters)
    request = Request(
        order=order,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        command=shlex.join(["moderation", "policy", "audit", policy.path.name]),
        design=_design(judged, sample.ids, lock, embedder),
        proposed=proposed or {},
        earlier=earlier,
    )
    return assess(policy, block, lock, sample, request)


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


def _earlier(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError([Problem(path, 0, 0, "D001", f"no audit: {error}")]) from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise DataError([Problem(path, 0, 0, "D003", f"expected an audit written as {SCHEMA}")])
    return found


def _design(judged: Sequence[Judged], ids: Sequence[str], lock: Lock, embedder: Embedder) -> Design | None:
    """The vectors behind the sample, from the cache; none where other detectors, or several parts, have a say in the score."""
    if lock.detectors or any(one.row.parts for one in judged):
        return None
    rows = {one.row.sha256: one.row for one in judged}
    vectors = (
        embedder.embed([rows[one].read() for one in ids]).vectors if ids else np.zeros((0, lock.width), np.float16)
    )
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
    excluded = sum(found.excluded.values())
    left_out = f", {excluded:,} more could not be judged" if excluded else ""
    terminal.say(f"  {found.items:,} items, {found.violating:,} violating, in {found.clusters:,} clusters{left_out}")
    for one in found.harms:
        terminal.say(
            f"  {_MARKS[one.verdict.value]:<5}{one.name} by {one.attribute}: {one.verdict.value}: {one.reason}"
        )
    for pairs in found.counterfactuals:
        if pairs.pairs:
            terminal.say(
                f"  {pairs.attribute}: {pairs.flips:,} of {pairs.pairs:,} pairs that differ in nothing else are treated differently"
            )
    terminal.say(f"  not assessed: {len(found.not_assessed)} points, listed in the report (--html, --markdown)")
