"""What one field of a policy says about another: ids are unique, references lead somewhere, actions have names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moderation.errors import Problem
from moderation.meant import did_you_mean
from moderation.policy.yaml_source import Node

# List sections and the key that tells their entries apart.
_UNIQUE = (
    (("definition", "violates"), "id"),
    (("definition", "allowed"), "id"),
    (("actions",), "action"),
    (("audit", "attributes"), "name"),
    (("audit", "harms"), "name"),
    (("detectors",), None),
    (("scope", "modalities"), None),
    (("scope", "surfaces"), None),
    (("scope", "languages"), None),
)
_SIDES = (("violating", "violates"), ("contrast", "allowed"))


def check_references(node: Node, action_names: Sequence[str]) -> Iterator[Problem]:
    """Every problem between fields; looks only at what has the right shape, the schema reports the rest."""
    for keys, name in _UNIQUE:
        yield from _unique(_named(_items(node, *keys), name))
    concepts = [one for side, _ in _SIDES for one in _items(node, "concepts", side)]
    yield from _unique(_named(concepts, "id"))
    yield from _unique([phrase for one in concepts for phrase in _items(one, "phrases")])
    for side, clauses in _SIDES:
        yield from _covers(node, side, clauses)
    yield from _actions(node, action_names)
    yield from _quota(node, action_names)
    yield from _audited(node)
    yield from _prevalence(node)
    yield from _explained(node)


def _items(node: Node, *keys: str) -> tuple[Node, ...]:
    below = node.get(*keys)
    return below.items() if below else ()


def _named(nodes: Sequence[Node], name: str | None) -> list[Node]:
    return [one for node in nodes if (one := node.child(name) if name else node) is not None]


def _unique(nodes: Sequence[Node]) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for node in nodes:
        text = node.text()
        if text is None:
            continue
        before = first.setdefault(text.casefold(), node)
        if before is not node:
            yield node.problem("P104", f"{text!r} is written twice; the first is at line {before.line}")


def _covers(node: Node, side: str, clauses: str) -> Iterator[Problem]:
    known = _texts(_named(_items(node, "definition", clauses), "id"))
    for concept in _items(node, "concepts", side):
        for cover in _items(concept, "covers"):
            text = cover.text()
            if text is not None and text not in known:
                message = f"covers {text!r}, which is no clause of definition.{clauses}{did_you_mean(text, known)}"
                yield cover.problem("P105", message)


def _actions(node: Node, action_names: Sequence[str]) -> Iterator[Problem]:
    promised = _named(_items(node, "actions"), "action")
    others = [one for keys in (("on_error",), ("quota", "then")) if (one := node.get(*keys)) is not None]
    others += _named(_items(node, "audit", "harms"), "action")
    for one in (*promised, *others):
        text = one.text()
        if text is not None and text not in action_names:
            message = f"{text!r} is no action of the settings{did_you_mean(text, action_names)}"
            yield one.problem("P105", message)
    for one in promised:
        if action_names and one.text() == action_names[0]:
            message = f"{action_names[0]!r} is what happens where no policy matches; promise a stronger action"
            yield one.problem("P105", message)


def _quota(node: Node, action_names: Sequence[str]) -> Iterator[Problem]:
    """A quota weakens what is asked for, and never lets anything pass that the policy would have looked at."""
    then, on_error = node.get("quota", "then"), node.get("on_error")
    known = [one for one in _texts(_named(_items(node, "actions"), "action")) if one in action_names]
    later, least = (one.text() if one else None for one in (then, on_error))
    if then is None or later not in action_names:
        return
    force = action_names.index(later)
    if known and force >= max(map(action_names.index, known)):
        yield then.problem(
            "P105", f"{later!r} is no weaker than what the policy asks for, so the quota would change nothing"
        )
    elif force == 0 or (least in action_names and force < action_names.index(least)):
        message = f"{later!r} is weaker than on_error: what is beyond a quota would be let pass; expected {least!r} or a stronger action"
        yield then.problem("P105", message)


def _audited(node: Node) -> Iterator[Problem]:
    """Intersections and counterfactuals are of the audit's own attributes."""
    known = _texts(_named(_items(node, "audit", "attributes"), "name"))
    crossed = [one for group in _items(node, "audit", "intersections") for one in group.items()]
    for one in (*crossed, *_items(node, "audit", "counterfactuals")):
        text = one.text()
        if text is not None and text not in known:
            yield one.problem("P105", f"{text!r} is no attribute of this audit{did_you_mean(text, known)}")


def _prevalence(node: Node) -> Iterator[Problem]:
    low, high = node.get("prevalence", "low"), node.get("prevalence", "high")
    if low is None or high is None:
        return
    if isinstance(low.value, (int, float)) and isinstance(high.value, (int, float)) and low.value > high.value:
        yield low.problem("P105", f"prevalence: found low {low.value} above high {high.value}; expected low <= high")


def _explained(node: Node) -> Iterator[Problem]:
    """What raises a score and what lowers it is learned from fit targets."""
    explainable = node.get("explainable")
    if explainable is not None and explainable.value is True and node.get("data", "fit") is None:
        yield explainable.problem("P102", "data.fit: is missing: explainable decisions are learned from its targets")


def _texts(nodes: Sequence[Node]) -> list[str]:
    return [text for node in nodes if (text := node.text()) is not None]
