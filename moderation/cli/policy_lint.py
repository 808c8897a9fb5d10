"""What `moderation policy lint` and `schema` do: every mistake of every file, and the shapes that editors check."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moderation.cli import terminal
from moderation.errors import DataError, ExitCode, PolicyError, Problem

if TYPE_CHECKING:
    from moderation.encoder.card import EncoderCard
    from moderation.policy.lint import Finding
    from moderation.policy.schema import Policy
