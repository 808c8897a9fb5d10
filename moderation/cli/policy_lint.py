"""What `moderation policy lint` and `schema` do: every mistake of every file, and the shapes that editors check."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moderation import decision_schema
from moderation.cli import terminal
from moderation.cli.sarif import as_sarif
from moderation.encoder.card import CARD_FILE, EncoderCard
from moderation.encoder.locate import locate
from moderation.errors import DataError, EncoderError, ExitCode, LockError, PluginError, PolicyError, Problem
from moderation.policy import lint as static
from moderation.policy.lint import Finding
from moderation.policy.loader import load_policies, load_policy, policy_files
from moderation.policy.manifest import TargetRow, read_manifest, shared
from moderation.policy.paths import background_of
from moderation.policy.schema import Policy, json_schema
from moderation.release import suite_file
from moderation.release.splits import foreseen
from moderation.settings import ImageLimits, Settings, load_settings

if TYPE_CHECKING:
    from moderation.encoder.base import Encoder
    from moderation.plugin.brought import Plugins

ERROR, WARNING = "error", "warning"
KINDS = {"policy": json_schema, "tests": suite_file.json_schema, "decision": decision_schema.json_schema}


@dataclass(frozen=True, slots=True)
class Linted:
    """What was found in how many files; sorted by place."""

    files: int
    findings: tuple[Finding, ...]

    def count(self, severity: str) -> int:
        """How many findings are `error`, or `warning`."""
        return sum(finding.severity == severity for finding in self.findings)


def lint(
    paths: Sequence[Path],
    *,
    as_json: bool,
    measured: bool = False,
    people: Path | None = None,
    background: Path | None = None,
    sarif: Path | None = None,
) -> None:
    """Lint files and folders; leaves with exit code 3 when anything is an error. `measured` asks the encoder too."""
    settings = load_settings()
    linted = lint_all(paths, settings)
    if measured:
        from moderation.cli.policy_measured import measure_all

        found = measure_all(paths, settings, people=people, background=background)
        linted = Linted(linted.files, tuple(sorted({*linted.findings, *found})))
    if sarif:
        with terminal.replacing(sarif) as stream:
            terminal.emit(as_sarif(linted.findings), to=stream)
    errors, warnings = linted.count(ERROR), linted.count(WARNING)
    if as_json:
        findings = [asdict(one) | {"path": str(one.path)} for one in linted.findings]
        known = {"files": linted.files, "errors": errors, "warnings": warnings}
        terminal.emit({"schema": "lint/v1", **known, "findings": findings})
    else:
        for finding in linted.findings:
            terminal.say(str(finding))
        counts = ((linted.files, "file"), (errors, "error"), (warnings, "warning"))
        terminal.say(", ".join(terminal.counted(*one) for one in counts))
    if errors:
        raise typer.Exit(ExitCode.POLICY)


def lint_all(paths: Sequence[Path], settings: Settings) -> Linted:
    """Everything that loading, the static rules and the test files' own rules object to, in all files at once."""
    files = {file for path in paths for file in policy_files(path)}
    findings: set[Finding] = set()
    loaded: list[Policy] = []
    try:
        load_policies(paths, action_names=settings.actions)
    except PolicyError as error:
        findings.update(_finding(problem) for problem in error.problems)
    for file in files:
        try:
            policy = load_policy(file, action_names=settings.actions)
        except PolicyError:
            continue  # its problems are among those above; a base is no policy of its own
        loaded.append(policy)
        findings.update(check(policy, card=_card(policy, settings), weakest=settings.actions[0]))
        findings.update(_finding(problem) for path in policy.tests for problem in suite_file.check(path, policy=policy))
        findings.update(_data(policy, settings.images))
    findings.update(_detectors([one for one in loaded if one.detectors], settings))
    return Linted(sum(file.exists() for file in files), tuple(sorted(findings)))


def check(
    policy: Policy, *, card: EncoderCard | None, encoder: Encoder | None = None, weakest: str | None = None
) -> list[Finding]:
    """What the static rules object to, with what is known of the policy's encoder."""
    text = card.text if card else None
    return static.lint(
        policy,
        today=dt.datetime.now(tz=dt.UTC).date(),
        weakest=weakest,
        languages=text.languages if text else None,
        context_length=text.context_length if text else None,
        count_tokens=encoder.count_tokens if encoder else None,
    )


def check_named(policy: Policy, known: Plugins, *, here: bool = False) -> Iterator[Finding]:
    """Detectors that the policy names and that have no such label, or would never be asked.

    What is not to be had here, another machine may have: a warning; where it is needed `here`, a PluginError is raised.
    """
    from moderation.rollout.detectors import check_detectors

    for place, name in enumerate(policy.detectors):
        node = policy.locate("detectors", place)
        try:
            check_detectors(policy.id, [name], policy.scope.modalities, known)
        except LockError as error:
            yield _finding(node.problem("P114", str(error)))
        except PluginError as error:
            if here:
                raise
            yield _finding(node.problem("P114", f"not to be had on this machine: {error}"), WARNING)


def refuse(findings: Iterable[Finding]) -> None:
    """Raises PolicyError with all findings that are errors, if there are any."""
    wrong = [f for f in findings if f.severity == ERROR]
    if wrong:
        raise PolicyError(Problem(f.path, f.line, f.column, f.code, f.told) for f in wrong)


def schema(kind: str, out: Path | None) -> None:
    """Print or write the JSON Schema of one kind of file."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is no kind of file; expected {' or '.join(KINDS)}")
    text = json.dumps(KINDS[kind](), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        terminal.write(text)
        return
    with terminal.replacing(out) as stream:
        stream.write(text)
    terminal.say(f"wrote {out}")


def _card(policy: Policy, settings: Settings) -> EncoderCard | None:
    """The card of the policy's encoder where it lies ready on this machine; linting loads no model and no network."""
    wanted = settings.encoders.get(policy.encoder)
    if wanted is None or not (
        wanted.checkpoint.startswith(("bundled", "package:")) or Path(wanted.checkpoint).is_dir()
    ):
        return None
    try:
        return EncoderCard.model_validate_json((locate(wanted.checkpoint) / CARD_FILE).read_bytes())
    except (EncoderError, OSError, ValueError):
        return None  # whoever loads the encoder says what is wrong with it


def _detectors(policies: Sequence[Policy], settings: Settings) -> Iterator[Finding]:
    """What is wrong with the detectors that these policies name. Plugins run third parties' code: they are loaded only for a policy that names some."""
    if not policies:
        return
    from moderation import assemble

    with closing(assemble.plugins(settings)) as known:
        for policy in policies:
            yield from check_named(policy, known)


def _data(policy: Policy, limits: ImageLimits) -> Iterator[Finding]:
    """What is wrong with the manifests in themselves, with the files they name, and between them.

    A manifest that is not there yet is a warning: the words of a policy come first.
    """
    known: dict[str, tuple[TargetRow, ...]] = {}
    uses = [("exemplars", one) for one in ("violating", "contrast")]
    uses += [("data", one) for one in ("fit", "certify", "audit")]
    for section, use in uses:
        path: Path | None = getattr(getattr(policy, section), use)
        if path is None:
            continue
        if not os.path.lexists(path):  # which a name too long for the system is not either
            node, message = policy.locate(section, use), f"{path} is not there"
            fix = "write it before it is needed: one JSON line for each target"
            yield Finding(node.path, node.line, node.column, "D001", WARNING, message, fix)
            continue
        known[use], problems = read_manifest(path)
        yield from map(_finding, problems)
    if (background := background_of(policy.path, policy.id)).exists():
        known["background"], problems = read_manifest(background)
        yield from map(_finding, problems)
    yield from map(_finding, shared(list(known.values())))
    files = [row for rows in known.values() for row in rows if row.files]
    yield from map(_finding, _files(files, f"{policy.id}: reading files"))
    refused, counted_once = foreseen(known, limits=limits, progress=terminal.progress)
    yield from map(_finding, refused)
    yield from (_finding(one, WARNING) for one in counted_once)


def _files(rows: Sequence[TargetRow], what: str) -> Iterator[Problem]:
    """Files that are not there, or not what their row's digest says, with a bar."""
    with terminal.progress(what, len(rows)) as advance:
        for row in rows:
            try:
                row.item()
            except DataError as error:
                yield from error.problems
            advance(1)


def _finding(problem: Problem, severity: str = ERROR) -> Finding:
    return Finding(problem.path, problem.line, problem.column, problem.code, severity, problem.message, "")
