"""What the demo does, step by step: the shipped content, the very functions the other commands use, and a stream in memory."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moderation import assemble
from moderation.audit.result import Audit
from moderation.audit.sample import judge_rows
from moderation.cli import policy_audit, policy_build, policy_lint, policy_release, policy_test, terminal
from moderation.cli.locks import AUDIT_SUFFIX, beside
from moderation.embedding.embedder import Embedder
from moderation.encoder.card import EncoderCard
from moderation.errors import DataError, PolicyError, Problem
from moderation.item import ContentItem, Part
from moderation.pipeline import Pipeline
from moderation.plugin.brought import Plugins
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock, lock_path, write_lock
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.paths import background_of
from moderation.policy.schema import Policy
from moderation.release.achieved import Achieved, Known, achieved
from moderation.release.certification import certify_lock, merged_pairs, refuse_audited, score_targets
from moderation.release.coverage import measure_coverage
from moderation.release.gates import Missing
from moderation.release.policy_tests import TestReport, count_items, prepare, run_tests
from moderation.release.record import Record
from moderation.release.report import Judged, Run
from moderation.release.splits import joined
from moderation.release.suite_file import load_suites
from moderation.settings import Settings, load_settings

POLICIES = ("weapons", "fire", "alcohol")  # the first can promise most, the last nothing yet
BATCH = 32
SEED = 0
REPEATED = 128  # items of the stream whose picture came before
_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_policies() -> Path:
    """The folder of the policies we ship: inside an installed package, or beside it in a checkout.

    Raises DataError where neither is there.
    """
    places = (_PACKAGE / "bundled" / "policies", _PACKAGE.parent / "policies")
    for place in places:
        if (place / "data").is_dir():
            return place
    message = "the shipped policies are not part of this installation"
    raise DataError([Problem(places[0], 0, 0, "D000", message)])


@dataclass(slots=True)
class Workshop:
    """The demo's tools and content; everything it writes goes to `out`."""

    content: Path
    out: Path
    settings: Settings
    plugins: Plugins
    embedder: Embedder
    scan_seconds: float = 0.0
    _embedders: dict[str, Embedder] = field(init=False)

    def __post_init__(self) -> None:
        self._embedders = {"default": self.embedder}

    @classmethod
    def open(cls, out: Path) -> Workshop:
        """The shipped content and the encoder of this process's settings."""
        settings = load_settings()
        plugins = assemble.plugins(settings)
        return cls(shipped_policies(), out, settings, plugins, assemble.embedder(settings, known=plugins))

    @property
    def policies(self) -> list[Path]:
        """The policy files, in the order they are told."""
        return [self.content / f"{name}.yaml" for name in POLICIES]

    @property
    def card(self) -> EncoderCard:
        """The encoder's card."""
        return self.embedder.encoder.card

    @property
    def fingerprint(self) -> str:
        """Which encoder decides."""
        return str(self.embedder.encoder.fingerprint)

    def encoder_in_words(self) -> str:
        """The encoder, for people."""
        size = f", pictures of {self.card.image.size} px" if self.card.image else ""
        return f"{self.card.name}, {self.card.width} numbers a picture{size}, {self.fingerprint}"

    def lock_file(self, policy: Policy) -> Path:
        """Where a policy's lock goes."""
        return lock_path(self.out / "locks", policy.id)

    def lint(self) -> str:
        """Lint the three policies and their tests as `moderation policy lint` does. Raises PolicyError on errors."""
        linted = policy_lint.lint_all(self.policies, self.settings)
        policy_lint.refuse(linted.findings)
        warnings = len(linted.findings)
        return f"{terminal.counted(linted.files, 'policy file')}, no errors, {terminal.counted(warnings, 'warning')}"

    def compile(self, path: Path) -> tuple[Policy, Lock]:
        """A policy's phrases, and its fit targets where it has some, into a lock without thresholds."""
        policy = load_policy(path, action_names=self.settings.actions)
        background = load_manifest(background_of(policy.path, policy.id))
        return policy, policy_build.build(policy, self.embedder, background, limits=self.settings.images)

    def compiled_in_words(self, policy: Policy, lock: Lock) -> str:
        """What a policy was compiled from and into, for people."""
        phrases = sum(len(one.phrases) for one in (*policy.concepts.violating, *policy.concepts.contrast))
        fit = load_manifest(policy.data.fit) if policy.data.fit else ()
        objects = len({row.cluster for row in fit if row.target})
        targets = f"{len(fit)} fit pictures ({objects} violating objects)" if fit else "no targets"
        return f"{phrases} phrases and {targets} into a classifier of level {lock.level}"

    def certify(self, policy: Policy, lock: Lock) -> Run:
        """Thresholds where a guarantee can be shown, written to the lock file, and the policy's tests where it got one."""
        if policy.data.certify is None:
            raise PolicyError([Problem(policy.path, 0, 0, "P102", "data.certify: is missing")])
        rows = load_manifest(policy.data.certify)
        lock = policy_build.remembering(lock, self.lock_file(policy))
        pipeline = self._pipeline([lock])
        certified = certify_lock(
            lock,
            policy,
            rows,
            pipeline,
            background=load_manifest(background_of(policy.path, policy.id)),
            limits=self.settings.images,
            progress=terminal.progress,
        )
        write_lock(certified, self.lock_file(policy))
        counted, _ = joined(rows, merged_pairs(certified, rows))
        scored = score_targets(policy, counted, pipeline)  # from the cache: the report plots them
        return Run(policy, certified, rows, scored, self._test(policy, certified))

    def audit(self, run: Run) -> Audit | None:
        """The groups compared that the policy declares, written beside its lock and as a page; None where it declares none."""
        policy, file = run.policy, self.lock_file(run.policy)
        if run.tests is None or policy.audit is None or policy.data.audit is None:
            return None
        rows, apart = load_manifest(policy.data.audit), self._apart()
        refuse_audited(
            run.lock,
            policy,
            rows,
            background=load_manifest(background_of(policy.path, policy.id)),
            limits=self.settings.images,
            progress=terminal.progress,
        )
        with terminal.progress(f"{policy.id}: judging the audited", len(rows)) as advance:
            pipeline = self._pipeline([run.lock], apart)
            judged = judge_rows(policy.id, rows, pipeline, actions=self.settings.actions, advance=advance)
        asked = replace(policy_audit.ask(policy, file, order=self.settings.actions), by=policy.owner)
        found = policy_audit.compare(policy, run.lock, judged, apart[run.lock.encoder], asked)
        policy_audit.write_audit(
            found, beside(file, AUDIT_SUFFIX), html=self.audit_page(policy), markdown=None, lock=run.lock
        )
        return found

    def audit_page(self, policy: Policy) -> Path:
        """Where the page of a policy's audit goes."""
        return self.out / f"audit-{policy.id}.html"

    def release(self, run: Run) -> Record | list[Missing]:
        """The build made live, or what stands in the way."""
        file = self.lock_file(run.policy)
        return policy_release.put(
            run.policy, run.lock, file, self.settings, to="live", by=run.policy.owner, reason="the demo"
        )

    def scan(self, runs: Sequence[Run]) -> list[Judged]:
        """Every item of the stream decided under all policies, batch by batch as it comes."""
        items = list(stream_items(self.content, [run.policy for run in runs]))
        pipeline, judged = self._pipeline([self.lock_file(run.policy) for run in runs]), list[Judged]()
        started = time.perf_counter()
        with terminal.progress("deciding", len(items)) as advance:
            for start in range(0, len(items), BATCH):
                batch = items[start : start + BATCH]
                decisions = pipeline.decide([ContentItem(known.item_id, (part,)) for known, part in batch])
                judged += [
                    Judged(known, part.content, decision)
                    for (known, part), decision in zip(batch, decisions, strict=True)
                ]
                advance(len(batch))
        self.scan_seconds = time.perf_counter() - started
        return judged

    def check(self, run: Run, stream: Sequence[Judged]) -> tuple[Achieved, ...]:
        """What the certified thresholds achieved on the stream's known targets."""
        known, decisions = [one.known for one in stream], [one.decision for one in stream]
        return achieved(run.policy.id, run.lock.actions, known, decisions)

    def _pipeline(self, locks: Sequence[Lock | Path], embedders: dict[str, Embedder] | None = None) -> Pipeline:
        return assemble.pipeline(self.settings, locks, embedders=embedders or self._embedders, known=self.plugins)

    def _apart(self) -> dict[str, Embedder]:
        """The same encoders with caches of their own: what is tested leaves the stream as if it came for the first time."""
        return {name: assemble.remembering(one.encoder, self.settings) for name, one in self._embedders.items()}

    def _test(self, policy: Policy, lock: Lock) -> TestReport | None:
        if all(action.threshold is None for action in lock.actions):
            return None
        suites = load_suites(policy.tests, policy=policy)
        prepared = prepare(suites, policy.scope.modalities, self.settings.actions, lock=lock)
        with terminal.progress(f"{policy.id}: testing", count_items(prepared)) as advance:
            report = run_tests(policy.id, prepared, self._pipeline([lock], self._apart()), advance=advance)
        coverage = measure_coverage(policy, report, audited=policy_test.audited(policy))
        inputs = policy_test.inputs_of(policy, suites)
        policy_test.write_report(report, coverage, self.lock_file(policy), inputs=inputs)
        return report


def stream_items(content: Path, policies: Sequence[Policy]) -> Iterator[tuple[Known, Part]]:
    """The stream's items in the order they come, with what is known of each: every picture once, some of them again.

    The order is a pure function of the content. Of each object, the first picture to come counts in intervals.
    """
    rows: dict[str, TargetRow] = {}
    targets: dict[str, dict[str, bool]] = {}
    for policy in policies:
        for row in load_manifest(content / "data" / f"{policy.id}.stream.jsonl"):
            rows.setdefault(row.sha256, row)
            targets.setdefault(row.sha256, {})[policy.id] = row.target
    chance = random.Random(SEED)
    digests = sorted(rows)
    order = [*digests, *chance.choices(digests, k=REPEATED)]
    chance.shuffle(order)
    clusters: set[str] = set()
    for number, digest in enumerate(order, start=1):
        row = rows[digest]
        known = Known(f"item-{number:04d}", row.cluster, targets[digest], row.cluster not in clusters)
        clusters.add(row.cluster)
        # The file's name would tell what it shows; an item has none.
        yield known, replace(row.read(), name="")


def write_decisions(stream: Sequence[Judged], out: Path) -> Path:
    """Write decisions.jsonl, one decision a line, and beside it targets.jsonl, what is known of each item."""
    path = out / "decisions.jsonl"
    with terminal.replacing(path) as file:
        for one in stream:
            file.write(terminal.json_line(one.decision.to_dict()))
    with terminal.replacing(out / "targets.jsonl") as file:
        for one in stream:
            file.write(terminal.json_line(_plain(one.known)))
    return path


def _plain(known: Known) -> Mapping[str, object]:
    return {"item_id": known.item_id, "shows": known.cluster, "targets": dict(known.targets), "counts": known.counts}
