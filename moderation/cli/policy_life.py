"""`moderation policy`, after a build: compare, release, keep, try on what was kept, explain. The commands; their work is in policy_*.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from moderation.cli.places import BuildFolder, Json, PolicyFile, in_a_folder
from moderation.extras import need

app = typer.Typer()


def _an_id(policy: str | None) -> str | None:
    """A policy's id as typed; a usage error for what is none, such as its file, which other commands' --policy takes: targets kept under that are found by no backtest."""
    from moderation.detector.names import is_slug

    if policy is not None and not is_slug(policy):
        raise typer.BadParameter(f"found {policy!r}; expected the policy's id, such as 'weapons'")
    return policy


TargetsOf = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="ID",
        help="The id of the policy that targets are about; without it they are left out.",
        callback=_an_id,
    ),
]
KnownItems = Annotated[
    Path | None,
    typer.Option(
        help="JSON lines that say more of items, by id: a data manifest, or what was scanned.",
        dir_okay=False,
        exists=True,
    ),
]


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="OLD.lock.json", help="A lock of the policy.", dir_okay=False)],
    after: Annotated[
        Path, typer.Argument(metavar="NEW.lock.json", help="Another lock of the same policy.", dir_okay=False)
    ],
    items: Annotated[Path, typer.Option(help="A data manifest: what both decide on.", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Show what another build of a policy would do otherwise: who changes band, by group and phrase, and which version it asks for.

    Example: moderation policy diff old/weapons.lock.json policies/weapons.lock.json --items policies/data/weapons.stream.jsonl
    """
    from moderation.cli import policy_diff

    policy_diff.diff(before, after, items=items, as_json=as_json)


@app.command()
def release(  # noqa: PLR0917 - typer passes options by name
    path: PolicyFile,
    to: Annotated[Literal["shadow", "live", "deprecated"], typer.Option("--to", help="The status of this very build.")],
    by: Annotated[str, typer.Option(help="Who answers for it.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    no_audit_reason: Annotated[
        str, typer.Option(help="Why a policy that declares no audit may go live all the same; goes into the record.")
    ] = "",
    out: BuildFolder = None,
    as_json: Json = False,
) -> None:
    """Put this build of a policy into a status, if everything that the status takes was shown of this very revision.

    shadow takes a clean lint and certified thresholds; live also passed tests, and an audit that does not fail. Leaves with exit code 9
    where anything is missing, and names all of it with the command to run.

    Example: moderation policy release policies/weapons.yaml --to shadow --by marketplace-safety
    """
    from moderation.cli import policy_release

    policy_release.release(path, to=to, by=by, reason=reason, no_audit_reason=no_audit_reason, out=out, as_json=as_json)


@app.command()
def embed(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files, folders, .jsonl of items, or -, as for `moderation scan`."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to keep the vectors in.", file_okay=False)],
    encoder: Annotated[str, typer.Option(help="An encoder's name in the settings.")] = "default",
    policy: TargetsOf = None,
) -> None:
    """Keep the vectors of items as Parquet, so that builds of policies can be tried on them later.

    A line of JSON may say more of an item: target, weight (how many items of the traffic it stands for), cluster, time, attributes.
    Needs the extra history. Vectors can tell what content showed: keep them as you keep the content.

    Example: moderation policy embed policies/data/weapons.stream.jsonl --policy weapons --out vectors
    """
    need("pyarrow", extra="history")
    from moderation.cli import policy_history

    policy_history.embed(paths, out=out, encoder=encoder, policy=policy)


@app.command()
def keep(
    decisions: Annotated[
        list[Path],
        typer.Argument(
            metavar="DECISIONS.jsonl",
            help="Decisions as JSON lines, as `moderation scan --json` writes them.",
            dir_okay=False,
            exists=True,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to keep the decisions in.", file_okay=False)],
    items: KnownItems = None,
    policy: TargetsOf = None,
) -> None:
    """Keep decisions as Parquet, every field of them, with a column of scores for each build of a policy.

    Other thresholds can then be tried on the scores alone, and a shadow be set beside the live build. Needs the extra history.

    Example: moderation policy keep decisions.jsonl --items policies/data/weapons.stream.jsonl --policy weapons --out log
    """
    need("pyarrow", extra="history")
    from moderation.cli import policy_history

    policy_history.keep(decisions, out=out, items=items, policy=policy)


@app.command()
def backtest(  # noqa: PLR0917 - typer passes options by name
    path: PolicyFile,
    lock: Annotated[Path, typer.Option(help="The lock to try, ID.lock.json.", dir_okay=False)],
    before: Annotated[
        Path | None, typer.Option(help="The lock to set it beside; none: no build at all.", dir_okay=False)
    ] = None,
    vectors: Annotated[
        list[Path] | None, typer.Option(help="Kept vectors, a folder or a file; repeat for more.", exists=True)
    ] = None,
    decisions: Annotated[
        list[Path] | None,
        typer.Option(help="Decisions instead: kept ones, or as JSON lines; repeat for more.", exists=True),
    ] = None,
    items: KnownItems = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the page for people too.", dir_okay=False, callback=in_a_folder)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write the summary for pull requests too.", dir_okay=False, callback=in_a_folder),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a build would have done to what was kept: loads, flips both ways by group and surface, precision and recall.

    On vectors any two builds of one encoder can be tried. On decisions: a build's thresholds, where the build before has the same
    classifier; or, where both builds judged, what a shadow did otherwise. What cannot be told is told as not estimable. Needs the extra
    history. Leaves with exit code 8 where an action surely takes more than the budget of this build.

    Example: moderation policy backtest policies/weapons.yaml --vectors vectors --lock policies/weapons.lock.json --html backtest.html
    """
    need("pyarrow", extra="history")
    from moderation.cli import policy_backtest

    policy_backtest.backtest(
        path,
        vectors=vectors or (),
        decisions=decisions or (),
        items=items,
        locks=(before, lock),
        pages=(html, markdown),
        as_json=as_json,
    )


@app.command("explain")
def explain_(  # noqa: PLR0917 - typer passes options by name
    path: PolicyFile,
    decisions: Annotated[
        Path,
        typer.Argument(
            metavar="DECISIONS.jsonl",
            help="Decisions as JSON lines, as `moderation scan --json` writes them.",
            dir_okay=False,
        ),
    ],
    item: Annotated[str | None, typer.Option("--item-id", help="Only this item's.")] = None,
    category: Annotated[str | None, typer.Option(help="The database's STATEMENT_CATEGORY_ value.")] = None,
    content_date: Annotated[str | None, typer.Option(help="When the content was posted, YYYY-MM-DD.")] = None,
    application_date: Annotated[str | None, typer.Option(help="From when the decision applies, YYYY-MM-DD.")] = None,
    puid: Annotated[str | None, typer.Option(help="The platform's unique id of this statement.")] = None,
    source_type: Annotated[
        str | None, typer.Option(help="How the platform came to look, the database's SOURCE_ value.")
    ] = None,
    out: BuildFolder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every statement as one line of JSON on stdout, keys stable.")
    ] = False,
) -> None:
    """Turn decisions into statements of reasons: plain words, and the fields of the EU transparency database.

    What a decision cannot know is listed as missing, never invented. A decision made under another revision is refused.

    Example: moderation policy explain policies/weapons.yaml decisions.jsonl --item-id item-0019
    """
    from moderation.cli import policy_explain

    given = {
        "category": category,
        "content_date": content_date,
        "application_date": application_date,
        "puid": puid,
        "source_type": source_type,
    }
    policy_explain.statements(path, decisions=decisions, out=out, item=item, given=given, as_json=as_json)
