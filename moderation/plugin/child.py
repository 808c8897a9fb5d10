"""The process of one isolated plugin: loads it by its own door, says what it brings, judges batch after batch, and ends with its parent.

Run as `python -m moderation.plugin.child PLUGIN MEMORY_BYTES KIND ID SOCKET LIFELINE`, the last two as descriptors, by `detector/isolated.py` alone, which writes
the plugin's settings, and the folder where their paths begin, to its standard input, as JSON.
The detector or reader (KIND) of that ID is set up before anything is said; without one (""), nothing is.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from moderation.detector.answers import check_answers
from moderation.detector.base import DetectionBatch, needs_scores, revision_of
from moderation.detector.faults import SetupError
from moderation.detector.life import Unit, set_up
from moderation.detector.wire import (
    Description,
    Greeting,
    Limits,
    ReaderDescription,
    encode_answers,
    encode_greeting,
    encode_raised,
    read_batch,
)
from moderation.errors import ExitCode
from moderation.plugin.brought import Plugins, PluginState
from moderation.plugin.manager import load
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import check_readings, crops
from moderation.reader.wire import encode_raised_reading, encode_readings


def main() -> int:
    """Serve until the parent is gone; the exit code tells whether there was something to serve."""
    plugin, memory, kind, id_, line, lifeline = sys.argv[1:]
    _end_with_parent(int(lifeline))
    _limit(int(memory))
    given = json.load(sys.stdin)
    settings, folder = given["settings"], Path(given["folder"])
    with socket.socket(fileno=int(line)) as parent, parent.makefile("rb") as asked:
        parent.set_inheritable(False)
        known = load((plugin,), settings={plugin: settings} if settings else {}, folder=folder)
        units: Mapping[str, Unit] = known.readers if kind == "reader" else known.detectors
        unit = units.get(id_)
        greeting = _greeting(plugin, unit, known)
        parent.sendall(encode_greeting(greeting))
        while not greeting.broken and (request := read_batch(asked)):
            for piece in _answer(unit, *request):
                parent.sendall(piece)
    return ExitCode.PLUGIN if greeting.broken else ExitCode.OK


def _end_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process and all that it starts when the pipe's other end closes, however the parent ended.

    Whatever hangs here, no thread of this interpreter is needed for it. What is told to the parent (SIGTERM to a whole service,
    Ctrl-C) is not for us: it may have batches to finish.
    """
    os.set_inheritable(lifeline, False)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    if hasattr(fcntl, "F_SETSIG"):  # elsewhere it is SIGIO, which kills whoever does not catch it
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)


def _limit(memory_bytes: int) -> None:
    """No more address space than that, and no image of the memory, with content in it, on the disk after a crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _greeting(plugin: str, unit: Unit | None, known: Plugins) -> Greeting:
    record = next(one for one in known.records if one.id == plugin)
    if record.state is not PluginState.LOADED:
        return Greeting(broken=record.cause)
    others = sorted({*record.encoders, *record.fetchers, *record.sinks})
    if others:
        return Greeting(broken=f"brings {', '.join(others)}; only detectors and readers can be isolated")
    try:
        set_up(unit)
    except SetupError as error:
        return Greeting(broken=str(error))
    return Greeting(
        tuple(
            Description(
                id_,
                one.labels,
                one.modalities,
                one.needs_embeddings,
                needs_scores(one),
                getattr(one, "steepness", None),
            )
            for id_, one in known.detectors.items()
        ),
        readers=tuple(
            ReaderDescription(id_, one.reads, one.yields, crops(one), revision_of(one))
            for id_, one in known.readers.items()
            if id_ in record.readers  # ours is not its
        ),
        hooks=record.hooks,
    )


def _answer(unit: Any, batch: DetectionBatch, limits: Limits | None) -> Iterable[bytes]:
    # Checked here for what only Python can tell, and by the parent again, who believes nothing of it.
    try:
        if limits is None:
            answers = check_answers(unit.detect(batch), len(batch), frozenset(unit.labels))
            return [encode_answers(answers, revision_of(unit))]
        bounds = ReaderSettings(most_parts=limits[0], most_bytes=limits[1], most_batch_bytes=limits[2])
        readings = check_readings(unit.read(batch.parts), len(batch), yields=frozenset(unit.yields), limits=bounds)
        return encode_readings(readings, limits, revision_of(unit))
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its own fault, even SystemExit
        raised = encode_raised(error)
        return [raised if limits is None else encode_raised_reading(raised)]


if __name__ == "__main__":
    sys.exit(main())
