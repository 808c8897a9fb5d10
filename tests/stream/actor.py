"""A session in a process of its own that does what it is told, one step at a time: it can be frozen, killed, or hang.

Run as `python -m tests.stream.actor`, it reads one JSON command a line and answers each with one JSON line.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moderation.errors import ModerationError, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Batch, Output
from moderation.stream.liveness import leave
from moderation.stream.session import Session
from tests.stream.ground import Ground

ROOT = Path(__file__).resolve().parents[2]
Answer = dict[str, Any]


class Actor:
    """The test's end: `do` waits for the answer, `tell` and `answer` are its two halves."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stream.actor", json.dumps(settings)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.opened = self.answer(120)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send(signal.SIGKILL)

    def do(self, what: str, *arguments: Any, within: float = 60) -> Answer:
        """Tell and wait."""
        self.tell(what, *arguments)
        return self.answer(within)

    def tell(self, what: str, *arguments: Any) -> None:
        """Tell the process to do this next."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self, within: float = 60) -> Answer:
        """The next answer; TimeoutError where the process hangs or is frozen, ChildProcessError where it is gone."""
        try:
            line = self._answers.get(timeout=within)
        except queue.Empty:
            raise TimeoutError(f"no answer within {within} s") from None
        if not line:
            raise ChildProcessError(f"the process ended with {self._process.wait()}")
        answer: Answer = json.loads(line)
        return answer

    def poll_until(self, wanted: str, *, tries: int = 120) -> Answer:
        """The first poll whose answer has something under this name: `records`, `assigned` or `error`."""
        for _ in range(tries):
            answer = self.do("poll", 0.5)
            assert wanted == "error" or "error" not in answer, answer["error"]
            if answer.get(wanted):
                return answer
        raise TimeoutError(f"no {wanted} in {tries} polls")

    def work(self, ground: Ground, count: int, *, seconds: float = 120) -> None:
        """Poll, copy and commit until so many records are committed in its group."""
        end = time.monotonic() + seconds
        while sum(ground.committed().values()) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"committed within {seconds} s: {ground.committed()}")
            batch = self.do("poll", 0.5)
            assert "error" not in batch, batch["error"]
            if batch["records"]:
                assert self.do("commit", batch["batch"], ground.output) == {"done": True}

    def send(self, what: signal.Signals) -> None:
        """Send a signal; after SIGKILL the process is waited for."""
        self._process.send_signal(what)
        if what == signal.SIGKILL:
            self.ended()

    def ended(self) -> int:
        """Wait until the process has ended; its exit code."""
        code = self._process.wait(120)
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        return code

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


class _Play:
    """The process's end: keeps the batches by number, answers in plain values."""

    def __init__(self, settings: StreamSettings) -> None:
        self.session = Session(settings)
        self.batches: list[Batch] = []

    def poll(self, seconds: float) -> Answer:
        batch = self.session.poll(seconds)
        self.batches.append(batch)
        assigned = batch.assigned
        return {
            "batch": len(self.batches) - 1,
            "records": [(str(one.partition), one.offset, (one.value or b"").decode()) for one in batch.records],
            "assigned": None if assigned is None else [(str(one.partition), one.offset, one.note) for one in assigned],
            "generation": batch.membership.generation,
        }

    def commit(self, number: int, topic: str) -> Answer:
        batch = self.batches[number]
        outputs = [Output(topic, one.value, one.key, (("from", str(one.partition).encode()),)) for one in batch.records]
        return {"done": self.session.commit(batch, outputs)}

    def mark(self, number: int, note: str, otherwise: str = "") -> Answer:
        return {"done": self.session.mark(self.batches[number], note, otherwise=otherwise)}

    def pause(self) -> Answer:
        self.session.pause()
        return {}

    def stalled(self) -> Answer:
        return {"seconds": self.session.progress.seconds()}

    def close(self) -> Answer:
        self.session.close()
        return {}


def _main() -> None:
    try:
        play = _Play(StreamSettings.model_validate_json(sys.argv[1]))
    except StreamError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}), flush=True)
        leave(error)
    print(json.dumps({"opened": True}), flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            answer = getattr(play, what)(*arguments)
        except ModerationError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
