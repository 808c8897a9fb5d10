"""A lock in plain words, and in plain values for machines: its promises, the evidence behind them, its controls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation.cli import band_words, terminal
from moderation.cli.locks import command
from moderation.release.asked import asked_in_words

if TYPE_CHECKING:
    from moderation.policy.lock import Lock, LockedAction

# Where the policy ranks all targets right, a control that does so too says only that they were easy.
PERFECT = 0.995
# The one wording for a lock without any threshold.
UNCERTIFIED = "not certified: decisions are drafts, and every item ends as the policy's on_error says"
_BARS = " ▁▂▃▄▅▆▇█"


def to_certify(lock: Lock, policy: Path, out: Path | None = None) -> str:
    """What brings thresholds to a lock without any: the command (`out` is its build folder), or more targets where that was tried."""
    if any(action.shortfall is not None for action in lock.actions):
        return f"it takes more targets: {command('plan', policy)} tells how many"
    return f"run: {command('certify', policy, out=out)}"


def as_plain(lock: Lock, path: Path, *, order: Sequence[str]) -> dict[str, Any]:
    """A lock as plain values for machines; its arrays stay in its file. `order` names actions by force, weakest first."""
    from moderation.policy.bands import bands

    return {
        "schema": "lock-summary/v1",
        "policy": lock.policy,
        "version": lock.version,
        "revision": lock.revision,
        "lock": str(path),
        "level": lock.level,
        "encoder": f"{lock.encoder_identity}/{lock.encoder_numeric}",
        "max_parts": lock.max_parts,
        "readers": [asdict(one) for one in lock.readers],
        "actions": [_action(action) for action in lock.actions],
        "bands": band_words.as_plain(bands(lock.actions, order)),
        "evidence": dict(lock.evidence),
    }


def _action(action: LockedAction) -> dict[str, Any]:
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


def readers(lock: Lock) -> Iterator[str]:
    """The readers that the lock was certified with, and for how much of what they derive it holds."""
    for one in lock.readers:
        which = f"reader {one.id!r}" + (f" of revision {one.revision}" if one.revision else "")
        if one.most_parts:
            yield f"certified with {which}: up to {one.most_parts} parts of an item; above that it asks for review at most"
        else:
            yield f"WARNING: {which} derived nothing from any certify target: of an item from which it does, review is asked for at most"


def promise(action: LockedAction) -> str:
    """What became of one promise, for people."""
    told = f"{action.action}: {action.metric} at least {action.at_least:g}, confidence {action.confidence:g}"
    if action.threshold is not None:
        return f"{told}: certified at threshold {action.threshold:.6f}{_shown(action.certificate or {})}"
    if action.shortfall is None:
        return f"{told}: not certified yet"
    return f"{told}: cannot certify: {_lacking(action.shortfall)}"


def _shown(certificate: Mapping[str, Any]) -> str:
    """The budget that is promised too, the evidence, and what it would show of a threshold that was not chosen by it.

    A certificate of another make is told as it stands.
    """
    try:
        budget = certificate.get("budget")
        within = "" if budget is None else f", within {100 * budget:g}% of traffic"
        precision = f"precision at least {certificate['precision_low']:.3f} at the low end of the prevalence, "
        return (
            f"{within} (flagged {certificate['flagged_violating']} of {certificate['violating']} violating and "
            f"{certificate['flagged_benign']} of {certificate['benign']} benign objects; estimates, not promises: "
            f"{precision if certificate['metric'] == 'precision' else ''}recall at least {certificate['tpr_lower']:.3f}, "
            f"{certificate['share_upper']:.2%} of traffic as an upper bound)"
        )
    except KeyError:
        return f": {json.dumps(dict(certificate))}"


def _lacking(shortfall: Mapping[str, Any]) -> str:
    wanted = [
        terminal.counted(shortfall[key], f"more {word} target")
        for key, word in (("more_violating", "violating"), ("more_benign", "benign"))
        if shortfall.get(key)
    ]
    reason = shortfall.get("reason", "")
    return " and ".join(wanted) + (" needed" if wanted else "") + (f" ({reason})" if reason and wanted else reason)


def compiled(evidence: Mapping[str, Any]) -> Iterator[str]:
    """How the classifier came to be: its level and why, its controls, and what it was made from."""
    level, controls = evidence.get("level", {}), evidence.get("controls", {})
    if "reason" in level:
        yield f"level: {level['reason']}"
    yield from _levels(level)
    yield from (f"WARNING: {note}" for note in evidence.get("notes", ()))
    precisions = controls.get("average_precision", {})
    if precisions:
        own = sorted(precisions, key=lambda name: name != "policy")
        told = ", ".join(f"{_name(name)} {_figure(precisions[name])}" for name in own)
        yield f"average precision on {controls.get('measured_on', 'unknown data')}: {told}"
    yield from (f"{_name(name)} not measured: {why}" for name, why in controls.get("missing", {}).items())
    lost = [_name(name) for name, beaten in controls.get("beaten", {}).items() if not beaten]
    if lost and (precisions.get("policy") or 0.0) < PERFECT:
        yield f"WARNING: the phrases do no better than {' and '.join(lost)}: they may not mean what was meant"
    for part in ("background", "fit", "exemplars"):
        wanted = evidence.get(part) and (part != "exemplars" or evidence[part].get("rows"))
        if wanted and (told := _counts(evidence[part])):
            yield f"{part}: {told}"


def _levels(level: Mapping[str, Any]) -> Iterator[str]:
    """What each level measured, what it costs to explain decisions, and by which phrases they are explained."""
    if "average_precision" in level:
        told = ", ".join(f"{name} {_figure(one.get('mean'))}" for name, one in level["average_precision"].items())
        yield f"average precision by level, cross-validated: {told}"
    if "cost" in level:
        cost = level["cost"]
        yield (
            f"explaining decisions costs {cost['average_precision']:.3f} of average precision against {cost['instead_of']}, which "
            f"would have been taken (standard error {cost['error']:.3f})"
        )
    for does, phrases in level.get("weights", {}).items():
        yield f"{does} the score: " + (
            ", ".join(f"{one} ({weight:.2f})" for one, weight in sorted(phrases.items(), key=lambda pair: -pair[1]))
            or "nothing"
        )


def certified(evidence: Mapping[str, Any]) -> Iterator[str]:
    """What the thresholds rest on, and how the scores of the targets lie."""
    shown = evidence.get("certify", {})
    for side, targets in shown.get("targets", {}).items():
        objects = shown.get("clusters", {}).get(side)
        of = "? objects" if objects is None else terminal.counted(objects, "object")
        yield f"certified on {terminal.counted(targets, f'{side} target')} of {of}"
    yield from merged(evidence)
    yield from asked(evidence)
    histogram = shown.get("histogram", {})
    if histogram:
        yield "their scores, 0 on the left, 1 on the right:"
        yield from (f"  {name:<10} |{bars(counts)}| {sum(counts)}" for name, counts in histogram.items())


def merged(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Warnings where objects were counted under two names, and where the search for copies could not see everything."""
    shown = evidence.get("certify", {})
    if shown.get("merged"):
        one = len(shown["merged"]) == 1
        held = "1 cluster holds" if one else f"{len(shown['merged'])} clusters hold"
        yield f"WARNING: {held} a near-duplicate of another one and {'was' if one else 'were'} counted as one with it (D008)"
    if shown.get("unseen"):
        yield (
            f"WARNING: {shown['unseen']} contents or clusters that the classifier was made from are in no manifest now: certify targets "
            "were not held against near-duplicates of them"
        )


def asked(evidence: Mapping[str, Any]) -> Iterator[str]:
    """A warning where these targets were asked before, about another classifier or other promises."""
    if evidence.get("certify", {}).get("asked", 1) > 1:
        yield f"WARNING: {asked_in_words(evidence)}"


def bars(counts: list[int]) -> str:
    """Counts as a line of block letters; anything above zero can be seen."""
    top = max(counts, default=0) or 1
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // top)] for count in counts)


def _name(key: str) -> str:
    return key.replace("_", " ")


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "not measured"


def _counts(part: Mapping[str, Any]) -> str:
    """The numbers of one part of the evidence, nested ones by their name."""
    told = []
    order = {
        key: place for place, key in enumerate(("rows", "left_out", "violating", "benign"))
    }  # a lock's file has them by the alphabet
    for key, value in sorted(part.items(), key=lambda one: order.get(one[0], len(order))):
        if isinstance(value, Mapping) and "targets" in value:
            told.append(f"{value['targets']} {_name(key)}")
        elif isinstance(value, int) and value:
            told.append(f"{value} {_name(key)}")
    return ", ".join(told)
