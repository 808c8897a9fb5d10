"""The process of one isolated plugin: loads it by its own door, says what it brings, judges batch after batch, and ends with its parent.

Run as `python -m moderation.plugin.child PLUGIN MEMORY_BYTES DETECTOR SOCKET LIFELINE`, the last two as descriptors, by `detector/isolated.py` alone, which writes
the plugin's settings, and the folder where their paths begin, to its standard input, as JSON.
DETECTOR is set up before anything is said; without one (""), nothing is.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from moderation.detector.answers import check_answers
from moderation.detector.base import DetectionBatch, Detector, needs_scores, revision_of
from moderation.detector.faults import SetupError
from moderation.detector.life import set_up
from moderation.detector.wire import (
    Description,
    Greeting,
    encode_answers,
    encode_greeting,
    encode_raised,
    read_batch,
)
from moderation.errors import ExitCode
from moderation.plugin.brought import Plugins, PluginState
from moderation.plugin.manager import load


def main() -> int:
    """Serve until the parent is gone; the exit code tells whether there was something to serve."""
    plugin, memory, detector, line, lifeline = sys.argv[1:]
    _end_with_parent(int(lifeline))
    _limit(int(memory))
    given = json.load(sys.stdin)
    settings, folder = given["settings"], Path(given["folder"])
    with socket.socket(fileno=int(line)) as parent, parent.makefile("rb") as asked:
        parent.set_inheritable(False)
        known = load((plugin,), settings={plugin: settings} if settings else {}, folder=folder)
        greeting = _greeting(plugin, detector, known)
        parent.sendall(encode_greeting(greeting))
        labels = {one.id: frozenset(one.labels) for one in greeting.detectors}
        while labels and (request := read_batch(asked)):
            parent.sendall(_answer(*request, known.detectors, labels))
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


def _greeting(plugin: str, detector: str, known: Plugins) -> Greeting:
    record = next(one for one in known.records if one.id == plugin)
    if record.state is not PluginState.LOADED:
        return Greeting(broken=record.cause)
    others = sorted({*record.readers, *record.encoders, *record.fetchers, *record.sinks})
    if others:
        return Greeting(broken=f"brings {', '.join(others)}; only detectors can be isolated")
    try:
        set_up(known.detectors.get(detector))
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
        )
    )


def _answer(
    id_: str, batch: DetectionBatch, detectors: Mapping[str, Detector], labels: Mapping[str, frozenset[str]]
) -> bytes:
    try:
        # Checked here for what only Python can tell, and by the parent again, who believes nothing of it.
        answers = check_answers(detectors[id_].detect(batch), len(batch), labels[id_])
        return encode_answers(answers, revision_of(detectors[id_]))
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its own fault, even SystemExit
        return encode_raised(error)


if __name__ == "__main__":
    sys.exit(main())
