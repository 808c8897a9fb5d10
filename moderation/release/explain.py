"""A decision as a statement of reasons: plain words for the person concerned, and the fields of the EU transparency database.

Field names, values, lengths and what requires what follow the validation rules of the Commission's own repository
(digital-services-act/transparency-database, StatementStoreRequest), as of Regulation (EU) 2022/2065, Articles 17 and 24(5). What a
decision record cannot know is listed as missing and never invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moderation.decision import LIVE, Decision, Outcome, Verdict
from moderation.policy.decide import REVIEW
from moderation.policy.schema import Clause, Policy

FACTS, EXPLANATION, GROUND = 5000, 2000, 500  # characters
LEAST_SHARE = 0.01  # of what spoke for a breach: less is not told
VISIBILITY = {
    "remove": "DECISION_VISIBILITY_CONTENT_REMOVED",
    "limit": "DECISION_VISIBILITY_CONTENT_DEMOTED",
    "label": "DECISION_VISIBILITY_CONTENT_LABELLED",
}
OTHER = "DECISION_VISIBILITY_OTHER"
CONTENT = {"image": "CONTENT_TYPE_IMAGE", "text": "CONTENT_TYPE_TEXT"}
# What the platform knows and a decision does not: the option that gives it.
FROM_THE_PLATFORM = {
    "category": "--category, one of the database's STATEMENT_CATEGORY_ values",
    "content_date": "--content-date, when the content was posted",
    "application_date": "--application-date, from when the decision applies",
    "puid": "--puid, the platform's own unique id of this statement",
    "source_type": "--source-type, how the platform came to look: SOURCE_VOLUNTARY, SOURCE_ARTICLE_16, ...",
}
SOURCES = ("SOURCE_ARTICLE_16", "SOURCE_TRUSTED_FLAGGER", "SOURCE_TYPE_OTHER_NOTIFICATION", "SOURCE_VOLUNTARY")
NOTHING_DONE = "nothing was done yet: a person looks first, and the statement is of what they decide"
HELD_BACK = "nothing was done: the policy does not act on this item yet (rollout)"
NOTHING_FOUND = "nothing was found: why content that could not be judged is acted on is the platform's to say"


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement of one policy's verdict: `text` for the person concerned, `fields` for the database, `missing` with how to give it.

    `status` is that of the build when it decided. Where it was not live nothing was asked for, and where the item `waits` for a person, or
    is outside of the rollout, nothing was done to it: each makes this a preview.
    """

    policy: str
    revision: str
    status: str
    waits: bool
    text: str
    fields: Mapping[str, Any]
    missing: Mapping[str, str]

    @property
    def preview(self) -> bool:
        """Whether nothing was done, so that no statement is due."""
        return self.waits or self.status != LIVE

    def to_dict(self) -> dict[str, Any]:
        """The statement as plain values, ready for JSON."""
        return {
            "schema": "statement-of-reasons/v1",
            "policy": self.policy,
            "revision": self.revision,
            "status": self.status,
            "waits": self.waits,
            "preview": self.preview,
            "text": self.text,
            "fields": dict(self.fields),
            "missing": dict(self.missing),
        }


def explain(
    decision: Decision, verdict: Verdict, policy: Policy, *, given: Mapping[str, Any] | None = None
) -> Statement:
    """The statement for what `verdict` asked for; `given` are fields that the platform knows, by name, and wins over ours.

    Scores and thresholds are in neither: they help to evade, and the decision record keeps them. Where it keeps what each concept
    added (level L5), the statement tells the shares.
    """
    clauses = clauses_of(verdict, policy)
    known = {**_fields(decision, verdict, policy, clauses), **{name: one for name, one in (given or {}).items() if one}}
    missing = {name: how for name, how in FROM_THE_PLATFORM.items() if name not in known}
    if waits(verdict):
        missing["decision_visibility"] = HELD_BACK if verdict.asked is None else NOTHING_DONE
    if verdict.outcome is Outcome.ERROR:
        missing["decision_ground"] = NOTHING_FOUND
    elif policy.basis is None:
        missing["decision_ground"] = "the policy's `basis`: where its rule comes from"
    text = _text(verdict, policy, clauses)
    return Statement(policy.id, verdict.revision, verdict.status, waits(verdict), text, known, missing)


def clauses_of(verdict: Verdict, policy: Policy) -> tuple[Clause, ...]:
    """The sentences of the rule that the nearest concept stands for; all of them where none is known."""
    covers = {
        clause
        for concept in policy.concepts.violating
        if verdict.concept in concept.phrases
        for clause in concept.covers
    }
    found = tuple(one for one in policy.definition.violates if one.id in covers)
    return found or policy.definition.violates


def waits(verdict: Verdict) -> bool:
    """Whether nothing was done: a person is to look first, or a limit held everything back."""
    return verdict.outcome is Outcome.REVIEW or verdict.asked in {REVIEW, None}


def _fields(decision: Decision, verdict: Verdict, policy: Policy, clauses: tuple[Clause, ...]) -> dict[str, Any]:
    rule = " ".join(one.text for one in clauses)
    fields: dict[str, Any] = {
        "decision_facts": _cut(_facts(verdict, policy, rule), FACTS),
        "content_type": sorted({CONTENT[one] for one in decision.encoders if one in CONTENT}) or ["CONTENT_TYPE_OTHER"],
        "automated_detection": "Yes",
        "automated_decision": "AUTOMATED_DECISION_PARTIALLY" if waits(verdict) else "AUTOMATED_DECISION_FULLY",
    }
    if fields["content_type"] == ["CONTENT_TYPE_OTHER"]:
        fields["content_type_other"] = "what a detector judged without an encoder"
    if waits(verdict):
        return {**fields, **_ground(verdict, policy, rule)}
    visibility = VISIBILITY.get(verdict.asked or "", OTHER)
    fields["decision_visibility"] = [visibility]
    if visibility == OTHER:
        fields["decision_visibility_other"] = _cut(f"{verdict.asked}: the platform's own measure", GROUND)
    return {**fields, **_ground(verdict, policy, rule)}


def _ground(verdict: Verdict, policy: Policy, rule: str) -> dict[str, Any]:
    """Why the content breaks law or terms; nothing where nothing was found, or the policy does not say where its rule comes from."""
    if policy.basis is None or verdict.outcome is Outcome.ERROR:
        return {}
    kind, ground = (
        ("illegal_content", "illegal_content_legal_ground")
        if policy.basis.kind == "law"
        else ("incompatible_content", "incompatible_content_ground")
    )
    return {
        "decision_ground": f"DECISION_GROUND_{kind.upper()}",
        ground: _cut(policy.basis.reference, GROUND),
        f"{kind}_explanation": _cut(rule, EXPLANATION),
    }


def _facts(verdict: Verdict, policy: Policy, rule: str) -> str:
    seen = f" What it was taken for: {verdict.concept}." if verdict.concept else ""
    seen += "".join(f" {line}" for line in (*_spoke(verdict), *where(verdict)))
    if verdict.asked is None:
        looked = "Nothing was done."
    else:
        looked = "A person looks at it." if waits(verdict) else "No person looked at it before."
    if verdict.outcome is Outcome.ERROR:
        return (
            f"Automated means could not compare the content with the rule {policy.title!r} (version {verdict.version}, revision "
            f"{verdict.revision}): {verdict.error}. What is done then is set by the rule. {looked}"
        )
    return (
        f"Automated means compared the content with the rule {policy.title!r} (version {verdict.version}, revision {verdict.revision}) and found "
        f"{'that it may break it' if waits(verdict) else 'it to break it'}.{seen} The rule: {rule} {looked}"
    )


def _text(verdict: Verdict, policy: Policy, clauses: tuple[Clause, ...]) -> str:
    """What the person concerned is told."""
    if verdict.asked is None:
        done = "Nothing was done to your content"
    elif waits(verdict):
        done = "Your content waits for a person to look at it"
    else:
        done = f"This was done to your content: {verdict.asked}"
    broken = verdict.outcome is not Outcome.ERROR
    found = "it seems to break" if waits(verdict) else "it was found to break"
    why = found if broken else "it could not be read, and so not be held against"
    basis = (
        ""
        if policy.basis is None
        else f" ({'the law' if policy.basis.kind == 'law' else 'our terms'}, {policy.basis.reference})"
    )
    link = "though" if verdict.asked is None else "because"
    lines = [f'{done}, {link} {why} our rule "{policy.title}"{basis}.']
    lines += [f"The rule says: {one.text}" for one in clauses]
    lines += [f"It allows: {one.text}" for one in policy.definition.allowed]
    lines += [*_spoke(verdict), *where(verdict)] if broken else []
    lines.append("This was found by automated means.")
    if not waits(verdict):
        lines.append("No person has looked at it yet. You can object, and a person will look at it.")
    return "\n".join(lines)


def _spoke(verdict: Verdict) -> list[str]:
    """Which concepts spoke for a breach, by their shares of all that did, and which against it; the strongest first."""
    added = sorted((verdict.evidence or {}).items(), key=lambda pair: -abs(pair[1]))
    whole = sum(one for _, one in added if one > 0)
    told = [(name.replace("-", " ").replace("_", " "), one) for name, one in added if abs(one) >= LEAST_SHARE * whole]
    spoke_for = [f"{name} ({one / whole:.0%})" for name, one in told if one > 0]
    against = [name for name, one in told if one < 0]
    lines = [f"What spoke for a breach: {', '.join(spoke_for)}."] if spoke_for else []
    return lines + ([f"What spoke against it: {', '.join(against)}."] if against else [])


def where(verdict: Verdict) -> list[str]:
    """The place in the picture that the score is of, as one sentence; nothing where that is the whole of it."""
    if verdict.region is None:
        return []
    left, top, right, bottom = (f"{edge:.0%}" for edge in verdict.region)
    return [f"Where: from {left} to {right} of the picture's width, and from {top} to {bottom} of its height."]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3].rstrip() + "..."
