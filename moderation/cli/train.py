"""`moderation train`: a training run from its configuration, and on from where it stopped; and an encoder's evaluation."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal, train_evaluate
from moderation.cli.train_group import RUN, Run, RunOrCommand
from moderation.extras import need

if TYPE_CHECKING:
    from moderation.training.loop import Progress

NOTE_EVERY_SECONDS = 30.0

app = typer.Typer(
    cls=RunOrCommand,
    no_args_is_help=True,
    subcommand_metavar="CONFIG.toml|COMMAND [ARGS]...",
    rich_markup_mode="rich",
    help="""Train an encoder, and measure one.

    \b
    moderation train CONFIG.toml                  a run; --resume goes on with it
    moderation train evaluate bundled --data DIR  figures and a model card
    """,
)
app.command("evaluate")(train_evaluate.evaluate)


@app.command(RUN, cls=Run)
def train(
    config: Annotated[Path, typer.Argument(metavar=RUN, help="The run's TOML file.", exists=True, dir_okay=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
) -> None:
    """Train an encoder as a configuration says, with checkpoints to resume from.

    Example: moderation train CONFIG.toml --resume
    """
    need("peft", "tensorboard", extra="train")
    from moderation.training.loop import train as run

    with ExitStack() as stack:
        checkpoint = run(config, resume=resume, progress=_Teller(stack).tell, note=terminal.note)
    terminal.say(f"checkpoint: {checkpoint}")
    folder = checkpoint.parent / "encoder"
    if folder.is_dir():
        terminal.say(f"encoder: {folder}{_kept(folder)}")


def _kept(folder: Path) -> str:
    """How much of the start an encoder kept, where the run chose that."""
    from moderation.encoder.card import CARD_FILE

    metrics = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))["metrics"]
    if "keep_start" not in metrics:
        return ""
    keep, recalls = metrics["keep_start"], metrics["valid_recall_by_keep_start"]
    told = f"R@1 on valid {recalls[str(keep)]:.3f}, the start {recalls['1.0']:.3f}, all that was learned {recalls['0.0']:.3f}"
    return f" (keeps {keep:.0%} of the start: {told})"


class _Teller:
    """A line now and then, so that a log stays short, and a bar below it where a terminal watches."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._advance: terminal.Advance | None = None
        self._done = 0
        self._noted = time.monotonic()

    def tell(self, progress: Progress) -> None:
        if self._advance is None:
            self._advance = self._stack.enter_context(terminal.progress("training", progress.steps))
        self._advance(progress.step - self._done)
        self._done = progress.step
        due = time.monotonic() - self._noted >= NOTE_EVERY_SECONDS
        measured = any(name.startswith("valid/") for name in progress.told)
        if measured or due or progress.step == progress.steps:
            self._noted = time.monotonic()
            terminal.note(in_words(progress))


def in_words(progress: Progress) -> str:
    """One step of a run, for people."""
    rate = f"{progress.pictures_per_second:.0f} pictures/s at {progress.told['size']:.0f} px"
    waited = progress.told.get("waited", 0.0)
    slow = f", {waited:.0%} of the time waiting for data" if "waited" in progress.told else ""
    valid = {name.removeprefix("valid/"): value for name, value in progress.told.items() if name.startswith("valid/")}
    recalls = "".join(f", {name.replace('_r', ' R@')} {value:.3f}" for name, value in valid.items())
    told = f"step {progress.step}/{progress.steps}, loss {progress.loss:.4f}, scale {progress.told['scale']:.1f}"
    return f"{told}, {rate}{slow}{recalls}"
