"""What sections of the settings are made of, and those about Kafka, the worker on it, what a worker fetches, and where decisions are delivered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, and no value is bent to fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def like(pattern: str, meant: str) -> AfterValidator:
    """Refuses a text that does not match the whole pattern, and says what was meant by it."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {meant}")
        return text

    return AfterValidator(check)


# What Kafka allows in the names of topics, groups and members.
KafkaName = Annotated[str, like(r"[A-Za-z0-9._-]{1,249}", "a name of letters, digits, '.', '_' and '-'")]
Seconds = Annotated[float, Field(gt=0)]


class TlsSettings(Section):
    """TLS to the brokers, files in PEM form; without `ca_file` the system's authorities are trusted."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: SecretStr | None = None
    check_hostname: bool = True


class SaslSettings(Section):
    """Who we are to the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str
    password: SecretStr


class KafkaSettings(Section):
    """Where the brokers are (`host:port`), and how they are spoken to."""

    bootstrap: Annotated[tuple[str, ...], Field(min_length=1)]
    tls: TlsSettings | None = None
    sasl: SaslSettings | None = None

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> KafkaSettings:
        if self.sasl and self.sasl.mechanism == "PLAIN" and not self.tls:
            raise ValueError("sasl.mechanism PLAIN sends the password as it is: expected a section tls, or SCRAM")
        return self


DEAD_LETTERS = ".dlq"  # of a topic's name, after that of the first input
# In the transactional id: a second replay in the group ends the first one, and then sees what it did.
REPLAY_SLOT = "dlq-replay"


class StreamSettings(Section):
    """The stream: topics read and written, who this worker is in its group, what is promised, and every budget.

    `slot` names this worker for ever (a StatefulSet's ordinal, a unit's instance), so that its successor ends what it left open.
    `start` is where a partition begins that nobody committed; `gap` is what happens where retention deleted unread records.
    """

    kafka: KafkaSettings
    inputs: Annotated[tuple[KafkaName, ...], Field(min_length=1)]
    outputs: tuple[KafkaName, ...] = ()
    group: KafkaName
    slot: Annotated[str, like(r"[A-Za-z0-9_-]{0,100}", "a name of letters, digits, '_' and '-'")] = ""
    static_member: bool = False
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    start: Literal["earliest", "latest", "stop"] = "earliest"
    gap: Literal["stop", "skip"] = "stop"
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "lz4"
    poll_records: Annotated[int, Field(gt=0)] = 500
    fetch_bytes: Annotated[int, Field(ge=1_000_000)] = 16_000_000
    in_flight_bytes: Annotated[int, Field(gt=0)] = 64_000_000
    output_bytes: Annotated[int, Field(ge=10_000)] = 1_000_000
    session_seconds: Seconds = 20.0
    poll_interval_seconds: Seconds = 60.0
    request_seconds: Annotated[float, Field(ge=1)] = 10.0
    commit_seconds: Seconds = 10.0
    transaction_seconds: Annotated[float, Field(ge=1, le=900)] = 10.0
    stall_seconds: Seconds = 120.0

    def dead_letters(self, process: WorkerSettings | DeliverSettings | None) -> str:
        """Where a process's dead letters go: the topic that it names, else the first input's name and a suffix."""
        named = process.dead_letters if process else None
        return named or self.inputs[0] + DEAD_LETTERS

    @model_validator(mode="after")
    def _fits_together(self) -> StreamSettings:
        if not self.slot and (self.static_member or self.delivery == "exactly_once"):
            raise ValueError(
                "slot: expected a name that this worker alone has, and keeps (exactly_once, static_member)"
            )
        if self.slot == REPLAY_SLOT:
            raise ValueError(f"slot: {REPLAY_SLOT!r} is that of `moderation dlq replay`, which would end this worker")
        if self.stall_seconds <= self.commit_seconds:
            raise ValueError("stall_seconds: expected more than commit_seconds, or a slow commit is taken for a stall")
        if self.commit_seconds >= self.poll_interval_seconds:
            raise ValueError(
                "commit_seconds: expected less than poll_interval_seconds, or the group drops a slow worker"
            )
        return self


class ReviewSettings(Section):
    """A second topic for decisions whose action is one of `actions`."""

    topic: KafkaName
    actions: Annotated[tuple[str, ...], Field(min_length=1)] = ("review",)


class ProbeSettings(Section):
    """Where a worker answers /metrics, /healthz and /readyz; whoever reaches it is answered, so it is this machine alone unless told otherwise."""

    port: Annotated[int, Field(ge=0, le=65535)]
    host: str = "127.0.0.1"


class WorkerSettings(Section):
    """The builds that a worker decides under (`ID.lock.json`), and where it publishes; paths are relative to the settings file.

    With `envelope` decisions are CloudEvents in binary mode: the same value, headers beside it. Without `dead_letters` that topic is the first input's name and `.dlq`. A record that kills the process `tries` times while it is
    tried alone is set aside. Locks and their release records are looked at every `reload_seconds`. As
    many records are decided together as take about `batch_seconds`: shorter is sooner, longer is cheaper. `fetches` references are fetched at once. `osprey_texts` and `osprey_images` name the fields of Osprey's actions that hold content.
    """

    locks: Annotated[tuple[str, ...], Field(min_length=1)]
    decisions: KafkaName
    dead_letters: KafkaName | None = None
    review: ReviewSettings | None = None
    probe: ProbeSettings | None = None
    log: Literal["text", "json"] = "text"
    envelope: Literal["none", "cloudevents"] = "none"
    tries: Annotated[int, Field(gt=0)] = 3
    reload_seconds: Seconds = 5.0
    batch_seconds: Seconds = 1.0
    osprey_texts: tuple[str, ...] = ()
    osprey_images: tuple[str, ...] = ()
    fetches: Annotated[int, Field(gt=0)] = 16


class KeySettings(Section):
    """One caller of the server: the SHA-256 of its key (`moderation serve --new-key` makes both), what it may be decided by, and its share of the device.

    Without `policies` it is decided by all.
    """

    sha256: Annotated[str, like(r"[0-9a-f]{64}", "the SHA-256 of a key, 64 hex digits")]
    policies: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0


class ServeSettings(Section):
    """What is decided over HTTP, for whom, and within which bounds; paths of `locks` are relative to the settings file.

    Without `keys` everybody is answered, which is allowed on this machine alone. `encoders` are those whose vectors can be asked for, beside
    the locks' own. A request that names no deadline has `deadline_seconds`. Bodies have at most `body_bytes`, all that are being read or answered at most
    `bodies_bytes`, and `read_seconds` to arrive; parts that wait for the device have at most `queue_bytes`, and so have those that wait for readers; answers that are not read yet
    `answers_bytes`. At most `most_connections` are open. `categories` says which of OpenAI's categories a policy stands for.
    """

    locks: Annotated[tuple[str, ...], Field(min_length=1)]
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    log: Literal["text", "json"] = "text"
    keys: Mapping[str, KeySettings] = {}
    encoders: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = {}
    deadline_seconds: Seconds = 2.0
    read_seconds: Seconds = 10.0
    body_bytes: Annotated[int, Field(gt=0)] = 20_000_000
    bodies_bytes: Annotated[int, Field(gt=0)] = 500_000_000
    queue_bytes: Annotated[int, Field(gt=0)] = 500_000_000
    answers_bytes: Annotated[int, Field(gt=0)] = 500_000_000
    most_connections: Annotated[int, Field(gt=0)] = 800  # a process may usually have 1024 files open
    most_items: Annotated[int, Field(gt=0)] = 2048
    reload_seconds: Seconds = 5.0

    @model_validator(mode="after")
    def _no_open_door(self) -> ServeSettings:
        if not self.keys and self.host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("keys: expected at least one, since the host can be reached from other machines")
        return self


class RunnerSettings(Section):
    """How detectors, readers or a sink run: the deadline of one batch, the faults in a row that quarantine one, and for how long."""

    timeout_seconds: Seconds = 10.0
    faults_before_quarantine: Annotated[int, Field(gt=0)] = 5
    quarantine_seconds: Seconds = 30.0


class DeliverSettings(RunnerSettings):
    """Which sink takes the decisions of `stream.inputs`, and which of them: those whose action is one of `actions`, or all.

    `batch_records` go to it together at most. What cannot be taken now is tried again after `pause_seconds`, doubling up to
    `longest_pause_seconds`, and set aside where it failed `tries` times while others got through.
    """

    sink: str
    actions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    batch_records: Annotated[int, Field(gt=0)] = 50
    tries: Annotated[int, Field(ge=2)] = 8
    pause_seconds: Seconds = 0.5
    longest_pause_seconds: Seconds = 60.0
    timeout_seconds: Seconds = 30.0
    dead_letters: KafkaName | None = None
    probe: ProbeSettings | None = None
    log: Literal["text", "json"] = "text"


# `host`, `*.host.tld`, either with `:port`; in lower case, as it is compared.
HostPattern = Annotated[
    str,
    like(
        r"(\*\.[a-z0-9-]+\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?(:[1-9][0-9]{0,4})?",
        "a name in lower case, perhaps with :PORT, or '*.' and a name of two words or more",
    ),
]


class CredentialSettings(Section):
    """Who we are to a store; `session_token` belongs to keys that are good for a while."""

    access_key: str
    secret_key: SecretStr
    session_token: SecretStr | None = None
    region: str = "us-east-1"


class FetchSettings(Section):
    """How references of one scheme are fetched; a scheme without a section is not.

    `hosts` are what may stand in the host's place: host names, or a store's buckets. `private_hosts` may have addresses of a private network, too: name only
    what is your own. `timeout_seconds` is for all tries of one reference together, `redirects` how many of one answer are followed,
    each checked like a reference. `endpoint` is where a store is, `ca_file` (PEM) whom to trust instead of the system's authorities.
    """

    hosts: tuple[HostPattern, ...] = ()
    private_hosts: tuple[HostPattern, ...] = ()
    max_bytes: Annotated[int, Field(gt=0)] = 10_000_000
    timeout_seconds: Seconds = 5.0
    tries: Annotated[int, Field(gt=0, le=10)] = 2
    redirects: Annotated[int, Field(ge=0, le=3)] = 0
    ca_file: str | None = None
    endpoint: str | None = None
    credentials: CredentialSettings | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> FetchSettings:
        if not self.hosts and not self.private_hosts:
            raise ValueError("hosts: expected at least one name, as nothing else may be asked")
        return self


class RedisSettings(Section):
    """Redis 7 or newer behind the cache in memory, shared by all workers: redis://, or rediss:// for TLS.

    `timeout_seconds` bounds each call, `ttl_seconds` is how long a vector lives, give or take a tenth.
    """

    url: SecretStr
    timeout_seconds: Annotated[float, Field(gt=0)] = 0.1
    ttl_seconds: Annotated[float, Field(gt=0)] = 2_592_000.0


class CacheSettings(Section):
    """The embedding cache: its size in this process's memory in bytes, who shares it, and the Redis behind it."""

    max_bytes: Annotated[int, Field(ge=0)] = 256_000_000
    redis: RedisSettings | None = None
    tenant: Annotated[str, like(r"[A-Za-z0-9_-]+", "a name of letters, digits, '_' and '-'")] = "default"


class QuotaSettings(Section):
    """Quotas of policies: the part of each that this process may use up where no Redis counts for all workers."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
