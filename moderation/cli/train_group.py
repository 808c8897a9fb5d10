"""`moderation train`: what follows is a run's configuration, unless it is the name of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from moderation.meant import did_you_mean

RUN = "CONFIG.toml"  # how the help shows the run among the commands


class RunOrCommand(TyperGroup):
    """A group whose first argument is taken as the run's configuration where it names none of the other commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands, the run first."""
        return sorted(super().list_commands(ctx), key=lambda name: name != RUN)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the run's own name put before those that are meant for it."""
        others = [name for name in self.commands if name != RUN]
        if args and args[0] not in {*others, *ctx.help_option_names}:
            self._suggest(ctx, args[0], others)
            args = [RUN, *args]
        return super().parse_args(ctx, args)

    @staticmethod
    def _suggest(ctx: Any, first: str, others: list[str]) -> None:
        meant = did_you_mean(first, others, listed=False)
        if meant and not Path(first).exists():
            ctx.fail(f"{first!r} is neither a file nor a command{meant}")


class Run(TyperCommand):
    """The run itself: its argument is its name, so that the usage shows it once."""

    def collect_usage_pieces(self, _ctx: Any) -> list[str]:
        """What stands after the name."""
        return ["[OPTIONS]"]
