"""What an exception of the client means: always the end of this process, with the exit code that a supervisor can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kafka import errors as kafka

from moderation.errors import ExitCode, ModerationError, StreamError

# The client names a cause only where it first strikes; what it raises later is a plain KafkaError, and means: start again.
_CODES: tuple[tuple[tuple[type[Exception], ...], ExitCode], ...] = (
    ((kafka.ProducerFencedError, kafka.InvalidProducerEpochError, kafka.FencedInstanceIdError), ExitCode.FENCED),
    ((kafka.AuthorizationError, kafka.SaslAuthenticationFailedError), ExitCode.DENIED),
    (
        (kafka.CorruptRecordError, kafka.OffsetOutOfRangeError, kafka.LogTruncationError, kafka.UnsupportedCodecError),
        ExitCode.UNREADABLE,
    ),
    ((kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.InvalidTopicError), ExitCode.UNWRITABLE),
)


@contextlib.contextmanager
def fatal(what: str, *, otherwise: ExitCode = ExitCode.RESTART) -> Iterator[None]:
    """Turns whatever the client raises into a StreamError that names its type; what it says of a corrupt record quotes the record."""
    try:
        yield
    except ModerationError:
        raise
    except Exception as error:  # noqa: BLE001 - the client raises whatever its code ran into
        code = next((code for kinds, code in _CODES if isinstance(error, kinds)), otherwise)
        name, said = type(error).__name__, "" if isinstance(error, kafka.CorruptRecordError) else str(error)
        # The client's own errors say their name.
        told = said if said.startswith(name) else ": ".join(one for one in (name, said) if one)
        raise StreamError(f"{what}: {told}", exit_code=code) from None
