from __future__ import annotations

import pytest
from kafka import errors as kafka

from moderation.errors import ExitCode, OutputError, StreamError
from moderation.stream.faults import fatal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kafka.ProducerFencedError(), ExitCode.FENCED),
        (kafka.FencedInstanceIdError(), ExitCode.FENCED),
        (kafka.TopicAuthorizationFailedError(), ExitCode.DENIED),
        (kafka.GroupAuthorizationFailedError(), ExitCode.DENIED),
        (kafka.OffsetOutOfRangeError(), ExitCode.UNREADABLE),
        (kafka.MessageSizeTooLargeError(), ExitCode.UNWRITABLE),
        (kafka.CommitFailedError(), ExitCode.RESTART),
        (kafka.KafkaTimeoutError(), ExitCode.RESTART),
        (RuntimeError("whatever the client ran into"), ExitCode.RESTART),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_every_failure_of_the_client_ends_the_process_with_a_code(error: Exception, code: ExitCode) -> None:
    with pytest.raises(StreamError, match=type(error).__name__) as caught, fatal("commit"):
        raise error
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("error", "seconds", "code"),
    [
        (kafka.ProducerFencedError(), 0.0, ExitCode.RESTART),
        (kafka.InvalidProducerEpochError(), 0.0, ExitCode.RESTART),
        (kafka.InvalidProducerEpochError(), 60.0, ExitCode.FENCED),
        (kafka.FencedInstanceIdError(), 0.0, ExitCode.FENCED),  # of the group, which no transaction's time-out touches
    ],
)
def test_who_outlived_its_transaction_is_fenced_by_no_other_worker(
    error: Exception, seconds: float, code: ExitCode
) -> None:
    with pytest.raises(StreamError) as caught, fatal("commit", transaction_seconds=seconds):
        raise error
    assert caught.value.exit_code == code


def test_what_has_no_code_of_its_own_has_the_one_of_its_moment() -> None:
    with pytest.raises(StreamError) as caught, fatal("open", otherwise=ExitCode.UNAVAILABLE):
        raise kafka.KafkaTimeoutError
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (kafka.KafkaTimeoutError("Unable to bootstrap"), "open: KafkaTimeoutError: Unable to bootstrap"),
        (kafka.KafkaTimeoutError(), "open: KafkaTimeoutError"),
        (OSError("no route"), "open: OSError: no route"),
        (RuntimeError(), "open: RuntimeError"),
    ],
)
def test_a_type_is_named_once(error: Exception, told: str) -> None:
    with pytest.raises(StreamError) as caught, fatal("open"):
        raise error
    assert str(caught.value) == told


def test_a_corrupt_record_is_not_quoted() -> None:
    with pytest.raises(StreamError) as caught, fatal("poll at in-0:7"):
        raise kafka.CorruptRecordError("Found invalid record structure: b'secret'")
    assert str(caught.value) == "poll at in-0:7: CorruptRecordError"
    assert caught.value.__suppress_context__


def test_our_own_errors_stay_what_they_are() -> None:
    with pytest.raises(OutputError), fatal("commit"):
        raise OutputError("out", index=0, size=2, limit=1)
