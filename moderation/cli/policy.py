"""`moderation policy`: the life of a policy from its first line to its tests. The commands; their work is in policy_*.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moderation.cli import policy_life, terminal
from moderation.cli.places import Background, BuildFolder, Json, NewFolder, PolicyFile, in_a_folder

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Write, check, compile, certify and test policies."
)


@app.command()
def new(
    policy_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Lower-case letters and digits, single dashes or underscores between; never changes."
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Where to write.", file_okay=False)] = Path("policies"),
) -> None:
    """Write a new policy with its test file, ready to edit, that lints clean.

    Example: moderation policy new spam-flyers --folder policies
    """
    from moderation.policy.scaffold import scaffold

    try:
        written = scaffold(policy_id, folder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    for path in written:
        terminal.say(f"wrote {path}")
    terminal.say(f"next: edit it, then: moderation policy lint {written[0]}")


@app.command()
def lint(  # noqa: PLR0917 - typer passes options by name
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Policy files, or folders of them.")],
    measured: Annotated[
        bool, typer.Option("--measured", help="Ask each policy's encoder too, without targets.")
    ] = False,
    people: Annotated[
        Path | None,
        typer.Option(help="With --measured: people, with attributes; by default data.audit.", dir_okay=False),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(help="With --measured: ordinary content; by default as compile finds it.", dir_okay=False),
    ] = None,
    sarif: Annotated[
        Path | None,
        typer.Option(help="Write the findings as SARIF too, for code hosts.", dir_okay=False, callback=in_a_folder),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check policy files and show every mistake at once, by file, line and column.

    With --measured the encoder is asked what its phrases can and cannot tell apart. Leaves with exit code 3 when there is an error;
    warnings alone leave with 0.

    Example: moderation policy lint policies --measured
    """
    from moderation.cli import policy_lint

    policy_lint.lint(paths, as_json=as_json, measured=measured, people=people, background=background, sarif=sarif)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="policy|tests|decision", help="Which kind of file.")] = "policy",
    out: Annotated[Path | None, typer.Option(help="Write to this file.", dir_okay=False, callback=in_a_folder)] = None,
) -> None:
    """Print the JSON Schema of policy files or their test files, for editors that complete and check as you type; or of decisions, for their readers.

    Example: moderation policy schema --out policies/policy.schema.json
    """
    from moderation.cli import policy_lint

    policy_lint.schema(kind, out)


@app.command()
def plan(path: PolicyFile, as_json: Json = False) -> None:
    """Tell how many judged objects each guarantee takes, before anyone judges one, and how good the classifier must be.

    A plan is advice: it needs no encoder and asks no target. It assumes shares of objects that the classifier may come to
    flag; certify says what it does.

    Example: moderation policy plan policies/weapons.yaml
    """
    from moderation.cli import policy_plan

    policy_plan.tell(path, as_json=as_json)


@app.command("compile")
def compile_(
    path: PolicyFile,
    out: NewFolder = None,
    background: Background = None,
    as_json: Json = False,
) -> None:
    """Turn a policy's phrases into a classifier and write its lock beside the policy file.

    The lock has no thresholds yet: certify it next.

    Example: moderation policy compile policies/weapons.yaml
    """
    from moderation.cli import policy_build

    policy_build.compile_lock(path, out=out, background=background, as_json=as_json)


@app.command()
def certify(path: PolicyFile, out: BuildFolder = None, background: Background = None, as_json: Json = False) -> None:
    """Find thresholds that keep the policy's guarantees, and write them into its lock.

    Scores the policy's certify manifest as the pipeline scores anything. Near-duplicates count as one object; a target that the
    classifier has seen, or nearly, is refused, for which --background is that of compile. Leaves with exit code 5 where a guarantee
    cannot be certified, and says how many more targets it takes.

    Example: moderation policy certify policies/weapons.yaml
    """
    from moderation.cli import policy_build

    policy_build.certify_lock(path, out=out, background=background, as_json=as_json)


@app.command("test")
def run_tests(  # noqa: PLR0917 - typer passes options by name
    path: PolicyFile,
    out: BuildFolder = None,
    as_json: Json = False,
    junit: Annotated[
        Path | None,
        typer.Option(help="Write the results as JUnit XML too.", dir_okay=False, callback=in_a_folder),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A known gap that passes now is a failure too.")] = False,
    min_coverage: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The share of concepts, clauses, actions, groups to be covered.")
    ] = 0.0,
) -> None:
    """Run a policy's tests through the pipeline, on its certified lock, and tell what they cover.

    Leaves with exit code 6 when a test fails.

    Example: moderation policy test policies/weapons.yaml --junit results.xml
    """
    from moderation.cli import policy_test

    policy_test.test(path, out=out, as_json=as_json, junit=junit, strict=strict, min_coverage=min_coverage)


@app.command()
def audit(  # noqa: PLR0917 - typer passes options by name
    path: PolicyFile,
    out: BuildFolder = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the page for people too.", dir_okay=False, callback=in_a_folder)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write the summary for pull requests too.", dir_okay=False, callback=in_a_folder),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier audit of the policy, its .audit.json, to compare with.", dir_okay=False),
    ] = None,
    propose: Annotated[
        list[str] | None, typer.Option(help="A contrast phrase to try: what it would do to every gap.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who answers for the audit, for its report.")] = "",
    as_json: Json = False,
) -> None:
    """Compare groups on the policy's audit manifest: every harm it declares against the tolerance it declares.

    Writes ID.audit.json beside the lock. Leaves with exit code 10 where a harm fails, or a required one does not pass.

    Example: moderation policy audit policies/weapons.yaml --html audit.html
    """
    from moderation.cli import policy_audit

    policy_audit.audit(
        path,
        out=out,
        html=html,
        markdown=markdown,
        against=against,
        propose=propose or (),
        by=by,
        as_json=as_json,
    )


@app.command()
def show(path: PolicyFile, out: BuildFolder = None, as_json: Json = False) -> None:
    """Show the resolved policy, its lock, and what it will do: thresholds, bounds, expected share, controls.

    Example: moderation policy show policies/weapons.yaml
    """
    from moderation.cli import policy_show

    policy_show.show(path, out=out, as_json=as_json)


app.add_typer(policy_life.app)
