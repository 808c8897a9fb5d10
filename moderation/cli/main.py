"""`moderation`: the commands, put together. Each command imports its heavy rooms when it runs, never before."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from moderation.cli import (
    bench,
    cache,
    classify,
    deliver,
    demo,
    dlq,
    doctor,
    plugin,
    policy,
    scan,
    search,
    serve,
    terminal,
    train,
    worker,
)
from moderation.cli.process import GARBAGE
from moderation.errors import ExitCode, ModerationError

INTERRUPTED = 130  # what shells say of SIGINT
_UsageError: Any = typer.BadParameter.__base__  # which typer has under another name in each version


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """As ever; a command that was typed without what it takes, or with more, is answered with what that is and its example."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            text = getattr(error.ctx and error.ctx.command, "help", None) or ""
            _, example, line = text.rpartition("Example: ")
            if not example or type(error) is typer.BadParameter:  # a value that is wrong, which says what was expected
                raise
            wanted = getattr(getattr(error, "param", None), "help", None)
            told = filter(None, (error.format_message(), wanted, example + line))
            raise _UsageError("\n".join(told), ctx=error.ctx) from None

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands as a newcomer meets them."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As ever; a command that stands in a group and was typed without it is answered with both words."""
        groups = {
            name: command
            for name in self.list_commands(ctx)
            if isinstance(command := self.get_command(ctx, name), TyperGroup)
        }
        if args and args[0] not in self.commands:
            meant = [f"'{ctx.info_name} {name} {args[0]}'" for name, one in groups.items() if args[0] in one.commands]
            if meant:
                ctx.fail(f"No such command {args[0]!r}; did you mean {' or '.join(meant)}?")
        return super().resolve_command(ctx, args)


_ORDER = (
    "demo",
    "policy",
    "scan",
    "search",
    "classify",
    "worker",
    "deliver",
    "serve",
    "dlq",
    "bench",
    "cache",
    "doctor",
    "plugin",
    "train",
)

app = typer.Typer(
    cls=_Commands,
    name="moderation",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from moderation import __version__

        terminal.say(f"moderation {__version__}")
        raise typer.Exit


@app.callback()
def _moderation(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Write a policy in words, get a measured classifier, run it on pictures and texts.

    \b
    The usual order, for a policy called weapons:
      moderation policy new weapons              a policy file and its tests
      moderation policy lint policies            every mistake, by line and column
      moderation policy plan FILE                how many judged examples it takes
      moderation policy compile FILE             phrases become a classifier
      moderation policy certify FILE             thresholds that keep promises
      moderation policy test FILE                the policy's own tests
      moderation scan pictures/ --policy FILE    a decision for every item
      moderation policy release FILE --to live --by TEAM    from here on it acts

    \b
    All of it on shipped pictures, in half a minute: moderation demo
    When something does not work:                    moderation doctor
    Settings: a TOML file that MODERATION_SETTINGS names, and variables, with two
    underscores for each level: MODERATION_ENCODERS__DEFAULT__DEVICE=cpu
    """  # noqa: D301  typer wants the character itself


app.command("demo")(demo.demo)
app.add_typer(bench.app, name="bench")
app.add_typer(cache.app, name="cache")
app.add_typer(policy.app, name="policy")
app.command("scan")(scan.scan)
app.command("search")(search.search)
app.command("classify")(classify.classify)
app.command("worker")(worker.worker)
app.command("deliver")(deliver.deliver)
app.command("serve")(serve.serve)
app.add_typer(dlq.app, name="dlq")
app.command("doctor")(doctor.doctor)
app.add_typer(plugin.app, name="plugin")
app.add_typer(train.app, name="train")


def _flow(commands: typer.Typer) -> None:
    """Paragraphs of help without the line ends of our source, which typer keeps in all but the first of them."""
    for one in commands.registered_commands:
        paragraphs = (inspect.getdoc(one.callback) or "").split("\n\n")
        one.help = "\n\n".join(text if text.startswith("\b") else text.replace("\n", " ") for text in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance:
            _flow(group.typer_instance)


_flow(app)


@functools.cache
def command() -> Any:
    """All commands as one, made once: typer would look through every function of theirs at each call."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    # While torch and its like are loaded, Python would look through all of them again and again: a tenth of a command's time.
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: an error of ours is a message, any other keeps its traceback."""
    try:
        command()(args=None if arguments is None else list(arguments), prog_name="moderation")
    except ModerationError as failure:
        terminal.error(failure)
        return int(failure.exit_code)
    except SystemExit as leaving:
        return _flushed(leaving.code if isinstance(leaving.code, int) else int(ExitCode.OK))
    except KeyboardInterrupt:  # before the command began; from then on typer says the same
        return INTERRUPTED
    return _flushed(int(ExitCode.OK))


def _flushed(code: int) -> int:
    """`code`, or the reader's absence: what is left to print must not raise while the interpreter shuts down."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115 - lives until the process ends
        return int(ExitCode.INTERNAL)
    return code
