"""The Kafka client as the session needs it: what is asked of kafka-python, and why. Every value here was a fault once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import crc32c  # noqa: F401 - without it, the client checks sums in Python: 36 times slower on pictures
import lz4.frame  # noqa: F401 - without any one of these three, a batch by a foreign producer
import snappy  # noqa: F401      ends the worker, however often it is started again
import zstandard  # noqa: F401
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from kafka.partitioner.default import DefaultPartitioner, murmur2
from kafka.structs import TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.sections import KafkaSettings, StreamSettings
from moderation.stream.batch import Output, Partition, Record
from moderation.stream.deadline import ticks
from moderation.stream.unpacking import unpack_safely

# A broker refuses records that are an hour ahead of it, and with them their transaction: a clock that is set while we work must not be asked.
_BEGAN = time.time() - ticks()
# By itself the client sends the first of many records alone, and the others in scraps: a third slower.
_LINGER_MS = 1000
_TOLD = 1.0  # seconds within which a record is told of the failure for which the client takes no other: moments
OLDEST_BROKER = (2, 7)  # before it, a worker that comes back from the dead may fence the one that took its place


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Tells, amid a poll, that partitions are about to be taken away; not where they already were."""

    def __init__(self, taken_away: Callable[[], None]) -> None:
        self._taken_away = taken_away

    def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002 - all of them, each time
        self._taken_away()

    def on_partitions_assigned(self, assigned: object) -> None:
        pass

    def on_partitions_lost(self, lost: object) -> None:
        pass


class _Places(DefaultPartitioner):  # type: ignore[misc]  # the client has no types
    """Which partition an output goes to: its key decides, as with every client; those without one lie together, commit by commit, in their order.

    The client's own choice draws for each, so that the outputs of a commit are scattered in small batches and in no order, and takes stock of
    all brokers for it.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[int]] = {}  # by topic, in this commit
        self._drawn: dict[str, int] = {}

    def begin(self) -> None:
        """Another commit."""
        self._known.clear()
        self._drawn.clear()

    def partition(self, topic: str, key: object, serialized_key: bytes | None, *given: Any) -> int:
        """One of the topic's partitions; what is given last is what the client knows of the brokers."""
        if serialized_key is None:
            if topic not in self._drawn:
                self._drawn[topic] = super().partition(topic, key, None, *given)
            return self._drawn[topic]
        if topic not in self._known:
            self._known[topic] = sorted(given[-1].partitions_for_topic(topic))
        known, hashed = self._known[topic], int(murmur2(serialized_key))
        return known[(hashed & 0x7FFFFFFF) % len(known)]


def make_consumer(settings: StreamSettings, *, taken_away: Callable[[], None] = lambda: None) -> KafkaConsumer:
    """A consumer that commits nothing by itself, decodes nothing, and subscribes to the inputs. Raises what kafka-python raises.

    `taken_away` is called amid a poll, while the group still takes its commits, before all partitions are assigned anew.

    It knows the inputs' partitions before it joins: a member that leads its group and does not yet, assigns none to anybody, and where it dies
    then, a static member that follows is given that again, and reads nothing for ever.
    """
    session_ms = _ms(settings.session_seconds)
    consumer = KafkaConsumer(
        **_connection(settings),
        group_id=settings.group,
        group_instance_id=settings.slot if settings.static_member else None,
        enable_auto_commit=False,
        auto_offset_reset="none",  # the session seeks; an offset out of range must be an error, not a jump
        isolation_level="read_committed",  # also makes it wait for offsets that an open transaction holds
        partition_assignment_strategy=[RangePartitionAssignor],
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 5,
        max_poll_interval_ms=_ms(settings.poll_interval_seconds),
        max_poll_records=settings.poll_records,
        fetch_max_bytes=settings.fetch_bytes,
        max_partition_fetch_bytes=max(1_048_576, settings.fetch_bytes // 8),
    )
    consumer.subscribe(topics=list(settings.inputs), listener=_Listener(taken_away))
    consumer.topics()  # after subscribing, or what it learns would be news to the group, which assigns anew
    return unpack_safely(consumer, most_bytes=settings.in_flight_bytes)


def make_producer(settings: StreamSettings, *, at_once: bool = False) -> KafkaProducer:
    """An idempotent producer, transactional where that is promised. Raises what kafka-python raises, StreamError for an old broker.

    Records wait until `publish` has given it all of them, or are sent `at_once`.
    """
    transactional, linger_ms = settings.delivery == "exactly_once", 0 if at_once else _LINGER_MS
    producer = KafkaProducer(
        **_connection(settings),
        transactional_id=f"{settings.group}.{settings.slot}" if transactional else None,
        transaction_timeout_ms=_ms(settings.transaction_seconds),
        acks="all",
        compression_type=None if settings.compression == "none" else settings.compression,
        batch_size=131_072,
        linger_ms=linger_ms,
        partitioner=_Places(),
        max_request_size=max(1_048_576, settings.output_bytes),
        max_block_ms=_ms(settings.request_seconds),
        delivery_timeout_ms=_ms(max(settings.commit_seconds, settings.request_seconds)) + linger_ms,
    )
    if transactional and producer.config["api_version"] < OLDEST_BROKER:
        found = ".".join(str(part) for part in producer.config["api_version"])
        raise StreamError(
            f"the broker speaks Kafka {found}; exactly_once needs 2.7 or newer", exit_code=ExitCode.UNAVAILABLE
        )
    return producer


def make_reader(settings: StreamSettings) -> KafkaConsumer:
    """A consumer of no group, which reads what is committed wherever it is told to. Raises what kafka-python raises."""
    consumer = KafkaConsumer(
        **_connection(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # retention may delete what it is about to read
        isolation_level="read_committed",
        fetch_max_bytes=settings.fetch_bytes,
        max_partition_fetch_bytes=max(1_048_576, settings.fetch_bytes // 8),
    )
    return unpack_safely(consumer, most_bytes=settings.in_flight_bytes)


def require(producer: KafkaProducer, settings: StreamSettings) -> None:
    """Topics that are not there call a person, who is told all of them; brokers that went away while they were asked do not."""
    topics = [*settings.outputs, *settings.inputs]
    try:
        for topic in topics:
            producer.partitions_for(topic)
    except KafkaTimeoutError:
        reader = make_reader(settings)
        known = reader.topics()
        reader.close()
        missing = [topic for topic in topics if topic not in known]
        if not missing:
            raise
        named = ", ".join(map(repr, missing))
        told = f"open: there is no topic {named}" if len(missing) == 1 else f"open: there are no topics {named}"
        unwritable = not known.issuperset(settings.outputs)
        raise StreamError(told, exit_code=ExitCode.UNWRITABLE if unwritable else ExitCode.UNAVAILABLE) from None


def make_admin(settings: StreamSettings) -> KafkaAdminClient:
    """What makes and deletes topics. Raises what kafka-python raises."""
    known = _connection(settings)
    del known["allow_auto_create_topics"]  # only consumers and producers know it
    return KafkaAdminClient(**known)


def publish(producer: KafkaProducer, outputs: Iterable[Output], *, seconds: float) -> None:
    """D1: a record that the client gave up fails nothing but its own future, so every one is awaited before anything is committed.

    The brokers may refuse one while others are still handed over, or wait for a broker that is away. The client tells why only to the first that it
    strikes: the call for another says that no more are taken, or that it waited in vain.
    """
    end, now_ms = time.monotonic() + seconds, _ms(_BEGAN + ticks())
    producer.config["partitioner"].begin()
    futures: list[Any] = []
    failures: SimpleQueue[Exception] = SimpleQueue()
    try:
        for one in outputs:
            sent = producer.send(one.topic, one.value, one.key, list(one.headers), one.partition, now_ms)
            futures.append(sent.add_errback(failures.put))
        for future in futures:
            # The first has all of them sent. Where the broker found a batch too large, the client cuts it, and flush ends at once: the
            # pieces are waited for here, each future knows of its own.
            if not future.is_done:
                with contextlib.suppress(UnknownError):
                    producer.flush(timeout=max(0.0, end - time.monotonic()))
            future.get(timeout=max(0.0, end - time.monotonic()))
    except KafkaError:
        with contextlib.suppress(Empty):
            raise failures.get(timeout=min(_TOLD, max(0.0, end - time.monotonic()))) from None
        raise


def without_content(logger: logging.Logger) -> None:
    """Keep the client from logging keys, values and requests, as it does from DEBUG down."""
    if logger.getEffectiveLevel() < logging.INFO:
        logger.setLevel(logging.INFO)


def ours(partition: TopicPartition) -> Partition:
    """The client's name for a partition as our own."""
    return Partition(partition.topic, partition.partition)


def theirs(partition: Partition) -> TopicPartition:
    """Our name for a partition as the client's."""
    return TopicPartition(partition.topic, partition.number)


def records(polled: Mapping[TopicPartition, Sequence[Any]]) -> tuple[Record, ...]:
    """What a poll of the client returned, as our own values."""
    return tuple(_record(ours(partition), one) for partition, taken in polled.items() for one in taken)


def _connection(settings: StreamSettings) -> dict[str, Any]:
    request_ms = _ms(settings.request_seconds)
    return {
        "bootstrap_servers": list(settings.kafka.bootstrap),
        "client_id": f"moderation-{settings.slot or settings.group}",
        "allow_auto_create_topics": False,
        "bootstrap_timeout_ms": request_ms,
        "request_timeout_ms": request_ms,
        "retry_backoff_ms": 50,
        "reconnect_backoff_max_ms": 1000,  # the client's 30 s decides how long a restart of the broker is felt
        **_security(settings.kafka),
    }


def _security(kafka: KafkaSettings) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if kafka.tls:
        given |= {
            "ssl_cafile": kafka.tls.ca_file,
            "ssl_certfile": kafka.tls.certificate_file,
            "ssl_keyfile": kafka.tls.key_file,
            "ssl_password": kafka.tls.key_password.get_secret_value() if kafka.tls.key_password else None,
            "ssl_check_hostname": kafka.tls.check_hostname,
        }
    if kafka.sasl:
        given |= {
            "sasl_mechanism": kafka.sasl.mechanism,
            "sasl_plain_username": kafka.sasl.username,
            "sasl_plain_password": kafka.sasl.password.get_secret_value(),
        }
    protocol = ("SASL_" if kafka.sasl else "") + ("SSL" if kafka.tls else "PLAINTEXT")
    return {"security_protocol": protocol, **given}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _record(partition: Partition, one: Any) -> Record:
    size = max(0, one.serialized_key_size) + max(0, one.serialized_value_size) + max(0, one.serialized_header_size)
    return Record(partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers), size)
