"""Policy files into policies: read, resolve what they extend, validate, check; every problem of a run at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moderation.errors import PolicyError, Problem
from moderation.policy.checks import check_references
from moderation.policy.explain import explain
from moderation.policy.extends import resolve
from moderation.policy.paths import POLICY_PATHS, join_paths
from moderation.policy.schema import BASE_SCHEMA, LOCK_SCHEMA, POLICY_SCHEMA, TESTS_SCHEMA, Policy
from moderation.policy.yaml_source import Node, plain, read_yaml

SUFFIXES = (".yaml", ".yml")
_NO_POLICY = {
    TESTS_SCHEMA: "a test file is no policy; lint reads it with the policy whose `tests` name it",
    LOCK_SCHEMA: "a lock is no policy; name the one that it was made from",
}


def load_policy(path: Path, *, action_names: Sequence[str]) -> Policy:
    """The policy of one file, with what it extends; `action_names` are the settings' actions, weakest first.

    Raises PolicyError with every problem of the file and of the files it extends.
    """
    policy, problems = _load(Path(path), action_names)
    if policy is None or problems:
        raise PolicyError(problems)
    return policy


def load_policies(paths: Iterable[Path], *, action_names: Sequence[str]) -> tuple[Policy, ...]:
    """The policies of files and of the YAML files directly in folders, in order of path; bases are checked only.

    Raises PolicyError with every problem of every file, equal ids and folders without a policy among them.
    """
    policies: list[Policy] = []
    problems: set[Problem] = set()
    for given in paths:
        files = policy_files(Path(given))
        if not files:
            problems.add(Problem(Path(given), 0, 0, "Y001", "the folder holds no .yaml file"))
        for file in files:
            policy, found = _load(file, action_names, bases=Path(given).is_dir())
            problems.update(found)
            policies += [policy] if policy else []
    problems.update(_same_ids(policies))
    if problems:
        raise PolicyError(problems)
    return tuple(policies)


def policy_files(path: Path) -> list[Path]:
    """The file itself, or the YAML files directly in a folder, sorted by name."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _load(path: Path, action_names: Sequence[str], *, bases: bool = False) -> tuple[Policy | None, list[Problem]]:
    """A policy where nothing is wrong, and the problems; with `bases`, a base is checked and gives no policy."""
    written, problems = read_yaml(path)
    if written is None:
        return None, problems
    if not isinstance(written.value, dict):
        return None, [*problems, written.problem("P103", "found no mapping at the top; expected a policy")]
    if message := _NO_POLICY.get(str(_schema_of(written))):
        return None, [written.locate("schema").problem("P103", message)]
    is_base = _schema_of(written) == BASE_SCHEMA
    if is_base and not bases:
        message = f"schema: {BASE_SCHEMA} is only for policies to extend; a policy of its own says schema: policy/v1"
        problems.append(written.locate("schema").problem("P103", message))
    merged, parent, unresolved = resolve(written)
    merged, misplaced = join_paths(merged, POLICY_PATHS)
    problems += [*unresolved, *misplaced]
    orphan = "extends" in written.entries() and parent is None
    policy, wrong = _validate(merged, base=is_base, incomplete=is_base or orphan)
    # What reading has refused already is not refused again for its kind.
    places = {(one.path, one.line, one.column) for one in problems}
    problems += [one for one in wrong if one.code != "P103" or (one.path, one.line, one.column) not in places]
    if not orphan:  # references into a parent that cannot be read would all lead nowhere
        problems += _here(check_references(merged, action_names), written, parent, action_names)
    return (None if problems or is_base else policy), problems


def _validate(node: Node, *, base: bool, incomplete: bool) -> tuple[Policy | None, list[Problem]]:
    values = plain(node)
    if base:
        values["schema"] = POLICY_SCHEMA
    try:
        return Policy.model_validate(values).at(node), []
    except ValidationError as error:
        problems = explain(error, node, Policy)
        return None, [one for one in problems if not (incomplete and one.code == "P102")]


def _here(
    problems: Iterable[Problem], written: Node, parent: Node | None, action_names: Sequence[str]
) -> Iterable[Problem]:
    """A reference that the child broke in a line of its parent is the child's problem, at its `extends`."""
    before = set(check_references(parent, action_names)) if parent else set()
    for problem in problems:
        if problem.path == written.path or problem in before:
            yield problem
        else:
            inherited = f"{problem.message} (inherited from {problem.path.name}:{problem.line})"
            yield written.locate("extends").problem(problem.code, inherited)


def _schema_of(node: Node) -> Any:
    below = node.child("schema")
    return below.value if below else None


def _same_ids(policies: Sequence[Policy]) -> Iterable[Problem]:
    first: dict[str, Policy] = {}
    for policy in policies:
        before = first.setdefault(policy.id, policy)
        if before is not policy and before.path != policy.path:
            yield policy.locate("id").problem("P104", f"id {policy.id!r} is also that of {before.path}")
