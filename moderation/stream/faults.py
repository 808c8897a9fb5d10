"""What an exception of the client means: always the end of this process, with the exit code that a supervisor can act on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from kafka import errors as kafka

from moderation.errors import ExitCode, ModerationError, StreamError
from moderation.stream.deadline import ticks

_EPOCHS = kafka.ProducerFencedError, kafka.InvalidProducerEpochError
# The client names a cause only where it first strikes; what it raises later is a plain KafkaError, and means: start again.
_CODES: tuple[tuple[tuple[type[Exception], ...], ExitCode], ...] = (
    ((*_EPOCHS, kafka.FencedInstanceIdError), ExitCode.FENCED),
    ((kafka.AuthorizationError, kafka.SaslAuthenticationFailedError), ExitCode.DENIED),
    (
        (kafka.CorruptRecordError, kafka.OffsetOutOfRangeError, kafka.LogTruncationError, kafka.UnsupportedCodecError),
        ExitCode.UNREADABLE,
    ),
    ((kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.InvalidTopicError), ExitCode.UNWRITABLE),
)


@contextlib.contextmanager
def fatal(
    what: str, *, otherwise: ExitCode = ExitCode.RESTART, transaction_seconds: float = math.inf
) -> Iterator[None]:
    """Turns whatever the client raises into a StreamError that names its type; what it says of a corrupt record quotes the record.

    A transaction that began here is ended by the brokers after so many seconds, as when this machine was paused: who is fenced out of it
    then is fenced by them, and by no other worker.
    """
    began = ticks()
    try:
        yield
    except ModerationError:
        raise
    except Exception as error:  # noqa: BLE001 - the client raises whatever its code ran into
        code = next((code for kinds, code in _CODES if isinstance(error, kinds)), otherwise)
        if isinstance(error, _EPOCHS) and ticks() - began >= transaction_seconds:
            code = ExitCode.RESTART
        name, said = type(error).__name__, "" if isinstance(error, kafka.CorruptRecordError) else str(error)
        # The client's own errors say their name.
        told = said if said.startswith(name) else ": ".join(one for one in (name, said) if one)
        raise StreamError(f"{what}: {told}", exit_code=code) from None
