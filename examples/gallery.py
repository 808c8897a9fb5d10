"""Builds every shipped policy: its lock beside it, and the table of what they do in policies/README.md. Needs the extra text.

    python examples/gallery.py             # all of them, some minutes
    python examples/gallery.py gore hate   # only these: the rows of the others stay as they are

Each is put through the very commands that a reader has: compile, certify, test and audit, in build/gallery. Run it after any change of a
policy, its data, the compiler or an encoder; `git diff` then shows what the change did. A certify set that is asked anew, about another
classifier or another promise, is counted in the lock.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.cli.main import run
from moderation.errors import ExitCode
from moderation.policy.loader import load_policy, policy_files
from moderation.policy.lock import Lock, LockedAction, lock_path, read_lock
from moderation.policy.schema import Policy
from moderation.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
POLICIES, BUILD = ROOT / "policies", ROOT / "build" / "gallery"
FOUND = {ExitCode.OK, ExitCode.NOT_CERTIFIED, ExitCode.TESTS_FAILED, ExitCode.AUDIT_FAILED}  # a step that was done
BEGIN, END = "<!-- written by examples/gallery.py -->", "<!-- so far -->"
HEAD = (
    "| policy | judges | level, average precision on fit targets | promises | tests | audit |",
    "|---|---|---|---|---|---|",
)
Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """One policy with its lock, and the reports on its tests and its audit; None where nothing is certified, or nothing declared."""

    policy: Policy
    lock: Lock
    tests: Plain | None
    audit: Plain | None

    @property
    def row(self) -> str:
        """The policy's line in the table."""
        return f"| {' | '.join([f'[{self.policy.id}]({self.policy.path.name})', *self.cells])} |"

    @property
    def cells(self) -> tuple[str, ...]:
        """What the policy judges, its level, its promises, its tests and its audit, in short."""
        promises = "; ".join(_promise(action, self.policy) for action in self.lock.actions)
        return _judged(self.policy), _level(self.lock), promises, self._tested(), self._audited()

    def _tested(self) -> str:
        if self.tests is None:
            return "no threshold to test"
        words = {"passed": "passed", "failed": "**failed**", "todo": "known gaps", "promote": "gaps closed"}
        counts = self.tests["counts"]
        return ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status])

    def _audited(self) -> str:
        """The verdict on each harm in each attribute."""
        if self.audit is None:
            return "none declared" if self.policy.audit is None else "no threshold to audit"
        verdicts: dict[str, list[str]] = {}
        for harm in self.audit["harms"]:
            word = "**fail**" if harm["verdict"] == "fail" else harm["verdict"]
            verdicts.setdefault(_spaced(harm["name"]), []).append(f"{word} by {_spaced(harm['attribute'])}")
        return "; ".join(f"{name}: {', '.join(found)}" for name, found in verdicts.items())


def build(policy: Policy, folder: Path, *, steps: Sequence[str] = ("compile", "certify", "test", "audit")) -> Built:
    """A policy put through the commands, its lock and reports in `folder`; it is tested and audited where it has a threshold.

    A lock that lies there already says how often its targets were asked. Raises SystemExit where a step cannot be done.
    """
    for step in steps:
        if step == "audit" and policy.audit is None:
            continue
        if step in {"test", "audit"} and not acts(read_lock(lock_path(folder, policy.id))):
            continue
        if (code := run(["policy", step, str(policy.path), "--out", str(folder)])) not in FOUND:
            raise SystemExit(code)
    reports = (folder / f"{policy.id}.{kind}.json" for kind in ("tests", "audit"))
    tests, audit = (json.loads(one.read_text(encoding="utf-8")) if one.exists() else None for one in reports)
    return Built(policy, read_lock(lock_path(folder, policy.id)), tests, audit)


def acts(lock: Lock) -> bool:
    """Whether anything is certified."""
    return any(action.threshold is not None for action in lock.actions)


def copy_lock(policy: str, source: Path, target: Path) -> None:
    """Both files of a policy's lock into another folder; nothing where there is none."""
    for one in source.glob(f"{policy}.lock.*"):
        shutil.copy(one, target)


def _judged(policy: Policy) -> str:
    kind = " and ".join({"image": "pictures", "text": "texts"}[one] for one in policy.scope.modalities)
    return f"{kind}: {', '.join(map(_spaced, policy.scope.surfaces))}"


def _level(lock: Lock) -> str:
    """The level, and how well it ranks the fit targets beside the two controls that have no meaning; or why nobody knows."""
    controls = lock.evidence["controls"]
    if "beaten" not in controls:  # measured on the policy's own phrases, for want of fit targets
        return f"{lock.level}: {lock.evidence['level']['reason']}"
    found = controls["average_precision"]
    return f"{lock.level}, {found['policy']:.3f} (name alone {found['name_only']:.3f}, random words {found['random_words']:.3f})"


def _promise(action: LockedAction, policy: Policy) -> str:
    """A promise and what became of it."""
    told = f"{action.action}: {action.metric} at least {action.at_least:g}"
    if action.metric == "precision":
        told += f" at a prevalence of {policy.prevalence.low:.1%}"
    budget = next(one.budget for one in policy.actions if one.action == action.action)
    told += "" if budget is None else f" within {budget:.0%} of traffic"
    if (shown := action.certificate) is None:
        return f"{told}: **not certified**, {_lacking(action.shortfall or {})}"
    counts = f"{shown['flagged_violating']} of {shown['violating']} violating, {shown['flagged_benign']} of {shown['benign']} benign"
    return f"{told}: certified ({counts})"


def _lacking(shortfall: Plain) -> str:
    needed = [
        f"{shortfall[f'more_{side}']} more {side}" for side in ("violating", "benign") if shortfall[f"more_{side}"]
    ]
    remedy = f"{' and '.join(needed)} targets would about do" if needed else "no number of targets will do"
    return f"{shortfall['best_bound']:.3f} can be shown; {remedy}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def table(page: str) -> dict[str, str]:
    """The rows that stand between the page's markers, by policy. Raises ValueError for a page without the markers."""
    rows = _between(page)[1].splitlines()[len(HEAD) :]
    return {row.partition("[")[2].partition("]")[0]: row for row in rows}


def with_table(page: str, rows: Mapping[str, str]) -> str:
    """The page with these rows between its markers, by policy in the order of their names."""
    before, _, after = _between(page)
    return "\n".join([f"{before}{BEGIN}", *HEAD, *(rows[name] for name in sorted(rows)), f"{END}{after}"])


def _between(page: str) -> tuple[str, str, str]:
    before, begin, rest = page.partition(f"{BEGIN}\n")
    rows, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN} and {END}")
    return before, rows, after


def main() -> None:
    """Build what is named, or everything; the locks go beside their policies, the rows into the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="*", help="only these, by their ids")
    wanted, page = parser.parse_args().policies, POLICIES / "README.md"
    policies = [load_policy(path, action_names=Settings().actions) for path in policy_files(POLICIES)]
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for policy in policies:
        if policy.id in (wanted or [policy.id]):
            copy_lock(policy.id, POLICIES, BUILD)
            built = build(policy, BUILD)
            copy_lock(policy.id, BUILD, POLICIES)
            rows = table(page.read_text(encoding="utf-8")) | {policy.id: built.row}
            known = {name: row for name, row in rows.items() if (POLICIES / f"{name}.yaml").exists()}
            page.write_text(with_table(page.read_text(encoding="utf-8"), known), encoding="utf-8")


if __name__ == "__main__":
    main()
