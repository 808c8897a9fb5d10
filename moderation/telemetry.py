"""Logs of a process that nobody watches: one line an event, as JSON or as text, keys after OpenTelemetry, and no content.

Of an exception its type and the places it passed are told, never its message: that may quote an item. What may be told of an event besides
its message stands in `extra={"told": {...}}`, by convention's key; anything else that a library adds is left out.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

Form = Literal["text", "json"]
TOPIC, PARTITION, OFFSET = "messaging.destination.name", "messaging.destination.partition.id", "messaging.kafka.offset"
OURS = "moderation"  # the root of our loggers
TRACE = logging.getLogger(f"{OURS}.trace")  # at DEBUG, what plugins are asked: ids, counts, milliseconds
SILENCE = 10.0  # seconds
GROUP, ERROR = "messaging.consumer.group.name", "error.type"
REQUEST = "http.response.header.x-request-id"  # of the request that an event is of


def start(form: Form, *, stream: TextIO | None = None) -> None:
    """From now on, log to `stream` (stderr) in this form: all of ours from INFO on, others' warnings; uncaught exceptions too."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(Calm())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(OURS).setLevel(logging.INFO)
    # It warns of a tenth of a second in which others computed.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda one: _uncaught(one.exc_type, one.exc_value, one.exc_traceback)


@contextmanager
def tracing(stream: TextIO) -> Iterator[None]:
    """As long as this lasts, tell on `stream`, one line each, what plugins are asked, how long it takes and what they answer, in counts."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("trace: %(message)s"))
    TRACE.addHandler(handler)
    TRACE.setLevel(logging.DEBUG)
    TRACE.propagate = False
    try:
        yield
    finally:
        TRACE.propagate = True
        TRACE.setLevel(logging.NOTSET)
        TRACE.removeHandler(handler)


class Calm:
    """Drops what a logger of others says again within SILENCE seconds; its next line tells how many were dropped. `clock` counts seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._told: dict[tuple[str, str], float] = {}  # when each line of a logger was told
        self._dropped = Counter[str]()  # of each logger, since its last line

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is told."""
        if record.name.partition(".")[0] == OURS:
            return True
        line = record.name, record.getMessage()
        with self._lock:
            now = self._clock()
            self._told = {one: then for one, then in self._told.items() if now < then + SILENCE}
            if line in self._told:
                self._dropped[record.name] += 1
                return False
            self._told[line] = now
            dropped = self._dropped.pop(record.name, 0)
        if dropped:
            record.told = {"dropped": dropped}
        return True


class JsonLines(logging.Formatter):
    """Each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the record holds."""
        row = {
            "timestamp": _time(record),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_told(record),
        }
        return json.dumps(row, ensure_ascii=True, default=str)


class TextLines(logging.Formatter):
    """Each record as one line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the record holds."""
        told = "".join(f" {key}={value}" for key, value in _told(record).items())
        message = record.getMessage().replace("\n", "; ")
        return f"{_time(record)} {record.levelname} {record.name}: {message}{told}"


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _told(record: logging.LogRecord) -> dict[str, Any]:
    told = getattr(record, "told", None)
    found = dict(told) if isinstance(told, Mapping) else {}
    _, error, _ = record.exc_info or (None, None, None)
    return found if error is None else {**found, **places(error)}


def places(error: BaseException) -> dict[str, str]:
    """What may be told of an error: its type, and the places it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    passed = " > ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames)
    return {ERROR: type(error).__name__, "exception.stacktrace": passed}


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt) or error is None:
        return
    logging.getLogger(OURS).critical("not caught", exc_info=(kind, error, trace))
