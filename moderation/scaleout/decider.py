"""What a worker does: one encoder, loaded once, decides portion after portion and leaves each as a file.

Nothing is raised here: what Ray would print of an error, and keep in its logs, may quote content. A row that goes back says what went wrong.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation import __version__, telemetry
from moderation.errors import ClusterError, DataError, ModerationError, Problem
from moderation.settings import Settings
from moderation.source.entry import Most
from moderation.source.portions import Portion, Span

if TYPE_CHECKING:
    from moderation.pipeline import Pipeline
    from moderation.scaleout.caution import Caution

GIVEN_UP = "given up"  # what is wrong with a portion whose workers died each time
ATTEMPTS = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What every worker is told: settings, locks, where the run's files go, the bounds of what is read, the folder that paths are from, threads for its encoder (0: as ever), how often a portion is begun without finding out more of what it dies of, and the version of this package."""

    settings: Settings
    locks: tuple[Path, ...]
    out: Path
    most: Most
    folder: Path
    threads: int = 0
    attempts: int = ATTEMPTS
    version: str = __version__


class Decider:
    """A batch of portions in, one row for each out: its number, and what went wrong, if anything."""

    def __init__(self, order: Order) -> None:
        # Before torch is imported, which reads it once; Ray's own choice is one thread for most workers.
        if order.threads:
            os.environ["OMP_NUM_THREADS"] = str(order.threads)
        telemetry.start("text")
        self._order = order
        self._pipeline: Pipeline | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Decide each portion."""
        rows = [self._decided(decoded(text)) for text in batch["portion"]]
        return {"number": [number for number, _ in rows], "wrong": [wrong for _, wrong in rows]}

    def _decided(self, portion: Portion) -> tuple[int, str]:
        from moderation.scaleout.caution import Caution
        from moderation.scaleout.parts import notes_path

        try:
            caution = Caution(notes_path(self._order.out, portion.number))
            if caution.hopeless(self._order.attempts):
                return portion.number, GIVEN_UP
            self._decide(portion, caution)
        except ModerationError as error:
            return portion.number, json.dumps([str(error), int(error.exit_code)])
        except Exception as error:  # noqa: BLE001 - what Ray would print of it may quote content
            _log.exception("portion %d was not decided", portion.number)
            return portion.number, json.dumps([f"portion {portion.number}: {type(error).__name__}", 1])
        return portion.number, ""

    def _decide(self, portion: Portion, caution: Caution) -> None:
        from moderation.scaleout.parts import write_part
        from moderation.scan import decide_entries

        pipeline, order = self._loaded(), self._order
        decided = decide_entries(pipeline, portion.entries(order.most), pieces=caution.pieces)
        decisions = [decision for _, decision in decided]
        if len(decisions) != portion.count:
            message = f"{len(decisions)} items where {portion.count} were found before; it changed while it was read"
            raise DataError([Problem(portion.spans[-1].file, 0, 0, "D006", message)])
        write_part(order.out, portion.number, decisions)

    def _loaded(self) -> Pipeline:
        if self._pipeline is None:
            from moderation import assemble

            if self._order.version != __version__:
                raise ClusterError(f"a worker has moderation {__version__}; expected {self._order.version}, as here")
            os.chdir(self._order.folder)
            settings = self._order.settings
            self._pipeline = assemble.pipeline(settings, self._order.locks, counter=assemble.quota_counter(settings))
        return self._pipeline


def encoded(portion: Portion) -> str:
    """A portion as text; names that are not UTF-8 come through."""
    spans = [asdict(span) | {"file": str(span.file)} for span in portion.spans]
    return json.dumps({"number": portion.number, "spans": spans})


def decoded(text: str) -> Portion:
    """The inverse of `encoded`."""
    told = json.loads(text)
    return Portion(told["number"], tuple(Span(**one | {"file": Path(one["file"])}) for one in told["spans"]))
