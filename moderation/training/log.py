"""What a run tells while it runs: a line of JSON for each step, TensorBoard, and the curves as one SVG at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moderation.errors import TrainingError
from moderation.whole import written_whole

FILE, CURVES = "log.jsonl", "curves.svg"
_WIDTH, _HEIGHT, _EDGE = 640, 160, 44


class Log:
    """The log of a run in its folder. What an earlier try wrote beyond the step it goes on from is taken out."""

    def __init__(self, out: Path, start: int, *, quiet: bool = False) -> None:
        self._out, self._quiet = out, quiet
        self._file: Any = None
        self._board: Any = None
        self._start = start

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        try:
            self._open()
        except OSError as error:
            raise TrainingError(f"{self._out}: the run's folder cannot be written: {error.strerror}") from None
        return self

    def _open(self) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._out.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self.lines() if json.loads(line)["step"] <= self._start]
        path = self._out / FILE
        with written_whole(path) as beside:  # a full disk leaves the log as it was
            beside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(self._out / "tensorboard"), purge_step=self._start + 1)

    def __exit__(self, *_error: object) -> None:
        if self._file is None:
            return
        self._file.close()
        self._board.close()
        rows = [json.loads(line) for line in self.lines()]
        if rows:
            (self._out / CURVES).write_text(curves(rows), encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One step's numbers."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def lines(self) -> list[str]:
        """The log so far, whole lines only: a crash may cut the last."""
        path = self._out / FILE
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()


def curves(rows: Sequence[Mapping[str, float]]) -> str:
    """Every number that changed, over the steps, as one self-contained SVG."""
    known = dict.fromkeys(name for row in rows for name in row if name != "step")
    names = [name for name in known if len({row[name] for row in rows if name in row}) > 1]
    panels = "".join(_panel(name, rows, place * (_HEIGHT + 20)) for place, name in enumerate(names))
    size = f'width="{_WIDTH}" height="{max(1, len(names)) * (_HEIGHT + 20)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">{panels}</svg>\n'


def _panel(name: str, rows: Sequence[Mapping[str, float]], top: int) -> str:
    seen = [(row["step"], row[name]) for row in rows if name in row]
    low, high = min(value for _, value in seen), max(value for _, value in seen)
    first, last = seen[0][0], seen[-1][0]
    across, up = (_WIDTH - _EDGE - 8) / max(1, last - first), (_HEIGHT - 30) / ((high - low) or 1.0)
    points = " ".join(
        f"{_EDGE + (step - first) * across:.1f},{top + _HEIGHT - 14 - (value - low) * up:.1f}" for step, value in seen
    )
    words = [(0, 12, name), (0, 30, f"{high:.4g}"), (0, _HEIGHT - 14, f"{low:.4g}")]
    words += [(_EDGE, _HEIGHT, f"step {first}"), (_WIDTH - 60, _HEIGHT, f"step {last}")]
    texts = "".join(f'<text x="{x}" y="{top + y}">{word}</text>' for x, y, word in words)
    return f'{texts}<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.2"/>'
