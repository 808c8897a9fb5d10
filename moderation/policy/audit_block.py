"""The audit block of a policy file as typed values: which groups are compared, on which harms, fixed before the data is opened."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moderation.policy.fields import Name, Section, Text


class AuditAttribute(Section):
    """A property by which groups are compared."""

    name: Annotated[Name, Field(description="As manifests name it.")]
    about: Annotated[
        Literal["depicted", "mentioned", "author", "language"],
        Field(
            description="Whose it is: depicted (who is shown), mentioned, author (who posted), or the language itself."
        ),
    ]
    source: Annotated[Text, Field(description="Who determined it: the people themselves, annotators, a proxy.")]
    agreement: Annotated[
        float | None, Field(ge=0, le=1, description="How far several annotators agreed, from 0 to 1.")
    ] = None


class Harm(Section):
    """A difference between groups that would be a harm, and the largest one tolerated."""

    name: Annotated[Name, Field(description="For people.")]
    metric: Annotated[
        Literal["fpr", "fnr", "review_share"],
        Field(
            description="fpr (benign items acted on), fnr (violating items not) or review_share (items sent to review)."
        ),
    ]
    action: Annotated[
        Name | None, Field(description="Acted on means this action or a stronger one; without it, any of the policy's.")
    ] = None
    tolerance: Annotated[float, Field(gt=0, lt=1, description="Largest tolerated difference.")]
    set_by: Annotated[Text, Field(description="Who set the tolerance.")]
    why: Annotated[Text, Field(description="The reason for the tolerance.")]
    required: Annotated[
        bool, Field(description="Nothing is released before this harm passes: no failure is not enough.")
    ] = False


class AuditReview(Section):
    """What reviewers made of decisions, as attributes of the audit manifest."""

    outcome: Annotated[Name, Field(description="The attribute that says what a reviewer did: upheld or overturned.")]
    weight: Annotated[
        Name | None,
        Field(description="The attribute that says how many items of the traffic this one stands for; by default 1."),
    ] = None


class Audit(Section):
    """What is compared between groups, fixed before the data is opened."""

    attributes: Annotated[tuple[AuditAttribute, ...], Field(min_length=1, description="The groups.")]
    intersections: Annotated[
        tuple[Annotated[tuple[Name, ...], Field(min_length=2)], ...], Field(description="Attributes taken together.")
    ] = ()
    clusters: Annotated[Name | None, Field(description="The attribute that makes items dependent.")] = None
    counterfactuals: Annotated[
        tuple[Name, ...], Field(description="Attributes in which items of one cluster differ and in nothing else.")
    ] = ()
    sampling: Annotated[Text | None, Field(description="How the items were drawn, for readers.")] = None
    agreement: Annotated[
        float | None, Field(ge=0, le=1, description="How far several people agreed on the targets, from 0 to 1.")
    ] = None
    review: Annotated[
        AuditReview | None, Field(description="Where manifests say what reviewers made of decisions.")
    ] = None
    harms: Annotated[tuple[Harm, ...], Field(min_length=1, description="What is tested.")]
    correction: Annotated[
        Literal["holm", "bonferroni"], Field(description="holm or bonferroni, for testing several harms.")
    ] = "holm"
