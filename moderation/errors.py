"""Every error that moderation raises on purpose, and the exit code each one maps to on the command line.

ModerationError
├── SettingsError          the settings file or a MODERATION_ variable is wrong
├── PolicyError            policy files have problems; all of them, each with file, line and column
├── DataError              a data manifest or a test file has problems, each located
├── ItemError              one part of one item cannot be judged; the batch goes on
├── EncoderError           an encoder cannot be used
│   └── CheckpointError    a checkpoint folder is incomplete, unsafe, or does not fit its card
├── LockError              a lock cannot be read, is damaged, or has nothing to decide with
│   └── FingerprintMismatchError   a lock was built for another encoder
├── OverloadedError        a request was refused, since it could not be answered in time
├── ServerError            a server under test does not start, or ends
├── CompileError           a policy cannot be turned into a classifier
├── DetectorError          a detector raised, hung, or answered badly
├── PluginError            a plugin cannot be loaded, or a policy needs one that is not there
├── ClusterError           a Ray cluster cannot be reached, or lost what it was asked to do
├── TrainingError          a training run cannot start or go on
├── StreamError            the stream cannot go on: this process must end, and a new one start from the committed offsets
└── OutputError            one output cannot be published as it is; nothing was sent, the stream goes on
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process tells its caller; 2 is left to the command-line parser.

    From 64 on, after sysexits.h, what a worker tells its supervisor: start it again after 69, 70 and 75, call a person after 65, 73, 76 and 77.
    """

    OK = 0
    INTERNAL = 1
    USAGE = 2
    POLICY = 3
    COMPILE = 4
    NOT_CERTIFIED = 5
    TESTS_FAILED = 6
    OVER_BUDGET = 8
    RELEASE_REFUSED = 9
    AUDIT_FAILED = 10
    ENCODER = 12
    DATA = 13
    PLUGIN = 14
    TRAINING = 15
    UNREADABLE = 65  # a record cannot be read, or records were deleted before they were read
    UNAVAILABLE = (
        69  # no broker or no input topic at the start; no Ray cluster, or one that lost its work, or no server to test
    )
    STALLED = 70  # a call or the whole process made no progress
    UNWRITABLE = 73  # an output topic is missing or refuses
    RESTART = 75  # trouble of broker, group or encoder: the outcome is unknown, the committed offsets are not
    FENCED = 76  # another worker has this slot
    DENIED = 77  # the broker says: not authenticated, or not authorised


class ModerationError(Exception):
    """The base of all: `code` is stable for machines, the message is for people."""

    code = "error"
    exit_code = ExitCode.INTERNAL


class SettingsError(ModerationError):
    """The settings are wrong: names the key, where it came from, what was found and what was expected."""

    code = "settings"
    exit_code = ExitCode.USAGE


# Names, ids and paths come from files that anyone may have written; none of them moves the cursor or turns the line around.
# Whole texts pass through too, so their tabs and line ends stay; `one_line` is for what must not end its line.
CONTROLS = {
    code: f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\t\n"
}
_LINE_ENDS = {code: f"\\u{code:04x}" for code in map(ord, "\t\n\u2028\u2029")}


def one_line(text: str) -> str:
    """Text with a path, an id or a name in it, as the part of one line that it is meant to be: line ends and tabs are escaped."""
    return text.translate(CONTROLS).translate(_LINE_ENDS)


def counted(number: int, noun: str, many: str = "") -> str:
    """A number with its noun: `1 file`, `2,000 files`; `many` is the plural where that is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def place(path: Path, line: int, column: int) -> str:
    """Where in a file something is, as editors read it; the file alone where the line is 0."""
    return f"{path}:{line}:{column}" if line else f"{path}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in one file; line and column count from 1, 0 where the file as a whole is meant."""

    path: Path
    line: int
    column: int
    code: str
    message: str

    def __str__(self) -> str:
        return one_line(f"{place(self.path, self.line, self.column)}: {self.code}: {self.message}")


class _LocatedError(ModerationError):
    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PolicyError(_LocatedError):
    """Policy files have problems; `problems` holds all of them, in file order."""

    code = "policy"
    exit_code = ExitCode.POLICY


class DataError(_LocatedError):
    """A data manifest or a test file has problems; `problems` holds all of them, in file order."""

    code = "data"
    exit_code = ExitCode.DATA


class ItemError(ModerationError):
    """One part cannot be judged: `reason` is a stable word such as `unsupported_input`, `cause` one that says more, or ""."""

    code = "item"

    def __init__(self, reason: str, message: str, *, cause: str = "") -> None:
        self.reason, self.cause, self.message = reason, cause, message
        super().__init__(f"{reason}: {message}")


class EncoderError(ModerationError):
    """An encoder cannot be used."""

    code = "encoder"
    exit_code = ExitCode.ENCODER


class CheckpointError(EncoderError):
    """A checkpoint folder is incomplete, unsafe, or does not fit its card."""

    code = "checkpoint"


class LockError(ModerationError):
    """A lock cannot be read, is damaged, or has nothing to decide with."""

    code = "lock"
    exit_code = ExitCode.ENCODER


class FingerprintMismatchError(LockError):
    """A lock was built for another encoder; `expected` is the lock's identity, `found` the encoder's."""

    code = "fingerprint_mismatch"

    def __init__(self, *, policy: str, expected: str, found: str) -> None:
        self.policy, self.expected, self.found = policy, expected, found
        super().__init__(
            f"policy {policy!r}: the lock was built for encoder {expected}, but the encoder in use is {found}; "
            f"compile and certify the policy again on this encoder"
        )


class OverloadedError(ModerationError):
    """A request was refused, since it could not be answered in time: it may come again `after_seconds`."""

    code = "overloaded"

    def __init__(self, message: str, *, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class CompileError(ModerationError):
    """A policy cannot be turned into a classifier."""

    code = "compile"
    exit_code = ExitCode.COMPILE


class DetectorError(ModerationError):
    """A detector raised, hung, or answered badly; `detector` is its id."""

    code = "detector"
    exit_code = ExitCode.PLUGIN

    def __init__(self, detector: str, message: str) -> None:
        self.detector = detector
        super().__init__(f"detector {detector!r}: {message}")


class PluginError(ModerationError):
    """A plugin cannot be loaded, or a policy needs one that is not there; `plugin` is its id."""

    code = "plugin"
    exit_code = ExitCode.PLUGIN

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(f"plugin {plugin!r}: {message}")


class ClusterError(ModerationError):
    """A Ray cluster cannot be reached, or lost what it was asked to do; what was finished before is kept."""

    code = "cluster"
    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, message: str, *, exit_code: ExitCode = ExitCode.UNAVAILABLE) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class TrainingError(ModerationError):
    """A training run cannot start or go on."""

    code = "training"
    exit_code = ExitCode.TRAINING


class ServerError(ModerationError):
    """A server under test does not start, or ends: says with which exit code, and the last lines of its log."""

    code = "server"
    exit_code = ExitCode.UNAVAILABLE


class StreamError(ModerationError):
    """The stream cannot go on: this process must end, and a new one start from the committed offsets.

    What was in flight has an unknown outcome, so nothing is sent again from memory. `exit_code` tells a supervisor what to do.
    """

    code = "stream"
    exit_code = ExitCode.RESTART

    def __init__(self, message: str, *, exit_code: ExitCode = ExitCode.RESTART) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class OutputError(ModerationError):
    """One output is larger than may be published; nothing was sent. `index` is its place among the outputs, sizes are in bytes."""

    code = "output"
    exit_code = ExitCode.UNWRITABLE

    def __init__(self, topic: str, *, index: int, size: int, limit: int) -> None:
        self.topic, self.index, self.size, self.limit = topic, index, size, limit
        super().__init__(f"an output for topic {topic!r} has {size} bytes; at most {limit} may be published")
