"""What the command line says and where: results on stdout, everything else on stderr, plain text when nobody watches."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from moderation.errors import CONTROLS, DataError, ModerationError, PolicyError, Problem
from moderation.errors import counted as counted  # noqa: PLC0414 - said as terminal.counted
from moderation.errors import one_line as one_line  # noqa: PLC0414 - said as terminal.one_line
from moderation.whole import written_whole

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]
ALIKE = 10  # problems of one file that are told of one mistake


def error(failure: ModerationError) -> None:
    """Say on stderr what failed, without a traceback; located problems come one a line, ready for an editor, the first ALIKE of those that are alike."""
    problems: Sequence[Problem] = getattr(failure, "problems", ())
    lines = [f"error: {line}" for line in str(failure).splitlines() or [failure.code]]
    for line in _problem_lines(problems) if problems else lines:
        _say(sys.stderr, line, "bold red")
    if problems:
        what = "policy problem" if isinstance(failure, PolicyError) else "data problem"
        _say(sys.stderr, f"error: {counted(len(problems), what)}", "bold red")


def _problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    kinds = Counter((one.path, one.code, one.message) for one in problems)
    shown = Counter[tuple[Path, str, str]]()
    for one in problems:
        kind = one.path, one.code, one.message
        shown[kind] += 1
        if shown[kind] <= ALIKE:
            yield str(one)
        elif shown[kind] == kinds[kind]:
            yield one_line(f"{one.path}: {one.code}: and {counted(kinds[kind] - ALIKE, 'more line')} of the same")


def say(text: str = "") -> None:
    """A line of the result, for people, on stdout."""
    _say(sys.stdout, text, "")


def note(text: str) -> None:
    """A line about how the work goes, on stderr, so that stdout stays the result alone."""
    _say(sys.stderr, text, "dim")


def emit(value: Any, *, to: TextIO | None = None) -> None:
    """A result for machines: indented JSON on stdout, or in a file."""
    import json

    (to or sys.stdout).write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_line(value: Any) -> str:
    """`value` as one line of JSON, newline included."""
    import json

    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def write(text: str) -> None:
    """Text on stdout, exactly as it is."""
    sys.stdout.write(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, to_stderr: bool = False) -> None:
    """A small table for people: the first column stands left, all others right."""
    stream = sys.stderr if to_stderr else sys.stdout
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(columns), *cells]) for n in range(len(columns))]
    _say(stream, _row(columns, widths), "bold")
    for row in cells:
        _say(stream, _row(row, widths), "")


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  " + "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place at `path` only once everything was written; a pipe or a device is written to as it is.

    Raises DataError where it cannot.
    """
    target = path.resolve()  # what a link points to, not the link
    with ExitStack() as stack:
        try:
            special = target.exists() and not target.is_file()
            place = target if special else stack.enter_context(written_whole(target))
            stream = stack.enter_context(place.open("w", encoding="utf-8"))
        except FileNotFoundError:
            message = f"cannot be written: there is no folder {path.parent}; make it first"
            raise DataError([Problem(path, 0, 0, "D000", message)]) from None
        except OSError as failure:
            raise DataError([Problem(path, 0, 0, "D000", f"cannot be written: {failure.strerror}")]) from None
        yield stream


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr while a terminal watches, nothing otherwise; call the result with how many are done more."""
    if not sys.stderr.isatty() or total == 0:
        yield lambda _count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # rich would send stdout through stderr's console, which is right only where both are the same terminal.
    together = sys.stdout.isatty()
    console = _console(sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=together, redirect_stderr=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while a terminal watches, for work whose length nobody knows beforehand."""
    if not sys.stderr.isatty():
        yield
        return
    with _console(sys.stderr).status(what):
        yield


def _say(stream: TextIO, text: str, style: str) -> None:
    text = text.translate(CONTROLS)
    if stream.isatty():
        _console(stream).print(text, style=style, soft_wrap=True, markup=False, highlight=False)
    else:
        stream.write(text + "\n")


def _console(stream: TextIO) -> Console:
    # rich itself drops colours where NO_COLOR is set or TERM is dumb.
    from rich.console import Console

    return Console(file=stream)
