"""The policy file as typed values: what each field is, and what it may hold. Only shapes; references are in checks.py."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from moderation.decision import Severity
from moderation.policy.audit_block import Audit
from moderation.policy.extends import LISTS, OPERATIONS
from moderation.policy.fields import (
    Day,
    DetectorLabel,
    FilePath,
    Language,
    Name,
    OneModality,
    Section,
    Share,
    Slug,
    Text,
    Version,
)
from moderation.policy.yaml_source import Node

POLICY_SCHEMA = "policy/v1"
BASE_SCHEMA = "policy-base/v1"
TESTS_SCHEMA, LOCK_SCHEMA = "policy-tests/v1", "lock/v1"  # of test files and locks, which are read elsewhere

# Left out of the content hash: a resolved policy is the same whether it was inherited or written out.
_UNHASHED = {"schema_", "extends", "reason"}


class Basis(Section):
    """Where the rule comes from, for statements of reasons."""

    kind: Annotated[Literal["terms", "law"], Field(description="terms (the platform's) or law.")]
    reference: Annotated[Text, Field(description="The section or article.")]


class Scope(Section):
    """What the policy judges; it is not measured outside."""

    modalities: Annotated[tuple[OneModality, ...], Field(min_length=1, description="image, text, or both.")]
    surfaces: Annotated[
        tuple[Name, ...],
        Field(
            description="Places of the platform, as items name them; case does not count. An item that names none is judged."
        ),
    ] = ()
    languages: Annotated[
        tuple[Language, ...],
        Field(
            description="Languages of the content, such as en, whatever the region. Text in no registered language (und, mul) is judged."
        ),
    ] = ()


class Clause(Section):
    """One sentence of the rule."""

    id: Annotated[Slug, Field(description="Stable for ever; concepts refer to it.")]
    text: Annotated[Text, Field(description="The sentence, for people.")]


class OutOfReach(Section):
    """A claim that content cannot show, and who settles it."""

    claim: Annotated[Text, Field(description="What cannot be seen or read in the content.")]
    handled_by: Annotated[Text, Field(description="Metadata, another system, or people.")]


class Definition(Section):
    """The rule in full prose, for people and for a judge model."""

    violates: Annotated[tuple[Clause, ...], Field(min_length=1, description="What breaks the rule.")]
    allowed: Annotated[tuple[Clause, ...], Field(description="What looks alike and is allowed.")] = ()
    out_of_reach: Annotated[tuple[OutOfReach, ...], Field(description="What this policy cannot judge.")] = ()


class Concept(Section):
    """A group of short phrases for one thing that a camera could see."""

    id: Annotated[Slug, Field(description="Stable for ever; unique among all concepts of the policy.")]
    covers: Annotated[tuple[Slug, ...], Field(description="Ids of the clauses this stands for.")] = ()
    phrases: Annotated[tuple[Text, ...], Field(min_length=1, description="Short descriptions of what is seen.")]


class Concepts(Section):
    """What the classifier is made from."""

    violating: Annotated[tuple[Concept, ...], Field(min_length=1, description="What breaks the rule.")]
    contrast: Annotated[tuple[Concept, ...], Field(description="Look-alikes that must not match.")] = ()


class Exemplars(Section):
    """Manifests of known examples."""

    violating: Annotated[FilePath | None, Field(description="Items that break the rule.")] = None
    contrast: Annotated[FilePath | None, Field(description="Look-alikes.")] = None


class Data(Section):
    """Manifests of targets, one for each use; no item may stand in two."""

    fit: Annotated[FilePath | None, Field(description="To fit the classifier.")] = None
    certify: Annotated[FilePath | None, Field(description="To certify thresholds; never fitted on.")] = None
    audit: Annotated[FilePath | None, Field(description="To compare groups.")] = None


class Prevalence(Section):
    """The share of violating items in the traffic: guarantees hold in this interval only."""

    low: Annotated[Share, Field(description="Lower end, from 0.")]
    high: Annotated[Share, Field(gt=0, description="Upper end, at least `low`, above 0 and at most 1.")]
    source: Annotated[Text, Field(description="Where the interval comes from.")]
    n: Annotated[int, Field(ge=1, description="How many items were looked at.")]


class Metric(StrEnum):
    """What a guarantee bounds from below."""

    PRECISION = "precision"
    RECALL = "recall"


class Guarantee(Section):
    """What is promised of an action: the metric is at least so much, with this confidence."""

    metric: Annotated[Metric, Field(strict=False, description="precision or recall.")]
    at_least: Annotated[float, Field(gt=0, lt=1, description="The promised lower bound, between 0 and 1.")]
    confidence: Annotated[float, Field(ge=0.5, lt=1, description="Chance that the promise holds, from 0.5 to below 1.")]


class PolicyAction(Section):
    """What is asked of the platform, and the promise that comes with it."""

    action: Annotated[Name, Field(description="One of the settings' actions.")]
    guarantee: Annotated[Guarantee, Field(description="The promise; the threshold follows from it.")]
    budget: Annotated[
        float | None, Field(gt=0, le=1, description="Largest share of traffic that may get this action.")
    ] = None


class Quota(Section):
    """How many items an hour may get this policy's actions; beyond it, a weaker one."""

    per_hour: Annotated[int, Field(ge=1, description="Items an hour.")]
    then: Annotated[
        Name,
        Field(description="The action beyond the quota: `on_error` or a stronger one, so that nothing passes unseen."),
    ]


class Rollout(Section):
    """How much of the traffic the policy acts on."""

    share: Annotated[Share, Field(description="Share of items, from 0 to 1.")] = 1.0


class Policy(Section):
    """One written rule set, resolved: whatever it extends is already in it.

    `path` is the file it came from; `content_hash` covers everything that says what the policy means.
    """

    schema_: Annotated[
        Literal["policy/v1"], Field(alias="schema", description="policy/v1, or policy-base/v1 for a base.")
    ]
    id: Annotated[Slug, Field(description="Stable for ever; names may change, ids may not.")]
    title: Annotated[Text, Field(max_length=200, description="For people.")]
    version: Annotated[Version, Field(description="Three numbers, such as 1.0.0.")]
    owner: Annotated[Text, Field(description="The team that answers for the policy.")]
    review_by: Annotated[Day, Field(description="The day by which it must be looked at again.")]
    severity: Annotated[Severity, Field(strict=False, description="info, low, medium, high or critical.")]
    basis: Annotated[Basis | None, Field(description="Where the rule comes from.")] = None
    encoder: Annotated[Name, Field(description="An encoder's name in the settings.")] = "default"
    scope: Annotated[Scope, Field(description="What the policy judges.")]
    definition: Annotated[Definition, Field(description="The rule in full prose.")]
    concepts: Annotated[Concepts, Field(description="What the classifier is made from.")]
    detectors: Annotated[
        tuple[DetectorLabel, ...],
        Field(description="Other detectors that may match too: `keywords`, or one label of it, `keywords/gambling`."),
    ] = ()
    explainable: Annotated[
        bool,
        Field(description="Every decision must tell which concepts raised and which lowered its score (level L5)."),
    ] = False
    exemplars: Annotated[Exemplars, Field(description="Known examples.")] = Exemplars()
    data: Annotated[Data, Field(description="Manifests of targets.")] = Data()
    prevalence: Annotated[Prevalence, Field(description="The share of violating items in the traffic.")]
    actions: Annotated[tuple[PolicyAction, ...], Field(min_length=1, description="What is promised.")]
    on_error: Annotated[Name, Field(description="The action where the policy cannot judge.")]
    quota: Annotated[Quota | None, Field(description="How often the policy may act.")] = None
    rollout: Annotated[Rollout, Field(description="How much of the traffic the policy acts on.")] = Rollout()
    tests: Annotated[tuple[FilePath, ...], Field(min_length=1, description="Test files; zero is an error.")]
    audit: Annotated[Audit | None, Field(description="What is compared between groups.")] = None
    extends: Annotated[Text | None, Field(description="One parent: a file beside this one.")] = None
    reason: Annotated[Text | None, Field(description="Why this promises less than its parent.")] = None

    _source: Node | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The file the policy came from; empty for one that was made in memory."""
        return self._source.path if self._source else Path()

    @property
    def content_hash(self) -> str:
        """SHA-256, in hex, over the resolved policy; comments, order of keys and status do not change it."""
        values = self.model_dump(exclude=_UNHASHED, exclude_defaults=True)
        canonical = json.dumps(_canonical(values, self.path.parent), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def locate(self, *keys: str | int) -> Node:
        """Where a field stands, as a node with path, line and column: the nearest one above where it is not written."""
        return (self._source or Node(None, Path(), 0, 0)).locate(*keys)

    def resolved(self) -> dict[str, Any]:
        """The policy as plain values with everything it extends and every default in place, paths relative to it."""
        values = self.model_dump(by_alias=True, exclude={"extends", "reason"}, exclude_none=True)
        plain: dict[str, Any] = _canonical(values, self.path.parent)
        return plain

    def at(self, source: Node) -> Policy:
        """This policy, knowing where it was written."""
        located = self.model_copy()
        located._source = source  # noqa: SLF001  the copy is this policy's own
        return located


def _canonical(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(one, folder) for key, one in value.items()}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_canonical(one, folder) for one in value]
    if isinstance(value, Path):  # relative to the policy, so that every checkout has the same hash
        return Path(os.path.relpath(value, folder)).as_posix()
    if isinstance(value, float) and value.is_integer():  # 1 and 1.0 say the same
        return int(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def json_schema() -> dict[str, Any]:
    """JSON Schema of policy files, for editors: of whole policies, of those that extend another, and of bases."""
    schema = Policy.model_json_schema(by_alias=True)
    required = schema.pop("required")
    schema["properties"]["schema"] = {
        "enum": [POLICY_SCHEMA, BASE_SCHEMA],
        "description": "policy/v1, or policy-base/v1 for a base.",
    }
    for operation in OPERATIONS:
        entries = {name: {"type": "array"} for name in LISTS if operation != "replace" or LISTS[name]}
        schema["properties"][operation] = {
            "type": "object",
            "description": f"Lists of the parent in which to {operation} entries by id.",
            "properties": entries,
            "additionalProperties": False,
        }
    is_base = {"properties": {"schema": {"const": BASE_SCHEMA}}, "required": ["schema"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "if": {"anyOf": [{"required": ["extends"]}, is_base]},
        "then": {"required": ["schema"]},
        "else": {"required": required},
    }
