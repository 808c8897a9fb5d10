"""What a line of a manifest may say, as it is written."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moderation.policy.fields import Section, Trimmed

MAX_PARTS = 100


class ManifestPart(Section):
    """One part of an item that has several."""

    path: Annotated[str | None, Field(description="A file, as in a row of one part.")] = None
    text: Annotated[str | None, Field(min_length=1, description="The text itself, instead of a file.")] = None
    sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the part; needed with `path`.")
    ] = None


class ManifestRow(Section):
    """One line of a manifest."""

    path: Annotated[
        str | None, Field(description="A file, relative to the manifest; .txt is text, else a picture.")
    ] = None
    text: Annotated[str | None, Field(min_length=1, description="The text itself, instead of a file.")] = None
    sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the content; needed with `path`.")
    ] = None
    parts: Annotated[
        tuple[ManifestPart, ...],
        Field(
            strict=False,
            max_length=MAX_PARTS,
            description="Two or more parts of one item, instead of `path` or `text`; not in fit manifests.",
        ),
    ] = ()
    target: Annotated[bool, Field(description="True where the item breaks the policy.")]
    cluster: Annotated[str, Field(min_length=1, max_length=200, description="What makes items dependent.")]
    attributes: Annotated[dict[str, Trimmed], Field(default_factory=dict, description="For audits and slices.")]
    source: Annotated[str, Field(description="Where the item comes from.")] = ""
    licence: Annotated[str, Field(description="On what terms it is used.")] = ""
