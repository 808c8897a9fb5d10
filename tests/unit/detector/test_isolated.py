"""Processes that do not keep to what was agreed: too slow, too loud, gone. Whatever they do, the next batch is judged."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moderation.decision import Score
from moderation.detector.base import DetectionBatch
from moderation.detector.faults import BAD_ANSWER, ERROR, TIMEOUT, FaultError, SetupError
from moderation.detector.isolated import IsolatedDetector, greeting_of
from moderation.detector.life import Lives, set_up
from moderation.detector.wire import Description, Greeting, encode_answers, encode_greeting, most_bytes
from moderation.item import Modality, Part

HERE = Description("risky", ("risk",), frozenset(Modality), needs_embeddings=False)
BATCH = DetectionBatch((Part.text("one"), Part.text("two")))
GOOD = [(Score("risk", 0.5),)] * 2

# What every one of these processes has at hand; its own life follows.
HEAD = f"""
import os, socket, sys, time
line = socket.socket(fileno=int(sys.argv[-2]))
folder, greeting, answer = sys.argv[1], bytes.fromhex({encode_greeting(Greeting((HERE,))).hex()!r}), bytes.fromhex({encode_answers(GOOD).hex()!r})
open(folder + "/" + str(os.getpid()), "w").close()
lives = len(os.listdir(folder))
def hear():
    if not line.recv(65536): os._exit(0)
def serve():
    while True:
        hear(); line.sendall(answer)
"""
Make = Callable[..., IsolatedDetector]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A detector whose process lives as the code says."""
    made: list[IsolatedDetector] = []

    def make(code: str, **options: float) -> IsolatedDetector:
        command = [sys.executable, "-I", "-S", "-c", HEAD + code, str(tmp_path)]
        made.append(IsolatedDetector(HERE, command, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def started(folder: Path) -> list[str]:
    """The processes that were started here; of /proc/self/fd, what is open."""
    return [one.name for one in folder.iterdir()]


def alive(folder: Path) -> list[str]:
    """Those that are there still, zombies too."""
    return [one for one in started(folder) if Path("/proc", one).exists()]


def fault(detector: IsolatedDetector, *, seconds: float = 30.0) -> tuple[str, str]:
    with pytest.raises(FaultError) as raised:
        detector.detect(BATCH, seconds=seconds)
    return raised.value.reason, raised.value.cause


def test_one_process_answers_batch_after_batch_and_ends_with_its_detector(make: Make, tmp_path: Path) -> None:
    detector = make("line.sendall(greeting); serve()")
    for _ in range(3):
        assert detector.detect(BATCH) == GOOD
    assert detector.starts == len(alive(tmp_path)) == 1
    detector.close()
    assert alive(tmp_path) == []
    assert detector.detect(BATCH) == GOOD
    assert detector.starts == 2


def test_who_forgets_a_detector_leaves_no_process_behind(tmp_path: Path) -> None:
    code = HEAD + "line.sendall(greeting); serve()"
    detector = IsolatedDetector(HERE, [sys.executable, "-I", "-S", "-c", code, str(tmp_path)])
    assert detector.detect(BATCH) == GOOD
    del detector
    gc.collect()
    assert alive(tmp_path) == []


LIARS = {
    "announces four gigabytes": r"line.sendall(greeting); hear(); line.sendall(b'\xff' * 4); hear()",
    "says two things": "line.sendall(greeting); hear(); line.sendall(answer + answer); hear()",
    "says no JSON": r"line.sendall(greeting); hear(); line.sendall(b'\0\0\0\3abc'); hear()",
    "greets with nonsense": r"line.sendall(b'\0\0\0\2[]'); hear()",
}


@pytest.mark.parametrize("code", LIARS.values(), ids=LIARS)
def test_rubbish_is_a_bad_answer_and_ends_the_process(make: Make, tmp_path: Path, code: str) -> None:
    assert fault(make(code)) == (BAD_ANSWER, "")
    assert alive(tmp_path) == []


def test_the_longest_answer_that_is_read_has_a_bound() -> None:
    assert [most_bytes(parts) for parts in (1, 64, 5000)] == [1 << 18, 1 << 24, 1 << 24]


DEATHS = {
    "exit_3": "line.sendall(greeting); hear(); os._exit(3)",
    "SIGABRT": "line.sendall(greeting); hear(); os.abort()",
    "SIGSEGV": "line.sendall(greeting); hear(); os.kill(os.getpid(), 11)",
    "signal_40": "line.sendall(greeting); hear(); os.kill(os.getpid(), 40)",
    "SIGKILL": "line.sendall(greeting); hear(); line.close(); time.sleep(100)",  # ended by us: it cannot answer any more
    "exit_7": "os._exit(7)",
}


@pytest.mark.parametrize("cause", DEATHS)
def test_a_death_is_an_error_that_says_how_and_nothing_is_left(make: Make, tmp_path: Path, cause: str) -> None:
    assert fault(make(DEATHS[cause])) == (ERROR, cause)
    assert alive(tmp_path) == []


LARGE = DetectionBatch((Part.image(bytes(4_000_000)),))  # more than the line holds
HANGS = {
    "thinks": ("line.sendall(greeting); hear(); time.sleep(100)", BATCH),
    "does not read": ("line.sendall(greeting); time.sleep(100)", LARGE),
    "drips": (
        r"line.sendall(greeting); hear(); line.sendall(b'\0\0\1\0'); [(line.sendall(b'a'), time.sleep(0.1)) for _ in range(1000)]",
        BATCH,
    ),
}


@pytest.mark.parametrize(("code", "batch"), HANGS.values(), ids=HANGS)
def test_trap_04_and_10_who_hangs_is_killed_at_the_deadline_and_the_next_call_gets_a_fresh_process(
    make: Make, tmp_path: Path, code: str, batch: DetectionBatch
) -> None:
    detector = make(f"if lives == 1:\n    {code}\nline.sendall(greeting); serve()")
    detector.setup()
    (hung,) = alive(tmp_path)
    began = time.monotonic()
    with pytest.raises(FaultError, match=TIMEOUT):
        detector.detect(batch, seconds=0.3)
    assert 0.25 < time.monotonic() - began < 20.0
    assert hung not in alive(tmp_path)
    assert detector.detect(BATCH) == GOOD
    assert detector.starts == 2


def test_what_a_process_started_is_killed_with_it(make: Make, tmp_path: Path) -> None:
    code = """
line.sendall(greeting); hear()
if os.fork() == 0: open(folder + "/" + str(os.getpid()), "w").close()
time.sleep(100)
"""
    detector = make(code)
    detector.setup()
    assert fault(detector, seconds=2.0) == (TIMEOUT, "")
    end = time.monotonic() + 5.0
    while alive(tmp_path):  # whose parent is dead is waited for by init
        assert time.monotonic() < end
        time.sleep(0.01)
    assert len(started(tmp_path)) == 2


def test_who_has_not_finished_its_start_is_given_time(make: Make) -> None:
    detector = make("time.sleep(1.0); line.sendall(greeting); serve()")
    assert [fault(detector, seconds=0.05) for _ in range(3)] == [(TIMEOUT, "")] * 3
    assert detector.detect(BATCH) == GOOD
    assert detector.starts == 1


def test_but_not_for_ever(make: Make, tmp_path: Path) -> None:
    detector = make("time.sleep(100)", start_seconds=0.1)
    assert fault(detector, seconds=0.2) == (TIMEOUT, "")
    assert alive(tmp_path) == []


IDLE = {
    "dies": "os._exit(1)",
    "talks": "line.sendall(answer); time.sleep(100)",
}


@pytest.mark.parametrize("code", IDLE.values(), ids=IDLE)
def test_what_it_does_between_two_batches_costs_no_batch(make: Make, tmp_path: Path, code: str) -> None:
    life = f"""
line.sendall(greeting); hear(); line.sendall(answer)
if lives == 1:
    while not os.path.exists(folder + "/go"): time.sleep(0.01)
    {code}
serve()
"""
    detector = make(life)
    assert detector.detect(BATCH) == GOOD
    (tmp_path / "go").touch()
    assert detector._process
    while detector._process.waits:
        time.sleep(0.01)
    assert detector.detect(BATCH) == GOOD
    assert detector.starts == 2
    assert len(alive(tmp_path)) == 1


def test_who_waits_for_its_turn_too_long_times_out_and_harms_nobody(make: Make) -> None:
    detector = make("line.sendall(greeting); hear(); time.sleep(1.0); line.sendall(answer); serve()")
    detector.setup()
    answers: list[object] = []
    first = threading.Thread(target=lambda: answers.append(detector.detect(BATCH, seconds=60.0)))
    first.start()
    while not detector._turn.locked():
        time.sleep(0.001)
    assert fault(detector, seconds=0.1) == (TIMEOUT, "")
    assert first.is_alive()
    first.join()
    assert answers == [GOOD]
    assert detector.starts == 1


def test_processes_start_side_by_side(make: Make) -> None:
    # Each waits for the others: started one after the other, none would ever be ready.
    meet = "while len(os.listdir(folder)) < 3: time.sleep(0.01)\nline.sendall(greeting); serve()"
    detectors = [make(meet) for _ in range(3)]
    lives = Lives()
    assert lives.begin(detectors) == lives.begin(detectors) == {}
    assert [one.starts for one in detectors] == [1, 1, 1]
    assert [one.detect(BATCH, seconds=5.0) for one in detectors] == [GOOD] * 3
    assert [one.starts for one in detectors] == [1, 1, 1]


def test_a_process_that_cannot_be_started_is_an_error_of_the_call() -> None:
    detector = IsolatedDetector(HERE, ["/nowhere/python"])
    with pytest.raises(SetupError, match="setup failed: FileNotFoundError"):
        set_up(detector)
    before = len(started(Path("/proc/self/fd")))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            detector.detect(BATCH)
    assert len(started(Path("/proc/self/fd"))) == before


def test_nothing_of_ours_is_handed_down(
    make: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODERATION_STREAM__KAFKA__SASL__PASSWORD", "secret")
    with inheritable():
        code = """
print("canary", flush=True); os.system("echo canary; echo canary >&2"); sys.stderr.write("canary")
secret = [name for name in os.environ if name.startswith("MODERATION_")]
handed = sorted(os.listdir("/proc/self/fd"), key=int)
os._exit(len(secret) + (len(handed) != 6))  # 0, 1, 2, the line, the pipe, and the folder that is looked at
"""
        assert fault(make(code)) == (ERROR, "exit_0")
    assert "canary" not in "".join(capfd.readouterr())


@contextmanager
def inheritable() -> Iterator[None]:
    """Something open that a careless library would hand down."""
    ends = os.pipe()
    os.set_inheritable(ends[0], True)
    yield
    for one in ends:
        os.close(one)


def test_a_greeting_can_be_asked_for_alone(tmp_path: Path) -> None:
    def ask(code: str, seconds: float = 30.0) -> Greeting:
        return greeting_of([sys.executable, "-I", "-S", "-c", HEAD + code, str(tmp_path)], seconds=seconds)

    assert ask("line.sendall(greeting); serve()") == Greeting((HERE,))
    for code, seconds, reason, cause in (
        ("os.abort()", 30.0, ERROR, "SIGABRT"),
        ("time.sleep(100)", 0.5, TIMEOUT, ""),
        (r"line.sendall(b'\0\0\0\1x'); hear()", 30.0, BAD_ANSWER, ""),
    ):
        with pytest.raises(FaultError) as raised:
            ask(code, seconds)
        assert (raised.value.reason, raised.value.cause) == (reason, cause)
    assert alive(tmp_path) == []
